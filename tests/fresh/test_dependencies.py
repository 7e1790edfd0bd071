"""What the package imports is what it declares, and nothing else is."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import qrefine

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")

DISTRIBUTIONS = packages_distributions()
PACKAGE = Path(qrefine.__file__).parent
PROJECT = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
NAMES = {  # distributions of modules that may not be installed here
    "aiobotocore": "s3fs",
    "botocore": "s3fs",  # by way of aiobotocore
    "huggingface_hub": "transformers",
    "pyiqa": "pyiqa",
    "spandrel": "spandrel",
    "transformers": "transformers",
}


def distribution(module: str) -> str:
    found = NAMES.get(module) or DISTRIBUTIONS.get(module, [module])[0]
    return {"opencv-python": "opencv-python-headless"}.get(found.lower(), found.lower().replace("_", "-"))


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=;~ ]", requirement)[0].lower() for requirement in requirements}


REQUIRED = names(PROJECT["dependencies"])
OPTIONAL = {name for group in PROJECT["optional-dependencies"].values() for name in names(group)} - {"qrefine"}


def imports(top_level: bool) -> Iterator[tuple[str, str]]:
    """(module, file) of what is imported from elsewhere, at the top of a file or anywhere in it."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in tree.body if top_level else ast.walk(tree):
            found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found = [node.module]
            for name in (name.partition(".")[0] for name in found):
                if name not in sys.stdlib_module_names and name != "qrefine":
                    yield name, str(path.relative_to(PACKAGE))


def test_what_is_imported_is_declared() -> None:
    unknown = {(name, file) for name, file in imports(False) if distribution(name) not in REQUIRED | OPTIONAL}
    assert unknown == set()


def test_what_is_declared_is_imported() -> None:
    used = {distribution(name) for name, _ in imports(False)}
    assert REQUIRED - used == set()


@pytest.mark.parametrize(
    "folder", ["cli", "corpus", "quality", "report", "stages", "storage", "stream", "table", "work"]
)
def test_what_needs_no_extra_imports_none_at_the_top_of_a_file(folder: str) -> None:
    optional = {
        (name, file)
        for name, file in imports(True)
        if file.startswith(f"{folder}/") and distribution(name) not in REQUIRED and file != "cli/demo.py"
    }
    assert optional == set()
