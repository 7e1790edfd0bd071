"""Several mappers at once: each on a scale of its own, the worst decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qrefine.api import check_models
from qrefine.config import Bounds, MapperSettings, RefineConfig, parse_config
from qrefine.errors import UserError
from qrefine.models.mappers.worst import rescaled, worst
from qrefine.models.registry import load_mapper
from qrefine.quality.map import QualityMap
from qrefine.stages.refiner import Refiner
from tests.support import noisy, photo

SCORES = st.floats(0, 1, width=32)


class Fixed:
    """The same score everywhere."""

    def __init__(self, weights=None, grid=16, score=1.0):
        self.grid, self.score = grid, score

    def __call__(self, images):
        return [QualityMap(np.full((self.grid, self.grid), self.score)) for _ in images]


@st.composite
def bounds(draw):
    lq, mq, hq = sorted(draw(st.floats(0, 1)) for _ in range(3))
    return Bounds(lq=lq, mq=mq, hq=hq)


@given(values=arrays(np.float32, (3, 3), elements=SCORES), own=bounds(), common=bounds())
def test_what_is_below_a_bound_of_its_own_is_below_the_common_one(values, own, common):
    found = rescaled(values, own, common)
    QualityMap(found)
    order = np.argsort(values, axis=None)
    assert (np.diff(found.ravel()[order]) >= 0).all()
    for name in ("lq", "mq", "hq"):
        mine, theirs = np.float32(getattr(own, name)), np.float32(getattr(common, name))
        assert (found[values >= mine] >= theirs).all()
        assert (found[values < mine] <= theirs).all()


def test_a_score_just_below_a_bound_stays_below_it():
    own, common = Bounds(lq=0.55, mq=0.6, hq=0.61), Bounds()
    found = rescaled(np.array([0, 0.549, 0.55, 0.599, 0.6, 0.609, 0.61, 1], np.float32), own, common)
    assert (found < common.lq).tolist() == [True] * 2 + [False] * 6
    assert (found < common.mq).tolist() == [True] * 4 + [False] * 4
    assert (found < common.hq).tolist() == [True] * 6 + [False] * 2
    assert (found[0], found[-1]) == (0, 1)


@given(values=arrays(np.float32, (3, 3), elements=SCORES), common=bounds())
def test_the_same_bounds_change_nothing(values, common):
    assert np.allclose(rescaled(values, common, common), values, atol=1e-6)


@given(arrays(np.float32, (4, 4), elements=SCORES), arrays(np.float32, (4, 4), elements=SCORES))
def test_the_worst_is_the_least_in_each_patch(a, b):
    assert np.array_equal(worst([QualityMap(a), QualityMap(b)]).values, np.minimum(a, b))


@given(arrays(np.float32, (3, 3), elements=SCORES), st.integers(3, 12))
def test_a_coarser_map_is_resampled_by_area(coarse, n):
    fine = worst([QualityMap(coarse), QualityMap(np.ones((n, n)))])
    assert fine.n == n
    assert fine.score == pytest.approx(QualityMap(coarse).score, abs=1e-5)
    if n % 3 == 0:
        assert np.allclose(fine.values, coarse.repeat(n // 3, 0).repeat(n // 3, 1), atol=1e-6)


def test_a_list_of_mappers_is_refined_by_the_worst():
    names = [f"{__name__}:Fixed", {"name": f"{__name__}:Fixed", "options": {"score": 0.5}}, "piqe"]
    settings = {"mapper": names, "inpaint": {"name": "classical"}, "enhance": {"blind": {"name": "classical"}}}
    config = parse_config({**settings, "accept": {"risk": None}})
    check_models(config)
    image = noisy(photo(size=128))
    (result,) = Refiner(config)([image])
    assert result.before is not None
    (alone,) = load_mapper(MapperSettings(name="piqe"))([image])
    assert np.array_equal(result.before.values, np.minimum(alone.values, np.float32(0.5)))


def test_each_has_bounds_of_its_own():
    names = [{"name": f"{__name__}:Fixed", "options": {"score": 0.5}, "bounds": {"lq": 0.2, "mq": 0.5, "hq": 0.6}}]
    config = parse_config({"mapper": names, "bounds": {"mq": 0.65}})
    mapper = load_mapper(config.mapper, bounds=config.bounds)
    assert mapper([photo(size=32)])[0].score == pytest.approx(0.65)


def test_grid_and_patch_are_those_of_all():
    config = parse_config({"mapper": {"name": "worst", "grid": 5, "options": {"mappers": [{"name": "piqe"}]}}})
    assert load_mapper(config.mapper)([photo(size=64)])[0].n == 5
    assert load_mapper(config.mapper)([np.zeros((64, 640, 3), np.uint8)])[0].n == 14


def test_a_list_is_another_configuration_and_one_mapper_is_the_same_as_ever():
    one, listed = parse_config({"mapper": {"name": "piqe"}}), parse_config({"mapper": ["piqe"]})
    assert one.digest != listed.digest
    assert listed.digest == parse_config({"mapper": [{"name": "piqe"}]}).digest
    assert parse_config(listed.model_dump(mode="json")) == listed
    assert set(RefineConfig().digested()["mapper"]) == {"name", "weights", "options", "grid", "patch"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "mapper 'worst': mappers: Tuple should have at least 1 item"),
        (["piqe", "nosuch"], "unknown mapper 'nosuch'"),
        (["piqe", 5], "mapper 'worst': mappers.1: Input should be a valid dictionary"),
        ([{"name": "piqe", "bounds": {"lq": 0.9}}], "mapper 'worst': mappers.0.bounds: bounds must rise"),
        ([{"name": "piqe", "grid": 8}], "mapper 'worst': mappers.0.grid: unknown"),
        ([{"name": "embedded", "weights": "none.safetensors"}], "mapper 'embedded': its weights are not at"),
        ([{"name": "piqe", "options": {"size": 3}}], "mapper 'piqe': size: unknown option"),
        ([["piqe", "nosuch"]], "mapper 'worst': mappers.0: Input should be a valid dictionary"),
    ],
)
def test_what_is_wrong_with_one_of_them_is_one_line(given, message):
    with pytest.raises(UserError, match=message) as caught:
        check_models(parse_config({"mapper": given}))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="mapper"):
        load_mapper(parse_config({"mapper": given}).mapper)
