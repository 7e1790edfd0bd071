"""The ablation on the backends that need no weights: every row of Table 3, every group of Fig. 5."""

from __future__ import annotations

import json

import numpy as np
import PIL.Image
import pytest

from jobs.ablate import ROWS, ablate, group_of, main, row_name, table_text
from qrefine.config import Bounds, load_config
from qrefine.models.mappers.piqe import PiqeMapper
from qrefine.sample import Sample
from tests.support import PLAIN, noisy, photo, write_shards

PAPER = (*PLAIN, "mode=paper", "bounds.lq=0.5", "bounds.mq=0.9", "bounds.hq=0.95")


def test_it_prints_and_draws_both_tables_of_a_corpus(tmp_path, capsys):
    (tmp_path / "shards").mkdir()
    write_shards(tmp_path / "shards", 1, 4)
    settings = [part for text in PAPER for part in ("--set", text)]
    assert main([str(tmp_path / "shards"), *settings, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    for row in ROWS:
        assert f"\n{row_name(row)} " in printed
    assert "piqe ↓" in printed
    result = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert list(result["rows"]) == ["original", "1+2+3", "2+3", "3", "1+2", "1+3", "2"]
    assert all(row["images"] == 4 and row["failed"] == 0 for row in result["rows"].values())
    assert sum(result["group_sizes"].values()) == 4
    with PIL.Image.open(tmp_path / "out" / "ablation.png") as image:
        assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) > 5


def test_rows_differ_by_the_stages_that_ran():
    config = load_config(None, PAPER)
    samples = [
        Sample(decoded=noisy(photo(name, 96), i), prompt="", seed=i)
        for i, name in enumerate(("astronaut", "coffee"))
    ]
    result = ablate(iter(samples), config)
    assert result.rows["original"].changed == 0
    assert all(tally.changed == 2 for name, tally in result.rows.items() if name != "original")
    means = {name: tally.mean("piqe") for name, tally in result.rows.items()}
    assert len({round(mean, 6) for mean in means.values()}) >= 5
    only_noise_and_mask = ablate(iter(samples), config.model_copy(update={"mode": "fused"})).rows
    assert only_noise_and_mask["1+2"].scores == only_noise_and_mask["2"].scores


def test_with_accept_no_image_ends_below_the_source_by_its_map():
    config = load_config(None, PAPER)
    samples = [Sample(decoded=noisy(photo("astronaut", 96), i), prompt="", seed=i) for i in range(2)]
    free = ablate(iter(samples), config).rows["1+2+3"]
    gated = ablate(iter(samples), config, accept=True).rows["1+2+3"]
    assert gated.changed <= free.changed


def test_groups_follow_the_bounds():
    bounds = Bounds(lq=0.4, mq=0.7, hq=0.8)
    assert [group_of(q, bounds) for q in (0.39, 0.4, 0.69, 0.7, 1.0)] == ["LQ", "MQ", "MQ", "HQ", "HQ"]


def test_gains_are_after_less_before():
    config = load_config(None, PAPER)
    result = ablate(iter([Sample(decoded=noisy(photo("astronaut", 96)), prompt="", seed=1)]), config)
    (group,) = [name for name, size in result.sizes.items() if size]
    gain = result.gains[group]["blind"]["piqe"]
    assert gain == pytest.approx(result.rows["3"].mean("piqe") - result.rows["original"].mean("piqe"))
    assert "nan" in table_text(result)  # groups without images say so


def test_the_papers_figure_5_can_come_out_images_of_high_quality_change_where_blind_enhancement_is_forced():
    """With the strength 0 of mode fused where quality is high nothing could harm them, and nothing be measured."""
    sample = Sample(decoded=photo("coffee", 96), prompt="", seed=1)
    bounds = ("bounds.lq=0", "bounds.mq=0", "bounds.hq=0")  # whatever its map says, the image is of high quality
    gains = {}
    for mode in ("paper", "fused"):
        result = ablate(iter([sample]), load_config(None, (*PLAIN, f"mode={mode}", *bounds)))
        assert result.sizes == {"LQ": 0, "MQ": 0, "HQ": 1}
        gains[mode] = result.gains["HQ"]
    assert gains["paper"]["blind"]["piqe"] != 0
    assert gains["fused"]["blind"]["piqe"] == 0
    assert gains["paper"]["prompt"]["piqe"] != gains["paper"]["blind"]["piqe"]


def test_what_is_wrong_is_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "absent"), "--set", "mapper.name=piqe"]) == 2
    assert main([str(tmp_path), "--set", "judges=[]"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: ") for line in lines)


def test_a_map_of_the_sources_is_made_once(monkeypatch):
    config = load_config(None, PAPER)
    calls = []
    stock = PiqeMapper.__call__
    monkeypatch.setattr(
        PiqeMapper, "__call__", lambda self, images: calls.append(len(images)) or stock(self, images)
    )
    ablate(iter([Sample(decoded=photo("coffee", 96), prompt="", seed=i) for i in range(3)]), config, batch=2)
    assert calls == [2, 1]
