"""Groups an archive's members into samples: consecutive members with the same key are one sample.

`names` has the rule by which a key ends; `joining` is for archives in which members of a sample lie apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from qrefine.config import ImageSettings, InputSettings
from qrefine.corpus.compression import NoTarError
from qrefine.corpus.formats import SIGNATURE_BYTES, SUFFIXES, image_format
from qrefine.corpus.names import image_rank, side_kind, split_name
from qrefine.corpus.prompts import decode_text, find_prompt
from qrefine.corpus.tar import LINKS, Damage, Member, TruncatedError
from qrefine.sample import Sample

SIDE_BYTES = 16 << 20  # a larger text or json member is ignored
TOO_LARGE = "image member is too large: {} bytes, over images.max_megabytes"
SPARSE = "image member is a sparse file: holes are not read"


class Reading(NamedTuple):
    """The settings that say what a sample is made of."""

    images: ImageSettings
    input: InputSettings


@dataclass
class Group:
    """The members of one key that were read so far."""

    key: str
    suffixes: dict[str, str] = field(default_factory=dict)  # of its members: in lower case, and as they are
    sides: dict[str, bytes] = field(default_factory=dict)  # text and json members by kind
    image_count: int = 0
    rank: int | None = None  # of the image that is taken
    image: bytes | None = None
    offset: int | None = None  # of the image's bytes in the archive
    error: str | None = None

    def add(self, member: Member, suffix: str, images: ImageSettings, head: bytes | None = None) -> None:
        """Read a member, unless it is neither image nor side file. ``head``: bytes read of what is known to be an
        image. Raises TruncatedError."""
        lower = suffix.lower()
        self.suffixes[lower] = suffix
        if read_side(member, lower, self.sides):
            return
        head = image_head(member, lower) if head is None else head
        if head is not None and self.takes(lower, member.size, member.sparse, images):
            self.image = head + member.body.read()
            self.offset = member.data_offset

    def takes(self, lower: str, size: int, sparse: bool, images: ImageSettings) -> bool:
        """Count an image, and make it the one to take if it is the best so far; whether it is to be read."""
        self.image_count += 1
        rank = image_rank(lower, images.suffix)
        if self.rank is not None and self.rank <= rank:
            return False
        self.rank, self.image, self.offset, self.error = rank, None, None, None
        if size > images.max_megabytes * 1e6:
            self.error = TOO_LARGE.format(size)
        elif sparse:
            self.error = SPARSE
        return self.error is None

    def sample(self, shard: str, index: int, reading: Reading) -> Sample:
        """The sample of these members; without an image, its error lists the members."""
        texts = {kind: data for kind, data in self.sides.items() if kind != "json"}
        metadata = decode_text(self.sides["json"]) if "json" in self.sides else None
        prompt = find_prompt(texts, metadata, self.image, reading.input.prompt)
        error = self.error
        if error is None and self.image is None:
            error = f"no image member (members: {', '.join(sorted(self.suffixes)[:8])})"[:500]
        return Sample(
            shard=shard,
            index=index,
            key=printable(self.key),
            source=self.image,
            offset=self.offset,
            image_count=self.image_count,
            prompt=prompt.text,
            prompt_source=prompt.source,
            metadata=metadata,
            members=tuple(map(printable, self.suffixes.values())),
            error=None if error is None else printable(error),
        )


def image_head(member: Member, lower: str) -> bytes | None:
    """The bytes read to see that a member is an image, none where its suffix says so; None where it is none.

    Raises TruncatedError.
    """
    if lower.rpartition(".")[2] in SUFFIXES:
        return b""
    head = member.body.read(SIGNATURE_BYTES)
    return None if image_format(head) is None else head


def read_side(member: Member, lower: str, sides: dict[str, bytes]) -> bool:
    """Whether a member is a text or json file; its data goes into ``sides``, the first of each kind. Raises
    TruncatedError."""
    kind = side_kind(lower)
    if kind is not None and kind not in sides and member.size <= SIDE_BYTES and not member.sparse:
        sides[kind] = member.body.read()
    return kind is not None


def grouped(entries: Iterable[Member | Damage], reading: Reading) -> Iterator[Group | str]:
    """Yields groups in order, and damage as text with its byte offset. A read error ends it, also as text."""
    group: Group | None = None
    broken: str | None = None
    last: Member | None = None
    rule = reading.input.keys
    try:
        for entry in entries:
            if isinstance(entry, Damage):
                yield str(entry)
                continue
            last = entry
            named = split_name(entry.name, rule)
            if named is None:
                continue
            if not entry.is_file:
                if entry.kind in LINKS:
                    yield f"link was not followed: {entry.name} -> {entry.linkname} at byte {entry.offset}"
                continue
            key, suffix = named
            try:
                head = None if suffix else image_head(entry, suffix)
                if not suffix and head is None:
                    continue  # a file like README
                if group is not None and (
                    (group.key != key and not same_key(group.key, key)) or suffix.lower() in group.suffixes
                ):
                    yield group
                    group = None
                if group is None:
                    group = Group(key)
                group.add(entry, suffix, reading.images, head)
                if group.offset == entry.data_offset:
                    group.key = key
            except TruncatedError:  # the archive reports this damage next
                if suffix and group is not None and group.image is None:
                    group = None
    except Exception as error:  # zlib and the stores have classes of their own: one shard is lost, not the job
        broken = broken_by(error, last)
    if group is not None:
        yield group
    if broken is not None:
        yield broken


def broken_by(error: Exception, member: Member | None = None) -> str:
    """What ended the reading of a shard, in one line; ``member`` is the last one that was reached."""
    if isinstance(error, FileNotFoundError):
        return "shard does not exist"
    if isinstance(error, NoTarError):
        return str(error)
    place = "at byte 0" if member is None else f"inside {member.name} at byte {member.offset}"
    return f"{type(error).__name__}: {error} {place}"


def same_key(one: str, other: str) -> bool:
    """``./a`` and ``a`` are one key."""
    return one.removeprefix("./") == other.removeprefix("./")


def printable(text: str) -> str:
    """Replace bytes that are not UTF-8: member names may hold them, Arrow strings may not."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
