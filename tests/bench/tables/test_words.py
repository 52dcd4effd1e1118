"""How numbers are written."""

from __future__ import annotations

from rnpc.bench.tables import words


def test_numbers() -> None:
    assert words.percent(0.1234, (0.1, 0.2)) == "12.34 [10.00, 20.00]"
    assert words.mean(None) == words.worst(None) == words.part(None) == words.rate(None) == words.tally({"clean": 0}) == "-"
    assert words.worst({"worst": {"value": 0.5, "interval": [0.4, 0.6], "number": 7}}) == "50.00 [40.00, 60.00] (7)"
    assert words.part({"hits": 1, "cells": 2, "value": 0.5, "interval": [0.0, 1.0]}) == "1 of 2: 50.00 [0.00, 100.00]"
    assert words.rate({"value": 0.5, "interval": [0.1, 0.9]}) == "50.00 [10.0, 90.0]" and words.tally({"a": 2, "b": 1}) == "a 2, b 1"


def test_grid() -> None:
    assert words.grid(["a", "b"], [["1", "2"]]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]
