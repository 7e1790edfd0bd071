"""The YAML in jobs/ loads, names backends that exist, and says what it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrefine.config import load_config
from qrefine.errors import UserError
from qrefine.models import registry

JOBS = Path(__file__).parents[2] / "jobs"
READY = ["paper.yaml", "sd15.yaml", "sd15-8-steps.yaml", "sdxl.yaml", "sdxl-8-steps.yaml", "z-image.yaml"]
FILES = sorted(path.name for path in JOBS.glob("*.yaml"))


def test_the_files_of_real_use_are_there():
    assert set(READY) == set(FILES)


@pytest.mark.parametrize("name", READY)
def test_it_loads_and_every_option_is_one_that_its_backend_takes(name):
    config = load_config(JOBS / name)
    restorers = [config.inpaint, config.enhance.blind]
    restorers += [config.enhance.prompt] if config.enhance.prompt else []
    assert all(backend.weights for backend in [config.mapper, *restorers])
    # files are the user's to bring; names and options are checked here
    named = [backend.model_copy(update={"weights": None}) for backend in [config.mapper, *restorers]]
    registry.check_backends(named[0], named[1:], config.judges)
    wrong = named[1].model_copy(update={"options": {**named[1].options, "no_such_option": 1}})
    with pytest.raises(UserError, match="no_such_option"):
        registry.check_backends(named[0], [wrong], config.judges)


@pytest.mark.parametrize("name", [name for name in READY if name != "paper.yaml"])
def test_inpainting_and_prompt_enhancement_share_one_network(name):
    config = load_config(JOBS / name)
    assert config.enhance.prompt is not None
    assert config.enhance.prompt.weights == config.inpaint.weights
    assert config.enhance.prompt.options == config.inpaint.options


@pytest.mark.parametrize("name", READY)
def test_it_says_models_licences_memory_and_cost(name):
    text = (JOBS / name).read_text()
    for word in ("# Models:", "# GPU memory:", "# Cost:", "# Installs:"):
        assert word in text
