"""A mapper, an enhancer and a judge from outside the package: by import path in the YAML, and by entry point.

The three are those of CONTRIBUTING.md, taken from its text: what people copy is what is tested.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import encoded, noisy, photo

ROOT = Path(__file__).parents[1]
ENTRY_POINTS = """
[qrefine.mappers]
evenness = my_backends:EvennessMapper
[qrefine.restorers]
median = my_backends:MedianRestorer
[qrefine.judges]
contrast = my_backends:contrast
"""
RUN = """
import json, sys
import numpy as np, PIL.Image
import qrefine
image = np.asarray(PIL.Image.open("image.png"))
result = qrefine.Refiner.from_config("settings.yaml")([image])[0]
gain = result.after.score - result.before.score
print(json.dumps([result.status, list(result.stages), result.judgements, gain]))
"""


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with a package of its own, an image, and no trace of qrefine's."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my_backends.py").write_text("\n\n".join(blocks))
    (tmp_path / "image.png").write_bytes(encoded(noisy(photo(size=160))))
    return tmp_path


def refined(folder: Path, mapper: str, restorer: str, judge: str) -> tuple[str, list[str], dict, float]:
    settings = {
        "mapper": {"name": mapper, "grid": 8, "options": {"scale": 30.0}},
        "inpaint": {"name": restorer},
        "enhance": {"blind": {"name": restorer}},
        "judges": [judge],
        "accept": {"risk": None},  # the backends are toys: a judge of repairs would refuse them
    }
    (folder / "settings.yaml").write_text(json.dumps(settings))  # JSON is YAML
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return tuple(json.loads(done.stdout))


def test_by_import_path(outside: Path) -> None:
    names = ("my_backends:EvennessMapper", "my_backends:MedianRestorer", "my_backends:contrast")
    status, stages, judgements, gain = refined(outside, *names)
    assert (status, stages) == ("refined", ["inpaint", "enhance_blind"])
    assert gain > 0
    before, after = judgements["my_backends:contrast"]
    assert after < before  # noise is contrast, and it is less now


def test_by_entry_point(outside: Path) -> None:
    info = outside / "my_backends-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-backends\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    by_name = refined(outside, "evenness", "median", "contrast")
    assert by_name[0] == "refined"
    assert set(by_name[2]) == {"contrast"}


def test_a_name_that_nobody_has_lists_those_that_are(outside: Path) -> None:
    with pytest.raises(AssertionError, match="unknown mapper 'nobody': known are embedded, piqe"):
        refined(outside, "nobody", "median", "contrast")
