"""Findings as a person reads them."""

from __future__ import annotations

from qrefine.doctor.findings import blocker, by_node, is_blocked, lines, ok, warning

GOOD, SLOW, BAD = ok("disk", "room"), warning("memory", "little", "buy some"), blocker("input", "none", "look")


def test_the_last_line_sums_up_and_remedies_stand_below_what_they_mend() -> None:
    shown = lines([GOOD, SLOW, BAD])
    assert shown[0].split() == ["ok", "disk", "room"]
    assert shown[2].split() == ["mend:", "buy", "some"]
    assert shown[-1] == "not ready: 1 blockers, 1 warnings"
    assert lines([GOOD, SLOW])[-1] == "ready: 0 blockers, 1 warnings"


def test_only_blockers_block() -> None:
    assert is_blocked([GOOD, BAD])
    assert not is_blocked([GOOD, SLOW])


def test_what_all_nodes_say_is_said_once() -> None:
    merged = by_node({"a": [GOOD, SLOW], "b": [GOOD], "c": [GOOD, SLOW]})
    assert [finding.text for finding in merged] == ["room [every node]", "little [a, c]"]


def test_findings_of_one_area_stand_together() -> None:
    merged = by_node({"a": [ok("x", "1"), ok("y", "1")], "b": [ok("x", "2"), ok("y", "1")]})
    assert [finding.area for finding in merged] == ["x", "x", "y"]


def test_many_nodes_are_not_all_named() -> None:
    found = {f"n{i}": [GOOD, SLOW] for i in range(9)} | {"last": [GOOD]}
    assert by_node(found)[1].text == "little [n0, n1, n2 and 6 more]"


def test_one_node_needs_no_name() -> None:
    assert by_node({"a": [GOOD, SLOW]}) == [GOOD, SLOW]
