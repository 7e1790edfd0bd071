"""Shards: every sample once, damage as one row, keys as WebDataset makes them."""

from __future__ import annotations

import gc
import gzip
import io
import json
import pickle
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset import TarWriter
from webdataset.tariterators import group_by_keys, tar_file_iterator

from qrefine.config import ImageSettings, InputSettings
from qrefine.corpus.images import ImageError, decode
from qrefine.corpus.names import is_litter
from qrefine.corpus.shards import read_shard
from qrefine.corpus.tar import Member
from qrefine.sample import Sample
from tests.support import encoded, photo, write_tar

PNG = encoded(photo(size=16))
JPEG = encoded(photo("chelsea", 16), "JPEG")
BLOCK = tarfile.BLOCKSIZE


def read(path: Path, suffix: str | None = None, **options: object) -> list[Sample]:
    """The shard's samples, after checking what holds for every shard whatever is in it."""
    keys = InputSettings(keys=options.pop("keys", "auto"))  # type: ignore[arg-type]
    samples = list(read_shard(str(path), ImageSettings(suffix=suffix), retries=0, input=keys, **options))  # type: ignore[arg-type]
    assert samples, "a shard always has a row"
    assert [s.index for s in samples] == list(range(len(samples)))
    assert [s.shard_rows for s in samples] == [None] * (len(samples) - 1) + [len(samples)]
    assert all(s.source is not None or s.error for s in samples)
    data = path.read_bytes() if path.is_file() else b""
    for sample in samples:
        if sample.offset is not None:
            assert sample.source is not None
            assert data[sample.offset : sample.offset + len(sample.source)] == sample.source
        else:  # only compressed archives have no offsets
            assert sample.source is None or data[257:262] != b"ustar"
    for sample in samples:  # what Arrow would refuse
        for text in (sample.key, sample.prompt, sample.metadata, sample.error):
            assert text is None or text.encode("utf-8") is not None
    return samples


def tar_bytes(members: Iterable[tuple[str, bytes]], kind: int = tarfile.USTAR_FORMAT, mtime: float = 0) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), mtime  # type: ignore[assignment]
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def put(folder: Path, data: bytes, name: str = "s.tar") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def only(samples: Sequence[Sample]) -> Sample:
    assert len(samples) == 1
    return samples[0]


def members_of(count: int) -> list[tuple[str, bytes]]:
    return [
        member
        for i in range(count)
        for member in ((f"{i:03d}.png", PNG), (f"{i:03d}.txt", f"prompt {i}".encode()))
    ]


# What a shard becomes that is no whole shard


def test_a_good_shard_gives_its_samples_in_order(tmp_path: Path) -> None:
    samples = read(write_tar(tmp_path / "s.tar", members_of(3)))
    assert [(s.key, s.prompt, s.error, s.image_count) for s in samples] == [
        (f"{i:03d}", f"prompt {i}", None, 1) for i in range(3)
    ]
    assert all(s.source == PNG for s in samples)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "shard unreadable: empty file"),
        (b"hello, this is no tar\n", "shard unreadable: truncated header at byte 0"),
        (b"hello, this is no tar\n" * 500, "shard unreadable: invalid header at byte 0"),
        (bytes(BLOCK * 20), "shard is empty"),
        (gzip.compress(b""), "shard unreadable"),
        (b"\x1f\x8b" + bytes(600), "shard unreadable"),
    ],
    ids=["empty", "short text", "long text", "no members", "empty gzip", "garbage gzip"],
)
def test_a_file_that_is_no_shard_is_one_failed_row_without_a_key(tmp_path: Path, data: bytes, reason: str) -> None:
    sample = only(read(put(tmp_path, data)))
    assert sample.key == ""
    assert sample.source is None
    assert sample.error is not None
    assert reason in sample.error


def test_a_zip_named_tar_is_one_failed_row(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a.png", PNG * 5)
    assert "shard unreadable: a zip archive, not a tar" in (only(read(put(tmp_path, out.getvalue()))).error or "")


def test_a_missing_shard_is_one_failed_row(tmp_path: Path) -> None:
    assert "shard does not exist" in (only(read(tmp_path / "none.tar")).error or "")


def test_half_a_shard_gives_its_first_samples_and_one_row_that_says_where_it_ends(tmp_path: Path) -> None:
    data = tar_bytes(members_of(6))
    *good, last = read(put(tmp_path, data[: len(data) // 2]))
    assert 1 <= len(good) < 6
    assert [s.key for s in good] == [f"{i:03d}" for i in range(len(good))]
    assert all(s.error is None for s in good)
    assert last.key == ""
    assert "shard damaged" in (last.error or "")
    assert "at byte" in (last.error or "") or "end-of-archive" in (last.error or "")


def test_truncation_at_every_block_gives_the_readable_samples_and_one_damage_row(tmp_path: Path) -> None:
    data = tar_bytes(members_of(3))
    end_of_members = 3 * sum(-(-len(d) // BLOCK) * BLOCK + BLOCK for d in (PNG, b"prompt"))
    whole = read(put(tmp_path, data))
    for cut in range(0, len(data), BLOCK):
        samples = read(put(tmp_path, data[:cut]))
        damage = [s for s in samples if s.key == ""]
        complete = cut > end_of_members
        assert len(damage) == (0 if complete else 1), cut
        good = samples[: len(samples) - len(damage)]
        assert [(s.key, s.source) for s in good] == [(s.key, s.source) for s in whole[: len(good)]]
        whole_samples = cut // (end_of_members // 3)
        assert len(good) >= min(3, whole_samples), cut


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 8000), kind=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT]))
def test_truncation_anywhere_gives_one_damage_row(
    tmp_path_factory: pytest.TempPathFactory, cut: int, kind: int
) -> None:
    members = members_of(2)
    data = tar_bytes(members, kind, mtime=1.5)
    cut = min(cut, len(data.rstrip(b"\0")))
    samples = read(put(tmp_path_factory.mktemp("cut"), data[:cut]))
    assert [s.key for s in samples].count("") == 1
    assert samples[-1].key == ""


def broken_header(data: bytes, name: str) -> tuple[bytes, int]:
    """The tar with the header of a member destroyed, and where that header is."""
    offset = data.index(name.encode() + b"\0")
    assert offset % BLOCK == 0
    return data[:offset] + b"\xde\xad" * (BLOCK // 2) + data[offset + BLOCK :], offset


@pytest.mark.parametrize("name", ["000.png", "002.png", "004.png"])
def test_a_broken_header_loses_its_member_alone_and_is_named_by_its_byte(tmp_path: Path, name: str) -> None:
    data, offset = broken_header(tar_bytes(members_of(5)), name)
    *samples, damage = read(put(tmp_path, data))
    lost = name[:3]
    assert [s.key for s in samples] == [f"{i:03d}" for i in range(5)]  # its prompt is still there
    assert [s.key for s in samples if s.error] == [lost]
    assert "no image member (members: txt)" in (next(s for s in samples if s.key == lost).error or "")
    assert damage.key == ""
    assert f"at byte {offset}" in (damage.error or "")
    assert "(5 samples were read)" in (damage.error or "")


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_broken_header_behind_a_pax_or_gnu_header_loses_nothing_after_it(tmp_path: Path, kind: int) -> None:
    # WebDataset's own writer puts a pax header with the time in front of every member
    folder = "d" * 120 if kind == tarfile.GNU_FORMAT else "d"
    members = [(f"{folder}/{name}", content) for name, content in members_of(5)]
    data = tar_bytes(members, kind, mtime=1.5)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        headers = [member.offset_data - BLOCK for member in tar]
    offset = headers[4]  # of 002.png
    data = data[:offset] + b"\xde\xad" * (BLOCK // 2) + data[offset + BLOCK :]
    *samples, damage = read(put(tmp_path, data))
    assert [s.key[-3:] for s in samples if s.error is None] == ["000", "001", "003", "004"]
    assert f"at byte {offset}" in (damage.error or "")


def test_zeroed_blocks_in_the_middle_hide_no_later_truncation(tmp_path: Path) -> None:
    data = tar_bytes(members_of(2))
    body = data[: len(data.rstrip(b"\0")) // BLOCK * BLOCK + BLOCK]
    samples = read(put(tmp_path, body + bytes(2 * BLOCK) + body))  # the second archive has no end
    assert [s.key for s in samples] == ["000", "001", "000", "001", ""]
    assert "end-of-archive marker is missing" in (samples[-1].error or "")


def test_archives_in_a_row_are_read_through(tmp_path: Path) -> None:
    data = tar_bytes(members_of(2))
    assert [s.key for s in read(put(tmp_path, data + data))] == ["000", "001", "000", "001"]


MUTANT = tar_bytes(
    [(f"d{'x' * 110 if i == 1 else ''}/{n}", c) for i, (n, c) in enumerate(members_of(3))],
    tarfile.PAX_FORMAT,
    mtime=1.5,
)


@settings(max_examples=150, deadline=None)
@given(
    edits=st.lists(st.tuples(st.integers(0, len(MUTANT) - 1), st.binary(min_size=1, max_size=40)), max_size=6),
    zipped=st.booleans(),
)
def test_whatever_bytes_are_changed_reading_ends_with_rows(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, bytes]], zipped: bool
) -> None:
    data = bytearray(gzip.compress(MUTANT) if zipped else MUTANT)
    for place, new in edits:
        place %= len(data)
        data[place : place + len(new)] = new
    read(put(tmp_path_factory.mktemp("mutant"), bytes(data)))


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=3000))
def test_any_bytes_are_a_shard_with_rows(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    read(put(tmp_path_factory.mktemp("bytes"), data))


@pytest.mark.parametrize("name", ["s.tar.gz", "s.tgz", "s.tar"])
def test_gzip_is_told_by_the_bytes(tmp_path: Path, name: str) -> None:
    samples = read(put(tmp_path, gzip.compress(tar_bytes(members_of(3))), name))
    assert [s.key for s in samples] == ["000", "001", "002"]
    assert all(s.source == PNG for s in samples)


def test_truncated_gzip_gives_what_came_before_and_one_damage_row(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)  # does not compress: the cut is well inside
    data = gzip.compress(tar_bytes([(f"{i}.png", noise.bytes(4000)) for i in range(6)]))
    *good, last = read(put(tmp_path, data[: len(data) // 2], "s.tar.gz"))
    assert [s.key for s in good] == [str(i) for i in range(len(good))]
    assert len(good) >= 2
    assert "shard damaged" in (last.error or "")


# Keys, members, sidecars


PIECES = [*"ab._/-A \né日", "__", "..", ".png", ".PNG", ".txt", ".json"]
NAMES = st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map("".join)


def by_webdataset(data: bytes) -> list[tuple[str, list[str]]]:
    """Keys and suffixes as the webdataset library groups them; a repeated name opens a new sample here."""
    files = ({**file, "__url__": ""} for file in tar_file_iterator(io.BytesIO(data)))
    return [
        (sample["__key__"], sorted(k for k in sample if not k.startswith("__"))) for sample in group_by_keys(files)
    ]


def test_keys_are_webdatasets_own(tmp_path: Path) -> None:
    names = [
        "a.png", "a.txt", "dir/a.png", "dir.with.dots/b.tar.png", "c.seg.mask.png", "c.PNG", "./d.png",
        ".hidden", "__meta__", "__meta__/x.png", "__x__.png", "sub/__y__.png",
        "../../evil.png", "/abs/evil.png", "é/日.webp",
    ]  # fmt: skip
    data = tar_bytes([(name, PNG) for name in names], tarfile.GNU_FORMAT)
    expected = [key for key, _ in by_webdataset(data)]
    assert [s.key for s in read(put(tmp_path, data), keys="first_dot")] == expected
    assert [s.key for s in read(put(tmp_path, data))] == expected


@settings(max_examples=100, deadline=None)
@given(names=st.lists(NAMES, min_size=1, max_size=8, unique_by=str.lower))
def test_keys_of_made_up_names_are_webdatasets_own(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    names = [name for name in names if "." in name.rpartition("/")[2] and not is_litter(name)]
    data = tar_bytes([(name, PNG) for name in names], tarfile.PAX_FORMAT)
    expected = by_webdataset(data)
    samples = [s for s in read(put(tmp_path_factory.mktemp("names"), data), keys="first_dot") if s.key]
    lost = len({key.removeprefix("./") for key, _ in expected}) < len(expected)  # members apart are joined
    if lost or any("\n" in name for name in names):  # webdataset's pattern stops at line ends and so skips some
        assert {s.key for s in samples} >= {key for key, _ in expected} or lost
    else:
        assert [s.key for s in samples] == [key for key, _ in expected]


@pytest.mark.parametrize("name", ["../../evil.png", "/abs/evil.png"])
def test_a_members_name_is_data_and_never_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)
    monkeypatch.chdir(home)
    sample = only(read(write_tar(home / "s.tar", [(name, PNG)])))
    assert (sample.key, sample.source, sample.error) == (name.removesuffix(".png"), PNG, None)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [home / "s.tar"]


def test_repeated_keys_are_told_apart_by_index(tmp_path: Path) -> None:
    members = [
        ("a.png", PNG),
        ("a.txt", b"one"),
        ("a.png", JPEG),
        ("a.txt", b"two"),
        ("b.png", PNG),
        ("a.png", PNG),
    ]
    samples = read(write_tar(tmp_path / "s.tar", members))
    assert [(s.index, s.key, s.prompt) for s in samples] == [
        (0, "a", "one"), (1, "a", "two"), (2, "b", None), (3, "a", None),
    ]  # fmt: skip
    assert [s.source for s in samples] == [PNG, JPEG, PNG, PNG]


@pytest.mark.parametrize(
    ("suffix", "expected"), [(None, PNG), ("jpg", JPEG), (".JPG", JPEG), ("orig.webp", b"webp?"), ("gif", PNG)]
)
def test_of_several_images_the_named_suffix_is_taken_else_the_first(
    tmp_path: Path, suffix: str | None, expected: bytes
) -> None:
    members = [("a.png", PNG), ("a.jpg", JPEG), ("a.orig.webp", b"webp?"), ("a.txt", b"x")]
    sample = only(read(write_tar(tmp_path / "s.tar", members), suffix))
    assert (sample.image_count, sample.source, sample.prompt) == (3, expected, "x")


def test_an_image_is_told_by_its_bytes_whatever_its_suffix(tmp_path: Path) -> None:
    samples = read(
        write_tar(tmp_path / "s.tar", [("a.bin", PNG), ("b", PNG), ("c.output", JPEG), ("d.cls", b"7")])
    )
    assert [(s.key, s.source is not None) for s in samples] == [
        ("a", True),
        ("b", True),
        ("c", True),
        ("d", False),
    ]


def test_a_sample_without_an_image_is_a_failed_row_that_names_its_members(tmp_path: Path) -> None:
    samples = read(write_tar(tmp_path / "s.tar", [("a.txt", b"p"), ("a.json", b"{}"), ("b.png", PNG)]))
    assert samples[0].error == "no image member (members: json, txt)"
    assert (samples[0].prompt, samples[0].metadata) == ("p", "{}")
    assert samples[1].error is None


def test_a_sample_with_hundreds_of_members_has_a_short_error(tmp_path: Path) -> None:
    sample = only(read(write_tar(tmp_path / "s.tar", [(f"a.{i}{'x' * 50}", b"") for i in range(300)])))
    assert len(sample.error or "") < 1000


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(self.path), "w"))


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    bomb = pickle.dumps(Payload(tmp_path / "owned"))
    members = [
        ("a.png", PNG),
        ("a.pkl", bomb),
        ("a.pyd", bomb),
        ("a.pickle", bomb),
        ("b.pyd", bomb),
        ("c.pth", bomb),
    ]
    samples = read(write_tar(tmp_path / "s.tar", members))
    assert [(s.key, s.error) for s in samples] == [
        ("a", None), ("b", "no image member (members: pyd)"), ("c", "no image member (members: pth)"),
    ]  # fmt: skip
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("members", "prompt", "metadata"),
    [
        ([("a.txt", b"ol\xe9 \xff")], "ol� �", None),
        ([("a.txt", b"x" * 400_000)], "x" * 400_000, None),
        ([("a.txt", b"<script>alert(1)</script>")], "<script>alert(1)</script>", None),
        ([("a.txt", b"")], "", None),
        ([("a.txt", b"nul \x00 byte")], "nul \x00 byte", None),
        ([("a.json", b'{"prompt": "p", "caption": "c"}')], "p", '{"prompt": "p", "caption": "c"}'),
        ([("a.json", b'{"prompt": 7, "caption": "c"}')], "c", '{"prompt": 7, "caption": "c"}'),
        ([("a.json", b'{"prompt": "p"}'), ("a.txt", b"t")], "t", '{"prompt": "p"}'),
        ([("a.json", b"{not json")], None, "{not json"),
        ([("a.json", b'["prompt"]')], None, '["prompt"]'),
        ([("a.json", b"\xff\xfe{\0}\0")], None, "{}"),
        ([("a.json", b"[" * 50_000)], None, "[" * 50_000),
        ([("a.json", b'{"n": ' + b"9" * 5000 + b"}")], None, '{"n": ' + "9" * 5000 + "}"),
        ([("a.json", b'{"prompt": "half \\ud83d pair"}')], "half ? pair", '{"prompt": "half \\ud83d pair"}'),
        ([("a.JSON", b'{"caption": "c"}')], "c", '{"caption": "c"}'),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_sidecars_whatever_they_hold_leave_the_sample_whole(
    tmp_path: Path, members: list[tuple[str, bytes]], prompt: str | None, metadata: str | None
) -> None:
    sample = only(read(write_tar(tmp_path / "s.tar", [("a.png", PNG), *members])))
    assert (sample.source, sample.error) == (PNG, None)
    assert (sample.prompt, sample.metadata) == (prompt, metadata)


def test_an_image_over_the_byte_limit_fails_unread(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", [("a.png", bytes(300_000)), ("b.png", PNG)])
    first, second = read_shard(str(path), ImageSettings(max_megabytes=0.2))
    assert first.error == "image member is too large: 300000 bytes, over images.max_megabytes"
    assert first.source is None
    assert second.error is None


def test_a_shard_of_broken_images_keeps_their_bytes_for_the_decoder_to_judge(tmp_path: Path) -> None:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("x", "x")
    broken = {"empty": b"", "garbage": b"garbage" * 9, "zip": zipped.getvalue(), "cut": PNG[: len(PNG) // 2]}
    samples = read(write_tar(tmp_path / "s.tar", [(f"{name}.png", data) for name, data in broken.items()]))
    assert {s.key: s.source for s in samples} == broken
    assert all(s.error is None for s in samples)
    for sample in samples:
        with pytest.raises(ImageError):
            decode(sample.source or b"", ImageSettings())


def test_devices_and_folders_are_passed_over(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo(f"odd{kind.decode()}.png")
            info.type = kind
            tar.addfile(info)
        info = tarfile.TarInfo("good.png")
        info.size = len(PNG)
        tar.addfile(info, io.BytesIO(PNG))
    assert [(s.key, s.source) for s in read(tmp_path / "s.tar")] == [("good", PNG)]


def test_a_sparse_member_of_a_terabyte_fails_unread(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.png")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386 + 12 * 8 : 386 + 12 * 8 + 1] = b"\0"
    header[483:495] = b"\x80" + (1 << 40).to_bytes(11, "big")  # the size that it pretends to have
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data = bytes(header) + tar_bytes([("b.png", PNG)])
    samples = read(put(tmp_path, data))
    assert [s.key for s in samples] == ["a", "b"]
    assert f"{1 << 40} bytes" in (samples[0].error or "")


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_come_through(tmp_path: Path, kind: int) -> None:
    key = "/".join(["directory é" * 4] * 5) + "/name"
    data = tar_bytes([(f"{key}.png", PNG), (f"{key}.txt", b"p")], kind)
    assert [(s.key, s.prompt) for s in read(put(tmp_path, data))] == [(key, "p")]


def test_a_name_that_is_no_utf8_is_one_with_replacement_characters(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("caf\udce9.png")
        info.size = len(PNG)
        tar.addfile(info, io.BytesIO(PNG))
    assert [s.key for s in read(tmp_path / "s.tar")] == ["caf�"]


def test_what_is_not_wanted_is_counted_and_not_yielded(tmp_path: Path) -> None:
    path = str(write_tar(tmp_path / "s.tar", members_of(5)))
    some = list(read_shard(path, ImageSettings(), wanted=lambda index: index in (1, 4)))
    assert [(s.index, s.key, s.shard_rows) for s in some] == [(1, "001", None), (4, "004", 5)]
    assert list(read_shard(path, ImageSettings(), wanted=lambda index: False)) == []


def write_long_shard(path: Path, samples: int, size: int) -> None:
    noise = np.random.default_rng(0).bytes(size)
    meta = json.dumps({"prompt": "p"}).encode()
    with tarfile.open(path, "w") as tar:
        for i in range(samples):
            for suffix, data in (("png", noise), ("json", meta), ("npy", noise)):
                info = tarfile.TarInfo(f"{i:06d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def peak_of_reading(path: Path) -> int:
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_shard(str(path), ImageSettings()))
        assert count > 1
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_shard(tmp_path: Path) -> None:
    write_long_shard(tmp_path / "short.tar", 8, 256 << 10)
    write_long_shard(tmp_path / "long.tar", 128, 256 << 10)
    assert (tmp_path / "long.tar").stat().st_size > 60 << 20
    short, long = peak_of_reading(tmp_path / "short.tar"), peak_of_reading(tmp_path / "long.tar")
    assert long < short + (1 << 20)
    assert long < 12 << 20


def test_memory_does_not_grow_with_the_number_of_members(tmp_path: Path) -> None:
    write_long_shard(tmp_path / "many.tar", 500, 10)
    for sample in read_shard(str(tmp_path / "many.tar"), ImageSettings()):
        if sample.index == 490:
            held = sum(isinstance(thing, Member) for thing in gc.get_objects())
            assert 0 < held < 10


def test_what_webdatasets_writer_writes_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with TarWriter(str(path)) as writer:
        for i in range(4):
            writer.write(
                {
                    "__key__": f"dir/{i:04d}",
                    "png": PNG,
                    "txt": f"prompt {i}",
                    "json": {"seed": i},
                    "cls": i,
                    "pyd": [i],
                }
            )
    samples = read(path)
    assert [(s.key, s.source, s.prompt, s.error) for s in samples] == [
        (f"dir/{i:04d}", PNG, f"prompt {i}", None) for i in range(4)
    ]
    assert [json.loads(s.metadata or "") for s in samples] == [{"seed": i} for i in range(4)]
