"""The commands that keep a table, as processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import SETTINGS, qrefine, write_shards


def test_a_table_through_two_nights_and_out_again(tmp_path: Path) -> None:
    folder, table = tmp_path / "in", tmp_path / "table"
    folder.mkdir()
    write_shards(folder, shards=2, samples=3)
    planned = qrefine("nightly", folder, table, "--dry-run", "--json", *SETTINGS)
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["new"] == 2
    assert not table.exists()

    first = qrefine("nightly", folder, table, *SETTINGS)
    assert first.returncode == 0, first.stderr
    assert "images     6: " in first.stdout
    assert "version    1" in first.stdout
    (folder / "000000.tar").unlink()
    second = qrefine("nightly", folder, table, "--prune", "--json", *SETTINGS)
    assert json.loads(second.stdout)["plan"]["pruned_rows"] == 3, second.stderr
    assert "nothing to do" in qrefine("nightly", folder, table, *SETTINGS).stdout

    found = qrefine("diff", table, 1, 2, "--json")
    assert json.loads(found.stdout)["removed"] == 3
    assert "removed    3" in qrefine("diff", table, 1, 2).stdout
    assert qrefine("restore", table, 1).stdout == "version    3, the same as 1\n"

    exported = qrefine("export", table, tmp_path / "train", "--where", "status != 'failed'", "--samples", 4)
    assert exported.stdout.startswith("exported   6 images in 2 files"), exported.stderr
    source = qrefine("export", table, tmp_path / "source", "--layout", "source", "--top", 0.5, "--by", "index")
    assert source.returncode == 3, source.stderr
    assert "selected   3 of 6 rows\nleft out   2: source shard " in source.stdout
    again = qrefine("refine", tmp_path / "train", tmp_path / "second", *SETTINGS)
    assert again.returncode == 0
    assert "images    6: " in again.stdout


def test_the_job_is_the_command() -> None:
    script = Path(__file__).parents[2] / "jobs" / "refine.py"
    done = subprocess.run([sys.executable, str(script), "nowhere", "--no-such"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "No such option" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nightly", "only-one"], "needs at least one INPUT"),
        (["diff", "nowhere", "0", "1"], "there is no table"),
        (["restore", "nowhere", "0"], "there is no table"),
        (["export", "nowhere", "out"], "there is no table"),
        (["export", "nowhere", "out", "--format", "zip"], "unknown format 'zip' (there are webdataset,"),
        (["export", "nowhere", "out", "--layout", "tree"], "unknown layout 'tree'"),
        (["export", "nowhere", "out", "--pairs", "preference", "--format", "webdataset"], "--format parquet"),
    ],
)
def test_what_a_person_must_mend_is_one_line_and_code_2(arguments: list[str], message: str) -> None:
    done = qrefine(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
