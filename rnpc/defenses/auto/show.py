"""What the blind cut shows: the cuts that were judged, and the channels by layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnpc.defenses.auto.cut import Search
from rnpc.panel import Curve, Line, Panel
from rnpc.study.case import Case
from rnpc.study.show import score_panels
from rnpc.study.surgery import Channel

CUTS = (
    "Cuts along the ranking, judged on clean images that did not learn it. The shaded band is the 95 % interval of the accuracy. The lower "
    "curves are the share of these images that the strongest trigger flips, inverted afresh after each cut at a fixed cost: it stands in "
    "for the true trigger, which nobody knows. Dashed: what the same cost buys for another label in the original."
)


def panels(case: Case, found: Search, ranking: Sequence[Channel]) -> tuple[Panel, ...]:
    """Cuts, heat map, histogram."""
    chosen = None if found.chosen is None else found.cuts[found.chosen]
    gone = () if found.chosen is None else found.made[found.chosen]
    return (cuts_panel(case, found), *score_panels(case, ranking, gone, None if chosen is None else chosen.threshold))


def cuts_panel(case: Case, found: Search) -> Curve:
    """Accuracy and success over the number of channels."""
    x = np.array([cut.channels for cut in found.cuts], dtype=float)
    accuracy, low, high = (np.array([getattr(cut, name) for cut in found.cuts]) for name in ("accuracy", "low", "high"))
    lines = [Line("accuracy", x, accuracy, low, high)]
    for form, level in found.levels.items():
        lines.append(Line(f"strongest {form} trigger", x, np.array([cut.success[form] for cut in found.cuts])))
        lines.append(Line(f"natural {form}", x, np.full(len(x), level), dashed=True))
    marked = None if found.chosen is None else x[found.chosen]
    budget = ("accuracy budget", accuracy[0] - case.max_drop)
    title = "How much was cut, and what it cost"
    return Curve(title, "channels", "share of judged images", tuple(lines), CUTS, None if marked is None else float(marked), budget)
