"""The demo: a small corpus of damaged photographs, refined, with pictures of before and after.

The photographs come with scikit-image (public domain, or free for any use: see its data/README.txt). Some are
undamaged: a refiner must not change them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import webdataset
from numpy.typing import NDArray

from qrefine.api import refine
from qrefine.config import RefineConfig
from qrefine.corpus.images import decode
from qrefine.errors import UserError
from qrefine.quality.map import Image, QualityMap
from qrefine.report.pictures import map_over, thumbnail
from qrefine.table.table import open_table
from qrefine.work.refine import Summary

PHOTOS = {
    "astronaut": "portrait of an astronaut in an orange suit",
    "chelsea": "close-up of a tabby cat",
    "coffee": "cup of coffee on a wooden table",
    "rocket": "rocket on its launch pad at night",
    "hubble_deep_field": "galaxies in deep space",
    "retina": "photograph of a human retina",
}
SHARDS = 3
SIDE = 512
PANEL = 256  # pixels, like GAP and LABEL
GAP = 4
LABEL = 18


def run_demo(folder: Path, config: RefineConfig | None = None, *, debug: bool = False) -> tuple[Summary, Path]:
    """Make the corpus in ``folder``, refine it into ``folder/table``, draw ``folder/before-after.png``."""
    config = config or RefineConfig()
    pattern = write_corpus(folder / "shards")
    table = folder / "table"
    summary = refine([pattern], str(table), config, debug=debug, notify=lambda text: print(text, flush=True))
    sheet = folder / "before-after.png"
    draw_sheet(table, config).save(sheet)
    return summary, sheet


def write_corpus(folder: Path) -> str:
    """Write the shards, the same bytes each time; returns the glob that matches them."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = list(demo_samples())
    for shard in range(SHARDS):
        with webdataset.TarWriter(str(folder / f"{shard:06d}.tar"), mtime=0) as tar:
            for sample in samples[shard::SHARDS]:
                tar.write(sample)
    return str(folder / "*.tar")


def demo_samples() -> Iterator[dict[str, object]]:
    """30 samples with prompts: each photograph undamaged and with four kinds of local defects."""
    rng = np.random.default_rng(2401)
    for name, prompt in PHOTOS.items():
        photo = _photo(name)
        for variant, (kind, damage) in enumerate(DEFECTS.items()):
            image = photo if damage is None else _in_a_region(photo, damage(photo, rng), rng)
            out = io.BytesIO()
            PIL.Image.fromarray(image).save(out, "PNG")
            yield {
                "__key__": f"{name}-{variant}",
                "png": out.getvalue(),
                "txt": prompt,
                "json": {"photo": name, "defect": kind},
            }


def _photo(name: str) -> Image:
    try:
        from skimage import data
    except ImportError as error:
        raise UserError("the demo's photographs come with scikit-image: pip install 'qrefine[demo]'") from error
    image = getattr(data, name)()[..., :3]
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    return np.asarray(
        cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    )


def _noise(image: Image, rng: np.random.Generator) -> Image:
    return np.clip(image + rng.normal(0, 32, image.shape), 0, 255).astype(np.uint8)


def _blur(image: Image, rng: np.random.Generator) -> Image:
    return cv2.GaussianBlur(image, (0, 0), 2.2)


def _jpeg(image: Image, rng: np.random.Generator) -> Image:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 8])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)


def _pixelate(image: Image, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // 3, height // 3), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


DEFECTS: dict[str, Callable[[Image, np.random.Generator], Image] | None] = {
    "none": None,
    "noise": _noise,
    "blur": _blur,
    "jpeg": _jpeg,
    "low resolution": _pixelate,
}


def _in_a_region(image: Image, damaged: Image, rng: np.random.Generator) -> Image:
    """``damaged`` inside a soft ellipse, ``image`` around it."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    cy, cx = rng.uniform(0.3, 0.7, 2) * (height, width)
    ry, rx = rng.uniform(0.2, 0.35, 2) * (height, width)
    radius = np.hypot((y - cy) / ry, (x - cx) / rx)
    weight: NDArray[np.float64] = np.clip((1.15 - radius) / 0.3, 0, 1)[..., None]
    return np.rint(weight * damaged + (1 - weight) * image).astype(np.uint8)


def draw_sheet(table: Path, config: RefineConfig, most: int = 24, across: int = 2) -> PIL.Image.Image:
    """Before, quality map, after: three panels per refined sample, for the samples with the greatest gains."""
    columns = ["key", "status", "image", "quality_before", "quality_after", "quality_map_before"]
    rows = open_table(str(table)).to_pyarrow_table(columns=columns).to_pylist()
    rows = [row for row in rows if row["status"] == "refined"]
    rows = sorted(rows, key=lambda row: row["quality_before"] - row["quality_after"])[:most]
    sources = {str(sample["__key__"]): sample["png"] for sample in demo_samples()}
    cells = [_cell(row, decode(sources[row["key"]], config.images), config) for row in rows]  # type: ignore[arg-type]
    cells = sorted(cells, key=lambda cell: cell.height)  # cells of equal height in a row leave no gaps
    bands = [cells[start : start + across] for start in range(0, len(cells), across)]
    heights = [max(cell.height for cell in band) for band in bands]
    sheet = PIL.Image.new("RGB", (across * (3 * PANEL + 3 * GAP), max(1, sum(heights))), "white")
    for band, top in zip(bands, accumulate(heights, initial=0), strict=False):
        for column, cell in enumerate(band):
            sheet.paste(cell, (column * (3 * PANEL + 3 * GAP), top))
    return sheet


def _cell(row: dict[str, Any], before: Image, config: RefineConfig) -> PIL.Image.Image:
    """One sample's three panels under its key and scores."""
    after = decode(row["image"]["bytes"], config.images)
    heat = map_over(before, QualityMap(np.array(row["quality_map_before"], dtype=np.float32)))
    panels = [PIL.Image.fromarray(thumbnail(image, PANEL)) for image in (before, heat, after)]
    cell = PIL.Image.new("RGB", (3 * PANEL + 2 * GAP, LABEL + panels[0].height + GAP), "white")
    label = f"{row['key']}: {row['quality_before']:.3f} -> {row['quality_after']:.3f}"
    PIL.ImageDraw.Draw(cell).text((2, 2), label, fill="black")
    for column, panel in enumerate(panels):
        cell.paste(panel, (column * (PANEL + GAP), LABEL))
    return cell
