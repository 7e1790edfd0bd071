"""Do no harm, as properties: mappers and restorers here are adversaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from qrefine.config import RefineConfig, load_config
from qrefine.errors import NotFiniteError
from qrefine.quality.map import Image, QualityMap
from qrefine.quality.pixels import blend
from qrefine.quality.regions import patch_any, patch_pixels
from qrefine.sample import DECISIONS, Sample
from qrefine.stages.accept import AGREE, REGION, Accept, by_region, keep_weight, worse_patches
from qrefine.stages.guards import cell_pixels, visible
from qrefine.stages.refiner import Refiner
from tests.stages.backends import Told, Wild, better_where_changed, quality
from tests.support import PLAIN, noisy, photo

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


class Sure:
    """A comparator that asks a function of (before, after); 1 where nothing changed."""

    cell = 16

    def __init__(self, answer: Callable[[Image, Image], np.ndarray], by_risk: float = 0.0) -> None:
        self.answer, self.by_risk = answer, by_risk

    def __call__(self, before: Sequence[Image], after: Sequence[Image]) -> list[np.ndarray]:
        return [self.answer(*pair).astype(np.float32) for pair in zip(before, after, strict=True)]

    def threshold(self, risk: float) -> float:
        return 0.5 + self.by_risk * (0.01 - risk)


def cells(image: Image) -> tuple[int, int]:
    return -(-image.shape[0] // 16), -(-image.shape[1] // 16)


def everywhere(value: float) -> Callable[[Image, Image], np.ndarray]:
    return lambda before, after: np.full(cells(before), value)


def guessed(salt: int) -> Callable[[Image, Image], np.ndarray]:
    """An answer that is random but the same for the same pair."""

    def answer(before: Image, after: Image) -> np.ndarray:
        seed = [salt, *after.reshape(-1)[:500].tolist()]
        return np.random.default_rng(seed).random(cells(before)) ** 0.2  # mostly sure: a region needs nine in ten

    return answer


def judged(
    source: Image,
    new: Image,
    comparator: Sure,
    *overrides: str,
    prompt: str | None = None,
    redraws: bool = False,
) -> Sample:
    mapper = better_where_changed(source)
    sample = Sample(decoded=source, prompt=prompt, before=mapper([source])[0]).changed(new, "inpaint")
    return Accept(load_config(None, overrides), mapper, comparator, redraws)([sample])[0]


BIG = st.sampled_from([(48, 48), (50, 33), (17, 64)])


@settings(max_examples=100, deadline=None)
@given(size=BIG, seed=st.integers(0, 10**6), share=st.sampled_from([0.02, 0.3, 1.0]), rounds=st.integers(0, 3))
def test_only_confirmed_cells_change_and_a_patch_that_lost_does_not(
    size: tuple[int, int], seed: int, share: float, rounds: int
) -> None:
    mapper, comparator = Told(hashed(seed, 0.6)), Sure(guessed(seed))
    sample = refined_sample(size, seed, share, mapper)
    overrides = ("accept.colour=255", f"accept.rounds={rounds}", "bounds={lq: 0, mq: 0, hq: 0}")
    done = Accept(load_config(None, overrides), mapper, comparator)([sample])[0]
    assert done.decision in DECISIONS
    assert (done.decision == "accepted") == (done.refined is not None)
    if done.refined is None:
        assert done.decision != "nothing_to_do"
        assert (done.stages, done.after) == ((), None)
        return
    changed = (done.refined != sample.image).any(axis=-1)
    confirmed = comparator([sample.image], [sample.pixels])[0] >= 0.5
    assert not (changed & ~cell_pixels(confirmed, *size, 16)).any()
    seen = visible(sample.image, done.refined, 16)
    assert seen.any()
    assert not (changed & ~cell_pixels(seen, *size, 16)).any()
    after = mapper([done.refined])[0]
    assert done.after == after
    assert after.score > sample.quality.score
    here = patch_any(changed, N)
    assert after.values[here].mean() > sample.quality.values[here].mean()
    assert not (here & (after.values < sample.quality.values - np.float32(0.02))).any()


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 2 * REGION + 9), st.integers(1, 2 * REGION + 9)),
    seed=st.integers(0, 10**6),
    share=st.sampled_from([0.0, 0.1, 0.4, 0.9, 1.0]),
)
def test_a_cell_is_no_surer_than_nine_in_ten_of_its_region(size: tuple[int, int], seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    seen, better = rng.random(size) < share, rng.random(size).astype(np.float32)
    expected = better.copy()
    _, labels = cv2.connectedComponents(seen.astype(np.uint8), connectivity=8)
    for top in range(0, size[0], REGION):
        for left in range(0, size[1], REGION):
            tile = np.zeros(size, bool)
            tile[top : top + REGION, left : left + REGION] = True
            for number in np.unique(labels[seen & tile]):
                region = seen & tile & (labels == number)
                most = np.sort(better[region])[int((region.sum() - 1) * AGREE)]
                expected[region] = np.minimum(better[region], most)
    found = by_region(better, seen)
    assert np.array_equal(found, expected)
    assert np.array_equal(by_region(found, seen), found)


def test_a_region_is_refused_for_its_unsure_cells_and_another_stays() -> None:
    source = photo(size=256)
    new = source.copy()
    new[:96, :96] ^= 255
    new[160:, 160:] ^= 255
    better = np.full((16, 16), 0.9)
    better[:6, :3] = 0.2  # half of one region
    better[15, 15] = 0.2  # a cell in 36 of the other
    overrides = ("accept.colour=255", "accept.feather=0", "bounds={lq: 0, mq: 0, hq: 0}")
    done = judged(source, new, Sure(lambda before, after: better), *overrides)
    changed = (done.pixels != source).any(axis=-1)
    assert done.decision == "accepted"
    assert not changed[:96, :96].any()
    assert not changed[240:, 240:].any()
    assert changed[160:224, 160:224].mean() > 0.9


def test_the_clean_original_that_the_judge_confirms_is_taken_whole() -> None:
    clean = photo(size=96)
    damaged = noisy(clean)
    done = judged(damaged, clean, Sure(everywhere(0.9)))
    assert done.decision == "accepted"
    assert np.array_equal(done.pixels, clean)


@pytest.mark.parametrize(("probability", "poor", "decision"), [
    (0.6, 0.9, "doubt"), (0.6, 0.4, "accepted"), (0.8, 0.9, "accepted"), (0.4, 0.4, "judged_worse"),
])  # fmt: skip
def test_an_image_that_is_mostly_poor_is_repaired_at_half_of_the_risk(
    probability: float, poor: float, decision: str
) -> None:
    source, new = np.full((80, 80, 3), 100, np.uint8), np.full((80, 80, 3), 110, np.uint8)
    before = np.full((10, 10), 0.9, np.float32)
    before[: round(10 * poor)] = 0.5
    mapper = Told(lambda image: before + 0.05 * np.array_equal(image, new))
    sample = Sample(decoded=source, before=mapper([source])[0]).changed(new, "inpaint")
    comparator = Sure(everywhere(probability), by_risk=40)  # .5 at the risk of .01, .7 at half of it
    assert Accept(load_config(None, ()), mapper, comparator)([sample])[0].decision == decision


def test_a_perfect_repair_of_one_cell_is_enough() -> None:
    clean = photo(size=256)
    damaged = clean.copy()
    damaged[100:110, 100:110] = 255 - damaged[100:110, 100:110]
    mapper = Told(lambda image: quality_of(image, damaged))
    sample = Sample(decoded=damaged, before=mapper([damaged])[0]).changed(clean, "inpaint")
    done = Accept(load_config(None, ("accept.colour=255",)), mapper, Sure(everywhere(0.9)))([sample])[0]
    assert done.decision == "accepted"


def quality_of(image: Image, damaged: Image) -> np.ndarray:
    values = np.full((16, 16), 0.9)
    values[6, 6] -= 0.1 * np.array_equal(image, damaged)  # of the mean of 256 patches it is nothing
    return values


@pytest.mark.parametrize(
    ("probability", "overrides", "prompt", "decision"),
    [
        (0.9, (), None, "accepted"),
        (0.4, (), None, "judged_worse"),
        (0.9, ("accept.threshold=0.95",), None, "judged_worse"),
        (0.4, ("accept.threshold=0.3",), None, "accepted"),
        (0.9, ("accept.colour=1",), None, "colour"),
        (0.9, (), "rain in the mountains", "prompt"),
        (0.9, ("accept.min_gain=0.5",), None, "no_gain"),
        (0.4, ("bounds={lq: 0.5, mq: 0.8, hq: 0.9}",), None, "doubt"),
    ],
)
def test_why_an_image_is_kept(
    probability: float, overrides: tuple[str, ...], prompt: str | None, decision: str
) -> None:
    clean = cv2.GaussianBlur(photo(size=96), (0, 0), 6)
    speckled = clean.copy()
    speckled[4::8, 4::8] = 255 * (clean[4::8, 4::8].mean(axis=-1, keepdims=True) < 128)
    low = () if any("bounds" in one for one in overrides) else ("bounds={lq: 0.1, mq: 0.2, hq: 0.3}",)
    done = judged(speckled, clean, Sure(everywhere(probability)), *overrides, *low, prompt=prompt)
    assert done.decision == decision
    assert (done.refined is not None) == (decision == "accepted")


def test_who_draws_may_move_colours_further_where_its_strength_is_high() -> None:
    source = np.full((48, 48, 3), 100, np.uint8)
    new = np.full((48, 48, 3), 130, np.uint8)
    low = "bounds={lq: 0.6, mq: 0.8, hq: 0.9}"  # full strength everywhere
    assert judged(source, new, Sure(everywhere(0.9)), low).decision == "colour"
    assert judged(source, new, Sure(everywhere(0.9)), low, redraws=True).decision == "accepted"


def test_a_change_that_nobody_sees_is_no_repair() -> None:
    source = photo(size=48).clip(0, 250)
    for overrides in ((), ("accept.risk=null",)):
        done = judged(source, source + 1, Sure(everywhere(1)), *overrides)
        assert (done.decision, done.refined) == ("not_visible", None)


def test_a_cell_that_nobody_sees_changed_holds_the_sources_pixels() -> None:
    source = np.full((48, 48, 3), 100, np.uint8)
    new = source + 1
    new[:16, :16] = 110
    done = judged(source, new, Sure(everywhere(0.9)))
    assert done.decision == "accepted"
    assert (done.pixels[:16, :16] == 110).all()
    assert (done.pixels[16:] == 100).all()
    assert (done.pixels[:, 16:] == 100).all()


def test_a_refused_cell_is_taken_back_within_a_seam_and_the_others_stay() -> None:
    source, new = np.full((64, 64, 3), 100, np.uint8), np.full((64, 64, 3), 112, np.uint8)

    def answer(before: Image, after: Image) -> np.ndarray:
        values = np.full((4, 4), 0.9)
        values[1, 1] = 0.1
        return values

    done = judged(source, new, Sure(answer))
    assert done.decision == "accepted"
    assert (done.pixels[16:32, 16:32] == 100).all()
    assert (done.pixels[48:] == 112).all()
    steps = done.pixels[24, 32:48, 0].tolist()
    assert steps == sorted(steps)
    assert len(set(steps)) > 4


def test_the_last_round_takes_back_regions_and_leaves_the_others() -> None:
    source = np.full((96, 96, 3), 100, np.uint8)
    new = source.copy()
    new[:40, :40] = 110  # harmed as long as any of it is left
    new[64:, 64:] = 110

    def answer(image: Image) -> np.ndarray:
        values = np.full((N, N), 0.5, dtype=np.float32)
        harm = image[:40, :40] != 100
        values[:2, :2] -= 0.3 * patch_any(np.pad(harm.any(-1), ((0, 56), (0, 56))), N)[:2, :2]
        values[2, 2] += 0.3 * (image[80, 80, 0] > 100)
        return values

    mapper = Told(answer)
    for rounds in (0, 2):
        config = load_config(None, [f"accept.rounds={rounds}"])
        sample = Sample(decoded=source, before=mapper([source])[0]).changed(new, "x")
        done = Accept(config, mapper, Sure(everywhere(0.9)))([sample])[0]
        assert done.decision == "accepted"
        assert (done.pixels[:40, :40] == 100).all()
        assert (done.pixels[64:, 64:] == 110).all()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(BIG, st.integers(0, 1000)), min_size=2, max_size=4), st.integers(0, 100))
def test_with_a_judge_too_the_decision_does_not_depend_on_the_batch(
    specs: list[tuple[tuple[int, int], int]], salt: int
) -> None:
    mapper = Told(hashed(salt, 0.9))
    samples = [refined_sample(size, seed, 0.6, mapper) for size, seed in specs]
    accept = Accept(load_config(None, ("accept.colour=255",)), mapper, Sure(guessed(salt)))
    for together, sample in zip(accept(samples), samples, strict=True):
        alone = accept([sample])[0]
        assert (together.decision, together.after) == (alone.decision, alone.after)
        assert np.array_equal(together.pixels, alone.pixels)


class Broken(Wild):
    """Gives what is no number."""

    def __call__(self, *arguments: Any) -> list[Image]:
        raise NotFiniteError("nan")


def test_values_that_are_not_finite_keep_the_image() -> None:
    config = load_config(
        None, [*PLAIN, f"inpaint.name={__name__}:Broken", f"enhance.blind.name={__name__}:Broken"]
    )
    result = Refiner(config)([noisy(photo(size=96))])[0]
    assert (result.status, result.decision) == ("kept", "not_finite")
