"""Kinds of damage: batched functions (images, severity, generator) -> images, and the registry ``KINDS``.

One severity scale serves every kind: 0 is next to nothing, 0.3 is where a viewer starts to mind, 1 is ruined.
Parameters run geometrically between the two ends, since that is how loss of quality is perceived. Severity is per
sample; what differs in structure (which filter, which codec) is chosen per call. All runs on the images' device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training import artefacts, codecs, content, filters, surfaces
from training.draws import chance, host, normal, uniform
from training.filters import gaussian, geometric, luma, per_sample, rounded

Degradation = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""(b, 3, h, w) float32 in [0, 1], severities (b,) in [0, 1], generator of that device -> a new (b, 3, h, w)."""


@dataclass(frozen=True)
class Kind:
    """A kind of damage and the family (``FAMILIES``) that it belongs to."""

    name: str
    family: str
    apply: Degradation


# Blur


def gaussian_blur(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian of sigma 0.5 to 4 px; one in four is narrower along one axis."""
    sigma = geometric(0.5, 4.0, severity)
    narrow = torch.where(chance(generator, 0.25, len(sigma)), uniform(generator, 0.5, 1, len(sigma)), 1.0)
    return rounded(gaussian(images, sigma, sigma * narrow))


def motion_blur(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """A shake of 1.6 to 20 px in any direction, a little bent, faster at one end."""
    b = len(severity)
    length, angle = geometric(1.6, 20.0, severity), uniform(generator, 0, math.pi, b)
    y, x = filters.offsets(12, images.device)
    along = x * angle.cos()[:, None, None] + y * angle.sin()[:, None, None]
    across = -x * angle.sin()[:, None, None] + y * angle.cos()[:, None, None]
    length = length[:, None, None]
    bend = (normal(generator, b) * 0.15).clamp(-0.4, 0.4)[:, None, None]
    across = across - bend * (along.square() / length.clamp_min(4) - length / 12)
    speed = 1 + uniform(generator, 0, 0.8, b)[:, None, None] * (along / length)
    kernel = (length / 2 + 0.5 - along.abs()).clamp(0, 1) * (1 - across.abs()).clamp(0, 1) * speed.clamp_min(0.1)
    return rounded(filters.convolved(images, kernel / kernel.sum((1, 2), keepdim=True)))


def defocus_blur(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """A disc of radius 0.8 to 6 px, antialiased, flat or brighter at its rim, round or with six blades."""
    b = len(severity)
    radius = geometric(0.8, 6.0, severity)[:, None, None]
    y, x = filters.offsets(7, images.device)
    far = torch.hypot(x, y)[None]
    turn = uniform(generator, 0, math.pi / 3, b)[:, None, None]
    wedge = (torch.atan2(y, x)[None] + turn) % (math.pi / 3) - math.pi / 6
    bladed = far * wedge.cos() / math.cos(math.pi / 12)
    far = torch.where(chance(generator, 0.3, b)[:, None, None], bladed, far)
    rim = 1 + uniform(generator, -0.3, 0.8, b)[:, None, None] * (far / radius).clamp(0, 1).square()
    kernel = (radius + 0.5 - far).clamp(0, 1) * rim
    return rounded(filters.convolved(images, kernel / kernel.sum((1, 2), keepdim=True)))


# Noise


def gaussian_noise(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of sigma 3 to 60 grey levels: white, or with a grain of up to 1 px, or of luma alone."""
    noise = normal(generator, *images.shape)
    choice = host(generator).random()
    if choice < 0.25:
        noise = gaussian(noise, uniform(generator, 0.3, 0.8, len(severity)))
        noise = noise / (noise.std((1, 2, 3), keepdim=True) + 1e-6)
    elif choice < 0.4:
        noise = noise[:, :1]
    return rounded(images + noise * per_sample(geometric(3, 60, severity)) / 255)


def poisson_noise(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Shot noise: 2000 down to 8 photons at white."""
    photons = per_sample(geometric(2000, 8, severity))
    return rounded(torch.poisson(images * photons, generator=generator) / photons)


def colour_noise(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Chroma noise of sigma 5 to 70 grey levels with grains of 1 to 3 px; luma stays."""
    noise = gaussian(normal(generator, *images.shape), uniform(generator, 0.2, 1.2, len(severity)))
    noise = noise / (noise.std((1, 2, 3), keepdim=True) + 1e-6)
    return rounded(images + (noise - luma(noise)) * per_sample(geometric(5, 70, severity)) / 255)


def salt_and_pepper(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Black and white specks on 0.3 to 25 % of the pixels, or of each channel's values."""
    b, c, h, w = images.shape
    share = per_sample(geometric(0.003, 0.25, severity))
    channels = c if host(generator).random() < 0.3 else 1
    draw = torch.rand((b, channels, h, w), generator=generator, device=images.device)
    return torch.where(draw < share / 2, 0.0, torch.where(draw > 1 - share / 2, 1.0, images))


# Compression


def jpeg(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """JPEG of quality 88 to 5, mostly 4:2:0, its grid at the image's corner or anywhere."""
    rng = host(generator)
    dy, dx = (int(v) for v in rng.integers(0, 8, 2)) if rng.random() < 0.5 else (0, 0)
    return _gridded(images, geometric(88, 5, severity), bool(rng.random() < 0.7), dy, dx)


def _gridded(images: Tensor, quality: Tensor, subsampled: bool, dy: int, dx: int) -> Tensor:
    """JPEG whose grid starts ``dy``, ``dx`` pixels outside the image."""
    if not (dy or dx):
        return codecs.jpeg(images, quality, subsampled)
    return codecs.jpeg(F.pad(images, (dx, 0, dy, 0), "replicate"), quality, subsampled)[..., dy:, dx:]


def webp(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """WebP of quality 80 to 1 (``codecs.webp``)."""
    return codecs.webp(images, geometric(80, 1, severity))


def double_jpeg(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Two JPEGs whose 8 px grids disagree, as after a crop and a second save."""
    rng = host(generator)
    first = jpeg(images, severity, generator)
    again = severity * uniform(generator, 0.5, 1.0, len(severity))
    dy, dx = (int(v) for v in rng.integers(1, 8, 2))
    return _gridded(first, geometric(88, 5, again), bool(rng.random() < 0.7), dy, dx)


# Resampling and the marks of generators

_SHRINK = (filters.AREA, filters.TRIANGLE, filters.CUBIC, filters.LANCZOS)
_GROW = (filters.TRIANGLE, filters.CUBIC, filters.CUBIC, filters.LANCZOS, filters.NEAREST)


def _picked(choices: Sequence[int], count: int, generator: torch.Generator) -> Tensor:
    table = torch.tensor(choices, device=generator.device)
    return table[torch.randint(len(choices), (count,), generator=generator, device=generator.device)]


def downsample(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Shrunk by 1.3 to 6 and grown again, each with a kernel by chance."""
    b = len(severity)
    shrink, grow = _picked(_SHRINK, b, generator), _picked(_GROW, b, generator)
    factor = geometric(1.3, 6.0, severity)
    return rounded(filters.resampled(images, factor, shrink, grow, chance(generator, 0.5, b)))


def checkerboard(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """A transposed convolution's grid of period 2, 4 or 8 px and 2 to 40 grey levels, stronger on the texture."""
    b, _, height, width = images.shape
    period = _picked((2, 2, 4, 8), b, generator)[:, None]
    y, x = (torch.arange(n, device=images.device)[None] % period for n in (height, width))
    draw = normal(generator, b, 8, 8, 3)
    draw = torch.where(chance(generator, 0.6, b)[:, None, None, None], draw[..., :1], draw)
    sample = torch.arange(b, device=images.device)[:, None, None]
    place = torch.arange(8, device=images.device)[None] % period
    once = draw[sample, place[:, :, None], place[:, None, :]]
    mean, deviation = once.mean((1, 2), keepdim=True), once.std((1, 2), keepdim=True, correction=0)
    deviation = deviation.mean(3, keepdim=True)
    grid = ((draw[sample, y[:, :, None], x[:, None, :]] - mean) / (deviation + 1e-6)).permute(0, 3, 1, 2)
    grey = luma(images) * 255
    texture = filters.box((grey - filters.box(grey, 5)).abs(), 9)
    weight = (0.7 + 0.6 * texture / (texture.mean((2, 3), keepdim=True) + 1)).clamp_max(2)
    return rounded(images + grid * weight * per_sample(geometric(2, 40, severity)) / 255)


def upsampler(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """A generator's last layer: half or quarter size, grown by nearest neighbour, sharpened; 15 to 100 % of it."""
    b = len(severity)
    factor = _picked((2, 4), b, generator).float()
    area, nearest = (torch.full((b,), k, device=images.device) for k in (filters.AREA, filters.NEAREST))
    coarse = filters.resampled(images, factor, area, nearest, torch.ones_like(area).bool())
    coarse = coarse + uniform(generator, 0, 0.6, b, 1, 1, 1) * (coarse - gaussian(coarse, factor / 2))
    return rounded(images + per_sample(geometric(0.15, 1.0, severity)) * (coarse - images))


# Several


def mixture(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """What pictures go through together: some of blur, resampling, noise, compression, in that order."""
    rng = host(generator)
    kinds = [[places[rng.integers(len(places))] for places in _CHAIN] for _ in severity]
    for i, names in enumerate(kinds):
        for place in rng.choice(len(_CHAIN), len(_CHAIN) - int(rng.integers(2, 4)), replace=False):
            kinds[i][place] = ""
        assert any(names)
    for place in range(len(_CHAIN)):
        level = severity * uniform(generator, 0.55, 1.0, len(severity))
        images = degrade(images, [names[place] for names in kinds], level, generator)
    return images


_CHAIN = (
    ("gaussian_blur", "motion_blur", "defocus_blur"),
    ("downsample", "ringing", "over_smooth"),
    ("gaussian_noise", "poisson_noise", "colour_noise"),
    ("jpeg", "webp", "double_jpeg"),
)


def _registry(families: Mapping[str, Sequence[Degradation]]) -> dict[str, Kind]:
    return {f.__name__: Kind(f.__name__, family, f) for family, of in families.items() for f in of}


KINDS: dict[str, Kind] = _registry({
    "blur": (gaussian_blur, motion_blur, defocus_blur),
    "noise": (gaussian_noise, poisson_noise, colour_noise, salt_and_pepper),
    "compression": (jpeg, webp, double_jpeg),
    "resampling": (downsample, checkerboard, upsampler),
    "surface": (surfaces.over_smooth, surfaces.posterise, surfaces.ringing),
    "content": (content.colour_shift, content.patch_swap, content.warp),
    "mixture": (mixture,),
})  # fmt: skip
"""The kinds that are evaluated, by name."""

EXTRA: dict[str, Kind] = _registry({
    "noise": (artefacts.bands,),
    "compression": (artefacts.chroma_bleed, artefacts.small_jpeg),
    "resampling": (artefacts.decoder_grid, artefacts.latent_upscale, artefacts.aliased),
})  # fmt: skip
"""More kinds for training: what real generators and web sites leave behind."""

FAMILIES = tuple(dict.fromkeys(kind.family for kind in KINDS.values()))
"""blur, noise, compression, resampling, surface, content, mixture."""


def degrade(images: Tensor, kinds: Sequence[str], severity: Tensor, generator: torch.Generator) -> Tensor:
    """``images`` (b, 3, h, w), each with damage of its kind at its severity (b,); "" leaves it as it is.

    Samples of one kind go through together. ValueError for a kind that there is not.
    """
    if len(kinds) != len(images):
        raise ValueError(f"{len(images)} images and {len(kinds)} kinds of damage")
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(kinds):
        groups.setdefault(name, []).append(place)
    unknown = groups.keys() - KINDS.keys() - EXTRA.keys() - {""}
    if unknown:
        raise ValueError(f"no degradation is called {unknown.pop()!r}; there are {', '.join((*KINDS, *EXTRA))}")
    result = images.clone()
    for name, places in groups.items():
        if name:
            kind, of = KINDS.get(name) or EXTRA[name], _places(places, images.device)
            result[of] = kind.apply(images[of], severity[of], generator)
    return result


def _places(places: list[int], device: torch.device) -> Tensor | slice:
    """An index; a slice where the places follow each other, since that needs no copy to the device."""
    if places[-1] - places[0] == len(places) - 1:
        return slice(places[0], places[-1] + 1)
    return torch.tensor(places).to(device, non_blocking=True)
