import bz2
import gzip
import io
import lzma
import tarfile
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.config import ImageSettings
from qrefine.corpus.compression import FORMATS, decompressed
from qrefine.corpus.shards import read_shard


def read_all(stream, sizes):
    parts, place = [], 0
    while part := stream.read(sizes[place % len(sizes)]):
        parts.append(part)
        place += 1
    return b"".join(parts)


COMPRESS = [gzip.compress, bz2.compress, lzma.compress, partial(lzma.compress, format=lzma.FORMAT_ALONE)]


@settings(deadline=None)
@given(
    st.sampled_from(COMPRESS),
    st.lists(st.binary(max_size=300), max_size=5),
    st.lists(st.integers(1, 99), min_size=1, max_size=3),
)
def test_members_are_one_stream(compress, parts, sizes):
    data = b"".join(compress(part) for part in parts)
    assert read_all(decompressed(io.BytesIO(data)), sizes) == b"".join(parts)


@settings(deadline=None)
@given(st.binary(max_size=300).filter(lambda data: not data.startswith(tuple(FORMATS))), st.integers(1, 99))
def test_what_is_not_compressed_comes_as_it_is(data, size):
    assert read_all(decompressed(io.BytesIO(data)), [size]) == data
    assert decompressed(io.BytesIO(data)).read() == data


class OneByte(io.BytesIO):
    def read(self, size=-1):
        return super().read(min(size, 1) if size >= 0 else 1)


def test_sources_may_read_less_than_was_asked():
    assert read_all(decompressed(OneByte(gzip.compress(b"abc"))), [10]) == b"abc"


def test_what_comes_before_the_cut_is_given():
    data = gzip.compress(bytes(range(256)) * 400, 0)[:50_000]
    stream = decompressed(io.BytesIO(data))
    got = b""
    with pytest.raises(EOFError):
        while part := stream.read(1 << 20):
            got += part
    assert len(got) > 40_000


@pytest.mark.parametrize("padding", [b"", bytes(700)])
def test_a_shard_of_several_members_is_read_whole(tmp_path, padding):
    def archive(names):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = 3
                tar.addfile(member, io.BytesIO(b"cat"))
        return buffer.getvalue()

    shard = tmp_path / "s.tar.gz"
    shard.write_bytes(gzip.compress(archive(["a.txt", "b.txt"])) + gzip.compress(archive(["c.txt"])) + padding)
    samples = list(read_shard(str(shard), ImageSettings()))
    assert [sample.key for sample in samples] == ["a", "b", "c"]
    assert all("no image member" in sample.error for sample in samples)
