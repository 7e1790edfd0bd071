"""From a source's bytes to what the stages made of it, without a cluster and without a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from qrefine.config import RefineConfig, load_config, sample_seed
from qrefine.corpus.images import decode
from qrefine.quality.map import QualityMap
from qrefine.sample import Sample
from qrefine.stages.refiner import MODEL_STAGES, Map, build_stages
from qrefine.stages.stage import Step
from qrefine.work.process import load, process
from tests.stages.backends import Told, quality
from tests.support import PLAIN, encoded, noisy, photo

CONFIG = load_config(None, [*PLAIN, "seed=7"])
GOOD = quality([[0.9, 0.9], [0.9, 0.9]])


class Count:
    """A stage that counts the samples it is given and throws at those that a prompt tells it to."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def wants(self, sample: Sample) -> bool:
        return sample.prompt != "leave"

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
        if any(sample.prompt == "throw" for sample in samples):
            raise RuntimeError("boom")
        self.keys += [sample.key for sample in samples]
        return [sample.changed(255 - sample.image, "count") for sample in samples]


def sample(key: str, image: bytes | None, **more: object) -> Sample:
    return Sample("s.tar", 0, key, image, 1, **more)  # type: ignore[arg-type]


def test_every_sample_comes_back_in_order_with_seed_size_and_map() -> None:
    images = [noisy(photo(size=96)), photo("coffee", 64), photo("rocket", 48)[:, :20]]
    samples = [sample(f"k{i}", encoded(image)) for i, image in enumerate(images)]
    done = process(samples, build_stages(MODEL_STAGES, CONFIG), CONFIG)
    assert [one.key for one in done] == ["k0", "k1", "k2"]
    assert [one.size for one in done] == [(96, 96), (64, 64), (48, 20)]
    assert [one.seed for one in done] == [sample_seed(f"k{i}", 7) for i in range(3)]
    assert all(one.before is not None and one.error is None for one in done)
    assert done[0].status == "refined"
    for one, image in zip(done, images, strict=True):
        assert np.array_equal(one.image, image)


def test_a_seed_follows_the_draw_and_not_what_stood_there() -> None:
    done = process([sample("k", None, draw=3, seed=99, error="gone")], [], CONFIG)
    assert done[0].seed == sample_seed("k", 7, 3)


def test_what_no_stage_wants_is_not_decoded() -> None:
    wanted = sample("a", encoded(photo(size=16)), prompt="take", before=GOOD)
    undecodable = sample("b", b"garbage", prompt="leave", before=GOOD)  # decoding it would be an error
    stage = Count()
    done = process([wanted, undecodable], [stage], CONFIG)
    assert stage.keys == ["a"]
    assert done[1] == replace(undecodable, seed=done[1].seed)
    assert (done[1].error, done[1].decoded) == (None, None)


def test_a_good_map_spares_the_later_stages_the_pixels() -> None:
    mapped = sample("a", encoded(noisy(photo())), before=GOOD)
    later = build_stages(("noise", "inpaint", "enhance", "accept"), CONFIG)
    poor = replace(mapped, before=QualityMap(np.full((2, 2), 0.1)))
    kept, worked = process([mapped, poor], later, CONFIG)
    assert kept.decoded is None
    assert worked.decoded is not None


def test_before_there_is_a_map_every_sample_is_decoded() -> None:
    leave = sample("a", encoded(photo(size=16)), prompt="leave")
    assert load(leave, [Count()], CONFIG).size == (16, 16)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"garbage", "not an image"),
        (b"", "image member is empty"),
        (None, "image member is empty"),
        (encoded(photo(size=64))[:300], ""),
        (encoded(photo(size=64)), "too many pixels"),
    ],
    ids=["garbage", "empty", "missing", "cut", "too large"],
)
def test_what_cannot_be_decoded_fails_alone_and_says_why(source: bytes | None, reason: str) -> None:
    small = {"images": CONFIG.images.model_copy(update={"max_megapixels": 0.001})}
    config = CONFIG.model_copy(update=small)
    good = sample("good", encoded(photo(size=16)))
    stage = Count()
    bad, after = process([sample("bad", source), good], [stage], config)
    assert bad.error
    assert bad.error.startswith(reason)
    assert (bad.status, bad.size) == ("failed", None)
    assert stage.keys == ["good"]
    assert after.error is None


def test_a_sample_that_failed_before_keeps_its_first_reason() -> None:
    stage = Count()
    broken = sample("a", b"garbage", error="no image member")
    (done,) = process([broken], [stage], CONFIG)
    assert done == replace(broken, seed=done.seed)
    assert stage.keys == []


def test_a_stage_that_throws_costs_the_one_sample() -> None:
    data = encoded(photo(size=16))
    done = process([sample("a", data), sample("b", data, prompt="throw"), sample("c", data)], [Count()], CONFIG)
    assert [one.status for one in done] == ["refined", "failed", "refined"]
    assert done[1].error == "RuntimeError in count: boom"


def test_what_becomes_of_a_sample_does_not_depend_on_the_batch() -> None:
    images = [noisy(photo(name, 64), i) for i, name in enumerate(("astronaut", "coffee", "rocket"))]
    samples = [sample(f"k{i}", encoded(image)) for i, image in enumerate(images)]
    stages = build_stages(MODEL_STAGES, CONFIG)
    for together, one in zip(process(samples, stages, CONFIG), samples, strict=True):
        (alone,) = process([one], stages, CONFIG)
        assert np.array_equal(together.pixels, alone.pixels)
        assert (together.before, together.after, together.stages) == (alone.before, alone.after, alone.stages)


def test_a_watch_hears_of_decoding_and_of_each_stage() -> None:
    steps: list[Step] = []
    ticks = iter(range(100))
    mapper = Map(Told(lambda image: np.full((2, 2), 0.5)))
    data = encoded(photo(size=16))
    process([sample("a", data), sample("b", data)], [mapper], CONFIG, steps.append, lambda: float(next(ticks)))
    assert [(step.stage, len(step.samples), step.seconds) for step in steps] == [
        ("decode", 1, 1.0), ("decode", 1, 1.0), ("map", 2, 1.0),
    ]  # fmt: skip


def test_pixels_are_those_of_the_image_the_right_way_up() -> None:
    (done,) = process([sample("a", encoded(photo(size=16), "JPEG"))], [Count()], CONFIG)
    assert np.array_equal(done.image, decode(done.source or b"", RefineConfig().images))
    assert np.array_equal(done.pixels, 255 - done.image)
