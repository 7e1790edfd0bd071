"""Do no harm, as properties: mappers and restorers here are adversaries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from qrefine.config import RefineConfig, load_config
from qrefine.quality.map import Image, QualityMap
from qrefine.quality.regions import patch_any, patch_pixels
from qrefine.sample import Sample
from qrefine.stages.accept import Accept, blend, keep_weight, worse_patches
from tests.conftest import photo
from tests.stages.backends import Told, quality

UNIT = st.floats(0, 1, width=32)
N = 3
ALONE = ("accept.risk=null", "accept.tolerance=0.02", "accept.min_gain=0.01")
CONFIG = load_config(None, ALONE)
SIZES = st.sampled_from([(24, 24), (31, 17), (2, 40), (1, 1), (9, 2)])


def hashed(salt: int, low: float = 0.0) -> Callable[[Image], np.ndarray]:
    """A mapper's answer that has nothing to do with the image but is the same for the same pixels."""

    def answer(image: Image) -> np.ndarray:
        seed = [salt, *np.frombuffer(image.tobytes(), dtype=np.uint8)[:4000].tolist()]
        return np.random.default_rng(seed).uniform(low, 1, (N, N)).astype(np.float32)

    return answer


def refined_sample(size: tuple[int, int], seed: int, share: float, mapper: Told) -> Sample:
    """A sample of which a random share of pixels was changed at random."""
    rng = np.random.default_rng(seed)
    source = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    changed = rng.random(size) < share
    new = np.where(changed[..., None], rng.integers(0, 256, source.shape, dtype=np.uint8), source)
    return Sample(decoded=source, before=mapper([source])[0]).changed(new, "inpaint")


@settings(max_examples=150, deadline=None)
@given(
    size=SIZES,
    seed=st.integers(0, 10**6),
    share=st.sampled_from([0.05, 0.5, 1.0]),
    low=st.sampled_from([0.0, 0.9, 0.98]),
    rounds=st.integers(0, 4),
)
def test_whatever_the_models_did_an_accepted_image_is_better_and_no_patch_is_worse(
    size: tuple[int, int], seed: int, share: float, low: float, rounds: int
) -> None:
    config = load_config(None, [*ALONE, f"accept.rounds={rounds}"])
    mapper = Told(hashed(seed, low))
    sample = refined_sample(size, seed, share, mapper)
    done = Accept(config, mapper)([sample])[0]
    assert done.error is None
    if done.refined is None:
        assert (done.stages, done.after) == ((), None)
        assert np.array_equal(done.pixels, sample.image)
        return
    after = mapper([done.refined])[0]
    assert done.after == after
    assert after.score > sample.quality.score + 0.01
    changed = (done.refined != sample.image).any(axis=-1)
    assert changed.any()
    lost = after.values < sample.quality.values - np.float32(0.02)
    assert not (lost & patch_any(changed, N)).any()


def test_a_wholly_better_image_is_taken_as_it_is() -> None:
    source, new = photo(size=24), photo("coffee", 24)
    mapper = Told(lambda image: np.full((N, N), 0.9 if np.array_equal(image, new) else 0.3))
    done = Accept(CONFIG, mapper)([Sample(decoded=source, before=mapper([source])[0]).changed(new, "inpaint")])[0]
    assert done.refined is new
    assert done.stages == ("inpaint",)
    assert done.after == QualityMap(np.full((N, N), 0.9))


def test_a_gain_that_is_not_more_than_the_least_is_none() -> None:
    source, new = photo(size=24), photo("coffee", 24)
    for gain, taken in ((0.0, False), (0.009, False), (0.02, True)):
        mapper = Told(lambda image, gain=gain: np.full((N, N), 0.5 + gain * np.array_equal(image, new)))  # type: ignore[misc]
        done = Accept(CONFIG, mapper)([Sample(decoded=source, before=mapper([source])[0]).changed(new, "x")])[0]
        assert (done.refined is not None) == taken


def test_a_worse_patch_is_taken_back_exactly_and_the_rest_stays() -> None:
    source, new = np.full((30, 30, 3), 100, np.uint8), np.full((30, 30, 3), 200, np.uint8)

    def answer(image: Image) -> np.ndarray:
        values = np.full((N, N), 0.5, dtype=np.float32)
        values[1:] += 0.3 * (image[10:].mean() > 150)
        values[0, 0] -= 0.3 * (image[:10, :10] > 100).any()  # harmed where its own pixels changed
        return values

    mapper = Told(answer)
    done = Accept(CONFIG, mapper)([Sample(decoded=source, before=mapper([source])[0]).changed(new, "inpaint")])[0]
    assert done.refined is not None
    assert (done.refined[:10, :10] == 100).all()
    assert (done.refined[20:] == 200).all()
    assert len(np.unique(done.refined[:12, 5:6])) > 2  # a seam, no edge


@settings(deadline=None)
@given(
    npst.arrays(np.bool_, (N, N)).filter(np.any),
    SIZES,
    st.floats(0, 1, width=32),
)
def test_taken_back_patches_hold_the_sources_pixels_exactly(
    worse: np.ndarray, size: tuple[int, int], feather: float
) -> None:
    rng = np.random.default_rng(0)
    source, new = rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)
    weight = keep_weight(patch_pixels(worse, *size), feather * min(size) / N)
    assert weight.min() >= 0
    assert weight.max() <= 1
    mixed = blend(source, new, weight)
    back = patch_pixels(worse, *size)
    assert np.array_equal(mixed[back], source[back])
    assert np.array_equal(mixed[weight == 1], new[weight == 1])
    assert not patch_any((mixed != source).any(axis=-1) & back, N)[worse].any()


@given(npst.arrays(np.float32, (N, N), elements=UNIT), npst.arrays(np.float32, (N, N), elements=UNIT))
def test_a_patch_is_worse_if_it_was_changed_and_fell_by_more_than_the_tolerance(
    a: np.ndarray, b: np.ndarray
) -> None:
    changed = np.zeros((9, 9), dtype=bool)
    changed[0:3, 0:6] = True
    worse = worse_patches(QualityMap(a), QualityMap(b), changed, 0.1)
    expected = np.zeros((N, N), dtype=bool)
    expected[0, :2] = b[0, :2] < a[0, :2] - np.float32(0.1)
    assert np.array_equal(worse, expected)


def test_only_refined_samples_that_were_not_decided_are_wanted() -> None:
    stage = Accept(CONFIG, Told(hashed(0)))
    sample = Sample(decoded=photo(size=16), before=quality([[0.5]]))
    assert not stage.wants(sample)
    assert stage.wants(sample.changed(sample.image, "inpaint"))
    done = Sample(decoded=sample.image, before=sample.before, after=sample.before).changed(sample.image, "x")
    assert not stage.wants(done)


def test_judges_report_on_accepted_images_alone_and_decide_nothing() -> None:
    source, new = photo(size=24), photo("coffee", 24)
    seen: list[Image] = []

    def judge(image: Image) -> float:
        seen.append(image)
        return float(len(seen)) * -1e9  # the worst there is

    better = Told(lambda image: np.full((N, N), 0.9 if np.array_equal(image, new) else 0.3))
    worse = Told(lambda image: np.full((N, N), 0.1 if np.array_equal(image, new) else 0.3))
    for mapper, pairs in ((better, 2), (worse, 0)):
        seen.clear()
        done = Accept(CONFIG, mapper, [judge, judge])(
            [Sample(decoded=source, before=mapper([source])[0]).changed(new, "inpaint")]
        )[0]
        assert len(done.judgements) == pairs
        assert len(seen) == 2 * pairs
    assert seen == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(SIZES, st.integers(0, 1000)), min_size=2, max_size=5), st.integers(0, 100))
def test_the_decision_on_an_image_does_not_depend_on_the_batch(
    specs: list[tuple[tuple[int, int], int]], salt: int
) -> None:
    mapper = Told(hashed(salt, 0.9))
    samples = [refined_sample(size, seed, 0.6, mapper) for size, seed in specs]
    accept = Accept(CONFIG, mapper)
    for together, sample in zip(accept(samples), samples, strict=True):
        alone = accept([sample])[0]
        assert np.array_equal(together.pixels, alone.pixels)
        assert together.after == alone.after
        assert together.stages == alone.stages


def test_scoring_again_is_paid_for_undecided_images_only() -> None:
    mapper = Told(lambda image: np.full((N, N), 0.9 if image.mean() > 150 else 0.3))
    config: RefineConfig = CONFIG
    sample = Sample(decoded=np.full((24, 24, 3), 9, np.uint8), before=quality([[0.3] * N] * N))
    samples = [sample.changed(np.full((24, 24, 3), 200, np.uint8), "x") for _ in range(5)]
    Accept(config, mapper)(samples)
    assert mapper.images == 5
