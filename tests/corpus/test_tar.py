"""The archive reader beside tarfile: the same members, told what tarfile keeps to itself."""

from __future__ import annotations

import glob
import io
import os
import shutil
import subprocess
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qrefine.corpus.tar import BLOCK, EXTENDED_BYTES, Damage, Member, TruncatedError, read_tar

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
NAMES = st.lists(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=90),
    min_size=1,
    max_size=4,
).map("/".join)
LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE)
KINDS = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, *LINKS)


class InPieces(io.BytesIO):
    """Returns less than was asked for, as decompression and networks do."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(700 if size is None or size < 0 else min(size, 700))


def entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, linkname: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data), linkname
    return info


def archive(*files: tuple[str, bytes], kind: int = tarfile.USTAR_FORMAT, **headers: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for name, data in files:
            info = entry(name, data)
            info.pax_headers = headers
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def sealed(header: bytes, signed: bool = False) -> bytes:
    """The header with the checksum that it must have."""
    blank = header[:148] + b" " * 8 + header[156:BLOCK]
    total = sum(byte - 256 * (signed and byte > 127) for byte in blank)
    return blank[:148] + b"%06o\0 " % total + blank[156:]


def by_tarfile(data: bytes) -> list[tuple[object, ...]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [
            (m.name, m.type, m.size, m.offset, m.offset_data, m.linkname, _data(tar, m)) for m in tar.getmembers()
        ]


def _data(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member) if member.isreg() else None
    return b"" if file is None else file.read()


def by_us(data: bytes) -> list[tuple[object, ...]]:
    return [
        (m.name, m.kind, m.size, m.offset, m.data_offset, m.linkname, m.body.read() if m.is_file else b"")
        for m in whole(data)
    ]


def whole(data: bytes) -> Iterator[Member]:
    for member in read_tar(InPieces(data)):
        assert isinstance(member, Member), member
        yield member


def told(data: bytes) -> tuple[list[str], list[str]]:
    """Names of members, and damage."""
    entries = list(read_tar(InPieces(data)))
    return (
        [e.name for e in entries if isinstance(e, Member)],
        [str(e) for e in entries if isinstance(e, Damage)],
    )


@settings(max_examples=150, deadline=None)
@given(
    members=st.lists(
        st.tuples(NAMES, st.binary(max_size=1200), st.sampled_from(KINDS), st.text("ab/é", max_size=300)),
        max_size=6,
    ),
    kind=st.sampled_from(FORMATS),
)
@example([("d/" * 60 + "é", b"x", tarfile.REGTYPE, "")], tarfile.USTAR_FORMAT)
@example([("d" * 300, b"x" * 513, tarfile.LNKTYPE, "l" * 300)], tarfile.GNU_FORMAT)
def test_what_tarfile_writes_is_read_as_tarfile_reads_it(
    members: list[tuple[str, bytes, bytes, str]], kind: int
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for name, content, flag, linkname in members:
            content = content if flag in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE) else b""
            try:
                tar.addfile(entry(name, content, flag, linkname if flag in LINKS else ""), io.BytesIO(content))
            except ValueError:  # ustar has no place for the name
                continue
    assert by_us(out.getvalue()) == by_tarfile(out.getvalue())


@pytest.mark.parametrize("path", sorted(glob.glob(os.environ.get("QREFINE_SHARDS", ""), recursive=True)))
def test_shards_at_hand_are_read_as_tarfile_reads_them(path: str) -> None:
    """QREFINE_SHARDS='folder/**/*.tar'"""
    data = Path(path).read_bytes()
    assert by_us(data) == by_tarfile(data)


@pytest.mark.skipif(not shutil.which("tar"), reason="no tar")
@pytest.mark.parametrize("kind", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_what_gnu_tar_writes_is_read_as_tarfile_reads_it(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"picture" * 100)
    (folder / "empty").touch()
    (folder / "link").symlink_to("a.png")
    if kind != "v7":
        long = folder / ("d" * 90)
        long.mkdir()
        (long / f"{'é' * 30}.txt").write_text("prompt")
    command = ["tar", f"--format={kind}", "-cf", "-", "folder"]
    data = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout
    assert len(by_us(data)) >= 4
    assert by_us(data) == by_tarfile(data)


@pytest.mark.skipif(not shutil.which("tar"), reason="no tar")
@pytest.mark.parametrize(
    "options", [["--format=gnu"], *(["--format=posix", f"--sparse-version={v}"] for v in ("0.0", "0.1", "1.0"))]
)
def test_a_sparse_file_has_its_name_and_full_size_and_what_follows_is_read(
    tmp_path: Path, options: list[str]
) -> None:
    with open(tmp_path / "holes.png", "wb") as file:
        for i in range(30):  # more pieces than fit into the header
            file.seek(i << 20)
            file.write(b"x" * 4096)
    (tmp_path / "b.png").write_bytes(b"picture")
    command = ["tar", "--sparse", *options, "-cf", "-", "holes.png", "b.png"]
    data = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout
    if len(data) > 10 << 20:
        pytest.skip("the file system keeps no holes")
    holes, b = [(m.name, m.sparse, m.size, m.is_file) for m in whole(data)]
    assert holes == ("holes.png", True, (29 << 20) + 4096, True)
    assert b == ("b.png", False, 7, True)


def test_a_body_is_read_in_pieces_and_what_is_left_is_passed_over() -> None:
    data = archive(("a", b"0123456789"), ("b", b"x" * 3000), ("c", b"end"))
    members = whole(data)
    a = next(members)
    assert [a.body.read(4), a.body.read(4), a.body.read(4), a.body.read(4)] == [b"0123", b"4567", b"89", b""]
    assert next(members).body.read(3) == b"xxx"
    assert next(members).body.read() == b"end"
    assert a.body.read() == b""
    assert list(members) == []


def test_a_size_in_base_256_and_one_from_pax_are_taken() -> None:
    data = archive(("a", b"x" * 600), ("b", b"y"))
    binary = sealed(data[:124] + b"\x80" + (600).to_bytes(11, "big") + data[136:BLOCK]) + data[BLOCK:]
    assert by_us(binary) == by_tarfile(data)
    pax = archive(("a", b"x" * 600), kind=tarfile.PAX_FORMAT, size="600")
    start = len(pax) - len(pax.lstrip(b"\0"))
    header = pax.index(b"a\0", start + BLOCK)  # of the member itself
    pax = (
        pax[:header]
        + sealed(pax[header : header + 124] + b"0" * 11 + b"\0" + pax[header + 136 : header + BLOCK])
        + pax[header + BLOCK :]
    )
    assert [(m.name, m.body.read()) for m in whole(pax)] == [("a", b"x" * 600)]


def test_a_checksum_of_signed_bytes_is_taken() -> None:
    data = archive(("é.png", b"x"))
    signed = sealed(data[:BLOCK], signed=True) + data[BLOCK:]
    assert signed != data
    assert told(signed) == (["é.png"], [])


def test_gnus_times_in_the_place_of_the_prefix_are_no_folder() -> None:
    data = archive(("a.png", b"x"), kind=tarfile.GNU_FORMAT)
    times = sealed(data[:345] + b"14723412345\0" * 2 + data[369:BLOCK]) + data[BLOCK:]
    assert told(times) == (["a.png"], [])


def test_a_global_pax_header_counts_for_all_members_that_say_nothing_else() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"linkpath": "there"}) as tar:
        tar.addfile(entry("a", kind=tarfile.SYMTYPE, linkname=""))
        tar.addfile(entry("b", kind=tarfile.SYMTYPE, linkname="é" * 70))
    assert [m.linkname for m in whole(out.getvalue())] == ["there", "é" * 70]
    assert by_us(out.getvalue()) == by_tarfile(out.getvalue())


# Damage


def test_damage_is_one_entry_with_its_byte_and_the_next_header_is_found() -> None:
    data = bytearray(archive(("a", b"x" * 700), ("b", b"y" * 700), ("c", b"z")))
    start = 3 * BLOCK
    data[start] ^= 1
    assert told(bytes(data)) == (["a", "c"], [f"bad checksum at byte {start}"])
    assert told(bytes(data[:100]) + bytes(data)) != told(bytes(data))  # not by chance


@pytest.mark.parametrize("name", ["a" * 150, "é" * 300])
@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_cut_is_damage_and_leaves_the_members_before_it(name: str, kind: int) -> None:
    data = archive((name, b"x" * 600), ("b", b"y"), kind=kind)
    end = len(data.rstrip(b"\0"))
    end += -end % BLOCK
    members = [m.data_offset + m.size for m in whole(data)]
    for cut in range(0, end + 1, 100):
        found: list[bytes] = []
        damage = []
        for member in read_tar(InPieces(data[:cut])):
            if isinstance(member, Damage):
                damage.append(member)
                continue
            try:
                found.append(member.body.read())
            except TruncatedError:
                assert cut < member.data_offset + member.size
        assert found == [b"x" * 600, b"y"][: sum(place <= cut for place in members)], cut
        assert len(damage) == 1, cut
        assert damage[0].offset <= cut


def test_a_huge_extended_header_is_damage_and_is_not_read() -> None:
    data = archive(("a" * 200, b"x"), ("b", b"y"), kind=tarfile.GNU_FORMAT)
    huge = sealed(data[:124] + b"%011o\0" % (EXTENDED_BYTES + 1) + data[136:BLOCK]) + data[BLOCK:]
    names, damage = told(huge)
    assert damage == [f"extended header of {EXTENDED_BYTES + 1} bytes at byte 0"]
    assert names == ["a" * 100, "b"]  # what the member's own header says


@pytest.mark.parametrize(
    "record",
    [b"99 path=long\n", b"0 path=x\n", b"9 path=\xc3\xa9\n", b"path=x\n", b"11 size=-5\n", b"10 size=x\n"],
)
def test_a_broken_pax_record_is_damage(record: bytes) -> None:
    data = archive(("a", b"x"), ("b", b"y"), kind=tarfile.PAX_FORMAT, path="p")
    records = data[BLOCK : 2 * BLOCK].rstrip(b"\0")
    broken = data.replace(records.ljust(BLOCK, b"\0"), record.ljust(len(records), b"\0").ljust(BLOCK, b"\0"), 1)
    names, damage = told(broken)
    assert damage[0].startswith("invalid header at byte ")
    assert names[-1] == "p"  # the second member is whole


def test_a_long_name_that_names_nothing_is_damage() -> None:
    data = archive(("a" * 200, b"x"), kind=tarfile.GNU_FORMAT)
    assert told(data[: 2 * BLOCK]) == ([], ["truncated header at byte 0"])
    assert told(data[: 2 * BLOCK] + bytes(2 * BLOCK)) == (
        [],
        [f"extended header without a member at byte {2 * BLOCK}"],
    )


def test_a_member_of_a_terabyte_is_passed_over_in_little_memory() -> None:
    class Endless(io.RawIOBase):
        left = 64 << 20

        def read(self, size: int = -1) -> bytes:
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

    header = archive(("a", b""))[:BLOCK]
    header = sealed(header[:124] + b"\x80" + (1 << 40).to_bytes(11, "big") + header[136:])
    source = Endless()
    first = [header]
    read = source.read
    source.read = lambda size=-1: first.pop() if first else read(size)  # type: ignore[method-assign]
    tracemalloc.start()
    try:
        member, damage = read_tar(source)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(member, Member)
    assert member.size == 1 << 40
    assert str(damage) == "unexpected end of data inside a at byte 0"
    assert source.left == 0
    assert peak < 4 << 20


def test_errors_of_the_source_pass_through() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(BLOCK)
            if not data:
                raise ConnectionResetError("gone")
            return data

    members = read_tar(Broken(archive(("a", b"x" * 5000))[: 3 * BLOCK]))
    member = next(members)
    assert isinstance(member, Member)
    with pytest.raises(ConnectionResetError):
        member.body.read()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_is_changed_reading_ends(data: st.DataObject) -> None:
    tar = bytearray(archive(("d" * 120, b"x" * 700), ("b", b"y"), kind=data.draw(st.sampled_from(FORMATS[1:]))))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(tar) - 1))
        new = data.draw(st.binary(min_size=1, max_size=30))
        tar[place : place + len(new)] = new
        if data.draw(st.booleans()):  # past the checksum
            start = place // BLOCK * BLOCK
            tar[start : start + BLOCK] = sealed(bytes(tar[start : start + BLOCK]).ljust(BLOCK, b"\0"))
    for member in read_tar(InPieces(bytes(tar))):
        assert isinstance(member, Damage) or member.size >= 0
