"""Metrics over tiles: with a metric that is easy to follow, and with pyiqa itself where it is installed."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrefine.config import MapperSettings
from qrefine.errors import UserError
from qrefine.models.mappers.tiles import TilesMapper, tile_starts, tile_weights
from qrefine.models.registry import check_backends, load_judge, load_mapper


class Brightness:
    """A no-reference metric of pyiqa's kind: the mean of the pixels, 0..1."""

    metric_mode, lower_better, score_range = "NR", False, "0, 1"

    def __init__(self):
        self.batches = []

    def __call__(self, x):
        assert 0 <= x.min() <= x.max() <= 1
        self.batches.append(tuple(x.shape))
        return x.mean(dim=(1, 2, 3))[:, None]


class Darkness(Brightness):
    lower_better, score_range = True, "~0, ~100"

    def __call__(self, x):
        return 100 * super().__call__(x)


class Boundless(Brightness):
    score_range = "0, ~"


class Compared(Brightness):
    metric_mode = "FR"


@pytest.fixture
def metrics(monkeypatch):
    """``pyiqa`` as far as it is used here, with metrics of our own."""
    known = {"bright": Brightness, "dark": Darkness, "boundless": Boundless, "compared": Compared}

    def create_metric(name, device=None):
        assert name in known, f"Metric {name} not implemented yet."
        return known[name]()

    module = types.ModuleType("pyiqa")
    module.create_metric = create_metric
    monkeypatch.setitem(sys.modules, "pyiqa", module)


def gradient(height, width):
    return np.broadcast_to(np.linspace(0, 255, width)[None, :, None], (height, width, 3)).astype(np.uint8)


def mapper(name, grid=4, **options):
    return load_mapper(MapperSettings(name=f"tiles:{name}", grid=grid, options={"device": "cpu", **options}))


def test_a_patch_has_the_mean_of_the_tiles_over_it(metrics):
    image = gradient(64, 128)
    (found,) = mapper("bright", grid=2, tile=64, overlap=0.0)([image])
    left, right = image[:, :64].mean() / 255, image[:, 64:].mean() / 255
    assert np.allclose(found.values, [[left, right]] * 2, atol=1e-6)


def test_overlapping_tiles_follow_the_image(metrics):
    image = gradient(96, 256)
    (found,) = mapper("bright", grid=8, tile=32, overlap=0.75)([image])
    columns = image.reshape(96, 8, 32, 3).mean((0, 2, 3)) / 255
    assert np.abs(found.values - columns).max() < 0.05
    assert (np.diff(found.values, axis=1) > 0).all()


def test_where_lower_is_better_the_scale_is_turned_around(metrics):
    image = gradient(64, 64)
    bright, dark = (mapper(name, tile=32)([image])[0].values for name in ("bright", "dark"))
    assert np.allclose(bright + dark, 1, atol=1e-6)


def test_a_scale_of_ones_own_is_clipped(metrics):
    image = gradient(64, 64)
    (found,) = mapper("boundless", tile=16, overlap=0.0, scale=[0.4, 0.6])([image])
    assert found.values[0].tolist() == pytest.approx([0, 0, 1, 1], abs=0.01)


def test_the_same_map_in_any_batch_and_of_any_size(metrics):
    model = mapper("bright", grid=16, tile=32, batch_size=5)
    images = [gradient(64, 64), gradient(20, 100), gradient(7, 5), gradient(33, 64)]
    together = model(images)
    for image, found in zip(images, together, strict=True):
        assert model([image])[0] == found
    assert {shape[0] for shape in model.metric.batches} == {5}


def test_the_same_name_judges_whole_images(metrics):
    judge = load_judge("tiles:dark")
    assert judge(gradient(10, 200)) == pytest.approx(100 * gradient(10, 200).mean() / 255)
    check_backends(MapperSettings(name="tiles:bright"), [], ["tiles:dark"])


def test_what_cannot_be_loaded_is_one_line(metrics):
    for name, options, expected in [
        ("nothing", {}, "pyiqa has no metric 'nothing' here"),
        ("compared", {}, "compares with a reference image"),
        ("boundless", {}, "set the option scale"),
        ("bright", {"overlap": 1.0}, "overlap: Input should be less than 1, got 1.0 (allowed: >= 0 and < 1)"),
        ("bright", {"scale": [1, 1]}, "worst and best are both 1"),
    ]:
        with pytest.raises(UserError) as caught:
            mapper(name, **options)
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no metric 'nothing'"):
        load_judge("tiles:nothing")


def test_without_pyiqa_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(UserError, match=r"qrefine\[pyiqa\]"):
        mapper("clipiqa")
    with pytest.raises(UserError, match=r"qrefine\[pyiqa\]"):
        load_judge("tiles:clipiqa")


@given(st.integers(1, 700), st.integers(16, 300), st.floats(0, 0.95), st.integers(1, 32))
def test_tiles_cover_every_pixel_and_weights_add_up(side, tile, overlap, n):
    starts = tile_starts(side, tile, overlap)
    size = min(side, tile)
    covered = np.zeros(side, bool)
    for start in starts:
        assert 0 <= start <= side - size
        covered[start : start + size] = True
    assert covered.all()
    weights = tile_weights(side, n, starts, size)
    assert (weights >= 0).all()
    assert np.allclose(weights.sum(axis=1), 1)


def test_a_real_metric_that_needs_no_weights():
    try:
        import pyiqa  # noqa: F401
    except ImportError as error:
        pytest.skip(f"pyiqa cannot be imported: {error}")
    rng = np.random.default_rng(0)
    smooth = np.full((128, 128, 3), 120, np.uint8)
    noisy = rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)
    image = np.concatenate([smooth, noisy], axis=1)
    (found,) = TilesMapper("entropy", grid=2, tile=64, overlap=0.0, device="cpu")([image])
    assert (found.values[:, 0] < 0.2).all()
    assert (found.values[:, 1] > 0.8).all()
    assert load_judge("tiles:piqe")(noisy) > 0
