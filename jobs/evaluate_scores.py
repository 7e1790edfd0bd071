"""What scoring saves: speed against refining and a hand-written loop, bytes by ``images.store``, a judge added later.

python jobs/evaluate_scores.py speed 'shards/*.tar'     # CPU seconds of scoring, refining and a DataLoader, in turns
python jobs/evaluate_scores.py stores                   # a corpus with a tenth in need: bytes by images.store
python jobs/evaluate_scores.py judge --rows 100000      # a second judge on a table of tiny images
python jobs/evaluate_scores.py select --rows 1000000    # the best 30 % of a score table over 1,000 shards
"""  # noqa: E501

from __future__ import annotations

import argparse
import io
import os
import resource
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import webdataset

from qrefine.api import judge, refine, score
from qrefine.config import RefineConfig, load_config
from qrefine.corpus.encode import encode
from qrefine.corpus.images import decode
from qrefine.corpus.listing import list_shards
from qrefine.models.registry import load_mapper
from qrefine.quality.map import Image, QualityMap
from qrefine.sample import Sample
from qrefine.storage.store import Store
from qrefine.table.export.select import Choice, select
from qrefine.table.parts import write_part
from qrefine.table.schema import make_row, table_schema
from qrefine.table.table import Table, open_table

ROUNDS = 2
SETTINGS = ["stream.executor=local", "stream.workers=1", "judges=[]"]
PART_ROWS = 1000
SHARDS = 1000  # of the table that `select` chooses from


def bytes_of(folder: Path | str) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def hand_written(shards: Sequence[str], config: RefineConfig) -> int:
    """A loop as a user would write it: webdataset, a DataLoader, the same mapper in batches."""
    mapper = load_mapper(config.mapper, {})
    data = webdataset.WebDataset(list(shards), shardshuffle=False)
    pairs = data.map(lambda one: decode(next(one[k] for k in ("png", "jpg", "webp") if k in one), config.images))
    loader = torch.utils.data.DataLoader(pairs, batch_size=config.stream.batch_size, collate_fn=list)
    return sum(len([quality.score for quality in mapper(batch)]) for batch in loader)


def speed(shards: Sequence[str]) -> None:
    """CPU seconds of the three, in turns; start-up is the same model load in each."""
    config = load_config(None, SETTINGS)
    shards = [shard.url for shard in list_shards(shards, {})]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        place = (f"{scratch}/{number}" for number in range(99))
        calls: dict[str, Callable[[], object]] = {
            "loop": lambda: hand_written(shards, config),
            "score": lambda: score(shards, next(place), config),
            "refine": lambda: refine(shards, next(place), config),
        }
        spent: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(ROUNDS):
            for name, call in calls.items():
                began = time.process_time()
                call()
                spent[name].append(time.process_time() - began)
        rows = open_table(f"{scratch}/0").to_pyarrow_table(columns=["shard", "image"])
        count, images = rows.num_rows, rows.num_rows - rows["image"].null_count
        written = bytes_of(f"{scratch}/0") / count
    for name, seconds in spent.items():
        print(f"{name:8}{[round(s, 1) for s in seconds]} CPU seconds")
    least = {name: min(seconds) for name, seconds in spent.items()}
    print(
        f"score: {least['refine'] / least['score']:.2f} x refine, {least['loop'] / least['score']:.2f} x the loop"
    )
    print(f"{count} rows, {images} images in the table, {written:.0f} bytes written for each")


def stores() -> None:
    """Bytes of the table by ``images.store``, and of a corpus of which every tenth image has noise."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch) / "corpus"
        corpus.mkdir()
        with tarfile.open(corpus / "0.tar", "w") as tar:
            for number in range(40):
                add(tar, f"{number:05d}.png", encode(picture(rng, number % 10 == 0), RefineConfig().images))
        print(f"corpus  {bytes_of(corpus):>12,} bytes")
        for store in ("all", "refined"):
            config = load_config(None, [*SETTINGS, f"images.store={store}", "accept.risk=null"])
            summary = refine([str(corpus)], f"{scratch}/{store}", config)
            print(f"{store:8}{bytes_of(f'{scratch}/{store}'):>12,} bytes, {summary.refined} refined")
        score([str(corpus)], f"{scratch}/none", load_config(None, SETTINGS))
        print(f"none    {bytes_of(f'{scratch}/none'):>12,} bytes")


def picture(rng: np.random.Generator, damaged: bool) -> Image:
    """Smooth shapes, 256 x 256; with ``damaged`` a quarter of it is noise."""
    y, x = np.mgrid[0:256, 0:256] / 256
    waves = [np.sin(rng.uniform(2, 9) * x + rng.uniform(2, 9) * y + rng.uniform(0, 6)) for _ in range(3)]
    image = 128 + 90 * np.stack(waves, axis=-1) + rng.normal(0, 2, (256, 256, 3))
    if damaged:
        image[32:160, 32:160] += rng.normal(0, 60, (128, 128, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def brightness(image: Image) -> float:
    """A judge that costs nothing."""
    return float(image.mean())


def second_judge(rows: int) -> None:
    """Bytes read and written, and seconds, of a judge added to a table of tiny stored images."""
    config = load_config(None, [*SETTINGS, "stream.workers=2"])
    rng = np.random.default_rng(0)
    images = [encode(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8), config.images) for _ in range(64)]
    with tempfile.TemporaryDirectory() as scratch:
        store = Store.at(f"{scratch}/table")
        table = Table.open_or_create(store, table_schema(()))
        records = []
        for part in range(rows // PART_ROWS):
            made = [
                make_row(
                    Sample(f"{part // 10}.tar", part % 10 * PART_ROWS + k, f"{k}", images[k % 64]), config, "r"
                )
                for k in range(PART_ROWS)
            ]
            records.append(write_part(store, [pa.Table.from_pylist(made, schema=table.schema)], "r"))
        table.commit(records, run="r", config=config.digest)
        size = bytes_of(f"{scratch}/table")
        read, began = io_bytes(), time.perf_counter()
        (summary,) = judge(f"{scratch}/table", [f"{__name__}:brightness"], config)
        seconds, read = time.perf_counter() - began, io_bytes() - read
        beside = bytes_of(f"{scratch}/table/_judges")
        print(f"{summary.judged} rows judged in {seconds:.1f} s ({resource.getrusage(0).ru_maxrss / 1024:.0f} MB)")
        print(f"table {size:,} bytes before; {read:,} read; {beside:,} written, {beside / rows:.1f} for each row")
        readers(f"{scratch}/table", rows)


def selection(rows: int) -> None:
    """Seconds and bytes of choosing the best 30 % of a score table, a part for each of 1,000 shards."""
    config = load_config(None, [*SETTINGS, "stages=[]", "judges_on=all", "images.store=none"])
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        store = Store.at(f"{scratch}/scores")
        table = Table.open_or_create(store, table_schema(()))
        each = rows // SHARDS
        before = QualityMap(rng.uniform(0, 1, (16, 16)).astype(np.float32))
        made = [make_row(Sample("s", k, f"{k:06d}", b"x", before=before), config, "r") for k in range(each)]
        one = pa.Table.from_pylist(made, schema=table.schema)
        records = []
        for shard in range(SHARDS):
            changed = {
                "shard": pa.array([f"{shard:06d}.tar"] * each),
                "quality_before": pa.array(rng.random(each)),
            }
            part = one
            for name, values in changed.items():
                place = part.schema.get_field_index(name)
                part = part.set_column(place, part.schema.field(place), values.cast(part.schema.field(place).type))
            records.append(write_part(store, [part], "r"))
        table.commit(records, run="r", config=config.digest)
        read, began, cpu = io_bytes(), time.perf_counter(), time.process_time()
        chosen = select(table, table.pieces(), Choice(top=0.3, by="quality_before"))
        seconds, cpu, read = time.perf_counter() - began, time.process_time() - cpu, io_bytes() - read
        print(f"{chosen.total} of {chosen.candidates} rows in {seconds:.1f} s, {cpu:.1f} CPU seconds")
        print(f"table {bytes_of(f'{scratch}/scores'):,} bytes, {read:,} read")


def readers(table: str, rows: int) -> None:
    """Count the rows of the table and of the judge's as Polars, DuckDB, pandas and `datasets` read them."""
    import datasets  # type: ignore[import-untyped]
    import duckdb
    import polars as pl

    for place in (table, f"{table}/_judges/brightness"):
        files = [f"{place}/{path.name}" for path in Path(place).glob("*.parquet")]
        arrow = pa.table(open_table(place).to_pyarrow_table(columns=["shard", "index"]))
        counts = {
            "polars": pl.scan_delta(place).select(pl.len()).collect().item(),
            "duckdb": duckdb.from_arrow(arrow).shape[0],
            "pandas": len(arrow.to_pandas()),
            "datasets": len(
                datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=f"{table}-c")
            ),
        }
        print(counts, "all rows" if set(counts.values()) == {rows} else "ROWS ARE MISSING")


def io_bytes() -> int:
    """Bytes that this process has read so far, from the page cache too."""
    text = Path(f"/proc/{os.getpid()}/io").read_text(encoding="ascii")
    return int(text.splitlines()[0].split()[1])


def main() -> None:
    """Run one of the four."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("speed", "stores", "judge", "select"))
    parser.add_argument("shards", nargs="*")
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    if options.what == "speed":
        speed(options.shards)
    elif options.what == "stores":
        stores()
    elif options.what == "judge":
        second_judge(options.rows)
    else:
        selection(options.rows)


if __name__ == "__main__":
    main()
