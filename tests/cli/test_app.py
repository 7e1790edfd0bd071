"""The command line as a process: what a person sees, and the exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from qrefine.config import RefineConfig, parse_config
from qrefine.storage.store import Store
from qrefine.table.lease import Lease
from tests.support import SETTINGS, qrefine, write_shards, write_tar


def test_refine_reports_and_then_has_nothing_to_do(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_shards(tmp_path / "in", shards=2, samples=3)
    first = qrefine("refine", tmp_path / "in" / "{000000..000001}.tar", tmp_path / "out", *SETTINGS)
    assert first.returncode == 0, first.stderr
    assert "6: " in first.stdout
    assert "images/s" in first.stdout
    assert "Traceback" not in first.stderr
    again = qrefine("refine", tmp_path / "in", tmp_path / "out", *SETTINGS)
    assert again.returncode == 0
    assert again.stdout.startswith("nothing to do: all 2 shards")


def test_failed_shards_end_with_code_3(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [])
    (tmp_path / "b.tar").write_bytes(b"")
    done = qrefine("refine", tmp_path, tmp_path / "out", *SETTINGS)
    assert done.returncode == 3
    assert "shard unreadable" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["refine", "only-one"], "needs at least one INPUT"),
        (["refine", "nothing-*.tar", "out", *SETTINGS], "nothing matches"),
        (["refine", "x", "out", "--set", "bounds.mq=7"], "bounds.mq"),
        (["refine", "x", "out", "--set", "mapper.name=gpt"], "unknown mapper 'gpt'"),
        (["refine", "x", "out", *SETTINGS, "--set", "inpaint.weights=no.safetensors"], "not at"),
        (["refine", "x", "out", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["refine", "nope://bucket/x.tar", "out", *SETTINGS], "nope"),
        (["refine", "x", "out", "--config"], "Option '--config' requires an argument."),
        (
            ["plan", "x", "--samples", "2"],
            "'--samples': Input should be greater than or equal to 8 (see qrefine plan --help)",
        ),
        (["plan", "x", "--samples", "few"], "'--samples': Input should be a valid integer"),
        (["plan"], "Missing argument 'INPUT...'."),
        (["plam"], "No such command 'plam'."),
        (["score", "x", "out", "--retry"], "No such option: --retry"),
    ],
)
def test_what_a_person_must_mend_is_one_line_and_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = qrefine(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("qrefine: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_arguments_it_lists_its_commands() -> None:
    done = qrefine()
    assert done.returncode == 0
    assert "Usage: qrefine [OPTIONS] COMMAND" in done.stdout
    assert done.stderr == ""


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    from deltalake import write_deltalake

    (tmp_path / "in").mkdir()
    write_shards(tmp_path / "in", shards=1, samples=1)
    write_deltalake(str(tmp_path / "out"), pa.table({"x": [1]}))
    done = qrefine("refine", tmp_path / "in", tmp_path / "out", *SETTINGS)
    assert done.returncode == 2
    assert "holds a table of other columns" in done.stderr


def test_a_table_in_use_is_left_with_code_4(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_shards(tmp_path / "in", shards=1, samples=1)
    (tmp_path / "out").mkdir()
    with Lease(Store.at(str(tmp_path / "out")), "someone"):
        done = qrefine("refine", tmp_path / "in", tmp_path / "out", *SETTINGS)
    assert done.returncode == 4
    assert "in use by run someone" in done.stderr


def test_config_shows_what_is_in_force(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("bounds: {mq: 0.65}\n")
    done = qrefine("config", "--show", "--config", tmp_path / "c.yaml", "--set", "seed=3")
    assert done.returncode == 0
    effective = parse_config(yaml.safe_load(done.stdout))
    assert effective == parse_config({"bounds": {"mq": 0.65}, "seed": 3})
    assert "# B_MQ" in done.stdout
    assert qrefine("config", "--digest").stdout.strip() == RefineConfig().digest


def test_help_comes_without_loading_torch_or_ray() -> None:
    code = "import sys, qrefine.cli.app as c; print('torch' in sys.modules, 'ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]
    assert "refine" in qrefine("--help").stdout
