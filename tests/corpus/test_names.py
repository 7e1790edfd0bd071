"""Keys and suffixes from names, and which of a sample's images is the one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrefine.corpus.names import Rule, image_rank, is_litter, side_kind, split_name

NAMES = st.lists(st.sampled_from([*"ab15._/- é\n", "..", "png", "txt", ".mask"]), min_size=1, max_size=12).map(
    "".join
)
RULES: tuple[Rule, ...] = ("auto", "first_dot", "last_dot")


@pytest.mark.parametrize(
    ("name", "auto", "first", "last"),
    [
        ("a.png", ("a", "png"), ("a", "png"), ("a", "png")),
        ("d.x/a.mask.png", ("d.x/a", "mask.png"), ("d.x/a", "mask.png"), ("d.x/a.mask", "png")),
        ("img v1.5 final.PNG", ("img v1.5 final", "PNG"), ("img v1", "5 final.PNG"), ("img v1.5 final", "PNG")),
        ("cfg7.5.caption.txt", ("cfg7.5", "caption.txt"), ("cfg7", "5.caption.txt"), ("cfg7.5", "caption.txt")),
        ("Dr. Strange.jpg", ("Dr. Strange", "jpg"), ("Dr", " Strange.jpg"), ("Dr. Strange", "jpg")),
        ("v1.5.mask.png", ("v1.5", "mask.png"), ("v1", "5.mask.png"), ("v1.5.mask", "png")),
        ("noext", ("noext", ""), ("noext", ""), ("noext", "")),
        ("7.5", ("7.5", ""), ("7", "5"), ("7", "5")),
        ("../../evil.png", ("../../evil", "png"), ("../../evil", "png"), ("../../evil", "png")),
        ("folder/", None, None, None),
        ("__meta__/a.png", None, None, None),
        ("._a.png", None, None, None),
        ("d/.hidden.png", None, None, None),
    ],
)
def test_where_a_key_ends(
    name: str, auto: tuple[str, str] | None, first: tuple[str, str] | None, last: tuple[str, str] | None
) -> None:
    assert [split_name(name, rule) for rule in RULES] == [auto, first, last]


@given(NAMES, st.sampled_from(RULES))
def test_key_and_suffix_are_the_name(name: str, rule: Rule) -> None:
    found = split_name(name, rule)
    if found is not None:
        key, suffix = found
        assert key
        assert name in (f"{key}.{suffix}", key)
        assert name == f"{key}.{suffix}" or not suffix
        assert "/" not in suffix


@pytest.mark.parametrize(
    "name",
    ["._a", ".DS_Store", "d/.DS_Store", "__MACOSX/a.png", "d/__macosx/x", "Thumbs.db", "d/THUMBS.DB",
     "desktop.ini", "d/@eaDir/a.png", ".git/a.png", "$RECYCLE.BIN/a.png"],
)  # fmt: skip
def test_litter(name: str) -> None:
    assert is_litter(name)


@pytest.mark.parametrize("name", ["a.png", "./a.png", "../a.png", "my desktop.ini.png", "d/a.DS_Store"])
def test_no_litter(name: str) -> None:
    assert not is_litter(name)


def test_the_image_is_the_preferred_one_then_the_plain_one_then_no_map() -> None:
    ranks = [image_rank(suffix, ".Left.JPG") for suffix in ("left.jpg", "png", "", "image.png", "depth.png")]
    assert ranks == [0, 1, 1, 2, 3]


def test_side_files_may_carry_the_images_suffix() -> None:
    suffixes = ("txt", "png.txt", "jpg.json", "caption.txt", "caption", "prompt", "cls", "mask.txt")
    assert [side_kind(suffix) for suffix in suffixes] == [
        "txt", "txt", "json", "caption.txt", "caption", "prompt", None, None,
    ]  # fmt: skip
