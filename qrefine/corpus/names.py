"""What a file's name says: the key of its sample and its suffix, or that it belongs to no sample.

A name is data: nothing is opened or extracted by it, and ``../../evil.png`` is only a key.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from qrefine.corpus.formats import SUFFIXES
from qrefine.corpus.prompts import TEXTS

Rule = Literal["auto", "first_dot", "last_dot"]

_ORDINARY = re.compile(r"((?:[0-9A-Za-z-]+/)*[0-9A-Za-z_-]+)[.](png|jpe?g|webp|txt|json)")  # alike by every rule
_FIRST_DOT = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)  # WebDataset's rule
_PART = "[A-Za-z][A-Za-z0-9_-]{0,31}"
_SUFFIX = re.compile(rf"{_PART}(?:[.]{_PART})*")
_META = re.compile(r"__[^/]*__(/|$)")  # WebDataset's own members
# hidden files, and what systems leave in folders and archives
_LITTER = re.compile(
    r"(?i)(?:^|/)(?:[.](?![.]?/)"
    r"|(?:__MACOSX|@eaDir|[$]RECYCLE[.]BIN|System Volume Information|lost[+]found)(?:/|$)"
    r"|(?:Thumbs[.]db|ehthumbs[.]db|desktop[.]ini|Icon\r)$)"
)
# of images that describe another one: maps, masks, small copies
_MAPS = frozenset(
    [
        *("mask", "masks", "matte", "alpha", "trimap", "depth", "disparity", "normal", "normals"),
        *("seg", "segmentation", "semantic", "canny", "edge", "edges", "hed", "lineart", "sketch", "scribble"),
        *("pose", "openpose", "control", "cond", "condition", "conditioning", "hint"),
        *("thumb", "thumbnail", "preview"),
    ]
)


def is_litter(name: str) -> bool:
    """Whether a path is a hidden file (``._a.png``, ``.DS_Store``) or another that no person put there."""
    return _LITTER.search(name) is not None


def split_name(name: str, rule: Rule) -> tuple[str, str] | None:
    """Key and suffix of a member, the suffix in the case that it has; None for one that belongs to no sample.

    The key keeps its folders. By ``auto`` it ends at the first dot behind which every part can be a suffix: a
    letter, then letters, digits, _ or -, 32 at most. ``a.mask.png`` is a mask of ``a``, while ``img v1.5.png`` has
    the key ``img v1.5``. A name that has no such dot is all key.
    """
    if ordinary := _ORDINARY.fullmatch(name):
        return ordinary[1], ordinary[2]
    if _META.match(name) or _LITTER.search(name):
        return None
    start = name.rfind("/") + 1
    if start == len(name):
        return None
    if rule == "first_dot":
        match = _FIRST_DOT.fullmatch(name)
        return (match[1], match[2]) if match else (name, "") if "." not in name[start:] else None
    if rule == "last_dot":
        dot = name.rfind(".", start + 1)
        if name[:dot].endswith(".caption") and name[dot:] == ".txt":  # one suffix of two parts
            dot = name.rfind(".", start + 1, dot)
    else:
        dot = name.find(".", start + 1)
        while dot >= 0 and not _SUFFIX.fullmatch(name, dot + 1):
            dot = name.find(".", dot + 1)
    return (name[:dot], name[dot + 1 :]) if dot >= 0 else (name, "")


@lru_cache(4096)
def side_kind(suffix: str) -> str | None:
    """``json``, or which of the texts (`prompts.TEXTS`) a suffix in lower case is; ``png.txt`` is a ``txt``."""
    first, _, rest = suffix.partition(".")
    rest = rest if first in SUFFIXES else suffix
    return rest if rest == "json" or rest in TEXTS else None


@lru_cache(4096)
def image_rank(suffix: str, preferred: str | None) -> int:
    """Which of a sample's images is taken, the least first: the preferred, without a dot, others, maps."""
    if preferred is not None and suffix == preferred.lower().lstrip("."):
        return 0
    parts = suffix.split(".")
    if len(parts) == 1:
        return 1
    return 3 if _MAPS.intersection(parts) else 2
