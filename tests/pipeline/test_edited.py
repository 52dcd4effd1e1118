"""What is shown of channels that stay and of the optimised copy."""

from __future__ import annotations

from typing import Any

from rnpc.pipeline.edited import kept_panels, optimised_lines, optimised_panels
from rnpc.report.panels import drawn

ENTRY: dict[str, Any] = {
    "path": "fast.onnx", "sha256": "ab" * 32, "by": "onnxruntime 1, basic level", "nodes_before": 9, "nodes_after": 6,
    "difference": 6.3e-07, "bound": 1e-4, "images": 8, "verified": False, "why": None,
}  # fmt: skip


def test_channels_that_stay() -> None:
    (panel,) = kept_panels([("a", 3, "read elsewhere"), ("b", 1, "the last"), ("a", 7, "read elsewhere")])
    assert panel.rows == (("a", 2, "3, 7", "read elsewhere"), ("b", 1, "1", "the last"))
    page = str(drawn(panel, "p").body)
    assert "3, 7" in page and "read elsewhere" in page
    assert kept_panels([]) == ()


def test_the_optimised_copy() -> None:
    (panel,) = optimised_panels(ENTRY)
    assert "does not cover" in panel.title and "6.3e-07 of the outputs' scale at most, on 8 images (bound 0.0001)" in str(panel.rows)
    assert "9 before, 6 after" in str(drawn(panel, "p").body)
    first, *_, last = optimised_lines(ENTRY)
    assert first.startswith("fast.onnx: 9 nodes, now 6;") and "does not cover" in last


def test_no_optimised_copy() -> None:
    assert optimised_panels(None) == () and optimised_lines(None) == []
    refused = {**dict.fromkeys(ENTRY), "why": "it differs"}
    (panel,) = optimised_panels(refused)
    assert panel.rows == (("not written", "it differs"),) and optimised_lines(refused) == []
