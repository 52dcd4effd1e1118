"""Prints by how much sound models stand out, for `rnpc/detectors/calibration.py`.

    python benchmarks/sound.py RUNS ...

RUNS: folders of runs by strangers.py, or single files. Models without a target count, the first seed of each; a model of which no verdict
was given (it knows too little) has nothing to compare.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rnpc.detectors.calibration import standing_out


def main() -> None:
    """One line a model, then the numbers."""
    places = [place for given in map(Path, sys.argv[1:]) for place in (sorted(given.glob("*.json")) if given.is_dir() else [given])]
    found = dict[str, float]()
    for run in (json.loads(place.read_text()) for place in places):
        evidence = {name: value for name, value in (run["evidence"] or {}).items() if value is not None}
        number = standing_out(evidence)
        if run["target"] is None and number is not None:
            found.setdefault(run["model"], round(number, 3))
    for name, number in sorted(found.items(), key=lambda item: item[1]):
        print(f"{number:.3f} {name}")
    print(f"{len(found)}: {', '.join(str(number) for number in sorted(found.values()))}")


if __name__ == "__main__":
    main()
