"""Settings: what is wrong is refused by its path, what matters is in the digest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from qrefine.cli.settings import to_yaml
from qrefine.config import RefineConfig, load_config, parse_config
from qrefine.errors import UserError


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "settings.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# What is refused


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("nosuch=1", "nosuch: unknown setting"),
        ("bounds.mqq=0.5", "bounds.mqq: unknown setting"),
        ("enhance.blind.wieghts=x", "enhance.blind.wieghts: unknown setting"),
        ("enhance.prompt.wieghts=x", "enhance.prompt.wieghts: unknown setting"),
        ("bounds.mq=1.5", "bounds.mq: .*got 1.5 .allowed: >= 0 and <= 1"),
        ("bounds.mq=-0.1", "bounds.mq: .*allowed: >= 0 and <= 1"),
        ("bounds.mq=.nan", "bounds.mq: .*allowed: >= 0 and <= 1"),
        ("bounds.mq=.inf", "bounds.mq"),
        ("bounds.mq=high", "bounds.mq: .*valid number.*got 'high' .allowed: >= 0 and <= 1"),
        ("bounds.mq=null", "bounds.mq"),
        ("bounds.lq=0.75", "bounds: bounds must rise: lq 0.75 <= mq 0.7 <= hq 0.8"),
        ("mapper.grid=0", "mapper.grid: .*allowed: >= 1 and <= 128"),
        ("mapper.grid=8.5", "mapper.grid: .*integer"),
        ("mapper.name=''", "mapper.name"),
        ("noise.std=0", "noise.std: .*allowed: > 0 and <= 1"),
        ("seed=2147483648", "seed: .*allowed: >= 0 and < 2147483648"),
        ("seed=-1", "seed: .*allowed: >= 0"),
        ("mode=papre", "mode: .*'fused' or 'paper'.*got 'papre'"),
        ("stages=[inpaint, map]", "stages.1: .*got 'map'"),
        ("images.format=gif", "images.format: .*'png', 'webp' or 'jpeg'"),
        ("images.max_megapixels=179", "images.max_megapixels: .*allowed: > 0 and <= 178"),
        ("accept.rounds=9", "accept.rounds: .*allowed: >= 0 and <= 8"),
        ("stream.store_mb=10", "stream.store_mb: .*allowed: >= 80"),
        ("stream.pools=[{stages: []}]", "stream.pools.0.stages"),
        ("stream.pools=[{stages: [map], size: 0}]", "stream.pools.0.size: .*allowed: >= 1 and <= 4096"),
        ("enhance=5", "enhance: "),
        ("judges=piqe", "judges: "),
    ],
)
def test_what_is_wrong_is_refused_by_its_path_and_the_allowed_range(override: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}") as caught:
        load_config(None, [override])
    assert "\n" not in str(caught.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(UserError, match=r"seed: .*; nosuch: "):
        load_config(None, ["seed=-1", "nosuch=1"])


def test_a_huge_wrong_value_is_told_in_a_short_line() -> None:
    with pytest.raises(UserError) as caught:
        load_config(None, [f"mode={'x' * 100_000}"])
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "must hold a mapping of settings, not a list"),
        ("[]", "must hold a mapping of settings, not a list"),
        ("just text", "must hold a mapping of settings, not a str"),
        ("false", "must hold a mapping of settings, not a bool"),
        ("a: [1, 2", "is not YAML"),
        ("a: b: c", "is not YAML"),
        ("\tseed: 1", "is not YAML"),
        (b"seed: \xff\xfe", "is not YAML"),
        ("inpaint: {weights: 2020-99-99}", "is not YAML"),
        ("[" * 5000, "is not YAML"),
        ("!!python/object/apply:os.getcwd []", "is not YAML"),
        ("1: 2", "1: "),
    ],
)
def test_a_file_that_is_no_mapping_of_yaml_is_refused_in_one_line(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_config(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the configuration .*none.yaml: No such file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(UserError, match=r"cannot read the configuration .*Is a directory"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "expected KEY=VALUE"),
        ("=1", "expected KEY=VALUE"),
        ("seed.deeper=1", "seed is not a group"),
        ("bounds.mq=[1", "the value is not YAML"),
        ("inpaint.weights=2020-99-99", "the value is not YAML"),
    ],
)
def test_an_override_that_makes_no_sense_is_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(written(tmp_path, "seed: 5"), [override])


# What is read


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "")) == load_config(written(tmp_path, "# only this\n")) == RefineConfig()


def test_overrides_come_after_the_file_and_one_after_the_other(tmp_path: Path) -> None:
    path = written(tmp_path, "seed: 5\nbounds: {mq: 0.5}\nenhance:\n")
    config = load_config(path, ["bounds.lq=0.3", "bounds.mq=0.6", "enhance.prompt.name=classical", "seed = 9"])
    assert (config.seed, config.bounds.lq, config.bounds.mq, config.bounds.hq) == (9, 0.3, 0.6, 0.8)
    assert config.enhance.prompt is not None
    assert config.enhance.prompt.name == "classical"


def test_values_of_overrides_are_yaml() -> None:
    config = load_config(
        None,
        ["judges=[]", "stages=[enhance]", "inpaint.options={a: {b: [1, 2]}}", "images.suffix=null", "mode=paper"],
    )
    assert config.judges == ()
    assert config.stages == ("enhance",)
    assert config.inpaint.options == {"a": {"b": [1, 2]}}
    assert config.images.suffix is None


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RefineConfig().seed = 1  # type: ignore[misc]


# Digest


CHANGES: list[dict[str, Any]] = [
    {"mode": "paper"}, {"seed": 1}, {"stages": ["enhance"]}, {"bounds": {"mq": 0.6}}, {"mapper": {"grid": 8}},
    {"mapper": {"weights": "x"}}, {"noise": {"std": 0.3}}, {"inpaint": {"strength": 0.9}},
    {"inpaint": {"options": {"steps": 3}}}, {"enhance": {"prompt": {}}}, {"enhance": {"positive_words": ""}},
    {"accept": {"rounds": 1}}, {"judges": []}, {"images": {"format": "webp"}}, {"images": {"suffix": "png"}},
]  # fmt: skip


def test_every_setting_that_changes_results_changes_the_digest() -> None:
    digests = [parse_config(change).digest for change in [{}, *CHANGES]]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 16 and int(digest, 16) >= 0 for digest in digests)


@pytest.mark.parametrize(
    "override",
    [
        "stream.batch_size=1",
        "stream.topology=pooled",
        "storage_options.anon=true",
        "seed=0",
        "bounds.mq=0.7",
        "images.store=refined",
    ],
)
def test_what_changes_no_result_leaves_the_digest(override: str) -> None:
    assert load_config(None, [override]).digest == RefineConfig().digest


def test_the_digest_is_the_same_in_every_process_and_order() -> None:
    settings = ["inpaint.options={a: 1, b: {y: 2, x: 3}}", "bounds.mq=0.75"]
    turned = ["bounds.mq=0.75", "inpaint.options={b: {x: 3, y: 2}, a: 1}"]
    code = f"from qrefine.config import load_config; print(load_config(None, {turned!r}).digest)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert load_config(None, settings).digest == other.stdout.strip()


# YAML out


def test_the_effective_settings_come_back_from_their_yaml(tmp_path: Path) -> None:
    config = load_config(
        None,
        [
            "stages=[enhance, noise]",
            "enhance.prompt={name: classical, options: {a: [1, {b: null}]}}",
            "stream.pools=[{stages: [map, accept], gpus: 0.5}, {stages: [enhance]}]",
            "inpaint.weights='# no comment: really'",
            "images.suffix='yes'",
        ],
    )
    for settings in (config, RefineConfig()):
        assert load_config(written(tmp_path, to_yaml(settings))) == settings


@given(words=st.text(max_size=60), suffix=st.text(min_size=1, max_size=10))
def test_any_text_comes_back_from_the_yaml(words: str, suffix: str) -> None:
    config = parse_config({"enhance": {"positive_words": words}, "images": {"suffix": suffix}})
    assert parse_config(yaml.safe_load(to_yaml(config))) == config


def test_every_setting_is_shown_with_a_comment() -> None:
    lines = to_yaml(RefineConfig()).splitlines()
    bare = [line for line in lines if "  # " not in line and not line.endswith(":")]
    assert bare == []
    assert any(line.startswith("  mq: 0.7  # B_MQ") for line in lines)


def test_secrets_are_shown_neither_in_the_yaml_nor_in_errors() -> None:
    options = {"key": "AKIA", "secret": "hunter2", "client_kwargs": {"token": "hunter2"}}
    shown = to_yaml(parse_config({"storage_options": options}))
    assert "hunter2" not in shown
    assert "AKIA" not in shown
    assert "secret: '***'" in shown
    with pytest.raises(UserError) as caught:
        load_config(None, ["storage_options=hunter2"])
    assert "hunter2" not in str(caught.value)
