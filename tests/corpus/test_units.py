"""Slices of folders: the same for the same names, and what is added changes one of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.corpus import units
from qrefine.corpus.units import SLICE, File, Inner, Shard, inner, part_url, recut, slice_url, slices

NAMES = st.sets(st.integers(0, 60).map(str), max_size=60)


def cut(names: set[str]) -> dict[str, Shard]:
    found = list(slices("/c", [File(f"{name}.png", name, 1, "v") for name in names]))
    assert len({unit.url for unit in found}) == len(found)
    return {unit.url: unit for unit in found}


@pytest.mark.parametrize("url", ["/a/b.tar", "/a/#files.tar", "/a/#files-2", "/a/files-01", "s3://b/x#part"])
def test_files_of_their_own_are_in_no_container(url: str) -> None:
    assert inner(url) is None


def test_a_containers_unit_tells_its_place() -> None:
    assert inner(slice_url("s3://b/photos", "")) == Inner("s3://b/photos", "", None)
    assert inner(slice_url("/a b/#x", "0110")) == Inner("/a b/#x", "0110", None)
    assert inner(part_url("/t", "year=1/part-0.parquet")) == Inner("/t", None, "year=1/part-0.parquet")


def test_slices_hold_at_most_a_thousand_samples_each_and_are_not_tiny() -> None:
    found = cut({f"{number:06d}" for number in range(10 * SLICE)})
    sizes = [len(unit.files) for unit in found.values()]
    assert sum(sizes) == 10 * SLICE
    assert SLICE / 4 < min(sizes) <= max(sizes) <= SLICE


def test_an_added_file_changes_one_slice() -> None:
    names = {f"{number:06d}" for number in range(5 * SLICE)}
    before, after = cut(names), cut(names | {"new"})
    assert before.keys() == after.keys()
    changed = [url for url in before if before[url].version != after[url].version]
    assert len(changed) == 1


@settings(max_examples=200, deadline=None)
@given(NAMES, NAMES)
def test_whatever_is_added_or_removed_each_sample_is_in_one_unit(old: set[str], new: set[str]) -> None:
    """Units that are gone and their successors are told, so that no row of the old cut stands beside the new."""
    limit = units.SLICE
    units.SLICE = 3  # small slices, so that some are cut
    try:
        before, after = cut(old), cut(new)
    finally:
        units.SLICE = limit
    assert sorted(file.key for unit in after.values() for file in unit.files) == sorted(new)
    gone, successors = recut([*after], [*before])
    assert gone <= before.keys() - after.keys()
    assert successors <= after.keys() - before.keys()
    left = {file.key for url in before.keys() - gone - after.keys() for file in before[url].files}
    assert not left & new  # what stays of units that are not listed is not in the folder any more
    for url in after.keys() - before.keys() - successors:  # may be added to the old rows as it is
        assert not {file.key for file in after[url].files} & {
            file.key for u in before.values() for file in u.files
        }


def test_names_sizes_versions_and_metadata_make_a_slices_version() -> None:
    file = File("a.png", "a", 1, "v", None)

    def version(changed: File) -> str | None:
        return next(slices("/c", [changed])).version

    others = [
        replace(file, name="a.jpg"),
        replace(file, version="w"),
        replace(file, size=2),
        replace(file, text="{}"),
    ]
    assert len({version(one) for one in (file, *others)}) == 5
    assert version(file) == version(replace(file))


def test_parts_of_a_table_follow_one_another_in_any_way() -> None:
    old, new, other = part_url("/t", "a"), part_url("/t", "b"), part_url("/u", "a")
    assert recut([new], [old, other]) == ({old}, {new})
    assert recut([old], [old, other]) == (set(), set())
    assert recut(["/x.tar"], ["/y.tar"]) == (set(), set())
