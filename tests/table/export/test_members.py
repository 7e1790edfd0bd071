"""Other members of samples come back, wherever in the archive they lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import webdataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qrefine.config import RefineConfig
from qrefine.corpus.units import Shard
from qrefine.storage.store import Store
from qrefine.table.export import members as module
from qrefine.table.export.members import opened
from qrefine.table.export.request import Request
from qrefine.table.export.run import export
from qrefine.table.table import Table
from tests.support import write_tar
from tests.table.export.corpus import CONFIG

datasets.disable_progress_bars()


def test_members_that_all_have_come_back_and_others_are_named(mixed: Table, tmp_path: Path) -> None:
    manifest = export(mixed, Store.at(str(tmp_path / "out")), Request(), CONFIG)
    found = list(webdataset.WebDataset(str(tmp_path / "out" / "000000.tar"), shardshuffle=False))
    assert len(found) == 24
    for sample in found:
        assert {"cls", "json", "txt", "png"} <= set(sample)
        assert "mask.png" not in sample
        told = json.loads(sample["json"])["qrefine"]
        assert int(sample["cls"]) == told["index"]
    assert any("mask.png: 12" in note and "--layout source" in note for note in manifest.notes)
    loaded = datasets.load_dataset(
        "webdataset", data_files=str(tmp_path / "out" / "*.tar"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert [row["cls"] for row in loaded] == [*range(12), *range(12)]


def test_members_can_stay_out(mixed: Table, tmp_path: Path) -> None:
    export(mixed, Store.at(str(tmp_path / "out")), Request(members=False), CONFIG)
    found = list(webdataset.WebDataset(str(tmp_path / "out" / "000000.tar"), shardshuffle=False))
    assert all("cls" not in sample for sample in found)


SUFFIXES = ("png", "txt", "npy", "mask.png")


@st.composite
def archives(draw: st.DrawFn) -> tuple[list[list[str]], list[tuple[int, str]], set[int]]:
    """Samples with their members' names, the order of all members in the archive, and which samples are wanted.

    Two samples may have one key; then the members of the first come first.
    """
    count = draw(st.integers(1, 6))
    keys = [draw(st.sampled_from("abcd")) for _ in range(count)]
    chosen = [draw(st.lists(st.sampled_from(SUFFIXES), unique=True, min_size=1)) for _ in keys]
    names = [[f"{key}.{suffix}" for suffix in suffixes] for key, suffixes in zip(keys, chosen, strict=True)]
    flat = [(index, name) for index, its in enumerate(names) for name in its]
    order = draw(st.permutations(flat))
    seen: dict[str, list[int]] = {}
    for index, name in sorted(flat):
        seen.setdefault(name, []).append(index)
    placed = [(seen[name].pop(0), name) for _, name in order]
    return names, placed, draw(st.sets(st.sampled_from(range(count)), min_size=1))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(archive=archives(), held=st.sampled_from([1, 1 << 20]), prefix=st.sampled_from(["", "./"]))
def test_members_are_found_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: Any, held: int, prefix: str
) -> None:
    names, placed, wanted = archive
    monkeypatch.setattr(module, "HELD_BYTES", held)
    content = {place: f"{place}".encode() * 9 for place in placed}
    url = str(write_tar(tmp_path / "x.tar", [(prefix + name, content[index, name]) for index, name in placed]))
    known = dict(enumerate(names))
    with opened(Shard(url, None), known, wanted, RefineConfig()) as members:
        for index in sorted(wanted):
            expected = [(prefix + name, content[index, name]) for name in names[index]]
            assert members.of(index) == expected


def test_a_cut_archive_gives_what_is_there(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "x.tar", [("a.cls", b"1"), ("a.npy", b"2" * 3000), ("b.cls", b"3")])
    whole.write_bytes(whole.read_bytes()[:2500])
    names = {0: ["a.cls", "a.npy"], 1: ["b.cls"]}
    with opened(Shard(str(whole), None), names, [0, 1], RefineConfig()) as members:
        assert members.of(0) == [("a.cls", b"1")]
        assert members.of(1) == []
