"""What went in comes out: one shard for each source shard, the same keys, prompts, members and order."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from qrefine.corpus.shards import read_shard
from qrefine.errors import UserError
from qrefine.storage.store import Store
from qrefine.table.export.output import Manifest
from qrefine.table.export.request import Request
from qrefine.table.export.run import export
from qrefine.table.export.select import Choice
from qrefine.table.table import Table
from tests.support import encoded, noisy, photo, write_tar
from tests.table.export.corpus import CONFIG, refined, write_corpus

SOURCE = Request(source_layout=True)


def exported(table: Table, folder: Path, request: Request = SOURCE) -> Manifest:
    return export(table, Store.at(str(folder)), request, CONFIG)


def members(shard: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(shard) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


def sound(shard: Path) -> list[tuple[str, bytes]]:
    return [(name, data) for name, data in members(shard) if not name.startswith("broken")]


def statuses(table: Table) -> dict[tuple[str, str], str]:
    found = table.delta.to_pyarrow_table(columns=["shard", "key", "status"]).to_pylist()
    return {(Path(row["shard"]).name, row["key"]): row["status"] for row in found}


def test_all_but_refined_images_is_byte_for_byte_what_came_in(corpus: Path, mixed: Table, tmp_path: Path) -> None:
    manifest = exported(mixed, tmp_path / "out")
    assert [file.name for file in manifest.files] == ["a.tar", "b.tar"]
    found = statuses(mixed)
    changed = 0
    for name in ("a.tar", "b.tar"):
        before, after = sound(corpus / name), members(tmp_path / "out" / name)
        assert [member for member, _ in after] == [member for member, _ in before]
        for (member, old), (_, new) in zip(before, after, strict=True):
            key, _, suffix = member.partition(".")
            is_refined = suffix in ("png", "jpg") and found[name, key] == "refined"
            assert (old != new) == is_refined
            changed += is_refined
            if is_refined:  # the format that the name says
                assert (new[:4] == b"\x89PNG") == (suffix == "png")
    assert changed == sum(status == "refined" for status in found.values()) > 2


def test_refine_finds_the_same_corpus_again(corpus: Path, mixed: Table, tmp_path: Path) -> None:
    exported(mixed, tmp_path / "out")
    again = refined_again(tmp_path / "out", tmp_path / "second")
    columns = [name for name in ("key", "prompt", "metadata", "members") if name in mixed.schema.names]

    def rows(table: Table) -> list[Any]:
        found = table.delta.to_pyarrow_table(columns=["shard", "index", "status", *columns]).to_pylist()
        ordered = sorted(found, key=lambda row: (row["shard"], row["index"]))
        return [
            (Path(row["shard"]).name, row["index"], *(row[name] for name in columns))
            for row in ordered
            if row["status"] != "failed"
        ]

    assert rows(again) == rows(mixed)


def refined_again(corpus: Path, table: Path) -> Table:
    from qrefine.api import refine

    refine([str(corpus)], str(table), CONFIG)
    return Table.open(Store.at(str(table)))


def test_a_selection_keeps_its_order_and_names(corpus: Path, mixed: Table, tmp_path: Path) -> None:
    choice = Choice(where="\"index\" in (7, 2, 11) and shard like '%b.tar'")
    exported(mixed, tmp_path / "out", Request(source_layout=True, choice=choice))
    keys = ("d/k02.", "d/k07.", "d/k11.")
    expected = [name for name, _ in members(corpus / "b.tar") if name.startswith(keys)]
    assert [name for name, _ in members(tmp_path / "out" / "b.tar")] == expected
    assert not (tmp_path / "out" / "a.tar").exists()


def test_one_format_for_all_renames_what_has_another(mixed: Table, tmp_path: Path) -> None:
    manifest = exported(mixed, tmp_path / "out", Request(source_layout=True, images="webp"))
    images = [(n, d) for n, d in members(tmp_path / "out" / "a.tar") if n.endswith(".webp")]
    assert len(images) == 12
    assert all(data[8:12] == b"WEBP" for _, data in images)
    assert manifest.renamed == 24


@pytest.mark.parametrize("suffix", ["tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_a_compressed_shard_comes_out_compressed(tmp_path: Path, suffix: str) -> None:
    corpus = write_small(tmp_path / "corpus")
    packed = corpus / f"a.{suffix}"
    modes = {"tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}
    with tarfile.open(packed, modes[suffix]) as tar, tarfile.open(corpus / "a.tar") as plain:  # type: ignore[call-overload]
        for member in plain:
            tar.addfile(member, plain.extractfile(member))
    expected = members(corpus / "a.tar")
    (corpus / "a.tar").unlink()
    table = refined(packed, tmp_path / "table")
    for folder in ("out", "again"):
        (file,) = exported(table, tmp_path / folder).files
        assert file.name == packed.name
    assert [name for name, _ in members(tmp_path / "out" / packed.name)] == [name for name, _ in expected]
    assert (tmp_path / "out" / packed.name).read_bytes() == (tmp_path / "again" / packed.name).read_bytes()
    head = (tmp_path / "out" / packed.name).read_bytes()[:3]
    assert head in (b"\x1f\x8b\x08", b"BZh", b"\xfd7z")


def write_small(folder: Path) -> Path:
    folder.mkdir()
    found: list[tuple[str, bytes]] = []
    for i in range(4):
        image = photo("coffee", 64)
        found.append((f"{i}.npy", bytes([i])))
        found.append((f"{i}.png", encoded(noisy(image, i) if i % 2 else image)))
    write_tar(folder / "a.tar", found)
    return folder


def test_shards_of_one_name_keep_their_folders(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / "in").mkdir(exist_ok=True)
        write_small(tmp_path / "in" / folder)
    table = refined(tmp_path / "in" / "*" / "a.tar", tmp_path / "table")
    manifest = exported(table, tmp_path / "out")
    assert [file.name for file in manifest.files] == ["x/a.tar", "y/a.tar"]
    assert len(members(tmp_path / "out" / "y" / "a.tar")) == 8


def test_names_stay_inside_the_folder(tmp_path: Path) -> None:
    image = encoded(noisy(photo("coffee", 64)))
    clean = encoded(photo("coffee", 64))
    evil = [("../../evil.png", image), ("/abs.png", image), ("a/../../b.png", clean), ("x\x01y.png", clean)]
    write_tar(tmp_path / "e.tar", evil)
    table = refined(tmp_path / "e.tar", tmp_path / "table")
    outside = {path for path in tmp_path.parent.iterdir() if path != tmp_path}
    for number, request in enumerate((SOURCE, Request(), Request("imagefolder"), Request(pairs="restoration"))):
        exported(table, tmp_path / "out" / str(number), request)
        for shard in (tmp_path / "out" / str(number)).rglob("*.tar"):
            for name, _ in members(shard):
                assert not name.startswith("/")
                assert ".." not in name.split("/")
                assert name.isprintable() or request is SOURCE
    assert {path for path in tmp_path.parent.iterdir() if path != tmp_path} == outside
    assert {path.name for path in tmp_path.iterdir()} == {"e.tar", "table", "out"}


class TestSourcesThatAreLost:
    """Samples whose source cannot be read as it was are left out with a line; nothing else is."""

    @pytest.fixture
    def own(self, tmp_path: Path) -> Table:
        write_corpus(tmp_path / "corpus")
        return refined(tmp_path / "corpus", tmp_path / "table")

    @pytest.mark.parametrize("how", ["gone", "changed"])
    @pytest.mark.parametrize("request_", [SOURCE, Request(pairs="restoration")])
    def test_a_lost_shard(self, own: Table, tmp_path: Path, how: str, request_: Request) -> None:
        lose(tmp_path / "corpus" / "a.tar", how)
        manifest = exported(own, tmp_path / "out", request_)
        ((reason, count),) = manifest.left_out.items()
        assert ("changed" if how == "changed" else "cannot be read") in reason
        assert "a.tar" in reason
        assert count + manifest.samples == manifest.selected
        whole = [file.name for file in manifest.files]
        assert whole == (["b.tar"] if request_.source_layout else ["000000.tar"])

    def test_all_lost(self, own: Table, tmp_path: Path) -> None:
        for name in ("a.tar", "b.tar"):
            lose(tmp_path / "corpus" / name, "gone")
        with pytest.raises(UserError, match=r"no source shard can be read .*--no-members"):
            exported(own, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        manifest = exported(own, tmp_path / "out", Request(source_layout=True, members=False))
        assert manifest.samples == 24
        names = [name for name, _ in members(tmp_path / "out" / "a.tar")]
        assert names[:5] == ["d/k00.png", "d/k00.json", "d/k01.png", "d/k01.txt", "d/k01.json"]

    def test_a_shard_that_another_one_took_the_place_of_unseen(self, own: Table, tmp_path: Path) -> None:
        """Of the same size and time, so that its version says nothing: the images' digests do."""
        shard = tmp_path / "corpus" / "a.tar"
        before = shard.stat()
        found = members(shard)
        write_tar(shard, [*found[:1], (found[1][0], found[1][1]), *found[2:]])
        data = bytearray(shard.read_bytes())
        place = data.index(b"\xff\xd8\xff") + 40
        data[place] ^= 1
        shard.write_bytes(bytes(data[: before.st_size]))
        os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
        manifest = exported(own, tmp_path / "out")
        assert sum(manifest.left_out.values()) == 1
        assert "not where it was" in next(iter(manifest.left_out))
        assert manifest.samples == 23

    def test_exports_of_the_table_alone_need_no_source(self, own: Table, tmp_path: Path) -> None:
        for name in ("a.tar", "b.tar"):
            lose(tmp_path / "corpus" / name, "gone")
        manifest = exported(own, tmp_path / "out", Request(members=False))
        assert (manifest.samples, manifest.left_out) == (24, {})
        assert "Before and after" not in (tmp_path / "out" / "README.md").read_text()


def lose(shard: Path, how: str) -> None:
    if how == "gone":
        shard.unlink()
    else:
        write_tar(shard, [("other.png", encoded(photo(size=32)))])


def test_parquet_in_tars_out(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [encoded(noisy(photo("coffee", 64), i) if i % 2 else photo("coffee", 64)) for i in range(4)]
    rows = {"image": [{"bytes": image, "path": None} for image in images], "prompt": list("wxyz")}
    pq.write_table(pa.table(rows), tmp_path / "p.parquet")
    table = refined(tmp_path / "p.parquet", tmp_path / "table")
    manifest = exported(table, tmp_path / "out")
    assert [file.name for file in manifest.files] == ["p.tar"]
    found = list(read_shard(str(tmp_path / "out" / "p.tar"), CONFIG.images))
    assert [sample.prompt for sample in found] == list("wxyz")


def test_what_the_loaders_see_is_what_the_table_holds(mixed: Table, tmp_path: Path) -> None:
    exported(mixed, tmp_path / "out")
    rows = {
        (Path(row["shard"]).name, row["index"]): row
        for row in mixed.delta.to_pyarrow_table(columns=["shard", "index", "image", "status"]).to_pylist()
    }
    for name in ("a.tar", "b.tar"):
        for sample in read_shard(str(tmp_path / "out" / name), CONFIG.images):
            expected = rows[name, sample.index]["image"]["bytes"]
            if sample.source != expected:  # a refined png under the name of a jpg
                assert sample.source is not None
                assert difference(sample.source, expected) < 3


def difference(a: bytes, b: bytes) -> float:
    import io

    first, second = (np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"), float) for data in (a, b))
    return float(np.abs(first - second).mean())
