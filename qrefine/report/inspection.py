"""Runs one image through the stages, step by step, without Ray; shows each result as numbers and a picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from rich.style import Style
from rich.text import Text

from qrefine.config import Bounds, RefineConfig, sample_seed
from qrefine.corpus.images import ImageError, decode
from qrefine.errors import UserError
from qrefine.models.base import NoiseLevels
from qrefine.quality.map import Image, Plane, QualityMap
from qrefine.quality.pixels import differs
from qrefine.quality.regions import coarse, flatten, fractions
from qrefine.report.pictures import map_over, thumbnail
from qrefine.sample import Sample
from qrefine.stages.enhance import Enhance
from qrefine.stages.inpaint import Inpaint
from qrefine.stages.refiner import MODEL_STAGES, build_stages
from qrefine.stages.stage import Step, run_stages
from qrefine.stages.strengths import inpaint_strength
from qrefine.storage.errors import storage_error
from qrefine.storage.store import Store

TILE = 320  # pixels of a panel's picture, at most
GAP, CAPTION = 10, 40
ACROSS = 4
MOST_COLUMNS = 24  # of a map in a terminal
PAPER, INK, QUIET = (255, 255, 255), (27, 29, 33), (91, 96, 104)
GROUP_COLOURS = {"LQ": (214, 84, 70), "MQ": (238, 190, 92), "HQ": (126, 186, 132)}


@dataclass(frozen=True)
class Inspection:
    """All that happened to one image."""

    key: str
    source: Image
    quality: QualityMap
    strength: Plane  # of stage 2, (h, w) in [0, 1]
    steps: tuple[Step, ...]
    result: Sample
    judges: tuple[str, ...]
    bounds: Bounds
    levels: dict[str, tuple[float, ...]] = field(default_factory=dict)  # that strengths can have, by stage

    @property
    def status(self) -> str:
        return self.result.status


class Inspector:
    """Runs images through the stages of a configuration, models loaded once; raises UserError."""

    def __init__(self, config: RefineConfig) -> None:
        self.config = config
        self._stages = build_stages(MODEL_STAGES, config)

    def __call__(self, image: Image, prompt: str = "", key: str = "0") -> Inspection:
        """Inspect one RGB image (h, w, 3) uint8; the key seeds the noise, as it would in a run."""
        sample = Sample(
            key=key, prompt=prompt, seed=sample_seed(key, self.config.seed), decoded=image, size=image.shape[:2]
        )
        steps: list[Step] = []
        result = run_stages(self._stages, [sample], steps.append)[0]
        if result.error:
            raise UserError(f"{key}: {result.error}")
        plane = inpaint_strength(self.config, result.quality, *image.shape[:2])
        judges, bounds = self.config.judges, self.config.bounds
        return Inspection(key, image, result.quality, plane, tuple(steps), result, judges, bounds, self._levels())

    def _levels(self) -> dict[str, tuple[float, ...]]:
        backends = {}
        for stage in self._stages:
            if isinstance(stage, Inpaint):
                backends["inpaint"] = stage.restorer
            elif isinstance(stage, Enhance):
                backends |= {"enhance blind": stage.blind, "enhance prompt": stage.prompt or stage.blind}
        return {name: one.levels() for name, one in backends.items() if isinstance(one, NoiseLevels)}


def read_image(url: str, config: RefineConfig) -> tuple[str, Image]:
    """The key (the name without its suffix) and the pixels of an image at a path or URL; raises UserError."""
    store = Store.at(url, config.storage_options)
    try:
        return PurePosixPath(store.base).stem, decode(store.read(), config.images)
    except ImageError as error:
        raise UserError(f"{url}: {error}") from error
    except OSError as error:
        raise storage_error(url, error) from error


def describe(inspection: Inspection) -> list[Text]:
    """Lines for a terminal: q, areas, judges, seconds, and the map with Q in percent in each patch."""
    result, bounds = inspection.result, inspection.bounds
    height, width = inspection.source.shape[:2]
    after = result.after or inspection.quality
    stages = f" ({', '.join(result.stages)})" if result.stages else ""
    areas = zip(("LQ", "MQ", "HQ"), fractions(inspection.quality, bounds), strict=True)
    lines = [
        Text(
            f"{inspection.key}   {width} x {height}   {inspection.status}{stages}: {_decision(result)}",
            style="bold",
        ),
        Text(f"quality    {inspection.quality.score:.4f} -> {after.score:.4f}"),
        Text("area       " + "   ".join(f"{name} {share:.1%}" for name, share in areas)),
    ]
    for name, (old, new) in zip(inspection.judges, result.judgements, strict=False):
        lines.append(Text(f"judge      {name} {old:.3f} -> {new:.3f}"))
    for stages, levels in _alike(inspection.levels).items():
        text = " ".join(f"{level:.2f}".lstrip("0") for level in levels[1:])
        lines.append(Text(f"levels     {stages}, of noise, in {len(levels) - 1} steps: {text}"))
    lines.append(Text("seconds    " + "   ".join(f"{s.stage} {s.seconds:.2f}" for s in inspection.steps)))
    return [*lines, *_map_lines(inspection.quality, bounds)]


def _alike(levels: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
    """Stages with the same levels under one name."""
    stages: dict[tuple[float, ...], list[str]] = {}
    for stage, found in levels.items():
        stages.setdefault(found, []).append(stage)
    return {", ".join(names): found for found, names in stages.items()}


def _decision(result: Sample) -> str:
    return (result.verdict or "failed").replace("_", " ")


def _map_lines(quality: QualityMap, bounds: Bounds) -> list[Text]:
    lines = []
    for row in coarse(quality, MOST_COLUMNS).values:
        line = Text("           ")
        for value in row.tolist():
            red, green, blue = GROUP_COLOURS[_group(value, bounds)]
            cell = f"{min(99, int(value * 100)):02d}"
            line.append(f"{cell} ", Style(color="black", bgcolor=f"rgb({red},{green},{blue})"))
        lines.append(line)
    return lines


def _group(value: float, bounds: Bounds) -> str:
    return "LQ" if value < bounds.lq else "MQ" if value < bounds.mq else "HQ"


def draw_panel(inspection: Inspection) -> PIL.Image.Image:
    """Input, map, regions, mask or strength, each stage's output, the result: captioned tiles, four in a row."""
    tiles = list(_tiles(inspection))
    small = [thumbnail(picture, TILE) for _, _, picture in tiles]
    height, width = (max(picture.shape[axis] for picture in small) for axis in (0, 1))
    width = max(width, 200)  # captions need room
    across = min(ACROSS, len(tiles))
    down = -(-len(tiles) // across)
    size = (across * (width + GAP) + GAP, down * (height + CAPTION + GAP) + GAP)
    panel = PIL.Image.new("RGB", size, PAPER)
    pen = PIL.ImageDraw.Draw(panel)
    title, note = PIL.ImageFont.load_default(15), PIL.ImageFont.load_default(12)
    for position, ((name, text, _), picture) in enumerate(zip(tiles, small, strict=True)):
        left = GAP + position % across * (width + GAP)
        top = GAP + position // across * (height + CAPTION + GAP)
        pen.text((left, top), name, fill=INK, font=title)
        pen.text((left, top + 19), text, fill=QUIET, font=note)
        panel.paste(PIL.Image.fromarray(picture), (left, top + CAPTION))
    return panel


def _tiles(inspection: Inspection) -> list[tuple[str, str, Image]]:
    """Title, note and picture of each tile."""
    i, result = inspection, inspection.result
    bounds, plane = i.bounds, i.strength
    after = result.after or i.quality
    wide = 255 * plane[..., None].repeat(3, axis=-1)
    tiles = [
        ("input", f"q {i.quality.score:.3f}", i.source),
        ("quality map", "red where quality is low", map_over(i.source, i.quality)),
        ("regions", f"LQ < {bounds.lq:g}   MQ   HQ >= {bounds.mq:g}", _regions(i)),
        (
            "strength of stage 2",
            f"over {float((plane > 0).mean()):.0%} of the area",
            np.rint(wide).astype(np.uint8),
        ),
    ]
    for step in i.steps:
        if step.stage not in ("map", "accept", "judge"):
            changed = float(differs(i.source, step.samples[0].pixels).mean())
            tiles.append((f"after {step.stage}", f"{changed:.0%} of the pixels differ", step.samples[0].pixels))
    verdict = "accepted" if i.status == "refined" else f"kept as it came, {_decision(i.result)}"
    tiles.append((f"result: {verdict}", f"q {i.quality.score:.3f} -> {after.score:.3f}", result.pixels))
    if i.status == "refined":
        tiles.append(("quality map of the result", "red where quality is low", map_over(result.pixels, after)))
    return tiles


def _regions(inspection: Inspection) -> Image:
    """The groups of the flattened map as colours over the grey image."""
    plane = flatten(inspection.quality, *inspection.source.shape[:2])
    number = np.digitize(plane, [inspection.bounds.lq, inspection.bounds.mq])
    colours = np.array(list(GROUP_COLOURS.values()), dtype=np.float32)[number]
    grey = inspection.source.mean(axis=-1, keepdims=True)
    return np.rint(0.55 * colours + 0.45 * grey).astype(np.uint8)
