"""Rows of graphs side by side: distances, what they allow, and what is said where a graph cannot be made."""

from __future__ import annotations

import numpy as np

from rnpc.cli.verify_outputs import Outputs, Row, row

ZEROED = np.float32([[4.0, 1.0], [0.0, 2.0]])


def test_a_row() -> None:
    scores = np.float32([[4.0, 1.0], [2.0, 0.0]])
    assert row("hardened", ZEROED, scores, np.array([0, 1])) == Row("hardened", 0.5, 0.5, 0.5)
    assert row("hardened", ZEROED, ZEROED, None) == Row("hardened", 0.0, 1.0, None)
    assert row("removed", ZEROED, "no plan", None) == Row("removed", None, None, None, "no plan")


def test_only_what_should_be_equal_differs() -> None:
    rows = (
        Row("original", 1.0, 0.5, None),
        Row("zeroed", 0.0, 1.0, None),
        Row("removed", 2e-3, 1.0, None),
        Row("hardened", 1e-4, 1.0, 0.9),
    )
    found = Outputs(rows, 10, 1e-3, "CPU")
    assert [r.graph for r in found.differences] == ["removed"]
    lines = found.lines()
    assert "BEYOND THE BOUND" in lines[3] and "BEYOND" not in "".join(lines[:3]) and "accuracy 90.00%" in lines[4]
    assert found.json()["graphs"]["removed"]["distance"] == 2e-3
