"""What an inverted additive trigger does, several times as strong, before and after hardening.

    python benchmarks/louder.py MODEL HARDENED LABEL --dataset gtsrb|cifar10|mnist [--data-root DATA]

HARDENED is a file that `rnpc harden` wrote for MODEL (as `benchmarks/strangers.py --keep` keeps them), LABEL the label that it named. The
trigger is inverted in the original on the images that a run with seed 1 would draw, and counted on those that it would judge by. Printed
are its cost (L2) and, for each factor, the share of images of other classes that reach the label in the hardened file and in the original.
No true trigger is used.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from repair import drawn

from rnpc.frontends import onnx_file
from rnpc.study.inversion import Aim, Effort, invert, success
from rnpc.study.probes import aimed_at, louder
from rnpc.study.subject import prepare

TIMES, EFFORT = (1, 2, 3, 4, 6), Effort(100, 24)


def main() -> None:
    """Print one line a factor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("hardened", type=Path)
    parser.add_argument("label", type=int)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data-root", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    case = drawn(options.model, options.dataset, options.data_root)
    program = onnx_file.program(options.hardened.name, options.hardened.read_bytes())
    hard = replace(case, subject=prepare(program, case.subject.pre, case.device))
    trigger = invert(case, Aim(options.label, "additive", case.seed), EFFORT)
    print(f"an additive trigger for label {options.label}, L2 {trigger.cost:.2f}; times as strong: hardened, original")
    for times, probe in zip(TIMES, louder(trigger, TIMES), strict=True):
        heard = (success(each.subject, aimed_at(options.label, probe), case.judge) for each in (hard, case))
        print(f"{times}: " + ", ".join(f"{share:.2f}" for share in heard), flush=True)


if __name__ == "__main__":
    main()
