"""What the page gathers from the document beside words, tiles and panels."""

from __future__ import annotations

from typing import Any

from rnpc.report.page import command, edit_counts, setting_rows


def test_the_command_states_every_setting_again() -> None:
    preprocessing = {"mean": [0.5, 0.25], "std": [0.5], "layout": None, "sources": {"mean": "flag", "std": "default"}}
    settings: dict[str, Any] = {
        "max_ca_drop": 0.02, "force": False, "mode": "zero", "detector": None, "warm": False, "keep": True, "preprocessing": preprocessing,
    }  # fmt: skip
    document = {"input": {"path": "my model.onnx"}, "method": "auto", "seed": 3, "settings": settings}
    assert command(document) == (
        "rnpc harden 'my model.onnx' --defense-data DIR --method auto --keep --max-ca-drop 0.02 --mode zero --no-warm --seed 3"
        " --mean 0.5,0.25"
    )
    assert command({**document, "settings": {"force": True}}).endswith("--seed 3 --force")
    assert command({}) == "rnpc harden MODEL --defense-data DIR"
    assert "--preprocess 'p q.json'" in command(
        {"settings": {"preprocessing": {"mean": [0.5], "sources": {"mean": "--preprocess p q.json"}}}}
    )


def test_settings_come_one_by_one_with_their_source() -> None:
    rows = list(setting_rows({"b": {"mean": [0.5], "layout": None, "sources": {"mean": "probe"}}, "a": "x"}))
    assert rows == [("a", "x", ""), ("mean", "[0.5]", "probe")]


def test_edits_are_counted_by_kind() -> None:
    edits = [
        {"kind": "zero", "tensor": "w", "index": [1, 2]},
        {"kind": "zero", "tensor": "v", "index": [1]},
        {"kind": "clone", "tensor": "w"},
    ]
    assert edit_counts(edits) == [("clone", 1, 1), ("zero", 2, 3)]
