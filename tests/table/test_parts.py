"""Parts: what is written is what is read, and the log knows its rows without opening it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qrefine.storage.store import Store
from qrefine.table.parts import PREFIX, Part, PartRecord, error_kind
from tests.support import photo
from tests.table.parts import CONFIG, MAP, SOURCE, part, rows


def test_a_part_holds_exactly_the_rows(tmp_path: Path) -> None:
    table = rows([(2, "kept"), (0, "refined"), (1, "failed")])
    record = part(tmp_path, table)
    assert record.path.startswith(f"{PREFIX}r-")
    assert record.size == (tmp_path / record.path).stat().st_size
    assert pq.read_table(tmp_path / record.path).sort_by("index").to_pylist() == table.sort_by("index").to_pylist()


def test_the_record_tells_what_the_driver_needs(tmp_path: Path) -> None:
    table = rows([(4, "kept"), (0, "refined"), (1, "failed"), (3, "failed")], total=5)
    under_way = Part(Store.at(str(tmp_path)), "r")
    under_way.count(extra_images=4, source_bytes=1, notes={"a": 1})
    under_way.add(table.slice(0, 1))
    under_way.add(table.slice(1))
    under_way.count(extra_images=3, source_bytes=2, notes={"a": 1, "b": 1})
    record = under_way.close()
    assert (record.shard, record.rows, record.shard_rows) == ("a.tar", ((0, 2), (3, 5)), 5)
    assert record.version == "9-v"
    assert record.statuses == {"refined": 1, "failed": 2, "kept": 1}
    assert record.errors == {"OSError": 2}
    assert (record.extra_images, record.source_bytes) == (7, 3)
    assert record.notes == {"a": 2, "b": 1}
    assert record.quality_sums == pytest.approx((0.625 * 2, 1.625, 2))
    assert PartRecord.from_json(record.to_json()) == record


def test_statistics_are_those_of_the_rows(tmp_path: Path) -> None:
    stats = json.loads(part(tmp_path, rows([(4, "kept"), (2, "failed")], total=5)).stats)
    assert stats["numRecords"] == 2
    assert stats["minValues"] | {"quality_after": 0} == {
        "shard": "a.tar", "index": 2, "status": "failed", "shard_rows": 5, "quality_after": 0,
        "config": CONFIG.digest, "shard_version": "9-v",
    }  # fmt: skip
    assert (stats["maxValues"]["index"], stats["maxValues"]["status"]) == (4, "kept")
    assert stats["nullCount"] == {"shard": 0, "index": 0, "status": 0, "quality_after": 1, "config": 0,
        "shard_version": 0, "shard_rows": 1,
    }  # fmt: skip


def test_statistics_leave_out_what_all_rows_lack(tmp_path: Path) -> None:
    stats = json.loads(part(tmp_path, rows([(0, "failed")])).stats)
    assert "quality_after" not in stats["minValues"]
    assert "shard_rows" not in stats["maxValues"]


def test_each_attempt_has_a_name_of_its_own(tmp_path: Path) -> None:
    table = rows([(0, "kept")])
    assert len({part(tmp_path, table).path for _ in range(5)}) == 5


def test_rows_of_two_shards_are_no_part(tmp_path: Path) -> None:
    both = pa.concat_tables([rows([(0, "kept")]), rows([(0, "kept")], shard="b.tar")])
    with pytest.raises(ValueError, match="one shard"):
        part(tmp_path, both)


def test_images_are_stored_as_they_are_and_the_rest_is_compressed(tmp_path: Path) -> None:
    record = part(tmp_path, rows([(0, "kept")]))
    group = pq.read_metadata(tmp_path / record.path).row_group(0)
    found = {group.column(i).path_in_schema: group.column(i).compression for i in range(group.num_columns)}
    assert found.pop("image.bytes") == "UNCOMPRESSED"
    assert set(found.values()) == {"ZSTD"}


def test_the_datasets_library_decodes_the_images_of_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    record = part(tmp_path, rows([(0, "refined"), (1, "kept"), (2, "failed")]))
    loaded = datasets.Dataset.from_parquet(str(tmp_path / record.path), cache_dir=str(tmp_path / "cache"))
    assert isinstance(loaded.features["image"], datasets.Image)
    assert np.array_equal(np.asarray(loaded[0]["image"]), photo("coffee", 24))
    assert np.array_equal(np.asarray(loaded[1]["image"]), np.asarray(PIL.Image.open(io.BytesIO(SOURCE))))
    assert loaded[2]["image"] is None
    assert loaded[0]["quality_map_before"] == MAP.values.tolist()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("too many pixels: 9 x 9, over the limit", "too many pixels"),
        ("not an image (begins with b'x: y')", "not an image"),
        ("shard damaged: bad checksum at byte 5", "shard damaged"),
        ("image member is empty (0 bytes)", "image member is empty"),
        ("no image member (members: txt)", "no image member"),
        ("image member is too large: 5 bytes", "image member is too large"),
    ],
)
def test_errors_are_counted_by_their_kind(error: str, kind: str) -> None:
    assert error_kind(error) == kind
