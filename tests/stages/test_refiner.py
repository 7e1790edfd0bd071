"""The whole method on photographs, with backends that need no weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from qrefine.config import RefineConfig, load_config
from qrefine.errors import UserError
from qrefine.models.mappers.piqe import PiqeMapper
from qrefine.quality.map import Image, QualityMap
from qrefine.quality.regions import flatten
from qrefine.stages.refiner import MODEL_STAGES, Refined, Refiner, build_stages
from tests.stages.backends import Wild
from tests.support import PLAIN, noisy, photo


def corpus() -> tuple[list[Image], list[str]]:
    """Clean and damaged photographs of several sizes, and their keys."""
    images = [
        noisy(photo("astronaut", 96), 1), photo("chelsea", 96), noisy(photo("coffee", 128), 2, 60),
        noisy(photo("rocket", 64), 3), photo("coffee", 64), noisy(photo("chelsea", 96)[:, :50], 4),
    ]  # fmt: skip
    return images, [f"key{i}" for i in range(len(images))]


@pytest.fixture(scope="module", params=["fused", "paper"])
def refiner(request: pytest.FixtureRequest) -> Refiner:
    return Refiner(load_config(None, [*PLAIN, f"mode={request.param}"]))


def same(a: Refined, b: Refined) -> bool:
    return (
        np.array_equal(a.image, b.image)
        and (a.status, a.stages, a.before, a.after) == (b.status, b.stages, b.before, b.after)
        and a.judgements == b.judgements
    )


def test_noise_is_refined_and_every_result_is_better_or_the_source(refiner: Refiner) -> None:
    images, keys = corpus()
    results = refiner(images, None, keys)
    statuses = [result.status for result in results]
    assert "failed" not in statuses
    if refiner.config.mode == "fused":  # in mode paper stage 1 adds noise that a classical filter cannot redraw
        assert statuses.count("refined") >= 2
    mapper = PiqeMapper(grid=8)
    for image, result in zip(images, results, strict=True):
        assert result.image.shape == image.shape
        assert result.before == mapper([image])[0]
        assert result.after == mapper([result.image])[0]
        assert result.before is not None
        assert result.after is not None
        if result.status == "kept":
            assert np.array_equal(result.image, image)
            assert result.before == result.after
            assert (result.stages, result.judgements) == ((), {})
        else:
            assert result.after.score > result.before.score + refiner.config.accept.min_gain
            assert set(result.stages) <= {"noise", "inpaint", "enhance_blind", "enhance_prompt"}
            assert set(result.judgements) == {"piqe"}


def test_a_clean_image_comes_back_as_it_is(refiner: Refiner) -> None:
    flat = np.full((96, 96, 3), 127, dtype=np.uint8)
    result = refiner([flat])[0]
    assert result.status == "kept"
    assert np.array_equal(result.image, flat)


def test_what_becomes_of_an_image_does_not_depend_on_the_others(refiner: Refiner) -> None:
    images, keys = corpus()
    together = refiner(images, None, keys)
    backwards = refiner(images[::-1], None, keys[::-1])[::-1]
    for i, (a, b) in enumerate(zip(together, backwards, strict=True)):
        assert same(a, b), keys[i]
        assert same(a, refiner([images[i]], None, [keys[i]])[0]), keys[i]


def test_a_second_run_gives_the_same_pixels(refiner: Refiner) -> None:
    images, keys = corpus()
    again = Refiner(refiner.config)(images[:3], None, keys[:3])
    assert all(same(a, b) for a, b in zip(refiner(images[:3], None, keys[:3]), again, strict=True))


def test_regions_of_high_quality_keep_their_pixels(refiner: Refiner) -> None:
    images, keys = corpus()
    for image, result in zip(images, refiner(images, None, keys), strict=True):
        assert result.before is not None
        good = flatten(result.before, *image.shape[:2]) >= np.float32(refiner.config.bounds.hq)
        if refiner.config.mode == "fused" or result.status == "kept":  # the paper enhances whole images
            assert np.array_equal(result.image[good], image[good])


def test_no_images_are_no_results(refiner: Refiner) -> None:
    assert refiner([]) == []


@pytest.mark.parametrize("size", [(1, 1), (8, 512), (512, 8), (7, 7)])
def test_extreme_shapes_come_through(refiner: Refiner, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    result = refiner([image])[0]
    assert result.error is None
    assert result.image.shape == image.shape


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8), np.zeros((1, 4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint16), "image",
    ],
    ids=["float", "grey", "alpha", "empty", "batch", "16 bit", "text"],
)  # fmt: skip
def test_what_is_no_rgb_image_is_refused(refiner: Refiner, image: object) -> None:
    with pytest.raises(ValueError, match="an image is"):
        refiner([image])  # type: ignore[list-item]


def test_prompts_and_keys_must_be_one_per_image(refiner: Refiner) -> None:
    image = photo(size=16)
    with pytest.raises(ValueError, match="zip"):
        refiner([image], ["a", "b"])
    with pytest.raises(ValueError, match="zip"):
        refiner([image], None, [])


class CountedMapper(PiqeMapper):
    made = 0

    def __init__(self, weights: str | None = None, grid: int = 16) -> None:
        type(self).made += 1
        super().__init__(weights, grid)


class CountedRestorer(Wild):
    made = 0

    def __init__(self, weights: str | None = None) -> None:
        type(self).made += 1
        super().__init__(weights)


def test_a_model_that_several_stages_share_is_loaded_once() -> None:
    here = __name__
    names = [f"mapper.name={here}:CountedMapper"] + [
        f"{role}.name={here}:CountedRestorer" for role in ("inpaint", "enhance.blind", "enhance.prompt")
    ]
    CountedMapper.made = CountedRestorer.made = 0
    build_stages(MODEL_STAGES, load_config(None, names))
    assert (CountedMapper.made, CountedRestorer.made) == (1, 1)
    build_stages(MODEL_STAGES, load_config(None, [*names, "enhance.blind.options={}", "mapper.grid=4"]))
    assert (CountedMapper.made, CountedRestorer.made) == (2, 2)


def test_stages_that_the_configuration_leaves_out_are_not_built(plain: RefineConfig) -> None:
    only = load_config(None, [*PLAIN, "stages=[enhance]", "inpaint.name=no.such.module:X"])
    assert [type(stage).__name__ for stage in build_stages(MODEL_STAGES, only)] == [
        "Map", "Enhance", "Accept", "Judge",
    ]  # fmt: skip
    every = [type(stage).__name__ for stage in build_stages(MODEL_STAGES, plain)]
    assert every == ["Map", "Noise", "Inpaint", "Enhance", "Accept", "Judge"]


def test_an_unknown_model_is_a_user_error() -> None:
    with pytest.raises(UserError, match="unknown mapper 'nosuch'"):
        Refiner.from_config(None, ["mapper.name=nosuch"])


class Moody(PiqeMapper):
    """Fails on images that are wholly black."""

    def __call__(self, images: Sequence[Image]) -> list[QualityMap]:
        if any(not image.any() for image in images):
            raise RuntimeError("I cannot see")
        return super().__call__(images)


def test_an_image_that_a_model_fails_on_fails_alone_with_its_pixels() -> None:
    config = load_config(None, [*PLAIN, f"mapper.name={__name__}:Moody"])
    images = [photo(size=32), np.zeros((32, 32, 3), dtype=np.uint8), photo("coffee", 32)]
    results = Refiner(config)(images)
    assert [result.status == "failed" for result in results] == [False, True, False]
    assert results[1].error == "RuntimeError in map: I cannot see"
    assert np.array_equal(results[1].image, images[1])


def test_wild_models_never_harm() -> None:
    wild = [f"{role}.name=tests.stages.backends:Wild" for role in ("inpaint", "enhance.blind")]
    make: Callable[[str], Refiner] = lambda mode: Refiner(load_config(None, [*PLAIN, *wild, f"mode={mode}"]))  # noqa: E731
    images, keys = corpus()
    mapper = PiqeMapper(grid=8)
    for mode in ("fused", "paper"):
        for image, result in zip(images, make(mode)(images, None, keys), strict=True):
            assert mapper([result.image])[0].score >= mapper([image])[0].score
