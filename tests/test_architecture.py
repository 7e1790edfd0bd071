"""The shape of the package: who may import whom, and what is done nowhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "qrefine").rglob("*.py"))
SOURCES = [*MODULES, *sorted((ROOT / "jobs").rglob("*.py"))]
MOST_LINES = 300

# which rooms a room may import, besides itself; CONTRIBUTING.md has the same table
BASE = ("errors", "config", "quality", "sample")
DATA = (*BASE, "storage", "corpus", "table")
WORK = (*DATA, "models", "stages", "work")
ALLOWED: dict[str, tuple[str, ...]] = {
    "errors": (),
    "settings": (),
    "config": ("errors", "settings"),
    "quality": ("errors", "config"),
    "sample": ("quality",),
    "models": ("errors", "settings", "config", "quality"),
    "stages": (*BASE, "models"),
    "storage": ("errors", "config"),
    "corpus": (*BASE, "storage"),
    "table": (*BASE, "storage", "corpus"),
    "work": (*DATA, "models", "stages"),
    "nightly": WORK,
    "stream": (*WORK, "nightly"),
    "plan": WORK,
    "report": WORK,
    "doctor": (*WORK, "stream"),
    "api": (*WORK, "nightly", "stream"),
}
TOP = ("cli", "jobs")  # these may import every room
RAY_OUTSIDE = {
    "jobs/benchmarks/peers/ray_guide.py",
    "jobs/benchmarks/scale.py",
}  # training on several GPUs; what we are measured against
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {"eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system"}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at the top or inside of functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide who imports whom"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(path: Path) -> str:
    """``jobs``, or what stands first below ``qrefine``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] == "jobs" else parts[1]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_only_the_stream_imports_ray(path: Path) -> None:
    ray = [name for name in imports(path) if name.partition(".")[0] == "ray"]
    assert not ray or layer(path) == "stream" or named(path) in RAY_OUTSIDE


def test_contributing_tells_these_imports() -> None:
    """Its table names for each room the highest that it imports; what those import goes without saying."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Rooms")[2].partition("\n## ")[0]
    told = {}
    for rooms, imported in re.findall(r"^\| (`[^|]+) \|[^|]+\| ([^|]+) \|$", text, re.MULTILINE):
        for room in re.findall(r"`(\w+)`", rooms):
            told[room] = set(re.findall(r"`(\w+)`", imported))
    assert told.keys() == {*ALLOWED, *TOP}

    def reached(room: str) -> set[str]:
        return told[room].union(*(reached(other) for other in told[room]))

    for room, allowed in ALLOWED.items():
        assert {*allowed} - {room} <= reached(room), f"CONTRIBUTING.md does not tell all that {room} may import"
        assert told[room] <= {*allowed}, f"CONTRIBUTING.md lets {room} import more than the test"


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_imports_point_one_way(path: Path) -> None:
    own = layer(path)
    if own == "__init__":  # the package's own names, loaded on first use
        return
    if own in TOP:
        return
    assert own in ALLOWED, f"give {own} its place in the table"
    for name in imports(path):
        package, _, rest = name.partition(".")
        room = rest.partition(".")[0]
        if package == "qrefine" and room != own and (room in ALLOWED or room in TOP):
            assert room in ALLOWED[own], f"{own} may not import {name}"


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_nothing_is_unpickled_evaluated_or_extracted(path: Path) -> None:
    assert not FORBIDDEN_MODULES & {name.partition(".")[0] for name in imports(path)}
    for name, call in calls(path):
        keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
        assert name not in FORBIDDEN_CALLS
        assert name.rpartition(".")[2] not in ("extractall", "extract")
        assert keywords.get("shell") != "True"
        assert keywords.get("allow_pickle") != "True"
        assert keywords.get("trust_remote_code") != "True"
        if name == "torch.load":
            assert keywords.get("weights_only") == "True"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_modules_are_small_and_say_what_they_are(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert not text.strip() or ast.get_docstring(tree(path))


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import qrefine", {"torch", "ray", "cv2", "pyarrow"}),
        ("import qrefine.cli.app", {"torch", "ray", "cv2"}),
        ("import qrefine.stages.refiner", {"torch", "ray", "pyarrow"}),
        ("import qrefine.work.local, qrefine.work.refine", {"torch", "ray"}),
        ("import qrefine.api", {"torch", "ray"}),
        ("import qrefine.plan.show, qrefine.report.page", {"torch", "ray"}),
        ("import qrefine.nightly.run", {"torch", "ray"}),
    ],
)
def test_what_is_not_needed_is_not_loaded(statement: str, absent: set[str]) -> None:
    code = f"import sys; {statement}; print(*sorted({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


TESTS = sorted((ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("path", TESTS, ids=named)
def test_helpers_do_not_live_in_tests(path: Path) -> None:
    for name in imports(path):
        parts = name.split(".")
        assert parts[0] != "tests" or not any(part.startswith("test_") or part == "conftest" for part in parts[1:])
