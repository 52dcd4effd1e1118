"""Pictures: the same bytes each time, and none that is empty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnpc.bench.tables import plots

Make = Callable[..., dict[str, Any]]


def test_pictures(line: Make) -> None:
    rows = [line(1, (1000, 10)), line(2, None), line(1, (1000, 10), method="rnp", oracle=None)]
    first = plots.files("s", rows, 3)
    assert tuple(first) == plots.NAMES and all(picture.startswith(b"\x89PNG") for picture in first.values())
    assert plots.files("s", rows, 3) == first
    assert tuple(plots.files("s", rows[1:2], 1)) == (plots.DROP,) and plots.files("s", [], 1) == {}
