"""All documents: spelling, links that lead somewhere, commands and settings that exist. Offline."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from qrefine.config import RefineConfig, load_config

ROOT = Path(__file__).parents[1]
MARKDOWN = sorted({*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("qrefine/**/*.md")})
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOURCES = [path for folder in ("qrefine", "jobs", "tests") for path in (ROOT / folder).rglob("*.py")]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CITED = re.compile(r"\b((?:[a-z]+/)*[A-Za-z]+\.md)#([\w-]+)")  # as ARCHITECTURE.md#a-night
FILE = re.compile(r"`((?:[\w-]+/)+[\w-]+\.(?:py|sh|yaml|json|ipynb))`")


def prose(path: Path) -> str:
    """A document's text; of a notebook its markdown cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    words = re.sub(r"[^\w\- ]", "", heading.lower().replace("`", ""))
    return words.strip().replace(" ", "-")


def code_removed(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def test_spelling() -> None:
    pytest.importorskip("codespell_lib")
    folders = ["qrefine", "jobs", *(str(path.relative_to(ROOT)) for path in MARKDOWN)]
    command = [sys.executable, "-m", "codespell_lib", "--skip", "*.safetensors,*.pyc", *folders]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    for path in NOTEBOOKS:  # their pictures are no words
        done = subprocess.run([*command[:3], "-"], input=prose(path), capture_output=True, text=True)
        assert not done.stdout.strip(), f"{path.name}: {done.stdout}"


@pytest.mark.parametrize("path", [*MARKDOWN, *NOTEBOOKS], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(code_removed(prose(path))):
        if "://" in target or target.startswith("mailto:"):
            assert target.startswith(("https://", "mailto:")), f"{path.name}: {target}"
            continue
        place, _, anchor = target.partition("#")
        file = path.parent / place if place else path
        assert file.exists(), f"{path.name}: {target} leads nowhere"
        if anchor:
            assert anchor in anchors(file), f"{path.name}: {target} has no such heading"


def anchors(path: Path) -> set[str]:
    """The sections of a document that a link can name."""
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", code_removed(prose(path)), re.MULTILINE)}


def test_sections_that_the_code_cites_are_there() -> None:
    for path in SOURCES:
        for name, anchor in CITED.findall(path.read_text(encoding="utf-8")):
            assert anchor in anchors(ROOT / name), f"{path.name}: {name}#{anchor} is no section"


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_files_in_the_text_are_there(path: Path) -> None:
    for name in FILE.findall(prose(path)):
        places = (ROOT / name, ROOT / "qrefine" / name, path.parent / name)
        assert path.name == "CHANGELOG.md" or any(place.exists() for place in places), f"{path.name}: {name}"


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_commands_in_the_text_exist(path: Path) -> None:
    from qrefine.cli.app import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    for block in re.findall(r"```(?:sh|bash|console)\n(.*?)```|`(qrefine [^`]+)`", prose(path), re.DOTALL):
        for name in re.findall(r"(?:^|[\s$(])qrefine ([a-z][\w-]*)", "\n".join(block)):
            assert name in known, f"{path.name}: qrefine {name} is no command"


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_settings_in_the_text_are_accepted(path: Path) -> None:
    known = set(RefineConfig.model_fields)
    for block in re.findall(r"```yaml\n(.*?)```", prose(path), re.DOTALL):
        settings = yaml.safe_load(block)
        if isinstance(settings, dict) and settings and set(settings) <= known:
            RefineConfig.model_validate(settings)
    for override in re.findall(r"--set ([a-z_.]+=[^\s`']+)", prose(path)):
        load_config(None, [override])


def test_the_citation_is_well_formed() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"title", "message", "authors", "version"} <= set(citation)
    assert "2401.01117" in citation["references"][0]["url"]
