"""WebDataset shards to samples: every sample is yielded once, damage is reported and not fatal.

Keys follow WebDataset's rule: the member's path up to the first dot of its base name, directories kept.
Members are data: nothing is unpickled or extracted, and a name like ``../../evil.png`` is only a key.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, cast

from typing_extensions import Self

from qrefine.config import ImageSettings
from qrefine.corpus.gzipped import gunzipped
from qrefine.corpus.images import SIGNATURE_BYTES, SUFFIXES, image_format
from qrefine.sample import Sample
from qrefine.storage.reader import READ_BYTES
from qrefine.storage.store import Store

NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)
META = re.compile(r"__[^/]*__(/|$)")  # WebDataset's own members, which are no samples
SIDECARS = frozenset({"txt", "json"})
SIDECAR_BYTES = 16 << 20  # a prompt or a json beyond this is no sidecar


@dataclass
class _Group:
    """The members of one key, as far as they were read."""

    key: str
    members: set[str] = field(default_factory=set)
    image: bytes | None = None
    image_suffix: str = ""
    images: int = 0
    prompt: bytes | None = None
    metadata: bytes | None = None
    error: str | None = None


@dataclass
class _Damage:
    """What was wrong with the archive, and where."""

    reasons: list[str] = field(default_factory=list)
    ended: bool = False  # the end-of-archive marker was seen
    lost: bool = False  # inside a run of blocks that are no headers

    def add(self, reason: str) -> None:
        if len(self.reasons) < 8:  # the first few tell enough
            self.reasons.append(reason)


def read_shard(
    url: str,
    images: ImageSettings,
    storage_options: dict[str, Any] | None = None,
    *,
    retries: int = 5,
    wanted: Callable[[int], bool] = lambda index: True,
) -> Iterator[Sample]:
    """The samples of a shard in order; memory holds two of them at a time, whatever the shard's size.

    The last one carries ``shard_rows``. A damaged or truncated shard ends with a sample without a key whose
    error says where the damage is; an unreadable or empty one gives that sample alone. Samples that are not
    ``wanted`` by their index are counted and not yielded.
    """
    samples = _numbered(url, _groups(url, images, storage_options or {}, retries))
    last = next(samples)  # there is one always: an empty shard has its failed sample
    for sample in samples:
        if wanted(last.index):
            yield last
        last = sample
    if wanted(last.index):
        yield replace(last, shard_rows=last.index + 1)


def _numbered(url: str, groups: Iterator[_Group]) -> Iterator[Sample]:
    for index, group in enumerate(groups):
        prompt, metadata = _text(group.prompt), _text(group.metadata)
        error = group.error
        if error is None and group.image is None:
            error = f"no image member (members: {', '.join(sorted(group.members)[:8])})"[:500]
        yield Sample(
            shard=url,
            index=index,
            key=_printable(group.key),
            source=group.image,
            image_count=group.images,
            prompt=_prompt_of(metadata) if prompt is None else prompt,
            metadata=metadata,
            error=None if error is None else _printable(error),
        )


def _groups(url: str, images: ImageSettings, options: dict[str, Any], retries: int) -> Iterator[_Group]:
    damage = _Damage()
    group: _Group | None = None
    count = 0
    place = "at byte 0"
    try:
        with (
            Store.at(url, options).reader(retries) as source,
            tarfile.open(
                fileobj=cast(BinaryIO, gunzipped(source)),  # of which it reads alone
                mode="r|*",
                bufsize=READ_BYTES,
                ignore_zeros=True,
                tarinfo=_header_class(damage),
            ) as archive,
        ):
            # ignore_zeros makes tarfile look for the next header after a bad one instead of ending in silence
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # else memory grows with the shard
                damage.lost = damage.ended = False  # it was no end if members follow
                place = f"inside {member.name} at byte {member.offset}"
                match = NAME.fullmatch(member.name)
                if not member.isfile() or match is None or META.match(member.name):
                    continue
                key, suffix = match[1], match[2].lower()
                if group is not None and (group.key != key or suffix in group.members):
                    yield group
                    count += 1
                    group = None
                group = group or _Group(key)
                group.members.add(suffix)
                try:
                    _read_member(archive, member, suffix, group, images)
                except tarfile.ReadError as error:
                    damage.add(f"{error} {place}")
                    group = group if group.image is not None and group.image_suffix != suffix else None
                    break
    except FileNotFoundError:
        damage.add("shard does not exist")
    except tarfile.TarError as error:
        damage.add(f"{error} {place}")
    except Exception as error:  # zlib's and the stores' own classes: one shard is lost, not the job
        damage.add(f"{type(error).__name__}: {error} {place}")
    if group is not None:
        yield group
        count += 1
    if not damage.reasons and not damage.ended:
        damage.add("the end-of-archive marker is missing: the shard was cut off")
    if damage.reasons:
        state = "damaged" if count else "unreadable"
        yield _Group("", error=f"shard {state}: {'; '.join(damage.reasons)} ({count} samples were read)")
    elif not count:
        yield _Group("", error="shard is empty: it holds no samples")


def _read_member(
    archive: tarfile.TarFile, member: tarfile.TarInfo, suffix: str, group: _Group, images: ImageSettings
) -> None:
    """Add a member to its group; what is neither image nor sidecar is passed over unread."""
    kind = suffix.rpartition(".")[2]
    if suffix in SIDECARS:
        if member.size <= SIDECAR_BYTES:
            data = _content(archive, member)
            if suffix == "txt":
                group.prompt = data
            else:
                group.metadata = data
        return
    stream = archive.extractfile(member)
    if stream is None:
        return
    head = b"" if kind in SUFFIXES else stream.read(SIGNATURE_BYTES)
    if kind not in SUFFIXES and image_format(head) is None:
        return
    group.images += 1
    preferred = images.suffix is not None and suffix == images.suffix.lower().lstrip(".")
    if group.image_suffix and not preferred:
        return
    group.image_suffix = suffix
    if member.size > images.max_megabytes * 1e6:
        group.image = None
        group.error = f"image member is too large: {member.size} bytes, over images.max_megabytes"
        return
    group.image, group.error = head + stream.read(), None
    if len(group.image) < member.size:
        raise tarfile.ReadError("unexpected end of data")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    data = b"" if stream is None else stream.read()
    if len(data) < member.size:
        raise tarfile.ReadError("unexpected end of data")
    return data


def _header_class(damage: _Damage) -> type[tarfile.TarInfo]:
    """TarInfo that reports what tarfile passes over in silence."""

    class Header(tarfile.TarInfo):
        @classmethod
        def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
            offset = archive.fileobj.tell()
            try:
                return super().fromtarfile(archive)
            except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
                damage.ended = True
                raise
            except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
                raise
            except (tarfile.HeaderError, ValueError) as error:
                if not damage.lost:  # one reason for a run of bad blocks
                    damage.add(f"{error} at byte {offset}")
                damage.lost = True
                if isinstance(error, tarfile.TruncatedHeaderError):  # type: ignore[attr-defined]
                    raise
                # of a bad header behind a pax or GNU one tarfile would end; of an invalid one it goes on
                raise tarfile.InvalidHeaderError(str(error)) from error  # type: ignore[attr-defined]

    return Header


def _printable(text: str) -> str:
    """Member names may hold bytes that are no UTF-8; Arrow strings may not."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")


def _prompt_of(metadata: str | None) -> str | None:
    if metadata is None:
        return None
    try:
        values = json.loads(metadata)
    except (ValueError, RecursionError):
        return None  # the json goes into the table as it came
    if not isinstance(values, dict):
        return None
    prompt = next((values[name] for name in ("prompt", "caption") if isinstance(values.get(name), str)), None)
    # JSON may escape half a surrogate pair, which no UTF-8 can hold
    return None if prompt is None else prompt.encode("utf-8", "replace").decode("utf-8")
