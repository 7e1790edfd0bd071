from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from qrefine.config import RefineConfig
from qrefine.corpus.listing import Shard
from qrefine.plan import sampling
from qrefine.plan.sampling import choose_shards, draw_samples
from tests.support import encoded, photo, write_shards, write_tar


def test_one_shard_of_each_stratum() -> None:
    shards = [Shard(f"{k:03d}", 1) for k in range(100)]
    chosen = [int(shard.url) for shard in choose_shards(shards, 10, seed=3)]
    assert [number // 10 for number in chosen] == list(range(10))
    assert choose_shards(shards, 10, seed=3) == choose_shards(shards, 10, seed=3)
    assert choose_shards(shards, 10, seed=3) != choose_shards(shards, 10, seed=4)
    assert choose_shards(shards[:4], 10, seed=0) == shards[:4]


def test_every_sample_is_as_likely(tmp_path: Path, plain: RefineConfig) -> None:
    image = encoded(photo(size=8))
    path = write_tar(tmp_path / "a.tar", [(f"{k:03d}.png", image) for k in range(10)])
    shard = Shard(str(path), path.stat().st_size)
    drawn: Counter[int] = Counter()
    for seed in range(300):
        sample = draw_samples(shard, 3, plain, seed)
        assert sample.count == 10
        assert sample.counted
        assert len(sample.drawn) == 3
        drawn.update(one.index for one in sample.drawn)
    assert all(55 < drawn[k] < 130 for k in range(10))  # 90 +- 8 expected


def test_a_copy_of_a_corpus_draws_the_same_samples(tmp_path: Path, plain: RefineConfig) -> None:
    image = encoded(photo(size=8))
    drawn = []
    for folder in ("here", "elsewhere"):
        (tmp_path / folder).mkdir()
        path = write_tar(tmp_path / folder / "a.tar", [(f"{k:03d}.png", image) for k in range(20)])
        sample = draw_samples(Shard(str(path), path.stat().st_size), 5, plain, 0)
        drawn.append([one.index for one in sample.drawn])
    assert drawn[0] == drawn[1]


def test_a_large_shard_is_extrapolated_by_bytes(
    tmp_path: Path, plain: RefineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_shards(tmp_path, shards=1, samples=40, size=64)[0]
    monkeypatch.setattr(sampling, "MOST_BYTES", 100_000)
    sample = draw_samples(Shard(str(path), path.stat().st_size), 5, plain, 0)
    assert not sample.counted
    assert sample.count == pytest.approx(40, rel=0.15)
    assert max(one.index for one in sample.drawn) < 20


def test_a_damaged_shard_is_a_sample_too(tmp_path: Path, plain: RefineConfig) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar")
    sample = draw_samples(Shard(str(tmp_path / "a.tar"), 6), 5, plain, 0)
    assert sample.count == 1
    assert sample.drawn[0].error is not None
