"""Names that every loader reads as meant, and that lead nowhere."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext

from qrefine.table.export.names import Names, file_key, loader_key, member_name, output_names

TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("./\\_ \0\n"), max_size=30)


@given(TEXT)
def test_a_loader_finds_the_key_and_the_suffix(key: str) -> None:
    name = loader_key(key, 7)
    assert base_plus_ext(f"{name}.png") == (name, "png")
    assert not name.startswith("/")
    assert ".." not in name.split("/")
    assert loader_key(name, 7) == name


@given(TEXT)
def test_a_file_stays_in_its_folder(key: str) -> None:
    name = f"{file_key(key, 7)}.png"
    assert posixpath.basename(name) == name
    assert len(name.encode()) < 255
    assert not name.startswith(".")


@given(TEXT)
def test_a_member_stays_inside(name: str) -> None:
    found = member_name(name)
    assert not posixpath.normpath(found).startswith(("/", ".."))
    assert "\0" not in found


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a", "a"),
        ("d/k 01-ä", "d/k 01-ä"),
        ("img v1.5 final", "img v1_5 final"),
        ("../../evil", "evil"),
        ("/abs/x", "abs/x"),
        ("__meta__/x", "_meta__/x"),
        ("", "000000007"),
        ("d/", "d/000000007"),
        ("a\nb", "a_b"),
    ],
)
def test_keys(key: str, expected: str) -> None:
    assert loader_key(key, 7) == expected


@given(st.lists(st.sampled_from(["a", "A", "a-2", "a-3", "b"]), max_size=12), st.booleans())
def test_names_are_given_once(names: list[str], fold: bool) -> None:
    given_ = Names(fold)
    found = [given_.unique(name) for name in names]
    assert len({name.lower() if fold else name for name in found}) == len(names)
    assert all(new.startswith(old) for old, new in zip(names, found, strict=True))
    assert not names or found[0] == names[0]


@pytest.mark.parametrize(
    ("shards", "expected"),
    [
        (["/d/a.tar"], ["a.tar"]),
        (["/d/x/a.tar", "/d/y/a.tar"], ["x/a.tar", "y/a.tar"]),
        (["s3://b/x/a.tar.gz", "s3://b/x/b.TAR"], ["a.tar.gz", "b.TAR"]),
        (["/d/p.parquet", "/d/p.tar"], ["p.tar", "p-2.tar"]),
        (["/d/photos/#files-01", "/d/photos/#files-1"], ["files-01.tar", "files-1.tar"]),
        (["/d/t/#part-qrefine-1.parquet"], ["part-qrefine-1.tar"]),
        (["/d/a.tar.zst", "/d/e/README"], ["a.tar", "e/README.tar"]),
        (["/a/x.tar", "s3://b/x.tar"], ["a/x.tar", "s3/b/x.tar"]),
    ],
)
def test_files_of_shards(shards: list[str], expected: list[str]) -> None:
    assert list(output_names(shards).values()) == expected
