"""Each part that the ablation bench leaves out is where it says; a part that moved would be measured as if it were left out."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from unittest.mock import patch

import pytest

PLACE = Path(__file__).parents[1] / "benchmarks" / "ablations.py"


def test_every_part_can_be_left_out() -> None:
    spec = importlib.util.spec_from_file_location("ablations", PLACE)
    assert spec is not None and spec.loader is not None
    ablations = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ablations)
    try:
        for act in ablations.PARTS.values():
            act()
    finally:
        patch.stopall()
    with pytest.raises(AttributeError):
        ablations.put(ablations.cut, "no_such_part", None)()
    for part, instead in (("spared", lambda subject: iter(())), ("settle", lambda case, channels, deviations, triggers: [])):
        with pytest.raises(TypeError):
            ablations.put(ablations.cut, part, instead)()
    patch.stopall()
