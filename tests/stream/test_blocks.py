from __future__ import annotations

import pyarrow as pa
import pytest
from PIL import ImageCms

from qrefine.config import RefineConfig
from qrefine.corpus.images import decode, icc_profile
from qrefine.corpus.shards import RawSample
from qrefine.stages.refiner import MODEL_STAGES, build_stages
from qrefine.stages.sample import Stage
from qrefine.stream import blocks
from tests.conftest import encoded, noisy, photo


def raw(index: int, image: bytes | None, **more: object) -> RawSample:
    return RawSample("s.tar", index, f"k{index}", image, 1, **more)  # type: ignore[arg-type]


def run(block: pa.Table, stages: list[Stage], config: RefineConfig) -> pa.Table:
    return blocks.run_on_batch(blocks.load_batch(block, stages, config), stages)


def test_blocks_hold_about_what_they_should_and_lose_nothing() -> None:
    samples = [raw(i, bytes(400)) for i in range(10)] + [raw(10, None, error="gone"), raw(11, bytes(5000))]
    tables = list(blocks.raw_blocks(samples, 1000))
    assert [table.num_rows for table in tables] == [3, 3, 3, 3]
    rows = pa.concat_tables(tables).to_pylist()
    assert [blocks.raw_sample(row) for row in rows] == samples


def test_a_pool_by_stages_gives_what_one_pool_gives(plain: RefineConfig) -> None:
    samples = [
        raw(0, encoded(noisy(photo()))),
        raw(1, encoded(photo("coffee", 64))),
        raw(2, b"garbage"),
        raw(3, None, error="no image member"),
    ]
    (block,) = blocks.raw_blocks(samples, 1e9)
    whole = run(block, build_stages(MODEL_STAGES, plain), plain)
    parted = block
    for stages in (("map",), ("noise", "inpaint"), ("enhance",), ("accept",)):
        parted = run(parted, build_stages(stages, plain), plain)
    assert parted.equals(whole)
    rows = parted.to_pylist()
    assert [row["error"] and row["error"].partition(" (")[0] for row in rows] == [
        None,
        None,
        "not an image",
        "no image member",
    ]
    assert rows[0]["size"] == [128, 128]
    found = decode(blocks.outcome(rows[0], plain).encoded or b"", plain.images)
    assert found.tobytes() == rows[0]["pixels"]


def test_what_no_stage_wants_is_not_decoded(plain: RefineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = blocks.raw_blocks([raw(0, encoded(photo())), raw(1, encoded(noisy(photo())))], 1e9)
    mapped = run(block, build_stages(("map",), plain), plain)
    good = plain.model_copy(update={"bounds": plain.bounds.model_copy(update={"lq": 0.0, "mq": 0.0, "hq": 0.0})})
    calls: list[bytes] = []
    monkeypatch.setattr(blocks, "decode", lambda data, settings: calls.append(data))
    after = run(mapped, build_stages(("inpaint", "enhance", "accept"), good), good)
    assert calls == []
    assert after.equals(mapped)


def test_the_colour_profile_of_the_source_stays(plain: RefineConfig) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    (block,) = blocks.raw_blocks([raw(0, encoded(noisy(photo()), icc_profile=profile))], 1e9)
    done = run(block, build_stages(MODEL_STAGES, plain), plain).to_pylist()
    assert icc_profile(blocks.outcome(done[0], plain).encoded or b"") == profile
