"""Image folders: side files, the folder's metadata, odd names, what is broken beside what is not."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.config import load_config
from qrefine.corpus.listing import list_shards, units_of
from qrefine.corpus.readers import read_unit
from qrefine.corpus.sidefile import LINE_BYTES
from qrefine.errors import UserError
from qrefine.sample import Sample
from tests.support import encoded, photo, write_tar

PNG = encoded(photo(size=16))
JPEG = encoded(photo("chelsea", 16), "JPEG")


def put(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def read(folder: Path, **options: Any) -> dict[str, Sample]:
    units = list_shards([str(folder)], {})
    samples = [sample for unit in units for sample in read_unit(unit, load_config(), **options)]
    assert len({(s.shard, s.index) for s in samples}) == len(samples)
    assert sum(s.shard_rows is not None for s in samples) == len(units)
    assert all(s.source is not None or s.error for s in samples)
    return {sample.key: sample for sample in samples}


def test_images_prompts_and_metadata_in_folders_of_any_depth(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "a.png": PNG,
        "a.txt": "a prompt",
        "b/c/d.JPG": JPEG,
        "b/c/d.json": '{"prompt": "from json"}',
        "b/e.png": PNG,
    }
    samples = read(put(tmp_path, files))
    assert {key: (s.prompt, s.source, s.error) for key, s in samples.items()} == {
        "a": ("a prompt", PNG, None),
        "b/c/d": ("from json", JPEG, None),
        "b/e": (None, PNG, None),
    }
    assert {s.shard for s in samples.values()} == {f"{tmp_path}/#files"}
    assert samples["b/e"].shard_rows == 3
    assert {s.offset for s in samples.values()} == {None}


def test_what_is_no_sample(tmp_path: Path) -> None:
    litter = {".DS_Store": "x", "._a.png": "x", "__MACOSX/a.png": PNG, "Thumbs.db": "x", ".cache/b.png": PNG}
    others = {"README.md": "x", "notes.txt": "x", "model.json": "{}", "noext": PNG}
    assert read(put(tmp_path, {"a.png": PNG, **litter, **others})).keys() == {"a"}


def test_the_folders_metadata(tmp_path: Path) -> None:
    lines = [
        {"file_name": "0.png", "caption": "zero", "n": 1},
        {"file_name": "sub/1.png", "caption": "one of the root"},
        {"file_name": "sub/2.png", "caption": "two"},
    ]
    put(tmp_path, {"0.png": PNG, "sub/1.png": PNG, "sub/2.png": PNG, "sub/3.png": PNG, "sub/2.json": '{"own": 1}'})
    put(tmp_path, {"metadata.jsonl": "﻿" + "\n".join(map(json.dumps, lines))})
    put(tmp_path, {"sub/metadata.csv": 'file_name,caption\r\n1.png,"one, of\r\nthe ""sub"""\r\n'})
    samples = read(tmp_path)
    assert {key: s.prompt for key, s in samples.items()} == {
        "0": "zero",
        "sub/1": 'one, of\r\nthe "sub"',  # the nearest metadata counts
        "sub/2": None,
        "sub/3": None,
    }
    assert json.loads(samples["0"].metadata or "") == lines[0]
    assert samples["sub/2"].metadata == '{"own": 1}'  # a json beside the image counts first


def test_broken_lines_cost_only_themselves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [
        '{"file_name": "0.png", "caption": "zero"}',
        '{"file_name": "1.png", "caption": ',
        "[1]",
        '{"caption": "nameless"}',
        '{"file_name": "../../../etc/passwd"}',
        '{"file_name": "/etc/passwd"}',
        json.dumps({"file_name": "2.png", "caption": "x" * LINE_BYTES}),
        '{"file_name": "3.png", "caption": "\\ud800"}',
        "",
        '{"file_name": "4.png", "caption": "four"}',
    ]
    put(tmp_path, {f"{number}.png": PNG for number in range(5)})
    put(tmp_path, {"metadata.jsonl": "\n".join(lines)})
    with caplog.at_level(logging.WARNING):
        samples = read(tmp_path)
    assert {key: s.prompt for key, s in samples.items()} == {
        "0": "zero", "1": None, "2": None, "3": None, "4": "four",
    }  # fmt: skip
    assert not any(s.error for s in samples.values())
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 7
    assert all(
        f"metadata.jsonl, line {number} is skipped" in line
        for number, line in zip(range(2, 9), told, strict=False)
    )


def test_broken_csv_rows_cost_only_themselves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, {f"{number}.png": PNG for number in range(4)})
    put(tmp_path, {"metadata.csv": "file_name,text,n\n0.png,zero,1\n1.png,one\n2.png,two,2,3\n\n3.png,three,3\n"})
    with caplog.at_level(logging.WARNING):
        samples = read(tmp_path)
    assert [bool(samples[str(n)].metadata) for n in range(4)] == [True, False, False, True]
    assert len(caplog.records) == 2


def test_a_file_that_the_metadata_names_and_that_is_not_there(tmp_path: Path) -> None:
    put(
        tmp_path,
        {"a.png": PNG, "metadata.jsonl": '{"file_name": "a.png"}\n{"file_name": "b.png", "caption": "b"}\n'},
    )
    samples = read(tmp_path)
    assert samples["a"].error is None
    assert samples["b"].error == "file does not exist: b.png"
    assert samples["b"].prompt == "b"


def test_files_that_are_gone_or_closed_after_listing_fail_alone(tmp_path: Path) -> None:
    put(tmp_path, {f"{number}.png": PNG for number in range(4)} | {"2.txt": "two"})
    (unit,) = list_shards([str(tmp_path)], {})
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.txt").unlink()
    samples = list(read_unit(unit, load_config(), retries=0))
    assert [s.error for s in samples] == [None, "file does not exist: 1.png", None, None]
    assert [s.index for s in samples] == [0, 1, 2, 3]
    assert samples[-1].shard_rows == 4
    assert [s.index for s in read_unit(unit, load_config(), wanted=lambda index: index in (0, 3))] == [0, 3]


def test_links_are_followed_to_files_and_not_to_folders(tmp_path: Path) -> None:
    put(tmp_path, {"real/a.png": PNG})
    (tmp_path / "link.png").symlink_to("real/a.png")
    (tmp_path / "nowhere.png").symlink_to("gone.png")
    (tmp_path / "again").symlink_to("real")
    (tmp_path / "loop").symlink_to(".")
    samples = read(tmp_path)
    assert {key: s.error for key, s in samples.items()} == {
        "real/a": None, "link": None, "nowhere": "file does not exist: nowhere.png",
    }  # fmt: skip


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xffx.png")).write_bytes(PNG)
    (sample,) = read(tmp_path).values()
    assert sample.key == "�x"
    assert sample.source == PNG


def test_a_folder_with_shards_is_read_by_its_shards(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(
        tmp_path,
        {"a.png": PNG, "sub/b.png": PNG, "sub/c.parquet": b"", "metadata.jsonl": '{"file_name": "a.png"}'},
    )
    write_tar(tmp_path / "sub/x.tar", [("k.png", PNG)])
    with caplog.at_level(logging.WARNING):
        units = list_shards([str(tmp_path)], {})
    assert [Path(unit.url).name for unit in units] == ["c.parquet", "x.tar"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path} holds shards: 2 images beside them are not read"
    ]


def test_an_empty_folder_is_one_line(tmp_path: Path) -> None:
    put(tmp_path, {"README.md": "x", "sub/notes.txt": "y"})
    with pytest.raises(UserError, match="nothing matches"):
        list_shards([str(tmp_path)], {})


def test_images_named_one_by_one_are_one_line(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": PNG, "b.png": PNG})
    for pattern in ("*.png", "a.png"):
        with pytest.raises(UserError, match="name the folder that they lie in"):
            list_shards([str(tmp_path / pattern)], {})


def test_units_are_found_again_by_their_urls(tmp_path: Path) -> None:
    put(tmp_path, {"in/a.png": PNG})
    write_tar(tmp_path / "x.tar", [("k.png", PNG)])
    (unit,) = list_shards([str(tmp_path / "in")], {})
    found = units_of([unit.url, str(tmp_path / "x.tar"), f"{tmp_path}/in/#files-01"], {})
    assert found.keys() == {unit.url, str(tmp_path / "x.tar")}
    assert found[unit.url] == unit


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30) | st.binary(max_size=30), max_size=8))
def test_any_metadata_is_read_or_skipped(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str | bytes]
) -> None:
    folder = tmp_path_factory.mktemp("meta")
    data = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    put(folder, {"a.png": PNG, "metadata.jsonl": data, "b/metadata.csv": data, "b/c.png": PNG})
    samples = read(folder)
    assert samples["a"].error is samples["b/c"].error is None
