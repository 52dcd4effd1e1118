"""What the triggers see in the planted networks, looked at once for all tests of this room."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rnpc.detectors.base import Detection
from rnpc.detectors.triggers import Triggers
from rnpc.study.case import Case

Seen = Callable[[Case], Detection]


@pytest.fixture(scope="session")
def seen_by_triggers() -> Seen:
    """seen_by_triggers(case): a quick look, remembered by the network's bytes."""
    known: dict[bytes, Detection] = {}

    def look(case: Case) -> Detection:
        name = case.subject.original.SerializeToString()
        known[name] = known.get(name) or Triggers("quick").detect(case)
        return known[name]

    return look
