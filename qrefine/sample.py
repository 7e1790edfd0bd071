"""One sample from its shard to its row: where it lies, what it holds, and what the stages found and did.

The same value travels end to end: a reader makes it, stages replace fields of it, a column of the table is a
function of it. Arrow appears only where it crosses from one process to another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from qrefine.quality.map import Image, QualityMap

Decision = Literal[
    "accepted", "nothing_to_do", "no_gain", "colour", "judged_worse", "not_visible", "not_finite", "doubt",
    "prompt",
]  # fmt: skip
"""What acceptance said. All but the first: the image was kept as it came, and why."""

REFUSED = frozenset(get_args(Decision)) - {"accepted", "nothing_to_do"}
"""The decisions that turned a repair down."""

DECISIONS: tuple[Decision, ...] = get_args(Decision)

LOSSES = {
    "tail": "the source's last bytes: up to 5 % of the pixels are filled in by the decoder; of kept images too",
    "depth": "more than 8 bits a channel: refined pixels have 8; in png all others keep theirs",
    "icc": "the colour profile, because it is broken or the output format has none of its kind; pixels are sRGB",
    "cmyk": "CMYK, which only jpeg holds; pixels are sRGB",
    "lab": "CIE Lab; pixels are sRGB",
    "alpha": "transparency, which jpeg does not hold; pixels are on white",
    "frames": "all frames but the first",
    "c2pa": "a C2PA manifest, which vouches for the source's pixels",
    "text": "texts of a PNG that have no place in the output format",
    "exif": "EXIF, longer than a jpeg takes",
    "xmp": "XMP, damaged or longer than a jpeg takes",
}
"""What `Sample.lost` may name, of an image that was read or refined."""


@dataclass(frozen=True)
class Sample:
    """A sample; stages give new ones and change none."""

    # identity: (shard, index) names a row of the table
    shard: str = ""
    index: int = 0
    key: str = ""
    # what the shard holds
    source: bytes | None = None  # the image member, encoded, as it lies there
    image_count: int = 0  # image members under the key; one of them was taken
    prompt: str | None = None
    metadata: str | None = None  # the json member
    prompt_source: str | None = None  # where the prompt was found, or why one that was expected cannot be read
    members: tuple[str, ...] = ()  # the suffixes of all its members, in the shard's order
    shard_version: str | None = None  # as the listing told it
    shard_rows: int | None = None  # on the shard's last sample: how many it has
    offset: int | None = None  # of the image member's bytes in the shard; None where no range of it holds them
    draw: int = 0  # another one gives another seed, where the same settings do a sample again
    seed: int = 0  # of whatever is random in its stages
    # what the stages found and did
    size: tuple[int, int] | None = None  # (h, w) after EXIF orientation; None until it was decoded
    decoded: Image | None = None  # the source's pixels; does not cross a process border
    before: QualityMap | None = None
    refined: Image | None = None  # the pixels as they are now; None while nothing changed them
    stages: tuple[str, ...] = ()  # what changed them, in order
    after: QualityMap | None = None  # set when a refined image was accepted
    decision: Decision | None = None  # of acceptance; None while it has not decided, or had nothing to decide
    lost: tuple[str, ...] = ()  # what the source lacks, and what it had and its refined image lacks; see LOSSES
    judgements: tuple[tuple[float, float], ...] = ()  # before and after, one pair per judge; NaN: it gave none
    output: bytes | None = None  # the refined pixels, encoded
    notes: tuple[str, ...] = ()  # what went wrong and failed nothing, such as a judge; counted in the summary
    error: str | None = None  # why the sample failed; the stages that follow let it pass

    @property
    def image(self) -> Image:
        """The source's pixels; a ValueError where the sample is not decoded."""
        if self.decoded is None:
            raise ValueError("the sample is not decoded")
        return self.decoded

    @property
    def pixels(self) -> Image:
        """The image as it is now."""
        return self.image if self.refined is None else self.refined

    @property
    def quality(self) -> QualityMap:
        """The map before refinement; a ValueError where the sample was not mapped yet."""
        if self.before is None:
            raise ValueError("the sample has no quality map yet: run the map stage first")
        return self.before

    @property
    def status(self) -> str:
        """``failed``, ``refined`` or ``kept``."""
        if self.error is not None:
            return "failed"
        return "kept" if self.refined is None and self.output is None else "refined"

    @property
    def verdict(self) -> Decision | None:
        """The decision on a finished sample; None where it failed."""
        if self.error is not None:
            return None
        return self.decision or ("accepted" if self.status == "refined" else "nothing_to_do")

    def kept(self, decision: Decision) -> Sample:
        """The source as it came, and why."""
        return replace(self, refined=None, stages=(), after=None, decision=decision)

    def changed(self, pixels: Image, *stages: str) -> Sample:
        return replace(self, refined=pixels, stages=(*self.stages, *stages))

    def failed(self, reason: str) -> Sample:
        return replace(self, error=reason)
