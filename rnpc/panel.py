"""Panels: what a method or detector wants shown in a report, as plain arrays and words. The report draws each kind; no method draws.

Numbers that were not measured are None (or nan in arrays), never a made-up zero. A panel holds data only, so the same panel gives the same
bytes. `caption` says how to read it. Consecutive panels that are `narrow` stand side by side. A panel whose parts do
not fit together raises ValueError where it is made, not where it is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Cell = str | int | float | None
Unit = Literal["share", "number", "text"]


@dataclass(frozen=True)
class Line:
    """One curve: `x`, `y` float [n], and the bounds of a 95 % interval where there is one. A `dashed` line is for comparison with the solid
    line before it, whose colour it takes; a line without a name is drawn thin and grey behind the others."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    dashed: bool = False

    def __post_init__(self) -> None:
        lengths = {len(values) for values in (self.x, self.y, self.low, self.high) if values is not None}
        if len(lengths) > 1:
            raise ValueError(f"line {self.name!r}: x, y and bounds have different lengths {sorted(lengths)}")


@dataclass(frozen=True)
class Curve:
    """Curves over one axis. `marked`: the x that was chosen; `level`: a horizontal line with its name; units of the y axis. `even`: every x
    gets the same room, however far apart they are (for steps such as 0, 1, 2, 4, ... channels)."""

    title: str
    x_name: str
    y_name: str
    lines: tuple[Line, ...]
    caption: str = ""
    marked: float | None = None
    level: tuple[str, float] | None = None
    y_unit: Unit = "share"
    even: bool = False
    narrow: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells. `units`: how each column's numbers are shown (without: as numbers); `accused`: indices of rows that stand out.
    The page shows the first rows and those that stand out, so the order is the method's choice."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    units: tuple[Unit, ...] = ()
    accused: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows) or (self.units and len(self.units) != len(self.columns)):
            raise ValueError(f"table {self.title!r}: {len(self.columns)} columns, but a row or the units have another number")


@dataclass(frozen=True)
class Picture:
    """An image float [C, H, W] in [0, 1] beside what was added to it (may be negative; None: nothing to compare), and words below.
    `minor` pictures are shown smaller; a line break in the words is kept."""

    image: np.ndarray
    delta: np.ndarray | None
    words: str
    minor: bool = False

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or (self.delta is not None and self.delta.ndim != 3):
            raise ValueError(f"picture {self.words!r}: an image has the axes [C, H, W], not {self.image.shape}")


@dataclass(frozen=True)
class Images:
    """Pictures side by side."""

    title: str
    pictures: tuple[Picture, ...]
    caption: str = ""


@dataclass(frozen=True)
class HeatMap:
    """Rows of values, one a site, its channels from left to right; high stands out. `marked`: site -> channels that were cut; `value_name`
    says what the values are."""

    title: str
    rows: Mapping[str, np.ndarray]
    marked: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    caption: str = ""
    value_name: str = "suspicion score"


@dataclass(frozen=True)
class Histogram:
    """Counts of values, one set a name, stacked; the first set is the ordinary one and grey. `threshold`: where the cut was made."""

    title: str
    x_name: str
    values: Mapping[str, np.ndarray]
    threshold: float | None = None
    caption: str = ""
    narrow: bool = False


@dataclass(frozen=True)
class Words:
    """Lines of text."""

    title: str
    lines: tuple[str, ...]
    caption: str = ""


Panel = Curve | Table | Images | HeatMap | Histogram | Words
