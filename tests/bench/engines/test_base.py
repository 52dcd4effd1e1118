"""Events, as a worker's lines say them."""

from __future__ import annotations

import pytest

from rnpc.bench.engines.base import Event

TASK = {"key": "k"}


def test_events() -> None:
    assert Event.parse(TASK, '{"event": "progress", "text": "epoch 1"}\n') == Event(TASK, "progress", "epoch 1")
    assert Event.parse(TASK, '{"event": "done"}') == Event(TASK, "done")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        '{"event": "do',
        "warning: x",
        "3",
        "null",
        "[]",
        "{}",
        '{"event": 3}',
        '{"event": ["done"]}',
        '{"event": "died"}',
        '{"event": "?"}',
    ],
)
def test_lines_that_say_nothing(line: str) -> None:
    assert Event.parse(TASK, line) is None
