"""The metrics endpoint, scraped as Prometheus scrapes it, against the table that the same run wrote."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from qrefine.config import RefineConfig
from qrefine.corpus.shards import read_shard
from qrefine.stream.metrics import RayMeter
from qrefine.table.table import open_table
from qrefine.work.meter import FROM_RAY, METRICS
from tests.stream.backends import KILLER
from tests.stream.heads import ROOT, Head, running_head
from tests.support import PLAIN, encoded, photo, write_shards, write_tar

ON_GPUS = {"ray_node_gpus_utilization"}
Scrape = dict[tuple[str, str], dict[tuple[str, ...], float]]  # name and run -> values of the other tags -> sum


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with running_head() as head:
        yield head


def read(text: str) -> Scrape:
    """All series, those of several processes summed."""
    found: Scrape = defaultdict(lambda: defaultdict(float))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            metric = next((m for m in METRICS.values() if m.exported == sample.name), None)
            tags = tuple(sample.labels[name] for name in metric.tags) if metric else ()
            found[sample.name, sample.labels.get("run", "")][tags] += sample.value
    return found


def run(head: Head, source: str, table: Path, *settings: str) -> tuple[dict, Scrape, set[str]]:
    """Refine on the head; gives the summary, a scrape after the end, and all names that were seen on the way."""
    flags = [flag for setting in (*PLAIN, "stream.commit_seconds=1", *settings) for flag in ("--set", setting)]
    driver = subprocess.Popen(
        [sys.executable, "-m", "qrefine.cli", "refine", source, str(table), *flags],
        env={**head.env, "RAY_ADDRESS": head.address, "PYTHONPATH": str(ROOT)},
    )
    seen: set[str] = set()
    while driver.poll() is None:
        seen |= {name for name, _ in read(head.scrape())}
        time.sleep(1)
    assert driver.returncode == 0
    (written,) = (table / "_qrefine").glob("run-*.json")
    return json.loads(written.read_text()), read(head.scrape()), seen


@pytest.mark.slow
def test_every_metric_is_there_and_agrees_with_the_table(head: Head, tmp_path: Path) -> None:
    write_shards(tmp_path, shards=6, samples=16)
    write_tar(tmp_path / "broken.tar", [("0.png", b"garbage")])
    mapper = ("mapper.name=tests.stream.backends:SlowMapper", "mapper.options={seconds: 0.1}")
    summary, found, seen = run(head, str(tmp_path / "*.tar"), tmp_path / "table", *mapper)

    names = {metric.exported for metric in METRICS.values()}
    retried = METRICS["retried_samples"].exported  # nothing died
    assert names - {retried} <= seen
    assert FROM_RAY.keys() - ON_GPUS <= seen

    def value(name: str, *tags: str) -> float:
        return found[METRICS[name].exported, summary["run"]][tags]

    def total(name: str) -> float:
        return sum(found[METRICS[name].exported, summary["run"]].values())

    table = open_table(str(tmp_path / "table"))
    rows = table.to_pyarrow_table(columns=["status", "stages", "image"]).to_pylist()
    statuses = [row["status"] for row in rows]
    for status in ("refined", "kept", "failed"):
        assert value("samples", status) == statuses.count(status) == summary[status] > 0
    sizes = pa.table(table.get_add_actions())["size_bytes"].to_pylist()
    assert value("committed_bytes") == value("written_bytes") == sum(sizes)
    assert value("commits") == table.version()  # the first version is the empty table
    assert 0 < value("commit_seconds") < summary["seconds"]
    sources = [
        sample.source or b""
        for p in tmp_path.glob("*.tar")
        for sample in read_shard(str(p), RefineConfig().images)
    ]
    assert value("read_bytes") == sum(map(len, sources))
    decodable = len(rows) - statuses.count("failed")
    assert value("stage_samples", "map") == decodable
    assert value("stage_seconds", "map") >= 0.1 * decodable
    assert value("stage_samples", "accept") >= statuses.count("refined")
    # noise is the scheduler's in this mode, and what the inpainter enhances in its pass is not enhanced once more
    assert statuses.count("refined") <= value("stage_samples", "inpaint") <= decodable
    assert value("stage_samples", "enhance") <= decodable - value("stage_samples", "inpaint")
    assert value("stage_seconds", "inpaint") > 0
    pool = "map+noise+inpaint+enhance+accept"
    assert value("batch_samples", pool) == len(rows)
    assert value("batch_slots", pool) >= len(rows)
    assert value("batch_slots", pool) % 8 == 0
    assert value("busy_seconds", pool, "cpu") == pytest.approx(total("stage_seconds"))
    assert value("idle_seconds", pool, "cpu") > 0
    assert value("busy_seconds", pool, "cpu") + value("idle_seconds", pool, "cpu") < 2 * summary["seconds"]


@pytest.mark.slow
def test_what_died_and_was_done_again_is_counted(head: Head, tmp_path: Path) -> None:
    deadly = photo(size=64)
    deadly[0, 0] = KILLER
    members = [(f"{i:03d}.png", encoded(photo(size=64) if i != 5 else deadly)) for i in range(12)]
    shard = write_tar(tmp_path / "a.tar", members)
    settings = ("mapper.name=tests.stream.backends:DangerousMapper", "stream.retries=1")
    summary, found, _ = run(head, str(shard), tmp_path / "table", *settings)
    assert summary["retried_rows"] > 0
    assert found[METRICS["retried_samples"].exported, summary["run"]][()] == summary["retried_rows"]
    assert found[METRICS["samples"].exported, summary["run"]][("failed",)] == 1


def test_a_meter_takes_only_what_is_declared() -> None:
    meter = RayMeter("r")
    meter.add("samples", 0)  # nothing to count: not even the tags are looked at
    with pytest.raises(KeyError):
        meter.add("unheard_of")
    with pytest.raises(ValueError, match="status"):
        meter.add("samples")
