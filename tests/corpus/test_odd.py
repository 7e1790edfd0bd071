"""Odd but legitimate shards: every row as its author means it, with the source's bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrefine.config import ImageSettings
from qrefine.corpus.shards import read_shard
from tests.corpus.odd import ODD, PACKERS


def suffix(name: str) -> str:
    return next((packer for packer in PACKERS if name.endswith(f", {packer}")), "tar")


@pytest.mark.parametrize("name", ODD)
def test_rows_are_as_they_must_be(tmp_path: Path, name: str) -> None:
    data, rows = ODD[name]
    path = tmp_path / f"s.{suffix(name)}"
    path.write_bytes(data)
    samples = list(read_shard(str(path), ImageSettings()))
    assert [sample.error for sample in samples] == [None] * len(rows)
    assert [(sample.key, sample.prompt, sample.source) for sample in samples] == rows
    assert [sample.shard_rows for sample in samples] == [None] * (len(rows) - 1) + [len(rows)]
    for sample in samples:
        if sample.offset is not None and sample.source is not None:
            assert data[sample.offset : sample.offset + len(sample.source)] == sample.source
        assert (sample.offset is None) == (suffix(name) != "tar")
    again = list(read_shard(str(path), ImageSettings(), wanted=lambda index: index == 1))
    assert again == samples[1:2]
