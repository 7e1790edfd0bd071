"""Findings of the doctor: one line each, with a remedy if something is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "blocker"]


@dataclass(frozen=True)
class Finding:
    """``area``: what was checked; ``mend``: how to fix it, empty if nothing is wrong.

    With a blocker a run would fail or do harm; a warning slows a run down or may surprise the user.
    """

    area: str
    state: State
    text: str
    mend: str = ""


def ok(area: str, text: str) -> Finding:
    return Finding(area, "ok", text)


def warning(area: str, text: str, mend: str) -> Finding:
    return Finding(area, "warning", text, mend)


def blocker(area: str, text: str, mend: str) -> Finding:
    return Finding(area, "blocker", text, mend)


def is_blocked(findings: Iterable[Finding]) -> bool:
    return any(finding.state == "blocker" for finding in findings)


def by_node(found: Mapping[str, Sequence[Finding]]) -> list[Finding]:
    """The findings of several nodes, each once with the nodes it holds for: all of them, or their names."""
    if len(found) == 1:
        return list(*found.values())
    places: dict[Finding, list[str]] = {}
    for node, findings in found.items():
        for finding in findings:
            places.setdefault(finding, []).append(node)
    areas = list(dict.fromkeys(finding.area for finding in places))
    return [
        Finding(finding.area, finding.state, f"{finding.text} [{_places(nodes, len(found))}]", finding.mend)
        for finding, nodes in sorted(places.items(), key=lambda item: areas.index(item[0].area))
    ]


def _places(nodes: Sequence[str], total: int) -> str:
    if len(nodes) == total:
        return "every node"
    shown = ", ".join(nodes[:3])
    return shown if len(nodes) <= 3 else f"{shown} and {len(nodes) - 3} more"


def lines(findings: Sequence[Finding]) -> list[str]:
    """The findings as text lines, and a last line that sums them up."""
    width = max((len(finding.area) for finding in findings), default=0)
    shown = []
    for finding in findings:
        shown.append(f"{finding.state:<8} {finding.area:<{width}}  {finding.text}")
        if finding.mend:
            shown.append(f"{'':<8} {'':<{width}}  mend: {finding.mend}")
    counts = {state: sum(f.state == state for f in findings) for state in ("blocker", "warning")}
    verdict = "not ready" if counts["blocker"] else "ready"
    return [*shown, f"{verdict}: {counts['blocker']} blockers, {counts['warning']} warnings"]
