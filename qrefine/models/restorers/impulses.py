"""Salt-and-pepper noise: single pixels that stand out are found by rank and filled in from their neighbours.

An impulse has lost its value, so there is nothing to denoise: it is left out, and what is around it says what was
there. The detector is ROAD (Garnett, Huegerich, Chui and He, "A universal noise removal algorithm with an impulse
detector", 2005), compared with the texture around. The noise is accepted as such only where the evidence holds
together (``Evidence``): stars, snow, lettering, dither and the grain of a photograph are not touched.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from qrefine.models.tiling import strips
from qrefine.quality.map import Image
from qrefine.quality.pixels import Flags

ROAD = 80
"""Least sum of the four smallest differences to the eight neighbours, in levels, of an impulse ..."""

TEXTURE = 4
"""... beyond this many times the median of that sum over 5 x 5 pixels."""

EXTREME = 4
"""Black and white values need this part of the least sum."""

FAR = 60
"""Levels between a place's median and white (black) from which on salt (pepper) must show there."""

RADII = (0.6, 1.2, 2.5)
"""Sigmas in pixels of the means that fill in: the narrowest that holds enough sound pixels."""

_HALO = 7  # of the widest mean; the detector needs 5
_ROWS = 256
_RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)  # the eight neighbours


@dataclass(frozen=True)
class Evidence:
    """What speaks for noise, over the channel values in question.

    ``share`` of them are impulses. ``extreme``: the share of impulses that are black or white. ``jump``: the
    median of their distance to the 5 x 5 median over the texture around (the mean difference to the four most
    similar neighbours, plus 2 levels). ``balance``: the rarer of salt and pepper over the other, each among the
    places where it would show. ``lone``: how many have no other of their sign among the eight neighbours, over
    how many there would be by chance; the lower of salt's and pepper's. ``ends``: the share of the other values
    that are black or white; dither is nothing else.
    """

    share: float
    extreme: float
    jump: float
    balance: float
    lone: float
    ends: float

    @property
    def holds(self) -> bool:
        return (
            self.share >= 0.003 and self.extreme >= 0.25 and self.jump >= 8 and self.balance >= 0.25
            and self.lone >= 0.6 and self.ends <= 0.5
        )  # fmt: skip


def without_impulses(image: Image, region: Flags) -> Image:
    """``image`` (h, w, 3), impulses in ``region`` (h, w) filled in; the same object where there is no noise."""
    if not _likely(image, region):
        return image
    signs, evidence = impulses(image, region)
    return _filled(image, signs != 0) if evidence.holds else image


def _likely(image: Image, region: Flags) -> bool:
    """A quick test that noise passes: some values stand out from all eight neighbours, above and below."""
    above = cv2.subtract(image, cv2.dilate(image, _RING)) > FAR // 2
    below = cv2.subtract(cv2.erode(image, _RING), image) > FAR // 2
    least = 0.0003 * 3 * int(np.count_nonzero(region))
    return all(int(np.count_nonzero(found & region[..., None])) > least for found in (above, below))


def impulses(image: Image, region: Flags) -> tuple[NDArray[np.int8], Evidence]:
    """The sign of each value (h, w, 3): 1 salt, -1 pepper, 0 no impulse; and what speaks for noise."""
    signs = np.zeros(image.shape, np.int8)
    jumps, extremes, places, shown = list[NDArray[np.float64]](), np.zeros(2), np.zeros(2), np.zeros(2)
    for rows, seen, within in strips(len(image), _ROWS, _HALO):
        part = image[seen]
        apart = road(part)
        around = cv2.medianBlur((np.minimum(apart, 1020) // 4).astype(np.uint8), 5)
        middle = cv2.medianBlur(part, 5)[within]
        part, apart, around = part[within], apart[within], around[within]
        asked = region[rows][..., None]
        limit = ROAD + TEXTURE * 4 * around.astype(np.uint16)
        ends = (part == 0) | (part == 255)
        hits = ((apart > limit) | (ends & (apart > limit // EXTREME))) & asked
        sign = ((part > middle).view(np.int8) - (part < middle).view(np.int8)) * hits.view(np.int8)
        signs[rows] = sign
        found = sign != 0
        jumps.append(cv2.absdiff(part, middle)[found] / (around[found] + 2.0))
        extremes += np.count_nonzero(found & ends), np.count_nonzero(~found & ends & asked)
        for side, room in enumerate((255 - middle >= FAR, middle >= FAR)):
            places[side] += np.count_nonzero(room & asked)
            shown[side] += np.count_nonzero(room & (sign == 1 - 2 * side))
    count = int(np.count_nonzero(signs))
    if not count:
        return signs, Evidence(0, 0, 0, 0, 0, 0)
    rates = shown / np.maximum(places, 1)
    lone = [_lone(signs == sign) / max(1e-9, (1 - rate) ** 8) for sign, rate in zip((1, -1), rates, strict=True)]
    values = 3 * int(np.count_nonzero(region))
    return signs, Evidence(
        count / values, extremes[0] / count, float(np.median(np.concatenate(jumps))),
        float(rates.min() / max(rates.max(), 1e-9)), float(min(lone)), extremes[1] / max(1, values - count),
    )  # fmt: skip


def road(image: Image) -> NDArray[np.uint16]:
    """Rank-ordered absolute differences: the sum of the four smallest to the eight neighbours, by value."""
    height, width = image.shape[:2]
    wide = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REFLECT)
    near = [
        cv2.absdiff(image, wide[y : y + height, x : x + width])
        for y in range(3) for x in range(3) if (y, x) != (1, 1)
    ]  # fmt: skip
    one, other = _sorted(near[:4]), _sorted(near[4:])
    least = (cv2.min(a, b) for a, b in zip(one, reversed(other), strict=True))
    return np.sum([values.astype(np.uint16) for values in least], axis=0, dtype=np.uint16)


def _sorted(four: list[Image]) -> list[Image]:
    """Four arrays, value by value in ascending order, by the five comparisons that it takes."""
    for i, j in ((0, 1), (2, 3), (0, 2), (1, 3), (1, 2)):
        four[i], four[j] = cv2.min(four[i], four[j]), cv2.max(four[i], four[j])
    return four


def _lone(found: Flags) -> float:
    """The share of flags (h, w, 3) without another among the eight neighbours of their channel."""
    count = int(np.count_nonzero(found))
    if not count:
        return 0.0
    beside = cv2.dilate(found.view(np.uint8), _RING)
    return int(np.count_nonzero(found & (beside == 0))) / count


def _filled(image: Image, lost: Flags) -> Image:
    """Values that are lost, from the Gaussian mean of the sound ones near."""
    result = image.copy()
    for rows, seen, within in strips(len(image), _ROWS, _HALO):
        left = lost[seen].copy()
        sound = (~left).astype(np.float32)
        values, filled = image[seen] * sound, image[seen].astype(np.float32)
        for sigma in RADII:
            line = cv2.getGaussianKernel(int(6 * sigma) | 1, sigma, cv2.CV_32F)
            weight = cv2.sepFilter2D(sound, -1, line, line, borderType=cv2.BORDER_REFLECT)
            mean = cv2.sepFilter2D(values, -1, line, line, borderType=cv2.BORDER_REFLECT)
            now = left & (weight > 0.5 * line.max() ** 2)  # as much as half of one sound pixel here
            filled[now] = mean[now] / weight[now]
            left &= ~now
        result[rows] = np.rint(filled[within]).clip(0, 255)
    return result
