"""Archives in any order give the same samples, in bounded memory, and in one pass where members lie together."""

from __future__ import annotations

import io
import random
import tarfile
import tracemalloc
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.local import LocalFileOpener, LocalFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.config import ImageSettings, InputSettings
from qrefine.corpus import joining
from qrefine.corpus.grouping import Reading, grouped
from qrefine.corpus.joining import Index, joined
from qrefine.corpus.layout import LOOK_BYTES, lie_together, plainly_together, read_names, runs
from qrefine.corpus.shards import read_shard
from qrefine.corpus.tar import read_tar
from qrefine.sample import Sample
from tests.corpus.odd import PACKERS, PNGS, A, B, link, tar

READING = Reading(ImageSettings(), InputSettings())
KEYS = st.sampled_from(["a", "b", "d/a", "./a", "v1.5 x"])
SUFFIXES = st.sampled_from(["png", "jpg", "txt", "json", "mask.png", "caption.txt", "npy"])
MEMBERS = st.lists(st.tuples(KEYS, SUFFIXES), min_size=1, max_size=10)


def read(path: Path, data: bytes, **options: object) -> list[Sample]:
    path.write_bytes(data)
    return list(read_shard(str(path), ImageSettings(), retries=0, **options))  # type: ignore[arg-type]


def content(key: str, suffix: str, place: int) -> bytes:
    return PNGS[place % 4] if suffix.endswith(("png", "jpg")) else f"{place}".encode()


def by_grouping(data: bytes) -> list[Sample | str]:
    groups = grouped(read_tar(io.BytesIO(data)), READING)
    return [g if isinstance(g, str) else g.sample("s", i, READING) for i, g in enumerate(groups)]


def by_index(data: bytes) -> list[Sample | str]:
    index = Index(read_tar(io.BytesIO(data), len(data)), READING)
    groups = joined(index, read_tar(io.BytesIO(data), len(data)), lambda index: True)
    return [g if isinstance(g, str) else g.sample("s", i, READING) for i, g in enumerate(groups)]


@settings(max_examples=150, deadline=None)
@given(MEMBERS)
def test_where_members_lie_together_both_ways_of_reading_say_the_same(names: list[tuple[str, str]]) -> None:
    data = tar(*((f"{key}.{suffix}", content(key, suffix, i)) for i, (key, suffix) in enumerate(names)))
    if lie_together(runs(read_tar(io.BytesIO(data)), READING)):
        assert by_grouping(data) == by_index(data)


@settings(max_examples=100, deadline=None)
@given(MEMBERS, st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]), st.booleans())
def test_the_quick_look_is_never_surer_than_the_slow_one(
    tmp_path_factory: pytest.TempPathFactory, names: list[tuple[str, str]], kind: int, long: bool
) -> None:
    folder = "d" * 120 + "/" if long else ""
    data = tar(*((f"{folder}{key}.{suffix}", b"x" * 600) for key, suffix in names), kind=kind)
    path = tmp_path_factory.mktemp("look") / "s.tar"
    path.write_bytes(data)
    with open(path, "rb") as file:
        quick = plainly_together(read_names(file.fileno()))
    assert not quick or lie_together(runs(read_tar(io.BytesIO(data)), READING))
    in_order = tar(*((f"{folder}{i}.{suffix}", b"x") for i in range(5) for suffix in ("png", "txt")), kind=kind)
    path.write_bytes(in_order)
    with open(path, "rb") as file:
        assert plainly_together(read_names(file.fileno()))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.randoms(use_true_random=False), st.sampled_from([*PACKERS]))
def test_any_order_of_members_gives_the_same_samples(
    tmp_path_factory: pytest.TempPathFactory, count: int, dice: random.Random, packer: str
) -> None:
    members = [
        (f"k{i}.{suffix}", data)
        for i in range(count)
        for suffix, data in (
            ("png", PNGS[i % 4]),
            ("txt", b"%d" % i),
            ("json", b"{}"),
            ("mask.png", B),
            ("cls", b"1"),
        )
    ]
    dice.shuffle(members)
    samples = read(tmp_path_factory.mktemp("any") / "s", PACKERS[packer](tar(*members)))
    assert [s.index for s in samples] == list(range(count))
    assert {(s.key, s.source, s.prompt, s.metadata, s.error) for s in samples} == {
        (f"k{i}", PNGS[i % 4], str(i), "{}", None) for i in range(count)
    }
    assert all(sorted(s.members) == ["cls", "json", "mask.png", "png", "txt"] for s in samples)
    in_shard = [name.partition(".")[0] for name, _ in members if name.count(".") == 1 and name.endswith("png")]
    assert [s.key for s in samples] == in_shard


# Beyond what is looked at


class Counted(LocalFileOpener):  # type: ignore[misc]
    def read(self, size: int = -1) -> bytes:
        data = bytes(self.f.read(size))
        Counting.read += len(data)
        return data


class Counting(LocalFileSystem):  # type: ignore[misc]
    """Local files that are taken for remote ones, and how many bytes of them were read."""

    protocol = "counting"
    cachable = False
    read = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("counting://")))

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: object) -> object:
        return Counted(path, mode, fs=self)


@pytest.fixture(autouse=True)
def _counting() -> None:
    fsspec.register_implementation("counting", Counting, clobber=True)
    Counting.read = 0


def images_and_texts(count: int, size: int) -> tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]]:
    noise = np.random.default_rng(0)
    images = [(f"{i:05d}.png", A + noise.bytes(size)) for i in range(count)]
    return images, [(f"{i:05d}.txt", b"prompt %d" % i) for i in range(count)]


LARGE = 200_000
COUNT = 3 * LOOK_BYTES // LARGE


def orders() -> dict[str, tuple[list[tuple[str, bytes]], int]]:
    """Members, and how often the shard is read through from a store that is not local."""
    images, texts = images_and_texts(COUNT, LARGE)
    pairs = sorted([*images, *texts])
    half = len(pairs) // 2
    return {
        "together": (pairs, 1),
        "images alone": (images, 1),
        "images, then texts": ([*images, *texts], 3),
        "texts, then images": ([*texts, *images], 3),
        "texts added later": ([*pairs[:half], *images[half // 2 :], *texts[half // 2 :]], 3),
        "apart, then together": ([*images[: half // 2], *texts[: half // 2], *pairs[half:]], 3),
    }


@pytest.mark.parametrize("order", orders())
@pytest.mark.parametrize("protocol", ["", "counting://"])
def test_large_shards_are_joined_and_ordinary_ones_read_once(tmp_path: Path, order: str, protocol: str) -> None:
    members, passes = orders()[order]
    path = tmp_path / "s.tar"
    path.write_bytes(tar(*members))
    samples = list(read_shard(f"{protocol}{path}", ImageSettings()))
    assert [s.error for s in samples] == [None] * COUNT
    images, texts = images_and_texts(COUNT, LARGE)
    assert [(s.key, s.source) for s in samples] == [(name[:-4], data) for name, data in images]
    expected = [None] * COUNT if order == "images alone" else [text.decode() for _, text in texts]
    assert [s.prompt for s in samples] == expected
    if protocol:
        assert Counting.read <= passes * path.stat().st_size + (1 << 20)


@pytest.mark.parametrize("packer", ["tar", "tar.gz"])
def test_members_apart_are_joined_in_memory_that_does_not_grow_with_the_shard(tmp_path: Path, packer: str) -> None:
    def peak(count: int) -> int:
        images, texts = images_and_texts(count, 300_000)
        path = tmp_path / f"{count}.{packer}"
        path.write_bytes(PACKERS[packer](tar(*images, *texts)))
        del images, texts
        tracemalloc.start()
        try:
            assert sum(s.prompt is not None for s in read_shard(str(path), ImageSettings())) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    short, long = peak(20), peak(160)
    assert long < short + (2 << 20)
    assert long < 24 << 20


# Bad input


@pytest.mark.parametrize("packer", ["tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
def test_a_cut_archive_with_members_apart_gives_what_is_whole_and_one_row(tmp_path: Path, packer: str) -> None:
    images, texts = images_and_texts(20, 100_000)
    data = PACKERS[packer](tar(*texts, *images))
    *good, last = read(tmp_path / "s", data[: len(data) * 3 // 4])
    assert 1 <= len([s for s in good if s.error is None]) < 20
    for sample in good:
        if sample.error is None:
            assert sample.prompt == texts[int(sample.key)][1].decode()
            assert sample.source == images[int(sample.key)][1]
    assert last.key == ""
    assert "shard damaged" in (last.error or "")


def test_links_to_nowhere_and_in_a_circle_are_one_line_each_and_cost_nothing_else(tmp_path: Path) -> None:
    data = tar(
        ("a.png", A), link("a.txt", "gone.txt"), link("b.png", "/etc/passwd"), ("b.txt", b"b"),
        link("c.png", "d.png"), link("d.png", "c.png"), link("e.png", "../../../a.png", hard=True),
        link("folder", "elsewhere"), ("z.png", B), ("z.txt", b"z"),
    )  # fmt: skip
    found = {s.key: s for s in read(tmp_path / "s.tar", data)}
    assert [*found] == ["a", "b", "c", "d", "e", "z", ""]
    assert (found["a"].source, found["z"].source, found["z"].prompt) == (A, B, "z")
    assert found["b"].error == "image member is a link to nowhere: b.png -> /etc/passwd"
    assert found["b"].prompt == "b"
    assert found["c"].error == "image member is a link loop: c.png -> d.png"
    assert found["e"].error == "image member is a link to nowhere: e.png -> ../../../a.png"
    assert "link to nowhere: a.txt -> gone.txt at byte" in (found[""].error or "")


def test_texts_apart_beyond_what_is_held_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "MOST_SIDES", 4)
    *good, last = read(tmp_path / "s.tar", tar(("a.png", A), ("b.png", B), ("a.txt", b"abc"), ("b.txt", b"abc")))
    assert [(s.key, s.prompt, s.error) for s in good] == [("a", "abc", None), ("b", None, None)]
    assert "(b.txt)" in (last.error or "")


def test_what_is_not_wanted_is_not_read_from_members_apart(tmp_path: Path) -> None:
    images, texts = images_and_texts(8, 1000)
    data = tar(*images, *texts)
    assert [(s.index, s.prompt) for s in read(tmp_path / "s.tar", data, wanted=lambda i: i in (2, 7))] == [
        (2, "prompt 2"), (7, "prompt 7"),
    ]  # fmt: skip
