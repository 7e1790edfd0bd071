"""The cluster launcher's YAML, through Ray's own validator."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "cluster" / "aws.yaml").read_text(encoding="utf-8"))


def prepared(**changes: Any) -> dict[str, Any]:
    """The configuration as `ray up` sees it: defaults filled in, then validated."""
    config = prepare_config({**copy.deepcopy(CONFIG), **changes})
    validate_config(config)
    return config


def test_ray_accepts_it() -> None:
    config = prepared()
    assert config["max_workers"] == sum(kind["max_workers"] for kind in CONFIG["available_node_types"].values())
    assert config["setup_commands"] == []  # Ray's defaults would install another Ray


@pytest.mark.parametrize("changes", [{"max_worker": 3}, {"idle_timeout_minutes": "soon"}])
def test_ray_refuses_what_is_wrong(changes: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        prepared(**changes)


def test_ray_refuses_a_head_that_is_not_among_the_types() -> None:
    with pytest.raises(ValueError, match="head_node_type"):
        prepared(head_node_type="boss")


def test_the_head_is_on_demand_and_takes_no_work_and_gpus_are_spot() -> None:
    types = CONFIG["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    assert types["spot_gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    (start,) = [command for command in CONFIG["head_start_ray_commands"] if "--head" in command]
    assert "--num-cpus=0" in start


def test_it_is_closed_and_asks_for_the_token() -> None:
    commands = " ".join([*CONFIG["head_start_ray_commands"], *CONFIG["worker_start_ray_commands"]])
    assert re.findall(r"dashboard-host=(\S+)", commands) == ["127.0.0.1"]
    assert "--env RAY_AUTH_MODE=token" in CONFIG["docker"]["run_options"]
    assert any(path.endswith("/.ray/auth_token") for path in CONFIG["file_mounts"])
    for kind in CONFIG["available_node_types"].values():
        assert kind["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        assert all(device["Ebs"]["Encrypted"] for device in kind["node_config"]["BlockDeviceMappings"])


def test_the_settings_travel_with_it() -> None:
    (source,) = [source for place, source in CONFIG["file_mounts"].items() if "kuberay" in place]
    assert (ROOT / source / "settings.yaml").is_file()
