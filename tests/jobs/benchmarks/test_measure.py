from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from benchmarks import measure
from benchmarks.measure import Figure, answer_of, as_json, marginal_rates, peak_memory, show


def test_start_up_and_one_slow_round_do_not_enter_a_rate(monkeypatch):
    took = iter([3.0 + 1.0, 3.0 + 9.0, 3.0 + 8.0, 3.0 + 5.0])  # 10 and 50 images, twice; 0.1 s each, 3 s to start
    monkeypatch.setattr(measure, "seconds", lambda work: next(took))
    assert marginal_rates({"job": lambda count: None}, 10, 50) == {"job": pytest.approx(10.0)}


def test_candidates_take_turns():
    calls = []
    candidates = {name: lambda count, name=name: calls.append((name, count)) for name in "ab"}
    with pytest.raises(ValueError, match="took no longer"):
        marginal_rates(candidates, 5, 5, rounds=2)
    assert [name for name, _ in calls] == ["a", "a", "b", "b", "b", "b", "a", "a"]


def test_figures_are_shown_and_kept(capsys):
    figures = [Figure("speed", 1.25, "x", "1.5", "of 3")]
    show("title", figures)
    assert "1.25 x" in capsys.readouterr().out
    kept = json.loads(as_json({"against": figures}, {"cores": 2}))
    assert kept["figures"]["against"][0] == {
        "name": "speed",
        "value": 1.25,
        "unit": "x",
        "goal": "1.5",
        "note": "of 3",
    }
    assert kept["machine"] == {"cores": 2}


def test_a_child_s_peak_is_not_its_parent_s():
    held = np.ones(80_000_000)  # 640 MB
    script = "from benchmarks.measure import peak_memory; print(peak_memory())"
    assert answer_of([sys.executable, "-c", script]) < held.nbytes / 2
    assert peak_memory() > held.nbytes
