"""Reading speed of each kind of unit: the same images and prompts as a tar, a Parquet file and a folder."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import Figure, output_of, seconds
from benchmarks.options import Options
from qrefine.config import RefineConfig
from qrefine.corpus.listing import list_shards
from qrefine.corpus.readers import read_unit

SIDE = 48
ROUNDS = 3
PEAK = """
import sys
from benchmarks.measure import peak_memory
from qrefine.config import RefineConfig
from qrefine.corpus.listing import list_shards
from qrefine.corpus.readers import read_unit
before = peak_memory()
for unit in list_shards(sys.argv[1:], {}):
    for sample in read_unit(unit, RefineConfig()):
        assert sample.source
print((peak_memory() - before) / 2**20)
"""


def run(options: Options) -> list[Figure]:
    """Rows/s of Parquet and folders over those of a tar with the same content, and the memory that reading takes.

    The kinds take turns and the best of ROUNDS counts: other load on the machine only adds time.
    """
    figures = []
    for rows in (100, options.of(10_000, 200), options.of(100_000, 300)):
        tar, parquet = options.folder / f"{rows}.tar", options.folder / f"{rows}.parquet"
        _write_tar(tar, rows)
        _write_parquet(parquet, rows)
        kinds = {"Parquet": parquet}
        if rows <= 1000:
            kinds["folder"] = options.folder / f"{rows}-files"
            _write_folder(kinds["folder"], rows)
        passes = max(1, 2000 // rows)  # a short read is timed several times over
        best: dict[str, float] = {}
        for _ in range(ROUNDS):
            for name, path in {"tar": tar, **kinds}.items():
                took = seconds(partial(_read, path, passes, rows))
                best[name] = min(best.get(name, took), took)
        for name in kinds:
            ratio = best["tar"] / best[name]
            note = f"{passes * rows / best[name]:,.0f} and {passes * rows / best['tar']:,.0f} rows/s"
            figures.append(
                Figure(f"{name} of {rows:,} rows / tar: rows/s", ratio, "x", "1" * (name == "Parquet"), note)
            )
        figures += [
            Figure(f"memory to read {path.suffix} of {rows:,} rows", _peak(path), "MB") for path in (tar, parquet)
        ]
    return figures


def _read(path: Path, passes: int, rows: int) -> None:
    for _ in range(passes):
        units = list_shards([str(path)], {})
        count = sum(sample.source is not None for unit in units for sample in read_unit(unit, RefineConfig()))
        if count != rows:
            raise RuntimeError(f"{path}: {count} of {rows} samples were read")


def _peak(path: Path) -> float:
    return float(output_of([sys.executable, "-c", PEAK, str(path)]))


def _images(rows: int) -> Iterator[tuple[str, bytes, str]]:
    """Keys, JPEG images of a few kilobytes, all different, and prompts."""
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(out, "JPEG", quality=80)
    for row in range(rows):
        yield f"{row:08d}", out.getvalue() + f"{row:08d}".encode(), f"a picture of number {row}"


def _write_tar(path: Path, rows: int) -> None:
    with tarfile.open(path, "w") as tar:
        for key, image, prompt in _images(rows):
            for suffix, data in (("jpg", image), ("txt", prompt.encode())):
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def _write_parquet(path: Path, rows: int) -> None:
    """One row group, whatever the file's size: the worst case for memory."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("caption", pa.string())])
    values = [
        {"image": {"bytes": data, "path": f"{key}.jpg"}, "caption": prompt} for key, data, prompt in _images(rows)
    ]
    table = pa.Table.from_pylist(values, schema)
    # packed, images that differ in their last bytes alone would be no images
    pq.write_table(table, path, row_group_size=rows, compression="none", use_dictionary=False)


def _write_folder(path: Path, rows: int) -> None:
    os.mkdir(path)
    for key, image, prompt in _images(rows):
        (path / f"{key}.jpg").write_bytes(image)
        (path / f"{key}.txt").write_text(prompt)
