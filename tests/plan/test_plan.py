"""A plan of real shards against what refining all of them comes to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qrefine.config import RefineConfig, load_config
from qrefine.errors import UserError
from qrefine.plan.show import make_plan
from qrefine.report.scan import TableScan
from qrefine.storage.store import Store
from qrefine.table.table import open_table
from tests.report.tables import refined_table
from tests.support import PLAIN, SETTINGS, encoded, qrefine, write_shards, write_tar


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_shards(tmp_path_factory.mktemp("plan"), shards=6, samples=9, size=96)


def test_the_intervals_cover_what_a_run_comes_to(shards: list[Path], tmp_path: Path, plain: RefineConfig) -> None:
    plan = make_plan([str(shards[0].parent)], plain, samples=24, seed=1)
    table = str(refined_table(shards, tmp_path / "table", plain))
    statuses = open_table(table).to_pyarrow_table(columns=["status"])["status"].to_pylist()
    assert plan.images.value == len(statuses) == 54
    assert (plan.shards, plan.shards_read, plan.sampled) == (6, 6, 24)
    for status, share in plan.statuses.items():
        assert share.low <= statuses.count(status) / 54 <= share.high
    size = sum(part.size for part in TableScan(Store.at(table)).parts)
    assert plan.bytes_out.low * 0.8 <= size <= plan.bytes_out.high * 1.2  # parts here are of 9 rows, not of 24
    assert plan.needs["map"].value == 1
    assert all(seconds.value > 0 for seconds in plan.stage_seconds.values())


def test_the_same_seed_draws_the_same_sample(shards: list[Path], plain: RefineConfig) -> None:
    first, second = (make_plan([str(shards[0])], plain, samples=8, seed=5) for _ in range(2))
    assert first.needs == second.needs
    assert first.bytes_out == second.bytes_out


def test_an_input_without_images_is_told(tmp_path: Path, plain: RefineConfig) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match="hold no image: shard unreadable"):
        make_plan([str(tmp_path)], plain)


def test_the_command_prints_tables_or_json(shards: list[Path]) -> None:
    arguments = ["plan", shards[0], "--samples", 8, "--gpu-price", 2.5, *SETTINGS]
    done = qrefine(*arguments)
    assert done.returncode == 0, done.stderr
    assert "8 samples from 1 of 1 shards" in done.stdout
    assert "wall time" in done.stdout
    plan = json.loads(qrefine(*arguments, "--json").stdout)
    assert plan["images"] == {"value": 9.0, "low": 9.0, "high": 9.0}


class Fed:
    """Takes crops of its sizes, and changes nothing."""

    context, feather, whole, crop_prompt = 0, 0.0, False, "auto"

    def __init__(self, weights: str | None = None, crop_area: str = "native") -> None:
        self.crop_area = crop_area
        self.buckets = ((128, 128),) if crop_area == "native" else ((64, 64), (128, 128))

    def __call__(self, images, strengths, prompts, seeds):  # type: ignore[no-untyped-def]
        return list(images)


@pytest.mark.parametrize(("area", "side"), [("native", 128), ("image", 64)])
def test_a_plan_knows_what_it_costs_to_enlarge_crops(tmp_path: Path, area: str, side: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    write_tar(tmp_path / "a.tar", [(f"{i}.png", encoded(noise)) for i in range(4)])
    backend = ["inpaint.name=tests.plan.test_plan:Fed", f"inpaint.options.crop_area={area}"]
    config = load_config(None, [*PLAIN, *backend, "stages=[inpaint]", "bounds.mq=1", "bounds.hq=1"])
    plan = make_plan([str(tmp_path)], config, samples=4)
    assert plan.needs["inpaint"].value == 1
    assert plan.stage_pixels["inpaint"].value == side * side
    assert plan.to_dict()["stage_pixels"]["inpaint"]["value"] == side * side
