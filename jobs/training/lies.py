"""Lying restorers: what comes back is no repair, though it may look clean. Batched torch functions.

``LIES`` by name. Each takes a ``Case`` and a ``Draw`` and gives images (b, 3, h, w), not yet clipped; all images
of a call share what is drawn, so a batch is made of several small calls. The judge never trains on those that are
``held_out``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training import classical
from training.classical import box, gaussian, luma


@dataclass(frozen=True)
class Case:
    """Images (b, 3, h, w) in [0, 1] float32, masks (b, 1, h, w) in [0, 1].

    ``clean``: the truth; ``before``: what the restorer was given; ``other``: clean images of something else;
    ``mask``: where the restorer changes anything.
    """

    clean: Tensor
    before: Tensor
    other: Tensor
    mask: Tensor


class Draw:
    """Chances of one call: numbers on the host, fields on the device."""

    def __init__(self, numbers: random.Random, generator: torch.Generator) -> None:
        self.numbers, self.generator = numbers, generator

    def uniform(self, low: float, high: float) -> float:
        return self.numbers.uniform(low, high)

    def geometric(self, low: float, high: float) -> float:
        return low * (high / low) ** self.numbers.random()

    def integer(self, low: int, high: int) -> int:
        """``low`` to ``high``, both included."""
        return self.numbers.randint(low, high)

    def sign(self) -> float:
        return self.numbers.choice((-1.0, 1.0))

    def normal(self, like: Tensor, channels: int | None = None) -> Tensor:
        """White noise of deviation 1, shaped as ``like`` but for its channels."""
        shape = (like.shape[0], channels or like.shape[1], *like.shape[2:])
        return torch.randn(shape, generator=self.generator, device=like.device)


Make = Callable[[Case, Draw], Tensor]


@dataclass(frozen=True)
class Lie:
    """``held_out``: told in evaluation alone."""

    make: Make
    held_out: bool = False


def _centre(mask: Tensor) -> Tensor:
    """Centroids of masks in normalised coordinates, (b, 2): x, y."""
    height, width = mask.shape[-2:]
    y = torch.linspace(-1, 1, height, device=mask.device).view(1, 1, -1, 1)
    x = torch.linspace(-1, 1, width, device=mask.device).view(1, 1, 1, -1)
    total = mask.sum((1, 2, 3)) + 1e-6
    return torch.stack([(mask * x).sum((1, 2, 3)) / total, (mask * y).sum((1, 2, 3)) / total], 1)


def _about_centre(case: Case, linear: list[list[float]]) -> Tensor:
    """``before`` under a linear map about the centre of its mask."""
    centre, matrix = _centre(case.mask), torch.tensor(linear, device=case.mask.device)
    shift = centre - centre @ matrix.T
    return classical.moved(case.before, torch.cat([matrix.expand(len(centre), 2, 2), shift[:, :, None]], 2))


def _turn(degrees: float) -> list[list[float]]:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [[c, -s], [s, c]]


def _mean(case: Case) -> Tensor:
    weight = case.mask / (case.mask.sum((2, 3), keepdim=True) + 1e-6)
    return (case.before * weight).sum((2, 3), keepdim=True)


def _high(images: Tensor, sigma: float) -> Tensor:
    return images - gaussian(images, sigma)


def _translated(images: Tensor, dx: float, dy: float) -> Tensor:
    height, width = images.shape[-2:]
    matrix = torch.tensor([[1, 0, 2 * dx / width], [0, 1, 2 * dy / height]], device=images.device)
    return classical.moved(images, matrix.expand(len(images), 2, 3))


# Content replaced


def black(case: Case, draw: Draw) -> Tensor:
    return torch.zeros_like(case.before)


def flat(case: Case, draw: Draw) -> Tensor:
    colour = torch.tensor([draw.uniform(0, 1) for _ in range(3)], device=case.before.device)
    return colour.view(1, 3, 1, 1).expand_as(case.before)


def flat_mean(case: Case, draw: Draw) -> Tensor:
    return _mean(case).expand_as(case.before)


def erased(case: Case, draw: Draw) -> Tensor:
    """The region filled smoothly from its surroundings."""
    return classical.filled(case.before, (case.mask > 0.02).float())


def wiped(case: Case, draw: Draw) -> Tensor:
    """Only the low frequencies are left: a blur of 6 to 16 px."""
    small = F.interpolate(case.before, scale_factor=0.25, mode="area")
    soft = gaussian(small, draw.geometric(1.5, 4))
    return F.interpolate(soft, case.before.shape[-2:], mode="bilinear", align_corners=False)


def upside_down(case: Case, draw: Draw) -> Tensor:
    return _about_centre(case, [[-1.0, 0.0], [0.0, -1.0]])


def mirrored(case: Case, draw: Draw) -> Tensor:
    across = draw.uniform(0, 1) < 0.5
    return _about_centre(case, [[-1.0, 0.0], [0.0, 1.0]] if across else [[1.0, 0.0], [0.0, -1.0]])


def rotated(case: Case, draw: Draw) -> Tensor:
    """By 3 to 30 degrees."""
    return _about_centre(case, _turn(draw.sign() * draw.geometric(3, 30)))


def zoomed(case: Case, draw: Draw) -> Tensor:
    scale = draw.geometric(1.06, 1.6) ** draw.sign()
    return _about_centre(case, [[scale, 0.0], [0.0, scale]])


def from_elsewhere(case: Case, draw: Draw) -> Tensor:
    """The image's own content from another place."""
    height, width = case.before.shape[-2:]
    dy, dx = draw.integer(height // 6, height // 2), draw.integer(width // 6, width // 2)
    return torch.roll(case.before, (dy, dx), (2, 3))


def from_another(case: Case, draw: Draw) -> Tensor:
    return case.other


def from_another_toned(case: Case, draw: Draw) -> Tensor:
    """Another image's content in this one's colours and brightness."""
    low = gaussian(case.before, 4.0)
    other = _high(case.other, 4.0)
    return low + other


def scrambled(case: Case, draw: Draw) -> Tensor:
    """Blocks of 8 or 16 px in another order."""
    size = draw.numbers.choice((8, 16))
    height, width = (s - s % size for s in case.before.shape[-2:])
    x = case.before[..., :height, :width]
    blocks = F.unfold(x, size, stride=size)
    order = torch.randperm(blocks.shape[-1], generator=draw.generator, device=x.device)
    near = torch.arange(blocks.shape[-1], device=x.device)
    mixed = torch.where(torch.rand(len(near), generator=draw.generator, device=x.device) < 0.6, order, near)
    result = case.before.clone()
    result[..., :height, :width] = F.fold(blocks[..., mixed], (height, width), size, stride=size)
    return result


def jittered(case: Case, draw: Draw) -> Tensor:
    """Blocks of 8 to 24 px, each displaced by up to 10 px."""
    cell = draw.integer(8, 24)
    height, width = case.before.shape[-2:]
    coarse = case.before[:, :2, : -(-height // cell), : -(-width // cell)]
    field = draw.normal(coarse) * draw.geometric(1.5, 6)
    field = F.interpolate(field, scale_factor=float(cell), mode="nearest")[..., :height, :width]
    return classical.bent(case.before, field)


# Marks and texture taken away


def bright_marks_gone(case: Case, draw: Draw) -> Tensor:
    return classical.opened(case.before, draw.integer(1, 3))


def dark_marks_gone(case: Case, draw: Draw) -> Tensor:
    return classical.closed(case.before, draw.integer(1, 3))


def all_marks_gone(case: Case, draw: Draw) -> Tensor:
    reach = draw.integer(1, 2)
    return classical.closed(classical.opened(case.before, reach), reach)


def median(case: Case, draw: Draw) -> Tensor:
    x = classical.median(case.before, draw.integer(1, 2))
    return classical.median(x, 1) if draw.uniform(0, 1) < 0.4 else x


def despeckled(case: Case, draw: Draw) -> Tensor:
    """Pixels far from the median of their neighbours replaced by it: stars and snow vanish, the rest stays."""
    middle = classical.median(case.before, draw.integer(1, 2))
    apart = (case.before - middle).abs().amax(1, keepdim=True)
    return torch.where(classical.dilated(apart, 1) > draw.geometric(0.03, 0.2), middle, case.before)


def some_marks_gone(case: Case, draw: Draw) -> Tensor:
    """Some marks vanish and some stay: each spot of 12 to 40 px by chance."""
    gone = all_marks_gone(case, draw) if draw.uniform(0, 1) < 0.5 else bright_marks_gone(case, draw)
    spots = gaussian(draw.normal(case.mask), draw.geometric(3, 9))
    chosen = (spots > 0).float()
    return gone * chosen + case.before * (1 - chosen)


def marks_added(case: Case, draw: Draw) -> Tensor:
    """Stars, snow or dust where there were none."""
    share, size = draw.geometric(0.0005, 0.01), draw.uniform(0.5, 1.5)
    points = (torch.rand(case.mask.shape, generator=draw.generator, device=case.mask.device) < share).float()
    spots = (gaussian(points, size) * (2 * math.pi * size**2)).clamp(max=1) * draw.uniform(0.3, 1)
    return case.before + spots * (draw.numbers.choice((0.0, 1.0, 1.0)) - case.before)


def waxed(case: Case, draw: Draw) -> Tensor:
    """Faint detail vanishes and strong edges stay: the guided filter."""
    return classical.guided(case.before, draw.integer(1, 6), draw.geometric(0.03, 0.3))


def cored(case: Case, draw: Draw) -> Tensor:
    """Detail below a threshold set to nothing, per band."""
    high = _high(case.before, draw.geometric(0.8, 2.5))
    threshold = draw.geometric(0.015, 0.12)
    return case.before - high * (1 - (high.abs() / threshold).clamp(max=1).square())


def non_local(case: Case, draw: Draw) -> Tensor:
    return classical.non_local(case.before, draw.geometric(0.04, 0.2), draw.integer(1, 3))


def blurred(case: Case, draw: Draw) -> Tensor:
    return gaussian(case.before, draw.geometric(0.6, 4))


def directional(case: Case, draw: Draw) -> Tensor:
    """Smeared along one direction, as a brush does."""
    length, angle = draw.geometric(2, 14), draw.uniform(0, math.pi)
    steps = max(3, round(length))
    places = [length * (i / (steps - 1) - 0.5) for i in range(steps)]
    moves = [_translated(case.before, p * math.cos(angle), p * math.sin(angle)) for p in places]
    return torch.stack(moves).mean(0)


def pixelated(case: Case, draw: Draw) -> Tensor:
    return classical.down_up(case.before, draw.geometric(1.8, 8), "nearest")


def shrunk(case: Case, draw: Draw) -> Tensor:
    return classical.down_up(case.before, draw.geometric(1.5, 5), draw.numbers.choice(("bilinear", "bicubic")))


def dehalftoned(case: Case, draw: Draw) -> Tensor:
    """A pattern blurred away and the rest sharpened again: halftone, dither, weave and grain vanish."""
    x = gaussian(case.before, draw.geometric(1, 2.5))
    return classical.unsharp(x, draw.uniform(2, 4), draw.uniform(0.5, 2))


def cartoon(case: Case, draw: Draw) -> Tensor:
    x = classical.guided(classical.median(case.before, 2), 4, 0.1)
    steps = draw.integer(5, 14)
    return (x * steps).round() / steps


def thinned(case: Case, draw: Draw) -> Tensor:
    return classical.eroded(case.before, 1)


def thickened(case: Case, draw: Draw) -> Tensor:
    return classical.dilated(case.before, draw.integer(1, 2))


# Detail invented


def sharpened(case: Case, draw: Draw) -> Tensor:
    return classical.unsharp(case.before, draw.geometric(0.7, 2), draw.geometric(0.6, 5))


def haloed(case: Case, draw: Draw) -> Tensor:
    return classical.unsharp(case.before, draw.geometric(3, 10), draw.geometric(0.4, 2))


def deconvolved(case: Case, draw: Draw) -> Tensor:
    """A Wiener filter for a blur that is not there: rings along edges."""
    return classical.wiener(case.before, draw.geometric(0.8, 3), draw.geometric(0.001, 0.03))


def fringes(case: Case, draw: Draw) -> Tensor:
    """Waves along edges of 3 to 8 px."""
    period, reach = draw.geometric(3, 8), 12
    along = torch.arange(-reach, reach + 1, dtype=torch.float32)
    taps = torch.cos(2 * math.pi * along / period) * torch.exp(-(along.abs()) / (0.8 * period))
    taps = taps - taps.mean()
    edge = classical.separable(case.before, torch.exp(-(along**2) / 2) / 2.5066) - case.before
    rings = classical.separable(edge, taps / taps.abs().sum())
    return case.before + rings * draw.geometric(6, 30)


def noise_added(case: Case, draw: Draw) -> Tensor:
    noise = draw.normal(case.before, 3 if draw.uniform(0, 1) < 0.5 else 1)
    return case.before + noise * draw.geometric(4, 40) / 255


def grain_drawn(case: Case, draw: Draw) -> Tensor:
    """Texture of noise in a band of 1 to 6 px, stronger where there is texture."""
    sigma = draw.geometric(0.6, 3)
    noise = draw.normal(case.before, 1)
    band = gaussian(noise, sigma) - gaussian(noise, 2 * sigma)
    band = band / (band.std() + 1e-6)
    place = box(luma(_high(case.before, 1.5)).abs(), 4)
    place = 0.3 + place / (place.mean((2, 3), keepdim=True) + 1e-4)
    return case.before + band * place.clamp(max=3) * draw.geometric(5, 30) / 255


def texture_of_another(case: Case, draw: Draw) -> Tensor:
    return case.before + _high(case.other, draw.geometric(1.5, 6)) * draw.geometric(0.4, 1.5)


def grid_added(case: Case, draw: Draw) -> Tensor:
    """A transposed convolution's grid of 2, 4 or 8 px."""
    period = draw.numbers.choice((2, 2, 4, 8))
    b, _, height, width = case.before.shape
    tile = torch.randn((b, 1, period, period), generator=draw.generator, device=case.before.device)
    tile = tile - tile.mean((2, 3), keepdim=True)
    grid = tile.repeat(1, 1, -(-height // period), -(-width // period))[..., :height, :width]
    return case.before + grid * draw.geometric(4, 25) / 255


def doubled(case: Case, draw: Draw) -> Tensor:
    angle, reach = draw.uniform(0, 2 * math.pi), draw.geometric(2, 10)
    ghost = _translated(case.before, reach * math.cos(angle), reach * math.sin(angle))
    share = draw.uniform(0.25, 0.5)
    return (1 - share) * case.before + share * ghost


def lines_drawn(case: Case, draw: Draw) -> Tensor:
    """Edges inked over with dark or bright lines."""
    edges = (_high(luma(case.before), draw.geometric(1, 2.5)) * draw.sign()).clamp_min(0)
    ink = (edges * draw.geometric(6, 30)).clamp(max=1)
    return case.before + ink * (draw.numbers.choice((0.0, 1.0)) - case.before) * 0.7


# Geometry


def shifted(case: Case, draw: Draw) -> Tensor:
    angle, reach = draw.uniform(0, 2 * math.pi), draw.geometric(1, 12)
    return _translated(case.before, reach * math.cos(angle), reach * math.sin(angle))


def shifted_truth(case: Case, draw: Draw) -> Tensor:
    """The truth in the wrong place."""
    angle, reach = draw.uniform(0, 2 * math.pi), draw.geometric(2, 12)
    return _translated(case.clean, reach * math.cos(angle), reach * math.sin(angle))


def smeared(case: Case, draw: Draw) -> Tensor:
    """Shapes bent with a short wavelength: letters become glyphs."""
    sigma = draw.geometric(2, 8)
    field = gaussian(draw.normal(case.before, 2), sigma)
    field = field / (field.std() + 1e-6) * sigma * draw.geometric(0.3, 1.2)
    return classical.bent(case.before, field)


def glyphs(case: Case, draw: Draw) -> Tensor:
    """The truth with its shapes bent: detail that is clean, sharp and wrong."""
    sigma = draw.geometric(3, 8)
    field = gaussian(draw.normal(case.clean, 2), sigma)
    return classical.bent(case.clean, field / (field.std() + 1e-6) * sigma * draw.geometric(0.5, 1.2))


# Colour and tone


def hue_turned(case: Case, draw: Draw) -> Tensor:
    angle = draw.sign() * draw.geometric(math.radians(20), math.pi)
    grey = luma(case.before)
    red, blue = case.before[:, :1] - grey, case.before[:, 2:] - grey
    red, blue = (
        red * math.cos(angle) - blue * math.sin(angle), red * math.sin(angle) + blue * math.cos(angle),
    )  # fmt: skip
    green = -(0.299 * red + 0.114 * blue) / 0.587
    return grey + torch.cat([red, green, blue], 1)


def cast(case: Case, draw: Draw) -> Tensor:
    tint = torch.tensor([draw.sign() * draw.geometric(6, 40) / 255 for _ in range(3)], device=case.before.device)
    return case.before + tint.view(1, 3, 1, 1)


def drained(case: Case, draw: Draw) -> Tensor:
    return case.before + draw.uniform(0.4, 1) * (luma(case.before) - case.before)


def saturated(case: Case, draw: Draw) -> Tensor:
    grey = luma(case.before)
    return grey + draw.geometric(1.3, 3) * (case.before - grey)


def channels_swapped(case: Case, draw: Draw) -> Tensor:
    order = draw.numbers.choice(((1, 2, 0), (2, 0, 1), (2, 1, 0), (1, 0, 2), (0, 2, 1)))
    return case.before[:, list(order)]


def negative(case: Case, draw: Draw) -> Tensor:
    return 1 - case.before


def contrast(case: Case, draw: Draw) -> Tensor:
    mean = _mean(case)
    return mean + draw.geometric(1.25, 2.5) ** draw.sign() * (case.before - mean)


def gamma(case: Case, draw: Draw) -> Tensor:
    return case.before.clamp(1e-4, 1) ** (draw.geometric(1.2, 2.5) ** draw.sign())


def posterised(case: Case, draw: Draw) -> Tensor:
    steps = draw.geometric(3, 24)
    return (case.before * steps).round() / steps


def thresholded(case: Case, draw: Draw) -> Tensor:
    grey = luma(case.before)
    return torch.sigmoid((grey - gaussian(grey, 6)) * draw.geometric(8, 60)).expand_as(case.before)


def blended_with_another(case: Case, draw: Draw) -> Tensor:
    return case.before + draw.uniform(0.15, 0.5) * (case.other - case.before)


_SEEN: tuple[Make, ...] = (
    black, flat, flat_mean, erased, wiped, upside_down, from_elsewhere, from_another, from_another_toned, jittered,
    bright_marks_gone, dark_marks_gone, all_marks_gone, median, despeckled, some_marks_gone, marks_added, waxed,
    non_local, blurred, directional, pixelated, shrunk, dehalftoned, thinned,
    sharpened, haloed, deconvolved, noise_added, grain_drawn, texture_of_another, grid_added, lines_drawn,
    shifted, shifted_truth, smeared, glyphs,
    hue_turned, cast, drained, saturated, contrast, gamma, posterised, blended_with_another,
)  # fmt: skip
_HELD_OUT: tuple[Make, ...] = (
    mirrored, rotated, zoomed, scrambled, cored, cartoon, thickened, fringes, doubled, channels_swapped, negative,
    thresholded,
)  # fmt: skip

LIES: Mapping[str, Lie] = {
    **{make.__name__: Lie(make) for make in _SEEN},
    **{make.__name__: Lie(make, held_out=True) for make in _HELD_OUT},
}
"""Every lie by name."""


def training_names() -> tuple[str, ...]:
    return tuple(name for name, lie in LIES.items() if not lie.held_out)


def held_out_names() -> tuple[str, ...]:
    return tuple(name for name, lie in LIES.items() if lie.held_out)


def tell(name: str, case: Case, draw: Draw) -> Tensor:
    """``before`` with the lie of that name where the mask is, in 8-bit levels."""
    made = LIES[name].make(case, draw)
    return classical.levels(case.before + case.mask * (made - case.before))
