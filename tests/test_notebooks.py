"""The notebooks run as they are. `python -m tests.test_notebooks` runs them and stores their outputs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STARTS_RAY, TRAINS = "3_", "4_"


def execute(path: Path, folder: Path) -> Any:
    """The notebook with its outputs; raises where a cell does."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    return nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources=resources).execute()


def pictures(notebook: Any) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.name[:2] in (STARTS_RAY, TRAINS) else [])
        for path in NOTEBOOKS
    ],
)
def test_a_notebook_runs_and_draws(path: Path, tmp_path: Path) -> None:
    assert pictures(execute(path, tmp_path)) >= 1


def test_there_are_four() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["1_", "2_", "3_", "4_"]


def store(path: Path) -> None:
    """Run a notebook and write its outputs into it, without what libraries say on standard error."""
    import nbformat

    notebook = execute(path, path.parent)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or NOTEBOOKS:
        store(Path(chosen))
