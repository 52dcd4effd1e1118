"""Where strained copies of images go: in a backdoored model whose trigger is noise, to its target (docs/decisions/0031 and 0034).

    python benchmarks/strained.py MODEL ... --dataset gtsrb --data-root DATA

500 training images are drawn by seed 1, as `auto` draws them. Printed is the label to which most strained copies go that have no reason to
(`next`: the one after each image's own), its share and the next one's, and whether `--detector strained` names it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from repair import drawn

from rnpc import speed
from rnpc.detectors.strained import Strained
from rnpc.study.inversion import NEXT


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--dataset", default="gtsrb")
    parser.add_argument("--data-root", type=Path)
    options = parser.parse_args()
    speed.keep_memory()
    print("| model | label | share | next | named |\n| --- | --- | --- | --- | --- |")
    for model in options.models:
        found = Strained().detect(drawn(model, options.dataset, options.data_root))
        label, named = found.suspects[0].label, "yes" if found.verdict == "backdoored" else "no"
        share, second = (found.numbers[name] for name in ("share", "share_second"))
        print(f"| {model.parent.name} | {'next' if label == NEXT else label} | {share:.1%} | {second:.1%} | {named} |", flush=True)


if __name__ == "__main__":
    main()
