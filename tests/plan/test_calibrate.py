"""Bounds as quantiles of what a mapper says of a corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from qrefine.config import Bounds, RefineConfig, load_config, parse_config
from qrefine.errors import UserError
from qrefine.models.registry import load_mapper
from qrefine.plan.calibrate import HQ_IMAGES, LQ_AREA, MQ_AREA, calibrate, quantile, to_yaml
from tests.support import PLAIN, qrefine, write_shards


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_shards(tmp_path_factory.mktemp("calibrate"), shards=3, samples=6, size=96)[0].parent)


@given(
    scored=st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 10)), min_size=1, max_size=30),
    share=st.floats(0, 1),
)
def test_at_most_the_share_lies_below_a_quantile(scored: list[tuple[float, float]], share: float) -> None:
    values, weights = (np.array(column) for column in zip(*scored, strict=True))
    bound = quantile(values, weights, share)
    assert weights[values < bound].sum() <= share * weights.sum() + 1e-6
    following = np.nextafter(values[values > bound + 1e-4].min(), 2) if (values > bound + 1e-4).any() else 2
    assert following == 2 or weights[values < following].sum() > share * weights.sum() - 1e-6


def test_the_proposal_leaves_its_shares_of_the_corpus_below_and_can_be_pasted(
    corpus: str, plain: RefineConfig, tmp_path: Path
) -> None:
    (found,) = calibrate([corpus], plain, samples=18)
    assert len(found.images) == 18
    assert len(found.patches) == 18 * 64
    b = found.bounds
    below = [(found.patches < bound).mean() for bound in (b.lq, b.mq)]
    assert below[0] <= LQ_AREA
    assert below[1] <= MQ_AREA
    assert (found.images < b.hq).mean() <= HQ_IMAGES or b.hq == b.mq
    path = tmp_path / "bounds.yaml"
    path.write_text(to_yaml([found], plain))
    assert load_config(path, PLAIN).bounds == b


def test_each_of_several_mappers_gets_its_own(corpus: str, tmp_path: Path) -> None:
    config = parse_config({"mapper": ["piqe", {"name": "embedded", "options": {"device": "cpu"}}]})
    found = calibrate([corpus], config, samples=8)
    assert [one.name for one in found] == ["piqe", "embedded"]
    path = tmp_path / "mapper.yaml"
    path.write_text(to_yaml(found, config))
    pasted = load_config(path)
    members = pasted.mapper.options["mappers"]
    assert [Bounds.model_validate(member["bounds"]) for member in members] == [one.bounds for one in found]
    assert members[1]["options"] == {"device": "cpu"}
    load_mapper(pasted.mapper, bounds=pasted.bounds)


def test_a_corpus_without_an_image_that_can_be_read_is_one_line(tmp_path: Path, plain: RefineConfig) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match="hold no image"):
        calibrate([str(tmp_path)], plain)


def test_the_command_prints_yaml_alone(corpus: str) -> None:
    done = qrefine("plan", corpus, "--calibrate", "--samples", 8, "--set", "mapper=[piqe]", "--set", "seed=1")
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)) == {"mapper"}
    assert "quantiles of Q" in done.stdout
