"""Parquet files: every row once under its own number, columns found or named, damage without loss beside it."""

from __future__ import annotations

import datetime
import json
import math
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.config import load_config
from qrefine.corpus.columns import VALUE_CHARS, as_metadata, plain
from qrefine.corpus.readers import read_unit
from qrefine.corpus.units import Shard
from qrefine.sample import Sample
from tests.support import encoded, photo

PNG = encoded(photo(size=16))
JPEG = encoded(photo("chelsea", 16), "JPEG")
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def table(rows: int = 3, **columns: Any) -> pa.Table:
    """Rows with an ``image`` struct, each with other bytes behind the PNG's end, and more columns."""
    images = [{"bytes": PNG + bytes([row % 256, row // 256]), "path": f"{row:05d}.png"} for row in range(rows)]
    return pa.table({"image": pa.array(images, IMAGE), **columns})


def read(path: Path, overrides: Sequence[str] = (), **options: Any) -> list[Sample]:
    """The file's samples, after checking what holds for every file whatever is in it."""
    samples = list(read_unit(Shard(str(path), None), load_config(None, overrides), retries=0, **options))
    assert samples, "a file always has a row"
    assert [s.index for s in samples] == list(range(len(samples)))
    assert [s.shard_rows for s in samples] == [None] * (len(samples) - 1) + [len(samples)]
    assert all(s.source is not None or s.error for s in samples)
    return samples


def write(path: Path, content: pa.Table, **options: Any) -> Path:
    pq.write_table(content, path, **options)
    return path


# Columns


def test_image_struct_prompt_and_all_other_columns(tmp_path: Path) -> None:
    content = table(
        2,
        caption=["a cat", None],
        score=[0.5, math.nan],
        tags=[["a", "b"], []],
        size=[{"w": 1, "h": 2}, None],
        when=[datetime.datetime(2026, 1, 2, 3, 4, 5), None],
        mask=[b"\0", b"\1"],
    )
    first, second = read(write(tmp_path / "a.parquet", content))
    assert first.source == PNG + b"\0\0"
    assert second.source == PNG + b"\1\0"
    assert (first.key, second.key) == ("00000", "00001")
    assert (first.prompt, second.prompt) == ("a cat", None)
    assert json.loads(first.metadata or "") == {
        "caption": "a cat",
        "score": 0.5,
        "tags": ["a", "b"],
        "size": {"w": 1, "h": 2},
        "when": "2026-01-02T03:04:05",
    }
    assert json.loads(second.metadata or "")["score"] is None


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
@pytest.mark.parametrize("name", ["jpg", "IMAGE", "anything"])
def test_a_column_of_bytes_by_name_or_because_it_is_the_only_one(
    tmp_path: Path, kind: pa.DataType, name: str
) -> None:
    content = pa.table({"id": [7, 8], name: pa.array([JPEG, PNG], kind)})
    samples = read(write(tmp_path / "b.parquet", content))
    assert [(s.key, s.source) for s in samples] == [("7", JPEG), ("8", PNG)]


def test_columns_that_the_settings_name(tmp_path: Path) -> None:
    content = table(1, scan=[JPEG], name=["dog.v1.JPG"], id=[1])
    path = write(tmp_path / "a.parquet", content)
    (sample,) = read(path, ["input.image_column=scan", "input.key_column=name"])
    assert (sample.source, sample.key) == (JPEG, "dog.v1")
    for setting, told in (("image_column=nope", "'nope' (input.image_column); the columns are image:"),
                          ("image_column=id", "'id' (input.image_column) holds int64, not bytes"),
                          ("key_column=nope", "'nope' (input.key_column)")):  # fmt: skip
        (sample,) = read(path, [f"input.{setting}"])
        assert told in (sample.error or "")


def test_without_a_name_of_its_own_a_row_is_named_by_file_and_number(tmp_path: Path) -> None:
    content = pa.table({"image": [PNG, PNG], "id": [None, "x"]})
    assert [s.key for s in read(write(tmp_path / "train-0.parquet", content))] == ["train-0/00000000", "x"]


def test_a_parquet_file_is_known_by_its_bytes_too(tmp_path: Path) -> None:
    assert len(read(write(tmp_path / "part", table(3)))) == 3


def test_a_value_of_more_than_256_k_is_left_out(tmp_path: Path) -> None:
    content = table(1, long=["x" * (VALUE_CHARS + 1)], short=["y"])
    (sample,) = read(write(tmp_path / "a.parquet", content))
    assert json.loads(sample.metadata or "") == {"short": "y"}


def test_texts_that_are_not_utf8_and_times_that_python_cannot_hold(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ab\xff", b"good"]).buffers())
    times = pa.array([1, 2_000], pa.timestamp("ns"))
    first, second = read(write(tmp_path / "a.parquet", table(2, caption=broken, at=times)))
    assert (first.prompt, second.prompt) == ("ab�", "good")
    assert first.error is second.error is None


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.binary()
        | st.dates()
        | st.decimals(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    ),
    st.text(),
)
def test_any_value_becomes_strict_json(value: Any, name: str) -> None:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    text = as_metadata([(name, value)])
    assert json.loads(text, parse_constant=refuse) == {name: json.loads(json.dumps(plain(value)))}


# Resume, memory


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_rows_may_be_left_out(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 40))
    group = data.draw(st.integers(1, 40))
    path = write(tmp_path_factory.mktemp("any") / "a.parquet", table(rows), row_group_size=group)
    wanted = data.draw(st.sets(st.integers(0, rows - 1)))
    everything = read(path)
    assert [s.source for s in everything] == [PNG + bytes([row, 0]) for row in range(rows)]
    assert list(read_unit(Shard(str(path), None), load_config(), wanted=wanted.__contains__)) == [
        everything[index] for index in sorted(wanted)
    ]


def test_row_groups_without_a_wanted_row_are_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", table(4), row_group_size=1, use_dictionary=False, compression="none")
    damaged = path.read_bytes().replace(PNG + b"\1\0", bytes(len(PNG) + 2))
    start = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    path.write_bytes(damaged[:start] + b"\xff" * 8 + damaged[start + 8 :])
    assert [s.error is None for s in read(path)] == [True, False, True, True]
    rest = read_unit(Shard(str(path), None), load_config(), wanted=lambda index: index != 1)
    assert [s.error for s in rest] == [None] * 3


def test_memory_does_not_grow_with_the_file_or_its_row_group(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.parquet"
        content = pa.table({"image": [row.to_bytes(4, "big") * 5000 for row in range(rows)]})
        pq.write_table(
            content, path, row_group_size=rows, use_dictionary=False, compression="none", write_batch_size=16
        )
        del content
        before = pa.total_allocated_bytes()
        tracemalloc.start()
        try:
            unit = Shard(str(path), None)
            columns = max(pa.total_allocated_bytes() - before for _ in read_unit(unit, load_config()))
            return columns + tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small, large = peak(1000), peak(5000)  # 20 and 100 MB
    assert large < 1.2 * small < 40e6


def test_an_image_that_a_dictionary_holds_once_is_not_unpacked_for_every_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.table({"image": [bytes(900_000)] * 500}), compression="none")
    assert path.stat().st_size < 1e6
    before = pa.total_allocated_bytes()
    most = max(pa.total_allocated_bytes() - before for _ in read_unit(Shard(str(path), None), load_config()))
    assert most < 150e6


# Bad input


def error_of(path: Path) -> str:
    (sample,) = read(path)
    assert sample.key == ""
    assert sample.source is None
    return sample.error or ""


def test_a_file_without_an_image_names_its_columns_in_one_line(tmp_path: Path) -> None:
    content = pa.table({"url": ["http://h/a.png"], "caption": ["a"]})
    error = error_of(write(tmp_path / "a.parquet", content))
    assert error == (
        "shard unreadable: no image column: name one in input.image_column;"
        " the columns are url: string, caption: string"
    )
    two = pa.table({"left": [PNG], "right": [PNG]})
    assert "several columns of bytes: name one" in error_of(write(tmp_path / "b.parquet", two))
    text = pa.table({"image": ["a.png"]})
    assert "the columns are image: string" in error_of(write(tmp_path / "c.parquet", text))


def test_null_images_fail_alone(tmp_path: Path) -> None:
    values = [
        {"bytes": PNG, "path": "a.png"},
        None,
        {"bytes": None, "path": "/etc/passwd"},
        {"bytes": b"", "path": None},
    ]
    content = pa.table({"image": pa.array(values, IMAGE), "text": list("abcd")})
    samples = read(write(tmp_path / "a.parquet", content))
    assert [s.error for s in samples] == [
        None,
        "image is null",
        "image is null: only the path '/etc/passwd' is there, and the file behind it is not part of the corpus",
        None,  # decoding says that it is empty
    ]
    assert [json.loads(s.metadata or "")["text"] for s in samples] == list("abcd")
    nothing = pa.table({"image": pa.nulls(2, pa.binary())})
    assert [s.error for s in read(write(tmp_path / "b.parquet", nothing))] == ["image is null"] * 2


def test_a_large_image_fails_alone(tmp_path: Path) -> None:
    content = pa.table({"image": [PNG, PNG + bytes(200_000)]})
    small, large = read(write(tmp_path / "a.parquet", content), ["images.max_megabytes=0.2"])
    assert small.error is None
    assert "over images.max_megabytes" in (large.error or "")
    assert large.source is None


@pytest.mark.parametrize("keep", [0, 1, 3, 100, -1, -4, -20])
def test_a_truncated_file_is_one_row(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path / "a.parquet", table(20))
    path.write_bytes(path.read_bytes()[:keep])
    assert "no footer: cut off" in error_of(path) or "empty file" in error_of(path)


class Keys(pe.KmsClient):
    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return key_bytes

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return wrapped_key


def write_encrypted(path: Path, *, plaintext_footer: bool) -> Path:
    how = pe.EncryptionConfiguration("f", column_keys={"c": ["image"]}, plaintext_footer=plaintext_footer)
    factory = pe.CryptoFactory(lambda _: Keys())
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), how)
    content = pa.table({"image": [PNG, PNG], "id": [1, 2]})
    with pq.ParquetWriter(path, content.schema, encryption_properties=properties) as writer:
        writer.write_table(content)
    return path


def test_encrypted_files(tmp_path: Path) -> None:
    whole = write_encrypted(tmp_path / "a.parquet", plaintext_footer=False)
    assert error_of(whole) == "shard unreadable: the Parquet file is encrypted"
    parts = write_encrypted(tmp_path / "b.parquet", plaintext_footer=True)
    assert error_of(parts) == "shard unreadable: the Parquet file is encrypted, all but its footer"


def test_an_empty_and_a_missing_file(tmp_path: Path) -> None:
    assert error_of(write(tmp_path / "a.parquet", table(0))) == "shard unreadable: it holds no samples"
    assert error_of(tmp_path / "c.parquet") == "shard does not exist"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_anywhere_never_loses_the_file_silently(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = write(tmp_path_factory.mktemp("damage") / "a.parquet", table(12), row_group_size=4)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    samples = read(path)
    assert len(samples) == 12 or any(s.error for s in samples)
