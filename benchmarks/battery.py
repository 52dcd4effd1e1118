"""What the battery said was left against the true ASR, over all runs of `benchmarks/strangers.py` in which a file was written.

    python benchmarks/battery.py OUT [OUT ...] --plot docs/images/battery.png

Prints how often the true ASR is above what the battery says by more than 10 points, with its 95 % interval, and draws one point a run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from strangers import percent

from rnpc.stats import rate

DECEIVES = 10
"""Points by which the true ASR may lie above what is said."""


def main() -> None:
    """Count and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--plot", type=Path, required=True)
    options = parser.parse_args()
    found = [point for folder in options.runs for place in sorted(folder.glob("*.json")) if (point := of(json.loads(place.read_text())))]
    share = rate(sum(true > said + DECEIVES for said, true in found), len(found))
    print(f"{share.hits} of {share.n} runs deceive by more than {DECEIVES} points ({100 * share.low:.0f} to {100 * share.high:.0f} %)")
    draw(found, options.plot)


def of(run: dict[str, object]) -> tuple[float, float] | None:
    """(said, true) in percent; None where no file was written, it is the original, or the model is clean."""
    left, after = run.get("left"), run.get("after")
    if not isinstance(left, dict) or not isinstance(after, dict) or run["untouched"] or "asr" not in after or left["success"] is None:
        return None
    return 100 * left["success"], percent(after["asr"])


def draw(found: list[tuple[float, float]], place: Path) -> None:
    """One point a run; below the line the battery said more than is there."""
    figure = Figure(figsize=(4.2, 4), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 90], [DECEIVES, 90 + DECEIVES], color="#d55e00", linewidth=1, label=f"{DECEIVES} points more than said")
    axis.plot([0, 100], [0, 100], color="0.7", linewidth=1)
    axis.scatter([said for said, _ in found], [true for _, true in found], s=18, color="#0072b2", zorder=3)
    axis.set(xlim=(-2, 100), ylim=(-2, 100), xlabel="left, as the battery says (%)", ylabel="true ASR of the written file (%)")
    axis.legend(frameon=False, fontsize=8)
    FigureCanvasAgg(figure)
    figure.savefig(place, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
