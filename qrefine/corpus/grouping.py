"""Groups an archive's members into samples: consecutive members with the same key are one sample.

Keys follow WebDataset's rule: the member's path up to the first dot of its base name, directories kept.
Members are data: nothing is unpickled or extracted, and a name like ``../../evil.png`` is only a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from qrefine.config import ImageSettings
from qrefine.corpus.formats import SIGNATURE_BYTES, SUFFIXES, image_format
from qrefine.corpus.prompts import decode_text, find_prompt
from qrefine.corpus.tar import Damage, Member, TruncatedError
from qrefine.sample import Sample

NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)
META = re.compile(r"__[^/]*__(/|$)")  # WebDataset's own members, which are not samples
SIDECARS = frozenset({"txt", "json"})
SIDECAR_BYTES = 16 << 20  # a larger txt or json member is ignored


@dataclass
class Group:
    """The members of one key that were read so far."""

    key: str
    suffixes: set[str] = field(default_factory=set)
    image: bytes | None = None
    image_offset: int | None = None
    image_suffix: str = ""
    image_count: int = 0
    text: bytes | None = None
    metadata: bytes | None = None
    error: str | None = None

    def add(self, member: Member, suffix: str, images: ImageSettings) -> None:
        """Read a member, unless it is neither image nor sidecar. Raises TruncatedError."""
        self.suffixes.add(suffix)
        if suffix in SIDECARS:
            if member.size <= SIDECAR_BYTES and not member.sparse:
                if suffix == "txt":
                    self.text = member.body.read()
                else:
                    self.metadata = member.body.read()
            return
        head = b""
        if suffix.rpartition(".")[2] not in SUFFIXES:
            head = member.body.read(SIGNATURE_BYTES)
            if image_format(head) is None:
                return
        self.image_count += 1
        preferred = images.suffix is not None and suffix == images.suffix.lower().lstrip(".")
        if self.image_suffix and not preferred:
            return
        self.image_suffix, self.image, self.error = suffix, None, None
        if member.size > images.max_megabytes * 1e6:
            self.error = f"image member is too large: {member.size} bytes, over images.max_megabytes"
        elif member.sparse:
            self.error = "image member is a sparse file: holes are not read"
        else:
            self.image = head + member.body.read()
            self.image_offset = member.data_offset

    def sample(self, shard: str, index: int) -> Sample:
        """The sample of these members; without an image, its error lists the members."""
        metadata = None if self.metadata is None else decode_text(self.metadata)
        texts = {} if self.text is None else {"txt": self.text}
        prompt = find_prompt(texts, metadata, self.image)
        error = self.error
        if error is None and self.image is None:
            error = f"no image member (members: {', '.join(sorted(self.suffixes)[:8])})"[:500]
        return Sample(
            shard=shard,
            index=index,
            key=printable(self.key),
            source=self.image,
            offset=self.image_offset,
            image_count=self.image_count,
            prompt=prompt.text,
            prompt_source=prompt.source,
            metadata=metadata,
            error=None if error is None else printable(error),
        )


def grouped(entries: Iterable[Member | Damage], images: ImageSettings) -> Iterator[Group | str]:
    """Yields groups in order, and damage as text with its byte offset. A read error ends it, also as text."""
    group: Group | None = None
    broken: str | None = None
    place = "at byte 0"
    try:
        for entry in entries:
            if isinstance(entry, Damage):
                yield str(entry)
                continue
            place = f"inside {entry.name} at byte {entry.offset}"
            match = NAME.fullmatch(entry.name)
            if not entry.is_file or match is None or META.match(entry.name):
                continue
            key, suffix = match[1], match[2].lower()
            if group is not None and (group.key != key or suffix in group.suffixes):
                yield group
                group = None
            group = group or Group(key)
            try:
                group.add(entry, suffix, images)
            except TruncatedError:  # the archive reports this damage next
                if group.image is None or group.image_suffix == suffix:
                    group = None
    except FileNotFoundError:
        broken = "shard does not exist"
    except Exception as error:  # zlib and the stores have classes of their own: one shard is lost, not the job
        broken = f"{type(error).__name__}: {error} {place}"
    if group is not None:
        yield group
    if broken is not None:
        yield broken


def printable(text: str) -> str:
    """Replace bytes that are not UTF-8: member names may hold them, Arrow strings may not."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
