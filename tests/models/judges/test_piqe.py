"""PIQE's scores and blocks, which are those of the library `pypiqe`."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import PIL.Image
import pypiqe
import pytest

from qrefine.models.judges.piqe import BLOCK, piqe_blocks, piqe_score
from qrefine.quality.map import Image
from tests.support import encoded, noisy, photo

PICTURES = ("astronaut", "chelsea", "coffee", "rocket")


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("damage", [lambda image: image, noisy, lambda image: jpeg(image, 10)])
def test_scores_and_blocks_of_photographs_are_those_of_the_library(
    name: str, damage: Callable[[Image], Image]
) -> None:
    image = damage(photo(name, 250))[:, :201]  # sides that no block divides
    score, blocky, grainy, active = pypiqe.piqe(np.ascontiguousarray(image[..., ::-1]))
    assert piqe_score(image) == pytest.approx(score, rel=1e-12)
    found = piqe_blocks(image)
    for ours, theirs in ((found.blocky, blocky), (found.noisy, grainy), (found.active, active)):
        assert np.array_equal(ours.repeat(BLOCK, 0).repeat(BLOCK, 1)[:250, :201], theirs)


def test_the_pictures_have_blocks_of_every_kind() -> None:
    clean = [piqe_blocks(photo(name, 250)) for name in PICTURES]
    assert all(found.active.any() and not found.active.all() for found in clean)
    assert any(piqe_blocks(noisy(photo(name, 250))).noisy.any() for name in PICTURES)
    assert any(piqe_blocks(jpeg(photo(name, 250), 10)).blocky.any() for name in PICTURES)


def jpeg(image: Image, quality: int) -> Image:
    return np.asarray(PIL.Image.open(io.BytesIO(encoded(image, "JPEG", quality=quality))))


def test_noise_raises_the_score() -> None:
    clean = photo("coffee", 128)
    assert piqe_score(noisy(clean)) > piqe_score(clean)
