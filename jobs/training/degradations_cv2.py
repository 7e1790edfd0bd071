"""Damage for the evaluation, by OpenCV: a second, independent implementation of the kinds that training makes in torch.

Pure functions (image, severity, rng) -> image, and the registry ``KINDS``. A network that had learnt a slip of one
implementation rather than the damage would show it here.

One severity scale serves every kind: 0 is next to nothing, 0.3 is where a viewer starts to mind, 1 is ruined.
Parameters run geometrically between the two ends, since that is how loss of quality is perceived.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from training.content_cv2 import colour_shift, geometric, patch_swap, to_uint8, warp

Image = NDArray[np.uint8]

Degradation = Callable[[Image, float, np.random.Generator], Image]
"""Takes (h, w, 3) uint8 RGB and a severity in [0, 1]; gives a new image of the same shape."""

Floats = NDArray[np.float32]


# Blur


def gaussian_blur(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Gaussian of sigma 0.5 to 4 px."""
    return cv2.GaussianBlur(image, (0, 0), geometric(0.5, 4.0, severity), borderType=cv2.BORDER_REFLECT_101)


def motion_blur(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """A straight shake of 1.6 to 20 px in any direction."""
    length, angle = geometric(1.6, 20.0, severity), rng.uniform(0, math.pi)
    reach = math.ceil(length / 2) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = -x * math.sin(angle) + y * math.cos(angle)
    kernel = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


def defocus_blur(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """A disc of radius 0.8 to 6 px, antialiased at its rim."""
    radius = geometric(0.8, 6.0, severity)
    reach = math.ceil(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


# Noise


def gaussian_noise(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """White noise of sigma 3 to 60 grey levels."""
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    return to_uint8(image + noise * geometric(3, 60, severity))


def poisson_noise(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Shot noise: 2000 down to 8 photons at white; the normal law stands in for Poisson's where it may."""
    photons = geometric(2000, 8, severity)
    signal = image.astype(np.float32) / 255 * photons
    if photons < 30:
        return to_uint8(rng.poisson(signal) * (255 / photons))
    counts = signal + rng.standard_normal(image.shape, dtype=np.float32) * np.sqrt(signal)
    return to_uint8(counts * (255 / photons))


def colour_noise(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Chroma noise of sigma 5 to 70 grey levels with grains of 1 to 3 px; luma stays."""
    height, width, _ = image.shape
    noise = rng.standard_normal((height, width, 3), dtype=np.float32)
    grain = rng.uniform(0.3, 1.2)
    if grain > 0.5:
        noise = cv2.GaussianBlur(noise, (0, 0), grain)
        noise /= noise.std() + 1e-6
    noise -= (noise @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    return to_uint8(image + noise * geometric(5, 70, severity))


def salt_and_pepper(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Black and white specks on 0.3 to 25 % of the pixels, or of each channel's values."""
    share = geometric(0.003, 0.25, severity)
    shape = image.shape if rng.random() < 0.3 else (*image.shape[:2], 1)
    draw = rng.random(shape, dtype=np.float32)
    result = np.where(draw < share / 2, np.uint8(0), image)
    return np.where(draw > 1 - share / 2, np.uint8(255), result)


# Compression


def _jpeg(image: Image, quality: int, rng: np.random.Generator) -> Image:
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444 if rng.random() < 0.3 else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    return _coded(image, ".jpg", options)


def _coded(image: Image, codec: str, options: list[int]) -> Image:
    """``image`` as it comes back from a codec."""
    decoded = cv2.imdecode(cv2.imencode(codec, image, options)[1], cv2.IMREAD_COLOR)
    assert decoded is not None  # what was just encoded
    return decoded


def jpeg(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """JPEG of quality 88 to 5, mostly 4:2:0. Channel order is no matter: the colour transform is near enough."""
    bgr = np.ascontiguousarray(image[..., ::-1])
    return np.ascontiguousarray(_jpeg(bgr, round(geometric(88, 5, severity)), rng)[..., ::-1])


def webp(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """WebP of quality 80 to 1."""
    bgr = np.ascontiguousarray(image[..., ::-1])
    options = [cv2.IMWRITE_WEBP_QUALITY, round(geometric(80, 1, severity))]
    return np.ascontiguousarray(_coded(bgr, ".webp", options)[..., ::-1])


def double_jpeg(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Two JPEGs whose 8 px grids disagree, as after a crop and a second save."""
    dy, dx = (int(v) for v in rng.integers(1, 8, 2))
    first = jpeg(image, severity, rng)
    second = jpeg(np.roll(first, (dy, dx), (0, 1)), severity * rng.uniform(0.5, 1.0), rng)
    return np.roll(second, (-dy, -dx), (0, 1))


# Resampling and the marks of generators

_SHRINK = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
_GROW = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_NEAREST)


def _resampled(image: Image, factor: float, shrink: int, grow: int) -> Image:
    height, width, _ = image.shape
    small = cv2.resize(
        image, (max(1, round(width / factor)), max(1, round(height / factor))), interpolation=shrink
    )
    return cv2.resize(small, (width, height), interpolation=grow)


def downsample(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Shrunk by 1.3 to 6 and grown again, each with a kernel by chance."""
    shrink, grow = _SHRINK[rng.integers(len(_SHRINK))], _GROW[rng.integers(len(_GROW))]
    return _resampled(image, geometric(1.3, 6.0, severity), shrink, grow)


def checkerboard(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """A transposed convolution's grid of period 2, 4 or 8 px and 2 to 40 grey levels, stronger on the texture."""
    height, width, _ = image.shape
    period = int(rng.choice([2, 2, 4, 8]))
    tile = rng.standard_normal((period, period, 1 if rng.random() < 0.6 else 3)).astype(np.float32)
    tile -= tile.mean((0, 1))
    tile /= tile.std() + 1e-6
    repeats = (math.ceil(height / period), math.ceil(width / period), 1)
    grid = np.tile(tile, repeats)[:height, :width]
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    texture = cv2.GaussianBlur(np.abs(luma - cv2.GaussianBlur(luma, (0, 0), 2)), (0, 0), 4)
    weight = 0.7 + 0.6 * texture / (texture.mean() + 1)
    return to_uint8(image + grid * np.minimum(weight, 2)[..., None] * geometric(2, 40, severity))


def upsampler(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """A generator's last layer: half or quarter size, grown by nearest neighbour, sharpened; 15 to 100 % of it."""
    factor = int(rng.choice([2, 4]))
    coarse = _resampled(image, factor, cv2.INTER_AREA, cv2.INTER_NEAREST).astype(np.float32)
    coarse += rng.uniform(0, 0.6) * (coarse - cv2.GaussianBlur(coarse, (0, 0), factor / 2))
    return to_uint8(image + geometric(0.15, 1.0, severity) * (coarse - image))


def over_smooth(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Waxy surfaces: a bilateral or a median filter that takes the texture and leaves the edges."""
    if rng.random() < 0.6:
        return cv2.bilateralFilter(image, 9, geometric(12, 160, severity), geometric(1.2, 5, severity))
    rounds, share = 1 + int(severity * 3), geometric(0.3, 1.0, severity)
    smooth = image
    for _ in range(rounds):
        smooth = cv2.medianBlur(smooth, 3 if severity < 0.4 else 5)
    return to_uint8(image + share * (smooth.astype(np.float32) - image))


def posterise(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """36 to 3 levels a channel, with a phase by chance."""
    step = 255 / geometric(36, 3, severity)
    phase = np.float32(rng.uniform(0, step))
    return to_uint8(np.rint((image + phase) / step) * step - phase)


def ringing(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Halos along edges: an unsharp mask of 0.5 to 8 times, or a sinc cut-off of 0.85 to 0.2 of Nyquist."""
    if rng.random() < 0.5:
        soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 2.5)).astype(np.float32)
        return to_uint8(image + geometric(0.5, 8, severity) * (image - soft))
    cutoff = geometric(0.85, 0.2, severity)
    taps = np.sinc(np.arange(-12, 13) * cutoff) * np.kaiser(25, 2.0)
    taps = (taps / taps.sum()).astype(np.float32)
    return cv2.sepFilter2D(image, -1, taps, taps, borderType=cv2.BORDER_REFLECT_101)


# Several


def mixture(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """What pictures go through together: some of blur, resampling, noise, compression, in that order."""
    chain = [_BLURS, (downsample, ringing, over_smooth), _NOISES, _CODECS]
    chosen = sorted(rng.choice(len(chain), int(rng.integers(2, 4)), replace=False))
    for place in chosen:
        kinds = chain[place]
        image = kinds[rng.integers(len(kinds))](image, severity * rng.uniform(0.55, 1.0), rng)
    return image


_BLURS: tuple[Degradation, ...] = (gaussian_blur, motion_blur, defocus_blur)
_NOISES: tuple[Degradation, ...] = (gaussian_noise, poisson_noise, colour_noise)
_CODECS: tuple[Degradation, ...] = (jpeg, webp, double_jpeg)

KINDS: Mapping[str, Degradation] = {
    function.__name__: function
    for function in (
        *_BLURS, *_NOISES, salt_and_pepper, *_CODECS, downsample, checkerboard, upsampler, over_smooth,
        posterise, ringing, colour_shift, patch_swap, warp, mixture,
    )
}  # fmt: skip
"""Every kind by name."""

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "blur": ("gaussian_blur", "motion_blur", "defocus_blur"),
    "noise": ("gaussian_noise", "poisson_noise", "colour_noise", "salt_and_pepper"),
    "compression": ("jpeg", "webp", "double_jpeg"),
    "resampling": ("downsample", "upsampler", "checkerboard"),
    "surface": ("over_smooth", "posterise", "ringing"),
    "content": ("colour_shift", "patch_swap", "warp"),
    "mixture": ("mixture",),
}
"""Kinds by cause; every kind is in one family."""

FAMILY: Mapping[str, str] = {kind: family for family, kinds in FAMILIES.items() for kind in kinds}
"""The family of a kind."""


def degrade(image: Image, kind: str, severity: float, rng: np.random.Generator) -> Image:
    """``image`` (h, w, 3) uint8 with damage of ``kind`` at ``severity`` in [0, 1]. ValueError for another kind."""
    if kind not in KINDS:
        raise ValueError(f"no degradation is called {kind!r}; there are {', '.join(KINDS)}")
    if not 0 <= severity <= 1:
        raise ValueError(f"severity lies in [0, 1], not {severity}")
    return KINDS[kind](image, severity, rng)
