"""Lying restorers: what comes back is no repair, though it may look clean. Batched torch functions.

``LIES`` by name. Each takes a ``Case`` and a ``Draw`` and gives images (b, 3, h, w), not yet clipped; all images
of a call share what is drawn, so a batch is made of several small calls. The judge never trains on those that
`held_out_names` gives.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from training import classical
from training.lies import content, detail, geometry, marks, tone
from training.lies.base import Case, Draw, Make

_SEEN: tuple[Make, ...] = (
    content.black, content.flat, content.flat_mean, content.erased, content.wiped, geometry.upside_down,
    content.from_elsewhere, content.from_another, content.from_another_toned, content.jittered,
    marks.bright_marks_gone, marks.dark_marks_gone, marks.all_marks_gone, marks.median, marks.despeckled,
    marks.some_marks_gone, detail.marks_added, marks.waxed, marks.non_local, marks.blurred, marks.directional,
    marks.pixelated, marks.shrunk, marks.dehalftoned, marks.thinned, detail.sharpened, detail.haloed,
    detail.deconvolved, detail.noise_added, detail.grain_drawn, detail.texture_of_another, detail.grid_added,
    detail.lines_drawn, geometry.shifted, geometry.shifted_truth, geometry.smeared, geometry.glyphs,
    tone.hue_turned, tone.cast, tone.drained, tone.saturated, tone.contrast, tone.gamma, tone.posterised,
    tone.blended_with_another,
)  # fmt: skip
_HELD_OUT: tuple[Make, ...] = (
    geometry.mirrored, geometry.rotated, geometry.zoomed, content.scrambled, marks.cored, marks.cartoon,
    marks.thickened, detail.fringes, detail.doubled, tone.channels_swapped, tone.negative, tone.thresholded,
)  # fmt: skip

LIES: Mapping[str, Make] = {make.__name__: make for make in (*_SEEN, *_HELD_OUT)}
"""Every lie by name."""


def training_names() -> tuple[str, ...]:
    return tuple(make.__name__ for make in _SEEN)


def held_out_names() -> tuple[str, ...]:
    """Lies that are told in evaluation alone."""
    return tuple(make.__name__ for make in _HELD_OUT)


def tell(name: str, case: Case, draw: Draw) -> Tensor:
    """``before`` with the lie of that name where the mask is, in 8-bit levels."""
    made = LIES[name](case, draw)
    return classical.levels(case.before + case.mask * (made - case.before))
