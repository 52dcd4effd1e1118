"""By attack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnpc.bench.tables.attacks import files

Make = Callable[..., dict[str, Any]]


def test_each_attack_has_a_row(line: Make) -> None:
    blend = {"attack": "blend", "dataset": "gtsrb", "arch": "resnet18", "width": 16, "seed": 3, "settings": {}}
    rows = [line(1, (1000, 10)), line(2, (1000, 30), target="next"), line(3, (900, 0), victim=blend), line(4, None)]
    rows += [line(5, (1, 1), method="rnp")]
    text = files("s", rows, 5)["attacks.md"].decode()
    first = [each.split(" | ")[0] for each in text.splitlines() if each.startswith("| ") and "---" not in each]
    assert first == ["| attack", "| badnets", "| badnets, all to all", "| blend", "| clean victims", "| 1", "| attack", "| badnets"]
    assert "## auto" in text and "## rnp" in text and "5 done" in text


def test_nothing_done() -> None:
    assert "2 not run" in files("s", [], 2)["attacks.md"].decode()
