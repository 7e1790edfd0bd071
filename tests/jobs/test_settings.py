"""The YAML in jobs/ loads, names backends that exist, and says what it needs."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from qrefine.config import load_config
from qrefine.models import registry

JOBS = Path(__file__).parents[2] / "jobs"
FILES = sorted(path.name for path in JOBS.glob("*.yaml"))


def test_the_files_of_real_use_are_there():
    assert {"sdxl.yaml", "sd15.yaml", "z-image.yaml", "paper.yaml"} <= set(FILES)


@pytest.mark.parametrize("name", ["sdxl.yaml", "sd15.yaml", "z-image.yaml", "paper.yaml"])
def test_it_loads_and_every_option_is_one_that_its_backend_takes(name):
    config = load_config(JOBS / name)
    backends = [("mapper", registry.MAPPERS, config.mapper), ("restorer", registry.RESTORERS, config.inpaint)]
    backends.append(("restorer", registry.RESTORERS, config.enhance.blind))
    if config.enhance.prompt is not None:
        backends.append(("restorer", registry.RESTORERS, config.enhance.prompt))
    for kind, known, settings in backends:
        backend = registry._find(kind, known, settings.name)
        assert set(settings.options) <= set(inspect.signature(backend).parameters)
        assert settings.weights
    for judge in config.judges:
        registry._find("judge", registry.JUDGES, judge)


@pytest.mark.parametrize("name", ["sdxl.yaml", "sd15.yaml", "z-image.yaml"])
def test_inpainting_and_prompt_enhancement_share_one_network(name):
    config = load_config(JOBS / name)
    assert config.enhance.prompt is not None
    assert config.enhance.prompt.weights == config.inpaint.weights
    assert config.enhance.prompt.options == config.inpaint.options


@pytest.mark.parametrize("name", ["sdxl.yaml", "sd15.yaml", "z-image.yaml", "paper.yaml"])
def test_it_says_models_licences_memory_and_cost(name):
    text = (JOBS / name).read_text()
    for word in ("# Models:", "# GPU memory:", "# Cost:", "# Installs:"):
        assert word in text
