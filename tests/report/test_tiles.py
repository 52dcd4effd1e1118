"""The tiles at the top: which there are, and what each says of what is not known."""

from __future__ import annotations

from typing import Any

from rnpc.report.tiles import Tile, tiles

CUT = {"output": {"path": "out.onnx"}, "pruned": {"channels": 8, "of": 600}}


def of(document: dict[str, Any]) -> dict[str, Tile]:
    """Tiles by title."""
    return {tile.title: tile for tile in tiles(document)}


def test_an_empty_document() -> None:
    found = of({})
    assert list(found) == ["Clean accuracy", "Attack success", "Target label", "Channels pruned"]
    assert found["Clean accuracy"].detail == "not measured" and found["Target label"].value == "none"


def test_accuracy_has_intervals() -> None:
    tile = of({"accuracy": {"before": 0.974, "after": 0.972, "interval": [0.953, 0.985], "images": 500}})["Clean accuracy"]
    assert tile.value == "97.4\u00a0% → 97.2\u00a0%" and tile.detail == "before 95.6 – 98.6\u00a0%; after 95.3 – 98.5\u00a0%; 500 images"
    assert of({"accuracy": {"before": 0.5}})["Clean accuracy"] == Tile("Clean accuracy", "50.0\u00a0%", "before without interval")


def test_what_is_left() -> None:
    left = {"success": 0.03, "before": 0.98, "natural": 0.05, "told": True, "words": "best of 214"}
    found = of({**CUT, "left": left})
    assert "Attack success" not in found
    assert "Trigger success left" not in of({"left": left}) and "Trigger success left" not in of({**CUT, "left": left, "output": None})
    assert found["Trigger success left"] == Tile(
        "Trigger success left", "98.0\u00a0% → 3.0\u00a0%", "natural level 5.0\u00a0%; best of 214"
    )
    narrow = of({**CUT, "left": {**left, "narrow": {"class": 7, "success": 0.66}}})["Trigger success left"].detail
    assert narrow == "natural level 5.0\u00a0%; 66.0\u00a0% of the images of class 7; best of 214"
    hidden = of({**CUT, "left": {**left, "told": False}})["Trigger success left"]
    assert hidden.value == "cannot be told" and hidden.detail.startswith("tried: 98.0\u00a0% → 3.0\u00a0%; natural")
    assert (
        of({**CUT, "left": {"success": None, "told": False, "natural": None, "words": ""}})["Trigger success left"].value == "not measured"
    )


def test_a_true_trigger_has_its_own_tile() -> None:
    found = of({**CUT, "left": {"success": 0.03, "told": True}, "attack_success": {"before": 1.0, "after": 0.0, "images": 400}})
    assert len(found) == 5 and found["Attack success"].value == "100.0\u00a0% → 0.0\u00a0%"
    assert "400 images with the trigger" in found["Attack success"].detail
    assert of({"attack_success": {"before": 1.0, "after": None, "images": 400}})["Attack success"].value == "100.0\u00a0%"


def test_targets_shares_and_p_value() -> None:
    targets = [{"index": 0, "name": "stop", "share": 0.66}, {"index": None, "name": "next", "share": None}]
    tile = of({"target_labels": targets, "confidence": 0.02})["Target label"]
    assert tile.value == "stop, next" and tile.detail == "label 0: share of votes 66\u00a0%, the label after an image's own; p = 0.02"
    assert "Suspected label" in of({"verdict": "inconclusive", "target_labels": targets})


def test_the_size_of_the_change() -> None:
    pruned = {"channels": 8, "of": 2400}
    assert of({"pruned": pruned})["Channels pruned"] == Tile("Channels pruned", "8", "of 2,400, that is 0.3\u00a0%")
    tile = of({"pruned": pruned, "retrained": 41})["Tensors retrained"]
    assert tile.value == "41" and tile.detail == "and 8 channels of 2,400, that is 0.3\u00a0% constant"
    assert of({"retrained": 41})["Tensors retrained"].detail == "no channel cut"
