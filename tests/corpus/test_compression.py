import bz2
import gzip
import io
import lzma
import tarfile
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.config import ImageSettings
from qrefine.corpus.compression import FORMATS, OTHERS, NoTarError, decompressed
from qrefine.corpus.shards import read_shard


def read_all(stream, sizes):
    parts, place = [], 0
    while part := stream.read(sizes[place % len(sizes)]):
        parts.append(part)
        place += 1
    return b"".join(parts)


def zstd(data):
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
    return out.getvalue().to_pybytes()


SKIPPED = b"\x51\x2a\x4d\x18\3\0\0\0abc"  # a frame that decoders pass over, as parallel writers use it
COMPRESS = [
    *(gzip.compress, bz2.compress, lzma.compress, partial(lzma.compress, format=lzma.FORMAT_ALONE)),
    *(zstd, lambda data: SKIPPED + zstd(data)),
]


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
@given(st.binary(max_size=300).filter(lambda data: not data.startswith((*FORMATS, *OTHERS))), st.integers(1, 99))
def test_what_is_not_compressed_comes_as_it_is(data, size):
    assert read_all(decompressed(io.BytesIO(data)), [size]) == data
    assert decompressed(io.BytesIO(data)).read() == data


class OneByte(io.BytesIO):
    def read(self, size=-1):
        return super().read(min(size, 1) if size >= 0 else 1)


def test_sources_may_read_less_than_was_asked():
    assert read_all(decompressed(OneByte(gzip.compress(b"abc"))), [10]) == b"abc"


@pytest.mark.parametrize("compress", COMPRESS)
def test_what_comes_before_the_cut_is_given(compress):
    whole = np.random.default_rng(0).bytes(3_000_000)
    data = compress(whole)
    stream = decompressed(io.BytesIO(data[: len(data) // 2]))
    got = b""
    with pytest.raises((EOFError, OSError)):
        while part := stream.read(1 << 20):
            got += part
    assert whole.startswith(got)
    assert len(got) > 500_000  # bzip2 and xz give whole blocks


@pytest.mark.parametrize(("magic", "kind"), [(b"PK\3\4", "a zip archive"), (b"PAR1", "a Parquet file")])
def test_files_of_other_kinds_are_named(magic, kind):
    with pytest.raises(NoTarError, match=f"{kind}, not a tar"):
        decompressed(io.BytesIO(magic + bytes(99)))


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
