"""Dashboard and alerts: every metric they name is one that a run exports, and the other way round."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from qrefine.work.meter import FROM_RAY, METRICS

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
BOARD: dict[str, Any] = json.loads((CLUSTER / "grafana-dashboard.json").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((CLUSTER / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
EXPRESSIONS = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
NAME = re.compile(r"\bray_[a-z_]+\b(?=[{\[)\s])")
PROMTOOL = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here (Debian: prometheus)")


def named(expressions: list[str]) -> set[str]:
    return {name for expression in expressions for name in NAME.findall(expression)} - {"ray_io_cluster"}


def promtool(*arguments: object) -> None:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_is_exported_and_every_exported_one_is_shown() -> None:
    ours = {metric.exported for metric in METRICS.values()}
    shown = named(EXPRESSIONS)
    assert shown == ours | set(FROM_RAY)
    assert named([rule["expr"] for rule in RULES]) <= shown


def test_panels_have_titles_texts_and_places_of_their_own() -> None:
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    for panel in panels:
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
    assert {variable["name"] for variable in BOARD["templating"]["list"]} == {"datasource", "run"}


def test_every_alert_leads_to_its_row_of_the_diagnosis_table() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", (CLUSTER / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    for rule in RULES:
        assert any(row.startswith(rule["annotations"]["diagnosis"]) for row in rows), rule["alert"]


@PROMTOOL
def test_prometheus_accepts_configuration_and_rules() -> None:
    promtool("check", "config", CLUSTER / "prometheus.yaml")


@PROMTOOL
def test_prometheus_parses_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m").replace("$run", ".+")}
        for number, expression in enumerate(EXPRESSIONS)
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.yaml")


@PROMTOOL
def test_alerts_fire_when_they_must_and_not_else() -> None:
    promtool("test", "rules", Path(__file__).parent / "alerts_test.yaml")
