"""What a backend must offer to serve as inpainter (D_m), blind enhancer (E_B) or prompt-guided enhancer (E_P)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

from qrefine.quality.map import Image, Plane


class Restorer(Protocol):
    """Redraws an image as far as its strength map allows.

    ``images``: RGB, each (h, w, 3) uint8, of any and mixed sizes. ``strengths``: one (h, w) float32 plane in
    [0, 1] per image; where it is 0 the pixel comes back exactly as it was. ``prompts`` may be empty strings;
    ``seeds`` seed all randomness. The result for an image must not depend on the rest of the batch.

    ``context`` is how many pixels around a defect the backend needs; crops include them.
    """

    context: int

    def __call__(
        self,
        images: Sequence[Image],
        strengths: Sequence[Plane],
        prompts: Sequence[str],
        seeds: Sequence[int],
    ) -> list[Image]: ...


@runtime_checkable
class FixedSizes(Protocol):
    """What a `Restorer` adds when its network works at a few sizes only, as diffusion models do.

    Crops are then shown at one of ``buckets``, (height, width) in pixels, and blended back over ``feather`` pixels
    inside the defect (0: a hard edge). ``crop_area``: enlarged to the bucket (``native``), or at the image's own
    resolution (``image``); what is larger than every bucket comes in tiles. ``whole`` asks for whole images
    instead of crops. ``crop_prompt``: the text for a crop: the image's prompt (``full``), the words for any image
    (``words``), ``none``, or by what the crop shows (``auto``).
    """

    buckets: tuple[tuple[int, int], ...]
    feather: float
    whole: bool
    crop_area: Literal["native", "image"]
    crop_prompt: Literal["auto", "full", "words", "none"]


@runtime_checkable
class NoiseLevels(Protocol):
    """What a `Restorer` adds whose strengths are noise levels of a schedule, as those of diffusion models are."""

    def levels(self) -> tuple[float, ...]:
        """The levels that a strength map can have, rising from 0: a strength does what the nearest one does."""
        ...


@runtime_checkable
class OnePass(Protocol):
    """What a `Restorer` adds that ignores prompts and uses no randomness, but repairs what it sees.

    If the same backend is inpainter and blind enhancer it runs once, with the greater of both strengths: a second
    pass would only work on the result of the first.
    """

    one_pass: Literal[True]


class Comparator(Protocol):
    """Judges a repair by both images: the network behind acceptance (``accept.judge``).

    ``before`` and ``after``: pairs of RGB images of one size, each (h, w, 3) uint8. For each pair it gives a
    plane of float32 in [0, 1], one value for every cell of ``cell`` x ``cell`` pixels, (ceil(h / cell),
    ceil(w / cell)): the probability that after is nearer the undamaged truth than before; 1 where nothing changed.
    The answer for a pair must not depend on the rest of the batch.

    ``threshold`` gives the least probability to accept, so that about ``risk`` of harmful repairs pass on the
    set that it was calibrated on; above 1 where no threshold is strict enough.
    """

    cell: int

    def __call__(self, before: Sequence[Image], after: Sequence[Image]) -> list[Plane]: ...

    def threshold(self, risk: float) -> float: ...
