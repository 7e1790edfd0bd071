"""Periods that pictures do not have by themselves."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from qrefine.models.mappers.lattice import BANDS, CELL, CHANNELS, HARMONICS, WINDOW, lattice
from tests.support import photo

EACH = len(HARMONICS) + 1
REACH = WINDOW // 2 // CELL + BANDS // 2 + 1
"""Cells from a border within which the result is not that of the inside."""


def levels(image):
    return torch.from_numpy(np.asarray(Image.fromarray(image).convert("L"), np.float32))[None, None]


def lesser(image, order):
    """Medians of the lesser axis: HARMONICS, and the others' greatest."""
    found = lattice(levels(image))[0].flatten(1).median(1).values
    first = (order - 1) * 2 * EACH
    return found[first : first + EACH].numpy()


@pytest.fixture(scope="module")
def scene():
    return photo("coffee", 384)


def test_a_cell_has_a_value_for_each_order_axis_and_frequency():
    found = lattice(torch.rand(2, 1, 48, 80) * 255)
    assert found.shape == (2, CHANNELS, 3, 5)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("value", [0.0, 255.0])
def test_what_is_flat_has_no_period(value):
    assert (lattice(torch.full((1, 1, 64, 64), value)) == 0).all()


@pytest.mark.parametrize("shift", [0, 3, 5])
def test_the_grid_of_a_codec_shows_wherever_it_lies(scene, shift):
    file = io.BytesIO()
    Image.fromarray(scene).save(file, "JPEG", quality=30)
    saved = np.asarray(Image.open(file))[shift:, shift:]
    saved = saved[: saved.shape[0] // 16 * 16, : saved.shape[1] // 16 * 16]
    assert (lesser(saved, 2)[:3] > lesser(scene, 2)[:3] + 0.4).all()


@pytest.mark.parametrize(("factor", "place"), [(2, 3), (4, 1), (3, 4), (2.5, 4)])
@pytest.mark.parametrize("how", [Image.Resampling.NEAREST, Image.Resampling.BILINEAR])
def test_the_factor_of_an_enlargement_shows(scene, factor, place, how):
    small = Image.fromarray(scene).resize((round(384 / factor),) * 2, Image.Resampling.BOX)
    grown = np.asarray(small.resize((384, 384), how))
    assert max(lesser(grown, order)[place] - lesser(scene, order)[place] for order in (1, 2)) > 0.4


@pytest.mark.parametrize(("side", "place"), [(2, 3), (4, 1)])
def test_a_faint_checkerboard_shows(scene, side, place):
    y, x = np.indices((384, 384)) // side
    marked = (scene + np.where((y + x) % 2, 6.0, -6.0)[..., None]).clip(0, 255).astype(np.uint8)
    assert lesser(marked, 1)[place] > lesser(scene, 1)[place] + 0.8


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_a_turned_picture_has_turned_periods(rows, columns, seed):
    luma = torch.rand(1, 1, 16 * rows, 16 * columns, generator=torch.Generator().manual_seed(seed)) * 255
    assert torch.equal(lattice(luma.transpose(2, 3).contiguous()).transpose(2, 3), lattice(luma))


def test_a_part_has_the_whole_pictures_periods_away_from_its_border():
    luma = torch.rand(1, 1, 320, 400) * 255
    part = lattice(luma[..., 32:288, 48:368])[..., REACH:-REACH, REACH:-REACH]
    whole = lattice(luma)[..., 2 + REACH : 18 - REACH, 3 + REACH : 23 - REACH]
    torch.testing.assert_close(part, whole, atol=1e-4, rtol=0)
