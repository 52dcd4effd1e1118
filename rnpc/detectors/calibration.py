"""How often does a sound model stand out as much as this one?

A model stands out by the largest of three numbers: what its cheapest label's triggers save against the next label's (1 - ratio), and by how
much patches and generators reach their first label more often than the next one. `SOUND` has that number of sound models, so that for one
more of their kind the share (1 + how many stood out as much) / (1 + how many there are) is a p-value. None was left out because of its
number; four of them had a part in limits of decisions 21 and 22 (docs/results/judge-earlier.md). A run that convicts early has asked fewer
witnesses, and stands out by less than it might.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

SOUND: tuple[float, ...] = (
    0.047, 0.049, 0.054, 0.081, 0.085, 0.087, 0.095, 0.098, 0.099, 0.115, 0.121, 0.123, 0.138, 0.147, 0.153, 0.177, 0.192, 0.269, 0.311,
)  # fmt: skip
"""Rising, of sound models of `judge` and one that was published, at standard effort; `benchmarks/sound.py` prints them."""
REACHING = ("families", "generators")


def standing_out(numbers: Mapping[str, float]) -> float | None:
    """The largest of the three numbers, of a detection by two witnesses; None where triggers or patches were not asked."""
    if "ratio" not in numbers or "families_success" not in numbers:
        return None
    seen = [name for name in REACHING if f"{name}_success" in numbers]
    return max(1 - numbers["ratio"], *(numbers[f"{name}_success"] - numbers[f"{name}_success_second"] for name in seen))


def p_value(numbers: Mapping[str, float]) -> float | None:
    """Of the numbers of a detection, at least 1 / (1 + len(SOUND)); None where they do not say enough."""
    found = standing_out(numbers)
    return None if found is None else (1 + len(SOUND) - bisect_left(SOUND, found)) / (1 + len(SOUND))
