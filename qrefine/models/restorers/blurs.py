"""Blur: its kernel is read off the power spectrum of the region, so that it can be undone rather than guessed.

The power spectrum of a blurred picture is that of the scene, times the kernel's squared transfer function, plus
that of the noise. Scenes fall off smoothly (about as frequency ** -2.3, with some preference of direction); a
kernel falls off steeply and, but for a Gaussian, in rings or stripes of zeros. So the two can be told apart: the
mean of the logarithms of the periodograms of many windows is fitted with every kernel of a dictionary, the
scene's slope and directions and the noise free each time, and the best is refined. A blur is accepted only where
a kernel explains the spectrum well, nothing but a kernel does, and it came last (``Blur.holds``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from qrefine.models.restorers.kernels import SIDE, SIZES, Kernel, Shape, coarse, near, parts
from qrefine.models.tiling import Floats
from qrefine.quality.map import Image, Plane

WINDOW = 64
"""Pixels along a side of a window (Hann's)."""

STRIDE = 8
"""Pixels between windows."""

MOST, FEWEST = 400, 12
"""Windows that are looked at; below the latter there is too little to tell."""

TEXTURED = 0.6
"""The share of the windows with the most low frequencies that is used."""

FITS = {"gaussian": 0.12, "disc": 0.15, "line": 0.2}
"""Greatest misfit of a kernel that is accepted (Huber's loss of the log power, in nats) ..."""

BETTER = 0.3
"""... as a share of the misfit without any kernel ..."""

UNLIKE = 0.1
"""... which is at least this much."""

SLOPE = 2.3
"""Of the scenes' power: frequency ** -slope, in the mean (Field 1987 has 2; log means are a little steeper)."""

STEEP = 1.7
"""Least slope of the scene: what falls off less has had its high frequencies cut off, and not by this kernel."""

QUIET = 0.4
"""Greatest variance of the noise in levels ** 2: more has come after the blur, and hides or imitates zeros."""

LATTICE = 2.4
"""Greatest peak of a resampling lattice over its surroundings (``lattice``)."""

SEEDS = 6
"""Kernels of each shape from which the best is looked for."""

SEEN = {"gaussian": 0.8, "disc": 1.3, "line": 2.8}
"""Least size in pixels: less is the sharpness of an ordinary photograph."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_UNIT_NOISE = float((_LUMA**2).sum())  # variance of the luma of noise of variance 1 in each channel
_LOG_MEAN = 0.577  # the mean of a log periodogram lies by Euler's constant below the log of the power
_LEAST_NOISE = 0.02
_TERMS, _ROUNDS = 7, 7
_EVERY = 3  # one frequency in three is enough to find where to look closer
_PRECISION = 14.0  # one over the variance of a mean log power about its model
_PRIOR = np.array([0, SLOPE, 0, 0, 0, 0, 0])
_TRUST = np.array([0, 8 / 0.35**2, 0, *[8 / 0.25**2] * 4])
_LOW = np.array([-30, 1.2, math.log(_LEAST_NOISE), -2, -2, -2, -2])
_HIGH = np.array([30, 3.6, 12, 2, 2, 2, 2])


@dataclass(frozen=True, eq=False)
class Blur:
    """A kernel and the spectrum that goes with it.

    ``terms``: log of the scene's power at frequency 1, its slope, log of the noise's power, and four harmonics of
    direction (cos 2a, sin 2a, cos 4a, sin 4a). ``misfit`` with this kernel, ``unblurred`` with none. ``lattice``:
    see there.
    """

    kernel: Kernel
    terms: Floats
    misfit: float
    unblurred: float
    lattice: float = 0.0

    @property
    def holds(self) -> bool:
        shape = self.kernel.shape
        return (
            self.misfit <= FITS[shape] and self.misfit <= BETTER * self.unblurred
            and self.kernel.size >= SEEN[shape] and self.terms[1] >= STEEP and self.noise <= QUIET
            and self.lattice <= LATTICE
        )  # fmt: skip

    @property
    def noise(self) -> float:
        """Variance of a channel's noise in levels ** 2; rounding alone has 1 / 12."""
        return max(1 / 12, math.exp(float(self.terms[2])) / _UNIT_NOISE)

    def scene(self, height: int, width: int) -> Floats:
        """Power of the sharp scene per pixel at the frequencies of ``numpy.fft.rfft2``, in levels ** 2."""
        y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
        far = np.log(np.maximum(np.hypot(y, x), 1 / WINDOW))
        power = self.terms[0] - self.terms[1] * far + np.tensordot(self.terms[3:], _directions(y, x), 1)
        return np.exp(power).astype(np.float32)


def measured(image: Image, weight: Plane) -> Blur | None:
    """The blur of ``image`` (h, w, 3) where ``weight`` (h, w) exceeds a half; None where there is too little to
    tell or where a spectrum without blur fits about as well."""
    windows = _windows(image, weight)
    power = spectrum(windows)
    if power is None:
        return None
    unblurred = float(_fitted(power, np.zeros((1, power.size), np.float32))[0][0])
    if unblurred < UNLIKE:
        return None
    kernels, transfers = _dictionary()
    misfits, terms = _fitted(power, transfers, _EVERY)
    fits = [Blur(*one, unblurred) for one in zip(kernels, terms, misfits.tolist(), strict=True)]
    best = min((_refined(power, fits, shape) for shape in SIZES), key=lambda blur: blur.misfit)
    return replace(best, lattice=lattice(windows)) if best.holds else best


def resampled(image: Image, weight: Plane) -> bool:
    """Whether a resampling lattice shows where ``weight`` exceeds a half: then it looks blurred and is not."""
    return lattice(_windows(image, weight)) > LATTICE


def _refined(power: Floats, fits: Sequence[Blur], shape: Shape) -> Blur:
    """The best kernel of ``shape``: from the best ``SEEDS`` of the dictionary by smaller and smaller steps."""
    of = sorted((fit for fit in fits if fit.kernel.shape == shape), key=lambda fit: fit.misfit)
    seeds = [kernel for fit in of[:SEEDS] for kernel in (fit.kernel, *parts(fit.kernel))]
    best = of[0]
    for step, keep, every in ((0.12, 6, _EVERY), (0.06, 3, 2), (0.03, 1, 1)):
        groups = [near(seed, step) for seed in seeds]
        transfers = np.array([_transfer(kernel) for group in groups for kernel in group])
        misfits, terms = _fitted(power, transfers, every)
        tried = zip((kernel for group in groups for kernel in group), terms, misfits.tolist(), strict=True)
        found = iter([Blur(*one, best.unblurred) for one in tried])
        leaders = [min((next(found) for _ in group), key=lambda fit: fit.misfit) for group in groups]
        leaders.sort(key=lambda fit: fit.misfit)
        best, seeds = leaders[0], [fit.kernel for fit in leaders[:keep]]
    return best


def _windows(image: Image, weight: Plane) -> Floats:
    """Luma (n, WINDOW, WINDOW) of windows of which nearly all weighs more than a half, ``MOST`` of them evenly."""
    rows, columns = (side // STRIDE for side in weight.shape)
    across = WINDOW // STRIDE
    if rows < across or columns < across:
        return np.empty((0, WINDOW, WINDOW), np.float32)
    inside = weight[: rows * STRIDE, : columns * STRIDE] > 0.5
    cells = inside.reshape(rows, STRIDE, columns, STRIDE).mean((1, 3)).astype(np.float32)
    shares = cv2.boxFilter(cells, -1, (across, across), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    found = np.argwhere(shares[: rows - across + 1, : columns - across + 1] >= 0.97) * STRIDE
    found = found[:: max(1, -(-len(found) // MOST))]
    if not len(found):
        return np.empty((0, WINDOW, WINDOW), np.float32)
    return np.stack([image[y : y + WINDOW, x : x + WINDOW] @ _LUMA for y, x in found])


def spectrum(windows: Floats) -> Floats | None:
    """The mean log power of windows (n, WINDOW, WINDOW) at the frequencies of ``_frequencies``; None of too few
    that are not flat."""
    windows = windows[windows.var((1, 2)) > 4]
    if len(windows) < FEWEST:
        return None
    hann = np.hanning(WINDOW + 1)[:WINDOW].astype(np.float32)
    taper = np.outer(hann, hann)
    mean = np.einsum("nyx,yx->n", windows, taper)[:, None, None] / taper.sum()
    powers = np.abs(np.fft.rfft2((windows - mean) * taper)) ** 2 / (taper**2).sum()
    used, far, _ = _frequencies()
    logs = np.log(powers[:, used] + 1e-4).astype(np.float32)
    texture = logs[:, np.exp(far) < 0.15].mean(1)
    chosen = np.argsort(texture)[::-1][: max(FEWEST, int(TEXTURED * len(windows)))]
    return logs[chosen].mean(0) + _LOG_MEAN


def lattice(windows: Floats) -> float:
    """How far a peak common to both axes stands out of the spectrum of the differences' mean magnitude.

    Interpolated pixels are smoother than those that they were made from, so resampled pictures have one at the
    frequency of the small picture's pixels (Gallagher, "Detection of linear and cubic interpolation in JPEG
    compressed images", 2005, from second differences; first ones show a factor of 2). Without resampling it is
    1 to 2.
    """
    windows = windows[windows.var((1, 2)) > 4]
    return max(_peak(windows, 1, 50), _peak(windows, 2, 14)) if len(windows) else 0.0


def _peak(windows: Floats, order: int, lowest: int) -> float:
    """Of differences of an ``order``, from the frequency ``lowest`` / (2 WINDOW) on."""
    found = list[Floats]()
    for axis in (1, 2):
        rough = np.abs(np.diff(windows, order, axis)).mean(3 - axis)
        rough = rough / (rough.mean(1, keepdims=True) + 0.05)
        rough = (rough - rough.mean(1, keepdims=True)) * np.hanning(rough.shape[1])
        power = np.median(np.abs(np.fft.rfft(rough, 2 * WINDOW)) ** 2, 0)
        around = [np.median(power[max(8, place - 12) : place + 13]) for place in range(len(power))]
        found.append(cv2.dilate((power / np.maximum(around, 1e-9))[None], np.ones((1, 3)))[0])
    return float(np.minimum(*found)[lowest:].max())


@lru_cache(maxsize=1)
def _frequencies() -> tuple[np.ndarray, Floats, Floats]:
    """Which frequencies of a window are used (WINDOW, WINDOW // 2 + 1), log of each, its directions (4, n).

    The lowest are not: they tell nothing of blur, and the window spreads them.
    """
    y, x = np.fft.fftfreq(WINDOW)[:, None], np.fft.rfftfreq(WINDOW)[None]
    used = np.maximum(np.abs(y), x) >= 2.5 / WINDOW
    used[WINDOW // 2 + 1 :, 0] = False  # the same as those above
    far = np.log(np.hypot(y, x)[used]).astype(np.float32)
    return used, far, _directions(y, x)[:, used]


def _directions(y: np.ndarray, x: np.ndarray) -> Floats:
    angle = np.arctan2(y, x + np.zeros_like(y))
    found = [of(times * angle) for times in (2, 4) for of in (np.cos, np.sin)]
    return np.stack(found).astype(np.float32)


def _spread(power: np.ndarray) -> np.ndarray:
    """A power spectrum as Hann's window shows it: each frequency leaks into its neighbours."""
    for axis in (0, 1):
        power = (4 * power + np.roll(power, 1, axis) + np.roll(power, -1, axis)) / 6
    return power


@lru_cache(maxsize=1)
def _usual() -> tuple[np.ndarray, np.ndarray]:
    """The power of a usual scene at all frequencies of a window, and as the window shows it."""
    y, x = np.fft.fftfreq(WINDOW)[:, None], np.fft.fftfreq(WINDOW)[None]
    far = np.hypot(y, x)
    far[0, 0] = 1
    scene = far**-SLOPE
    return scene, _spread(scene)


def _transfer(kernel: Kernel) -> Floats:
    """Log of the squared transfer function at the used frequencies, leakage of a usual scene included."""
    scene, shown = _usual()
    plane = np.zeros((WINDOW, WINDOW), np.float32)
    plane[:SIDE, :SIDE] = kernel.pixels()
    seen = _spread(np.abs(np.fft.fft2(plane)) ** 2 * scene) / shown
    return np.log(seen[:, : WINDOW // 2 + 1][_frequencies()[0]] + 1e-7).astype(np.float32)


@lru_cache(maxsize=1)
def _dictionary() -> tuple[Sequence[Kernel], Floats]:
    kernels = coarse()
    return kernels, np.array([_transfer(kernel) for kernel in kernels])


def _fitted(power: Floats, transfers: Floats, every: int = 1) -> tuple[Floats, Floats]:
    """Misfits (k,) and terms (k, 7) of the best spectra with transfer functions (k, n): Gauss and Newton's steps
    on Huber's loss, all kernels at once, at one frequency in ``every``."""
    _, far, directions = _frequencies()
    power, far, directions, transfers = power[::every], far[::every], directions[:, ::every], transfers[:, ::every]
    terms = np.zeros((len(transfers), _TERMS), np.float32)
    terms[:, 0] = np.median(power + SLOPE * far) - transfers.mean(1) / 2
    terms[:, 1], terms[:, 2] = SLOPE, np.quantile(power, 0.03)
    slopes = np.empty((len(transfers), _TERMS, power.size), np.float32)

    def parts() -> tuple[Floats, Floats]:
        scene = terms[:, :1] - terms[:, 1:2] * far + terms[:, 3:] @ directions + transfers
        return scene, np.logaddexp(scene, terms[:, 2:3])

    for _ in range(_ROUNDS):
        scene, both = parts()
        apart, share = power - both, np.exp(scene - both)
        trust = _PRECISION / np.maximum(1, np.abs(apart))
        slopes[:, 0], slopes[:, 1], slopes[:, 2] = share, -share * far, 1 - share
        slopes[:, 3:] = share[:, None] * directions
        normal = np.matmul(slopes * trust[:, None], slopes.transpose(0, 2, 1)) + np.diag(_TRUST + 0.01)
        right = np.matmul(slopes, (trust * apart)[..., None])[..., 0] + _TRUST * (_PRIOR - terms)
        step = np.linalg.solve(normal, right[..., None])[..., 0].clip(-1.5, 1.5)
        terms = np.clip(terms + step, _LOW, _HIGH).astype(np.float32)
    apart = np.abs(power - parts()[1])
    loss = np.where(apart < 1, apart**2 / 2, apart - 0.5).mean(1)
    unusual = (_TRUST * (terms - _PRIOR) ** 2).sum(1) / (2 * _PRECISION * power.size)
    return loss + unusual, terms
