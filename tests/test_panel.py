"""Panels hold data and refuse what does not fit together where they are made."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import get_args

import numpy as np
import pytest

from rnpc import panel
from rnpc.panel import Curve, HeatMap, Histogram, Images, Line, Panel, Picture, Table, Words


def test_the_kinds_are_the_ones_that_the_report_draws() -> None:
    assert get_args(Panel) == (Curve, Table, Images, HeatMap, Histogram, Words)


def test_panels_are_frozen_and_say_what_is_optional() -> None:
    words = Words("title", ("a", "b"))
    assert words.caption == "" and Table("title", ("a",), ()).accused == ()
    assert Curve("t", "x", "y", ()).y_unit == "share" and HeatMap("t", {}).marked == {} and Images("t", ()).caption == ""
    with pytest.raises(FrozenInstanceError):
        words.title = "other"  # type: ignore[misc]


def test_a_line_has_one_length() -> None:
    Line("fits", np.arange(3), np.arange(3), np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match=r"line 'no'.*different lengths"):
        Line("no", np.arange(3), np.arange(2))
    with pytest.raises(ValueError, match="different lengths"):
        Line("no", np.arange(3), np.arange(3), low=np.zeros(1))


@pytest.mark.parametrize(("rows", "units"), [(((1, 2, 3),), ()), (((1, 2),), ("share",))])
def test_a_table_is_rectangular(rows: tuple[tuple[panel.Cell, ...], ...], units: tuple[panel.Unit, ...]) -> None:
    with pytest.raises(ValueError, match="table 'costs': 2 columns"):
        Table("costs", ("a", "b"), rows, units=units)


def test_a_picture_has_three_axes() -> None:
    with pytest.raises(ValueError, match=r"\[C, H, W\]"):
        Picture(np.zeros((4, 4)), None, "flat")
    with pytest.raises(ValueError, match=r"\[C, H, W\]"):
        Picture(np.zeros((1, 4, 4)), np.zeros((4, 4)), "flat change")
