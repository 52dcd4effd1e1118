"""How long a step of a repair takes with one thread and with two, and whether both come out the same.

    python benchmarks/repair.py MODEL --dataset cifar10 --data-root DATA [--steps 20]

500 training images drawn by seed 1, a black square of 4 x 4 pixels as the trigger. For the plain course and the one that makes a repair
last: seconds a step with either count, their ratio, and whether all weights are equal to the last bit. One run each: repeat it on a quiet
machine.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from stays import studied
from strangers import IMAGES

from rnpc import api, speed
from rnpc.data import datasets
from rnpc.defenses.auto import Auto
from rnpc.study import case as cases
from rnpc.study.case import Case
from rnpc.study.distil import Course, distil
from rnpc.study.forms import Change
from rnpc.study.tunable import Tunable

SEED, SIDE = 1, 4


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    speed.keep_memory()
    case = drawn(options.model, options.dataset, options.data_root)
    print("| course | one thread, s a step | two threads | ratio | the same weights |\n| --- | --- | --- | --- | --- |")
    for name, lasting in (("plain", False), ("made to last", True)):
        (one, first), (two, second) = (timed(case, lasting, options.steps, threads) for threads in (1, 2))
        same = all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
        print(f"| {name} | {one:.3f} | {two:.3f} | {two / one:.2f} | {'yes' if same else 'no'} |", flush=True)


def drawn(model: Path, dataset: str, data_root: Path | None, seed: int = SEED) -> Case:
    """The model's case, drawn as `auto` draws it."""
    data = datasets.load(dataset, data_root)
    rows = np.random.default_rng(seed).permutation(len(data.train_labels))[:IMAGES]
    images, labels = data.train_images[rows], data.train_labels[rows].astype(np.int64)
    exact = studied(model, model.parent, api.as_images(images, labels))
    subject = replace(exact, fast=speed.precision("cpu") == "bf16")
    return cases.draw(subject, images, labels, Auto.shares, seed, max_drop=0.02)


def timed(case: Case, lasting: bool, steps: int, threads: int) -> tuple[float, Tunable]:
    """Seconds a step, and the network afterwards."""
    torch.set_num_threads(threads)
    keep = torch.ones(1, 1, *case.learn.shape[1:])
    keep[..., :SIDE, :SIDE] = 0.0
    change = Change(keep, torch.zeros(1, *case.learn.shape))
    tunable, origin = Tunable.of(case), Tunable.of(case) if lasting else None
    began = time.perf_counter()
    distil(case, tunable, Course([change], steps, SEED, None, origin))
    return (time.perf_counter() - began) / steps, tunable


if __name__ == "__main__":
    main()
