"""A path is told from a hub id in one place."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrefine.models.locate import is_hub_id, local_path, model_source


@pytest.mark.parametrize(
    ("weights", "path", "hub"),
    [
        ("owner/model", False, True),
        ("owner/model-1.5", False, True),
        ("weights/net.pth", True, False),
        ("net.safetensors", True, False),
        ("/models/sdxl", True, False),
        ("./model", True, False),
        ("../owner/model", True, False),
        ("~/model", True, False),
        ("model", False, False),
        ("owner/model/more", False, False),
    ],
)
def test_what_weights_may_be(weights: str, path: bool, hub: bool) -> None:
    assert (local_path(weights) is not None, is_hub_id(weights)) == (path, hub)


def test_a_folder_that_is_there_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("owner/model")
    folder.mkdir(parents=True)
    assert not is_hub_id("owner/model")
    with pytest.raises(ValueError, match=r"index\.json is missing"):
        model_source("owner/model", "index.json", "a model")
    (folder / "index.json").touch()
    assert model_source("owner/model", "index.json", "a model") == "owner/model"
