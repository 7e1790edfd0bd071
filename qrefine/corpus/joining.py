"""Archives in which members of a sample lie apart, or are links: an index first, then the images in their order.

Memory holds the shard's names and offsets, its texts and JSON up to MOST_SIDES, and one image at a time.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from qrefine.corpus.formats import SUFFIXES
from qrefine.corpus.grouping import Group, Reading, broken_by, image_head, read_side
from qrefine.corpus.names import image_rank, side_kind, split_name
from qrefine.corpus.tar import HARD_LINK, LINKS, Damage, Member, TruncatedError

MOST_SIDES = 256 << 20  # bytes of texts and JSON that are held for one shard
MOST_LINKS = 40  # that lead from one to the next, as in Linux
OVER = f"text or json not read: those of the shard, which lie apart, are over {MOST_SIDES >> 20} MiB"


class Place(NamedTuple):
    """A file in the archive."""

    offset: int
    size: int
    sparse: bool
    is_image: bool
    data: bytes | None  # of a text or JSON


class Link(NamedTuple):
    name: str
    target: str  # a path in the archive
    offset: int
    now: Place | None  # what a hard link means; a symbolic one is followed when all members are known


@dataclass
class Found(Group):
    """A sample of the index; its image is not read yet."""

    first: int = 0  # offset of its first member
    at: int | None = None  # offset of the member with its image
    parts: list[tuple[str, str, Place | Link]] = field(default_factory=list)  # keys, suffixes in lower case
    plain: bool = False  # it has an image of the best rank

    @property
    def order(self) -> tuple[int, int]:
        """Samples come in the order of their images; one without an image has its first member's place."""
        return (self.first if self.at is None else self.at, self.first)


class Index:
    """The samples of an archive in order, and what is wrong with it."""

    def __init__(self, entries: Iterable[Member | Damage], reading: Reading) -> None:
        self.reasons: list[str] = []
        self._reading = reading
        self._files: dict[str, Place | Link] = {}
        self._folders: set[str] = set()
        self._latest: dict[str, Found] = {}
        self._held = 0
        samples = self._collect(entries)
        self._folders = {name[:end] for name in self._files for end in _slashes(name)}
        for sample in samples:
            self._settle(sample)
        self._files.clear()
        self.samples = sorted((sample for sample in samples if sample.suffixes), key=lambda sample: sample.order)

    def _collect(self, entries: Iterable[Member | Damage]) -> list[Found]:
        samples: list[Found] = []
        current: Found | None = None
        last: Member | None = None
        try:
            for entry in entries:
                if isinstance(entry, Damage):
                    self.reasons.append(str(entry))
                    continue
                last = entry
                named = split_name(entry.name, self._reading.input.keys)
                if entry.kind in LINKS:
                    part: Place | Link = self._link(entry)
                elif not entry.is_file:
                    continue
                else:
                    part = self._place(entry, named[1].lower() if named else None)
                self._files[_path(entry.name)] = part
                if named is None or not (named[1] or isinstance(part, Link) or part.is_image):
                    continue
                key, suffix = named
                lower = suffix.lower()
                plain = _is_image(lower, part) and image_rank(lower, self._reading.images.suffix) <= 1
                sample = self._home(current, key, lower, plain)
                if sample is None:
                    sample = Found(key, first=entry.offset)
                    samples.append(sample)
                current = self._latest[key.removeprefix("./")] = sample
                sample.suffixes[lower] = suffix
                sample.parts.append((key, lower, part))
                sample.plain |= plain
        except Exception as error:  # as in grouping
            self.reasons.append(broken_by(error, last))
        return samples

    def _home(self, current: Found | None, key: str, lower: str, plain: bool) -> Found | None:
        """The sample that a member belongs to; None for a new one.

        A member that lies apart joins the last sample of its key, if that has no such member. But two plain images
        are two samples.
        """
        sample = self._latest.get(key.removeprefix("./"))
        if sample is None or lower in sample.suffixes:
            return None
        return sample if sample is current or not (plain and sample.plain) else None

    def _place(self, member: Member, lower: str | None) -> Place:
        is_image, data = False, None
        try:
            if lower is not None and side_kind(lower) is not None:
                sides: dict[str, bytes] = {}
                if self._held + member.size <= MOST_SIDES:
                    read_side(member, lower, sides)
                data = next(iter(sides.values()), None)
                self._held += len(data or b"")
            elif lower is not None:
                is_image = image_head(member, lower) is not None
        except TruncatedError:  # the archive reports this damage next
            pass
        return Place(member.offset, member.size, member.sparse, is_image, data)

    def _link(self, member: Member) -> Link:
        if member.kind != HARD_LINK:
            target = _path(posixpath.join(posixpath.dirname(member.name), member.linkname))
            return Link(member.name, target, member.offset, None)
        target = _path(member.linkname)
        found = self._followed(target)
        return Link(member.name, target, member.offset, found if isinstance(found, Place) else None)

    def _followed(self, path: str) -> Place | str | None:
        """The file behind a path; None where it is a folder, a reason where there is nothing."""
        for _ in range(MOST_LINKS):
            part = self._files.get(path)
            if isinstance(part, Place):
                return part
            if part is not None:
                if part.now is not None:
                    return part.now
                path = part.target
                continue
            for end in _slashes(path):  # a folder on the way may be a link
                link = self._files.get(path[:end])
                if isinstance(link, Link):
                    path = f"{link.target}{path[end:]}"
                    break
            else:
                return None if path in self._folders else "link to nowhere"
        return "link loop"

    def _settle(self, sample: Found) -> None:
        """Follow the sample's links, choose its image and gather its texts."""
        missing: str | None = None
        for key, lower, part in sample.parts:
            found = part if isinstance(part, Place) else part.now or self._followed(part.target)
            if isinstance(found, Place):
                self._take(sample, key, lower, found)
                continue
            if not lower:
                del sample.suffixes[lower]
            if found is not None and isinstance(part, Link):
                reason = f"{found}: {part.name} -> {part.target}"
                if _is_image(lower, part):
                    missing = missing or f"image member is a {reason}"
                else:
                    self.reasons.append(f"{reason} at byte {part.offset}")
        sample.parts.clear()
        if sample.at is None and sample.error is None:
            sample.error = missing
        elif missing:
            self.reasons.append(missing)

    def _take(self, sample: Found, key: str, lower: str, place: Place) -> None:
        kind = side_kind(lower)
        if kind is not None:
            if place.data is not None:
                sample.sides.setdefault(kind, place.data)
            elif self._held + place.size > MOST_SIDES:
                self.reasons.append(f"{OVER} ({sample.key}.{lower})")
        elif place.is_image:
            before = sample.rank
            read = sample.takes(lower, place.size, place.sparse, self._reading.images)
            if sample.rank != before:
                sample.key, sample.at = key, place.offset if read else None
        elif not lower:
            del sample.suffixes[lower]


def joined(
    index: Index, entries: Iterator[Member | Damage], wanted: Callable[[int], bool]
) -> Iterator[Group | str]:
    """The samples with their images, those that are not ``wanted`` without; then what is wrong."""
    at: int | None = None
    data, offset = b"", None
    broken: str | None = None
    for place, sample in enumerate(index.samples):
        if sample.at is not None and wanted(place):
            try:
                if at != sample.at:
                    at = sample.at
                    member = next(e for e in entries if isinstance(e, Member) and e.offset == at)
                    offset, data = member.data_offset, b""
                    data = member.body.read()
                sample.image, sample.offset = data, offset
            except (TruncatedError, StopIteration):
                sample.error = "image member is cut off"
            except Exception as error:  # as in grouping
                broken = broken_by(error)
                break
        yield sample
        sample.image = None
    yield from index.reasons
    if broken is not None:
        yield broken


def _is_image(lower: str, part: Place | Link) -> bool:
    return lower.rpartition(".")[2] in SUFFIXES if isinstance(part, Link) else part.is_image


def _path(name: str) -> str:
    return posixpath.normpath(name)


def _slashes(path: str) -> Iterator[int]:
    return (place for place, letter in enumerate(path) if letter == "/")
