"""Where strained copies of images go: in a backdoored model whose trigger is noise, to its target (docs/decisions/0031).

    python benchmarks/strained.py MODEL ... --dataset gtsrb --data-root DATA

500 training images are drawn by seed 1, as `auto` draws them. Printed are the two labels to which most strained copies go that have no
reason to, with their share in percent, and whether the original is believed of the first (`rnpc.study.teacher`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from repair import drawn

from rnpc import speed
from rnpc.study.teacher import asked, astray, lies


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--dataset", default="gtsrb")
    parser.add_argument("--data-root", type=Path)
    options = parser.parse_args()
    speed.keep_memory()
    print("| model | label | share | next | share | believed |\n| --- | --- | --- | --- | --- | --- |")
    for model in options.models:
        case = drawn(model, options.dataset, options.data_root)
        shares = astray(asked(case), 0)
        first, second = shares.argsort(descending=True)[:2].tolist()
        believed = "no" if lies(case, first) else "yes"
        print(f"| {model.parent.name} | {first} | {shares[first]:.1%} | {second} | {shares[second]:.1%} | {believed} |", flush=True)


if __name__ == "__main__":
    main()
