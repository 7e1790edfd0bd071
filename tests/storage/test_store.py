"""Listing shards, reads that break and go on, small objects written whole."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import random
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileOpener, LocalFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.config import ImageSettings, RefineConfig
from qrefine.corpus.listing import list_shards
from qrefine.corpus.readers import read_unit
from qrefine.corpus.shards import read_shard
from qrefine.corpus.units import Shard
from qrefine.errors import UserError
from qrefine.storage import retry
from qrefine.storage.ranges import RangeReader
from qrefine.storage.store import Store, canonical
from tests.support import write_shards


def names(patterns: list[str]) -> list[str]:
    return [Path(shard.url).name for shard in list_shards(patterns, {})]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for name in ("000.tar", "001.tar", "002.tar", "010.tar", "b.tar.gz", "c.tgz", "notes.txt"):
        (tmp_path / name).write_bytes(b"x" * len(name))
    (tmp_path / "sub.tar").mkdir()
    return tmp_path


# Listing


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("000.tar", ["000.tar"]),
        ("{000..002}.tar", ["000.tar", "001.tar", "002.tar"]),
        ("{000,010}.tar", ["000.tar", "010.tar"]),
        ("{000..005}.tar", ["000.tar", "001.tar", "002.tar"]),
        ("00?.tar", ["000.tar", "001.tar", "002.tar"]),
        ("*.tar", ["000.tar", "001.tar", "002.tar", "010.tar"]),
        ("", ["000.tar", "001.tar", "002.tar", "010.tar", "b.tar.gz", "c.tgz"]),
        ("notes.txt", ["notes.txt"]),
    ],
)
def test_patterns_list_what_they_name_sorted(corpus: Path, pattern: str, expected: list[str]) -> None:
    assert names([f"{corpus}/{pattern}"]) == expected


def test_a_shard_that_two_patterns_name_is_listed_once(corpus: Path) -> None:
    listed = names(
        [f"{corpus}/*.tar", f"{corpus}/000.tar", f"file://{corpus}/000.tar", f"{corpus}/../{corpus.name}"]
    )
    assert sorted(set(listed)) == listed


def test_sizes_are_those_of_the_files(corpus: Path) -> None:
    assert [shard.size for shard in list_shards([f"{corpus}/b.tar.gz"], {})] == [len("b.tar.gz")]


def test_a_version_changes_with_the_content_and_only_then(tmp_path: Path) -> None:
    shard = tmp_path / "a.tar"
    shard.write_bytes(b"one")
    (first,), (again,) = list_shards([str(shard)], {}), list_shards([str(tmp_path)], {})
    assert first == again
    assert first.version is not None
    assert first.version.startswith("3-")
    os.utime(shard, (0, 12345.5))
    (touched,) = list_shards([str(shard)], {})
    assert (touched.size, touched.version) == (3, "3-12345.5")


def test_relative_and_absolute_names_are_one(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpus)
    assert list_shards(["000.tar"], {}) == list_shards([f"file://{corpus}/000.tar"], {})
    assert list_shards(["./*.tar"], {}) == list_shards([str(corpus / "*.tar")], {})
    monkeypatch.setenv("HOME", str(corpus))
    assert canonical("~/000.tar") == str(corpus / "000.tar")


@pytest.mark.parametrize("name", ["run[1]", "what?", "a*b"])
def test_folders_and_files_with_pattern_characters_in_their_names_are_found(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "000.tar").touch()
    assert names([str(tmp_path / name)]) == ["000.tar"]
    assert names([str(tmp_path / name / "000.tar")]) == ["000.tar"]


def test_a_link_to_a_shard_is_a_shard_with_its_size(
    corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("links")
    (folder / "link.tar").symlink_to(corpus / "000.tar")
    (folder / "nowhere.tar").symlink_to(corpus / "none.tar")
    (folder / "folder.tar").symlink_to(corpus)
    listed = [(Path(s.url).name, s.size) for s in list_shards([str(folder)], {})]
    assert listed == [("link.tar", len("000.tar")), ("nowhere.tar", None)]
    assert "does not exist" in (next(read_shard(f"{folder}/nowhere.tar", ImageSettings())).error or "")


@pytest.mark.parametrize("pattern", ["none.tar", "none/*.tar", "{5..7}.tar", "empty"])
def test_what_matches_nothing_is_refused_by_its_pattern(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="nothing matches") as caught:
        list_shards([f"{tmp_path}/{pattern}"], {})
    assert pattern in str(caught.value)


def test_unbalanced_braces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unbalanced braces"):
        list_shards([f"{tmp_path}/{{000..002.tar"], {})


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("nosuch://x/y.tar", "cannot use nosuch://x/y.tar: Protocol not known"),
        ("memory://x/none.tar", "nothing matches"),
    ],
)
def test_bad_addresses_are_one_line(url: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint) as caught:
        list_shards([url], {})
    assert "\n" not in str(caught.value)


def test_urls_from_a_listing_name_the_shards_as_users_do_and_can_be_read(tmp_path: Path) -> None:
    filesystem = fsspec.filesystem("memory")
    root = f"memory://{uuid.uuid4().hex}"
    for path in write_shards(tmp_path, shards=2, samples=2, size=16):
        filesystem.pipe_file(f"{root}/{path.name}", path.read_bytes())
    by_glob = list_shards([f"{root}/*.tar"], {})
    assert by_glob == list_shards([f"{root}/{{000000..000001}}.tar"], {}) == list_shards([root], {})
    assert all(shard.url.startswith("memory://") for shard in by_glob)
    assert [s.error for s in read_shard(by_glob[0].url, ImageSettings())] == [None, None]


# Reads that break


class FlakyFile(LocalFileOpener):
    """Fails, ends early, or gives less than was asked for, at random."""

    def read(self, size: int = -1) -> bytes:
        dice = FlakyFileSystem.dice
        if FlakyFileSystem.allowed_failures > 0 and dice.random() < 0.5:
            FlakyFileSystem.allowed_failures -= 1
            failure = dice.choice([OSError("connection reset"), EOFError(), RuntimeError("payload error"), None])
            if failure is not None:
                raise failure
            return b""
        return self.f.read(dice.randint(1, size) if size > 0 else size)


class FailsAfter(random.Random):
    """Reads of at most 500 bytes; after so many of them each one fails."""

    def __init__(self, good_reads: int) -> None:
        super().__init__(0)
        self.left = good_reads

    def random(self) -> float:
        self.left -= 1
        return 0.9 if self.left >= 0 else 0.0

    def choice(self, seq: Any) -> Any:
        return OSError("connection reset")

    def randint(self, a: int, b: int) -> int:
        return min(b, 500)


class FlakyFileSystem(LocalFileSystem):
    protocol: ClassVar = "flaky"
    cachable = False
    dice = random.Random(0)
    allowed_failures = 0
    opened = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("flaky://"))

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> FlakyFile:
        type(self).opened += 1
        return FlakyFile(path, mode, fs=self, **options)


@pytest.fixture(scope="module", autouse=True)
def _flaky_store_that_is_tried_again_at_once() -> Iterator[None]:
    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retry, "FIRST_WAIT_S", 0.0)
        yield


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), failures=st.integers(0, 8), size=st.integers(0, 5000), ask=st.integers(1, 900))
def test_a_read_that_breaks_at_random_gives_exactly_the_bytes(
    tmp_path_factory: pytest.TempPathFactory, seed: int, failures: int, size: int, ask: int
) -> None:
    data = random.Random(seed).randbytes(size)
    path = tmp_path_factory.mktemp("flaky") / "data"
    path.write_bytes(data)
    FlakyFileSystem.dice, FlakyFileSystem.allowed_failures = random.Random(seed), failures
    with Store.at(f"flaky://{path}").reader(retries=failures) as reader:
        chunks = list(iter(lambda: reader.read(ask), b""))
        assert reader.position == size
    assert b"".join(chunks) == data


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), failures=st.integers(0, 8), size=st.integers(0, 5000))
def test_random_access_that_breaks_at_random_gives_exactly_the_bytes(
    tmp_path_factory: pytest.TempPathFactory, seed: int, failures: int, size: int
) -> None:
    data, dice = random.Random(seed).randbytes(size), random.Random(seed)
    path = tmp_path_factory.mktemp("flaky") / "data"
    path.write_bytes(data)
    FlakyFileSystem.dice, FlakyFileSystem.allowed_failures = random.Random(seed), failures
    store = Store.at(f"flaky://{path}")
    with RangeReader(store.filesystem, store.base, failures) as reader:
        assert reader.size == size
        for _ in range(5):
            start, length = dice.randint(0, size), dice.randint(0, 1000)
            assert reader.seek(start) == start
            assert reader.read(length) == data[start : start + length]
            assert reader.seek(-min(size, 4), os.SEEK_END) == size - min(size, 4)
            assert reader.read() == data[size - min(size, 4) :]
        assert reader.failure is None


def test_a_parquet_file_through_a_bad_connection_is_whole_or_ends_with_a_damage_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [bytes([row]) * 3000 for row in range(20)]}), path, row_group_size=5)
    expected = [sample.source for sample in read_unit(Shard(str(path), None), RefineConfig())]
    unit = Shard(f"flaky://{path}", None)
    for seed in range(10):
        FlakyFileSystem.dice, FlakyFileSystem.allowed_failures = random.Random(seed), 5
        assert [sample.source for sample in read_unit(unit, RefineConfig(), retries=5)] == expected
    ends = set()
    for good_reads in range(1, 400, 9):
        FlakyFileSystem.dice, FlakyFileSystem.allowed_failures = FailsAfter(good_reads), 10**6
        *good, last = read_unit(unit, RefineConfig(), retries=1)
        ends.add(len(good))
        assert [sample.source for sample in good] == expected[: len(good)]
        if last.source is None:
            assert (last.key, last.shard_rows) == ("", len(good) + 1)
            assert "connection reset" in (last.error or "")
    assert {0, 5, 19} <= ends


def test_more_failures_in_a_row_than_retries_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"x" * 100)

    class Never(random.Random):
        def random(self) -> float:
            return 0.0

        def choice(self, seq: Any) -> Any:
            return OSError("connection reset")

    FlakyFileSystem.dice, FlakyFileSystem.allowed_failures, FlakyFileSystem.opened = Never(), 10**6, 0
    with pytest.raises(OSError, match="connection reset"):
        Store.at(f"flaky://{tmp_path}/data").reader(retries=3).read(10)
    assert FlakyFileSystem.opened == 4


def test_a_shard_read_through_a_bad_connection_is_whole(tmp_path: Path) -> None:
    path = write_shards(tmp_path, shards=1, samples=5, size=64)[0]
    expected = list(read_shard(str(path), ImageSettings()))
    for seed in range(20):
        FlakyFileSystem.dice, FlakyFileSystem.allowed_failures = random.Random(seed), 5
        found = list(read_shard(f"flaky://{path}", ImageSettings(), retries=5))
        assert [(s.index, s.key, s.source, s.prompt, s.error, s.shard_rows) for s in found] == [
            (s.index, s.key, s.source, s.prompt, s.error, s.shard_rows) for s in expected
        ]


def test_a_connection_that_stays_broken_is_a_damage_row_behind_the_good_samples(tmp_path: Path) -> None:
    path = write_shards(tmp_path, shards=1, samples=2, size=16)[0]
    FlakyFileSystem.dice, FlakyFileSystem.allowed_failures = random.Random(1), 10**6
    *_, last = read_shard(f"flaky://{path}", ImageSettings(), retries=1)
    assert last.key == ""
    assert "shard" in (last.error or "")


def test_a_missing_file_is_not_tried_again(tmp_path: Path) -> None:
    FlakyFileSystem.opened, FlakyFileSystem.allowed_failures = 0, 0
    with pytest.raises(FileNotFoundError):
        Store.at(f"flaky://{tmp_path}/none").reader(retries=9).read(1)
    assert FlakyFileSystem.opened == 1


# Small objects


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store.at(str(tmp_path / "a" / "b") if request.param == "local" else f"memory://{uuid.uuid4().hex}/a/b")


def test_what_is_written_is_listed_read_and_removed(store: Store) -> None:
    assert not store.exists()
    assert store.names() == []
    store.remove_folder()
    store.make_folder("c")
    store.make_folder("c")
    store.write("c/2", b"two")
    store.join("c").create("1", b"one")
    with io.BytesIO(b"three") as file:
        file.read()
        store.upload("3", file)
    assert (store.names(), store.names("c"), store.names("c/1")) == (["3", "c"], ["1", "2"], [])
    assert [store.read("3"), store.read("c/2"), store.join("c/1").read()] == [b"three", b"two", b"one"]
    with store.open("3") as file:
        assert (file.seek(2), file.read()) == (2, b"ree")
    with store.join("3").reader(retries=0) as reader:
        assert reader.read() == b"three"
    assert (store.info("3") or {})["size"] == 5
    store.remove("3")
    store.remove("3")
    with pytest.raises(FileNotFoundError):
        store.read("3")
    store.remove_folder("c")
    assert not store.exists("c")


def test_a_new_object_is_refused_where_one_is_and_leaves_it(store: Store) -> None:
    store.make_folder()
    store.create("x", b"first")
    with pytest.raises(FileExistsError):
        store.create("x", b"second")
    assert store.read("x") == b"first"
    store.write("x", b"third")
    assert store.read("x") == b"third"
    assert store.names() == ["x"]


def test_an_object_on_disk_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path))
    (tmp_path / "plain").write_bytes(b"")
    for write in (store.create, store.write):
        write("x", b"data")
        assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_of_many_that_create_one_object_at_once_one_wins(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path))

    def create(i: int) -> bool:
        try:
            store.create("x", b"%d" % i * 1000)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = [i for i, first in enumerate(pool.map(create, range(64))) if first]
    assert len(won) == 1
    assert (tmp_path / "x").read_bytes() == b"%d" % won[0] * 1000
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_an_interrupted_write_leaves_the_object_and_nothing_beside_it(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path))
    store.write("x", b"whole")
    with pytest.raises(TypeError):
        store.write("x", "no bytes")  # type: ignore[arg-type]
    assert (store.names(), store.read("x")) == (["x"], b"whole")


def test_what_was_there_before_is_not_told_again(tmp_path: Path) -> None:
    fsspec.register_implementation("cached", ListedOnce, clobber=True)
    store, other = Store.at(f"cached://{tmp_path}"), Store.at(str(tmp_path))
    assert store.names() == []
    other.write("x", b"")
    assert store.names() == ["x"]
    other.remove("x")
    assert not store.exists("x")


class ListedOnce(LocalFileSystem):
    """Gives a listing again until it is told to forget it, as the clients of object stores do."""

    protocol: ClassVar = "cached"

    def ls(self, path: str, detail: bool = False, **options: Any) -> Any:
        if path not in self.dircache:
            self.dircache[path] = super().ls(path, detail=True, **options)
        found = self.dircache[path]
        return found if detail else [info["name"] for info in found]

    def info(self, path: Any, **options: Any) -> Any:
        if not isinstance(path, str):  # of its own listing
            return super().info(path, **options)
        listed = self.dircache.get(self._parent(path), [])
        return next((info for info in listed if info["name"] == path), None) or super().info(path, **options)

    def invalidate_cache(self, path: str | None = None) -> None:
        self.dircache.pop(path, None)
        self.dircache.pop(self._parent(path or ""), None)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("cached://"))


def test_a_store_crosses_to_another_process_by_url_and_options_alone(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path), {"secret": "hunter2"})
    store.write("x", b"data")
    sent = pickle.dumps(store)
    assert len(sent) < 500
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(Store.read, (store, "x")) == b"data"
    assert "hunter2" not in repr(store)
    assert Store.at(str(tmp_path), {"secret": "hunter2"}) == store
    assert {store} == {Store.at(str(tmp_path), {"secret": "hunter2"})}
