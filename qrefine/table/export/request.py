"""What an export is asked for, and what of it goes together."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from qrefine.errors import UserError
from qrefine.table.export.images import IMAGES, Images
from qrefine.table.export.pairs import PAIRS, Pairs
from qrefine.table.export.select import Choice

SAMPLES = 1000  # in one shard, Parquet file or folder
Format = Literal["webdataset", "parquet", "imagefolder"]
LAYOUTS = ("samples", "source")
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    format: Format = "webdataset"
    choice: Choice = field(default_factory=Choice)
    images: Images = "as-is"
    source_layout: bool = False  # one shard for each source shard, with its members as they were
    members: bool = True  # the samples' other members come along, from their source shards
    pairs: Pairs | None = None
    samples: int = SAMPLES

    def check(self) -> None:
        """Raises UserError for what does not exist, or does not go together."""
        for value, known, name in (
            (self.format, FORMATS, "format"),
            (self.images, IMAGES, "image format"),
            (self.pairs, (None, *PAIRS), "kind of pairs"),
        ):
            if value not in known:
                raise UserError(f"unknown {name} {value!r} (there are {', '.join(map(str, filter(None, known)))})")
        if self.pairs == "preference" and self.format != "parquet":
            raise UserError("--pairs preference is Parquet, as its trainers read it: --format parquet")
        if self.pairs and self.format == "imagefolder":
            raise UserError("--pairs restoration is webdataset or parquet: an image folder has one image a sample")
        if self.source_layout and (self.pairs or self.format != "webdataset"):
            raise UserError("--layout source is for webdataset, without --pairs: it writes shards as they came in")

    def told(self) -> dict[str, Any]:
        """The format, and the options that differ from their defaults, for the manifest."""
        plain = {**asdict(self), **asdict(self.choice)}
        usual = {**asdict(Request()), **asdict(Choice())}
        return {n: v for n, v in plain.items() if n != "choice" and (n == "format" or v != usual[n])}


def chosen(
    format: str | None, choice: Choice, images: str, layout: str, members: bool, pairs: str | None, samples: int
) -> Request:
    """A request by the names that a command line has; raises UserError for a name that does not exist."""
    if layout not in LAYOUTS:
        raise UserError(f"unknown layout {layout!r} (there are {', '.join(LAYOUTS)})")
    usual = "parquet" if pairs == "preference" else "webdataset"
    request = Request(format or usual, choice, images, layout == "source", members, pairs, samples)  # type: ignore[arg-type]
    request.check()
    return request
