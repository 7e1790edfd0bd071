"""Damage on the device: shapes, ranges, severity, and codecs against the true ones."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from training import codecs, damage
from training.damage import EXTRA, KINDS
from training.filters import AREA, LANCZOS, gaussian, resampled

ALL = {**KINDS, **EXTRA}


def pictures(count: int = 2, height: int = 96, width: int = 96) -> torch.Tensor:
    """Leaves and a texture, (count, 3, height, width), in 8-bit levels."""
    from training.scenes import leaves, textures

    generator = torch.Generator().manual_seed(5)
    size = max(height, width)
    made = torch.cat([leaves(1, size, generator, 30), textures(count - 1, size, generator)])
    return (made[..., :height, :width] * 255).round() / 255


@pytest.mark.parametrize("name", ALL)
def test_every_kind_keeps_shape_and_range_and_gives_levels(name: str) -> None:
    images = pictures(2, 72, 88)
    found = ALL[name].apply(images, torch.tensor([0.2, 0.9]), torch.Generator().manual_seed(0))
    assert found.shape == images.shape
    assert found.dtype == torch.float32
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert torch.allclose(found * 255, (found * 255).round(), atol=1e-3)
    assert not torch.equal(found, images)


@pytest.mark.parametrize("name", ALL)
def test_error_grows_with_severity_from_nearly_nothing(name: str) -> None:
    images, errors = pictures(), []
    for severity in (0.0, 0.5, 1.0):
        total = 0.0
        for seed in range(4):
            generator = torch.Generator().manual_seed(seed)
            found = ALL[name].apply(images, torch.full((len(images),), severity), generator)
            total += float((found - images).abs().mean()) * 255 / 4
        errors.append(total)
    assert errors[0] < errors[1] * 1.05
    assert errors[1] < errors[2] * (1.6 if name == "ringing" else 1.05)  # a sinc rings less where little is left
    assert errors[0] < 8


def test_severity_is_per_sample() -> None:
    image = pictures(2)[:1].expand(3, -1, -1, -1)
    for name in ("gaussian_blur", "motion_blur", "jpeg", "downsample", "gaussian_noise"):
        found = KINDS[name].apply(image, torch.tensor([0.0, 0.5, 1.0]), torch.Generator().manual_seed(1))
        errors = (found - image).abs().mean((1, 2, 3))
        assert errors[0] < errors[1] < errors[2], name


@pytest.mark.parametrize("quality", [5, 30, 75, 90])
@pytest.mark.parametrize("subsampled", [False, True])
def test_jpeg_is_libjpegs(quality: int, subsampled: bool) -> None:
    images = pictures(2, 96, 96)
    found = codecs.jpeg(images, torch.full((2,), float(quality)), subsampled)
    for one, mine in zip(images, found, strict=True):
        true = _through(one, "JPEG", quality=quality, subsampling=2 if subsampled else 0)
        assert 10 * torch.log10(1 / (true - mine).square().mean()) > 40


@pytest.mark.parametrize("quality", [5, 40, 80])
def test_webp_is_the_codecs(quality: int) -> None:
    images = pictures(2, 96, 90)
    found = codecs.webp(images, torch.full((2,), float(quality)))
    true = torch.stack([_through(one, "WEBP", quality=quality) for one in images])
    assert torch.equal(found, true)


def _through(image: torch.Tensor, codec: str, **options: int) -> torch.Tensor:
    pixels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, codec, **options)
    return torch.from_numpy(np.array(Image.open(stream).convert("RGB"))).permute(2, 0, 1).float() / 255


def test_degrade_gives_each_its_kind_and_leaves_the_unnamed() -> None:
    images = pictures(4)
    kinds = ["jpeg", "", "gaussian_noise", "jpeg"]
    found = damage.degrade(images, kinds, torch.full((4,), 0.6), torch.Generator().manual_seed(0))
    assert torch.equal(found[1], images[1])
    assert all(not torch.equal(found[i], images[i]) for i in (0, 2, 3))
    again = damage.degrade(images, kinds, torch.full((4,), 0.6), torch.Generator().manual_seed(0))
    assert torch.equal(found, again)


def test_unknown_kinds_are_named() -> None:
    with pytest.raises(ValueError, match="'rust'"):
        damage.degrade(pictures(), ["jpeg", "rust"], torch.zeros(2), torch.Generator())


def test_families_are_the_networks() -> None:
    from qrefine.models.mappers.embedded_net import FAMILIES

    assert damage.FAMILIES == FAMILIES
    assert len(KINDS) == 20


def test_filters_keep_a_flat_image_flat_and_a_ramp_in_place() -> None:
    flat = torch.full((3, 3, 40, 56), 0.4)
    assert torch.allclose(gaussian(flat, torch.tensor([0.3, 1.0, 4.0])), flat, atol=1e-5)
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    for kernel in (AREA, LANCZOS):
        pick = torch.full((1,), kernel)
        grow, smooth = torch.full((1,), LANCZOS), torch.ones(1, dtype=torch.bool)
        back = resampled(ramp, torch.tensor([2.0]), pick, grow, smooth)
        assert (back - ramp)[..., 8:-8].abs().max() < 0.01
