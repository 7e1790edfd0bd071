"""Samples cross a process border as Arrow: what arrives is what was sent, all but the decoded pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from qrefine.config import RefineConfig
from qrefine.quality.map import QualityMap
from qrefine.sample import DECISIONS, Sample
from qrefine.stages.refiner import MODEL_STAGES, build_stages
from qrefine.work.border import blocks, from_arrow, to_arrow
from qrefine.work.process import process
from tests.support import encoded, noisy, photo

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
COUNT = st.integers(0, 2**63 - 1)
SCORE = st.floats(allow_nan=False)
MAPS = st.integers(1, 4).flatmap(
    lambda n: npst.arrays(np.float32, (n, n), elements=st.floats(0, 1, width=32)).map(QualityMap)
)
IMAGES = st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(lambda size: npst.arrays(np.uint8, (*size, 3)))
FIELDS: Mapping[str, st.SearchStrategy[Any]] = {
    "shard": TEXT,
    "index": COUNT,
    "key": TEXT,
    "source": st.none() | st.binary(max_size=20),
    "image_count": COUNT,
    "members": st.lists(TEXT).map(tuple),
    "prompt": st.none() | TEXT,
    "prompt_source": st.none() | TEXT,
    "metadata": st.none() | TEXT,
    "shard_version": st.none() | TEXT,
    "shard_rows": st.none() | COUNT,
    "offset": st.none() | COUNT,
    "draw": COUNT,
    "seed": COUNT,
    "size": st.none() | st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1)),
    "before": st.none() | MAPS,
    "refined": st.none() | IMAGES,
    "stages": st.lists(TEXT, max_size=3).map(tuple),
    "after": st.none() | MAPS,
    "decision": st.none() | st.sampled_from(DECISIONS),
    "lost": st.lists(TEXT, max_size=2).map(tuple),
    "judgements": st.lists(st.tuples(SCORE, SCORE), max_size=2).map(tuple),
    "output": st.none() | st.binary(max_size=20),
    "notes": st.lists(TEXT, max_size=2).map(tuple),
    "error": st.none() | TEXT,
}
SAMPLES = st.builds(Sample, decoded=st.none(), **FIELDS)


def check_same(found: Sample, expected: Sample) -> None:
    """Every field equal in value and in type."""
    for field in fields(Sample):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        assert type(a) is type(b), field.name
        if isinstance(b, np.ndarray):
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), field.name
        else:
            assert a == b, field.name


def test_the_property_below_speaks_of_every_field() -> None:
    assert {*FIELDS, "decoded"} == {field.name for field in fields(Sample)}


@settings(max_examples=80, deadline=None)
@given(st.lists(SAMPLES, max_size=4))
def test_every_field_arrives_as_it_was_sent(samples: list[Sample]) -> None:
    found = from_arrow(to_arrow(samples))
    assert len(found) == len(samples)
    for a, b in zip(found, samples, strict=True):
        check_same(a, b)


@settings(max_examples=20, deadline=None)
@given(st.lists(SAMPLES, min_size=2, max_size=6), st.data())
def test_a_slice_of_a_table_is_those_samples(samples: list[Sample], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(samples) - 1))
    table = pa.concat_tables([to_arrow(samples), to_arrow(samples)])  # several chunks, as Ray joins them
    for a, b in zip(from_arrow(table.slice(start, len(samples))), [*samples, *samples][start:], strict=False):
        check_same(a, b)


def test_decoded_pixels_stay_behind() -> None:
    table = to_arrow([Sample(decoded=photo(size=64), size=(64, 64))])
    assert "decoded" not in table.column_names
    assert table.nbytes < 64 * 64
    assert from_arrow(table) == [Sample(size=(64, 64))]


def test_pixels_that_arrive_are_not_copied_and_cannot_be_written_to() -> None:
    table = to_arrow([Sample(refined=photo(size=64))])
    (found,) = from_arrow(table)
    assert found.refined is not None
    assert not found.refined.flags.writeable
    assert not found.refined.flags.owndata


def test_no_samples_are_a_table_of_the_same_columns() -> None:
    assert to_arrow([]).schema == to_arrow([Sample()]).schema
    assert from_arrow(to_arrow([])) == []


def test_blocks_hold_about_what_they_should_and_lose_nothing() -> None:
    samples = [Sample("s.tar", i, f"k{i}", bytes(400), 1) for i in range(10)]
    samples += [Sample("s.tar", 10, error="gone"), Sample("s.tar", 11, "k11", bytes(5000), 1)]
    tables = list(blocks(samples, 1000))
    assert [table.num_rows for table in tables] == [3, 3, 3, 3]
    assert from_arrow(pa.concat_tables(tables)) == samples


def test_text_counts_as_bytes_too_and_a_block_has_one_sample_at_least() -> None:
    long = Sample("s.tar", 0, "k", b"x", 1, "p" * 600, "m" * 600)
    assert [table.num_rows for table in blocks([long] * 4, 2000)] == [2, 2]
    assert [table.num_rows for table in blocks([long] * 3, 1)] == [1, 1, 1]
    assert list(blocks([], 1000)) == []


def test_blocks_are_made_as_samples_come() -> None:
    read = []

    def reader() -> Any:
        for i in range(9):
            read.append(i)
            yield Sample("s.tar", i, f"k{i}", bytes(400), 1)

    coming = blocks(reader(), 1000)
    assert next(coming).num_rows == 3
    assert read == [0, 1, 2]


@pytest.mark.parametrize("mode", ["fused", "paper"])
def test_stages_in_several_processes_give_what_one_process_gives(plain: RefineConfig, mode: str) -> None:
    config = plain.model_copy(update={"mode": mode})
    samples = [
        Sample("s.tar", 0, "k0", encoded(noisy(photo())), 1),
        Sample("s.tar", 1, "k1", encoded(photo("coffee", 64)), 1),
        Sample("s.tar", 2, "k2", b"garbage", 1),
        Sample("s.tar", 3, "k3", error="no image member"),
    ]
    whole = to_arrow(process(samples, build_stages(MODEL_STAGES, config), config))
    parted = to_arrow(samples)
    for names in (("map",), ("noise", "inpaint"), ("enhance",), ("accept",)):
        parted = to_arrow(process(from_arrow(parted), build_stages(names, config), config))
    assert parted.equals(whole)
    done = from_arrow(parted)
    errors = [sample.error and sample.error.partition(" (")[0] for sample in done]
    assert errors == [None, None, "not an image", "no image member"]
    assert done[0].size == (128, 128)
    if mode == "fused":
        assert done[0].refined is not None
    check_same(done[3], replace(samples[3], seed=done[3].seed))
