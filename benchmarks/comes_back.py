"""Does the run's own measure of what training brings back (`left.relapse`) see what the attacker's trigger does?

    python benchmarks/comes_back.py --models DIR --hardened OUT --data-root DATA [--names NAME ...] [--seed 1]

OUT is what `benchmarks/strangers.py --keep` wrote. For each changed file: the measure, taken by the present code (on the images that the
run drew, with a patch inverted for the label that the run named; the attacker's trigger has no part in it), and beside it the share in
percent of all triggered test images that reach the attacker's target after

- the re-tuning attack with the attacker's own trigger (five images, as in `stays.py`), and with it as a control for a label that nobody
  attacked: what five images plant anew in the same network;
- fine-tuning on the same 500 images, 20 epochs at 0.001.

The table goes to standard output, one row a file, and with `--json` a line for each as JSON.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from repair import drawn
from stays import Judge, changed, parser_of, poisoned, shown
from strangers import Model, test_images

from rnpc.data import datasets
from rnpc.frontends import onnx_file
from rnpc.pipeline import relapse as blind
from rnpc.runtime import Session
from rnpc.stage import untold
from rnpc.study.case import Case
from rnpc.study.inversion import NEXT, Aim, Effort, invert
from rnpc.study.subject import Split, Subject, prepare, stored
from rnpc.study.tunable import Tunable

EFFORT = Effort(100, 24)
HEAD = (
    "| model | seed | `relapse` (at most) | by | as written | own trigger on five images | the same for another label | fine-tuned |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


@dataclass(frozen=True)
class Row:
    """Shares in [0, 1]; None where each rate wrecks the network, or there is no other label."""

    model: str
    seed: int
    share: float | None
    bound: float | None
    by: str
    written: float
    own: float | None
    other: float | None
    tuned: float | None

    def line(self) -> str:
        """Of the table."""
        said = "-" if self.share is None else f"{self.share:.2f} ({self.bound:.2f})"
        cells = ("-" if each is None else f"{100 * each:.1f}" for each in (self.written, self.own, self.other, self.tuned))
        return f"| {self.model} | {self.seed} | {said} | {self.by} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(HEAD)
    for model, hardened, run in changed(options):
        if model.target is not None:
            row = row_of(model, hardened, run, options)
            print(row.line(), flush=True)
            if options.json is not None:
                with options.json.open("a") as file:
                    file.write(json.dumps(vars(row)) + "\n")


def row_of(model: Model, hardened: Path, run: dict[str, Any], options: argparse.Namespace) -> Row:
    """All of a row."""
    root = None if model.dataset == "mnist" else options.data_root
    case = drawn(model.path, model.dataset, root, options.seed)
    written = onnx_file.program(hardened.name, hardened.read_bytes())
    hard = replace(case, subject=prepare(written, case.subject.pre, case.device), learn=blind.whole(case), tell=untold)
    index = run["target_labels"][0]["index"]
    label = NEXT if index is None else int(index)
    found = [invert(case, Aim(label, form, case.seed), EFFORT) for form in ("patch", "additive")]
    said = blind.relapse(written, hardened.read_bytes(), case, label, found)
    trigger = Session((model.path.parent / "trigger.onnx").read_bytes(), device="cpu")
    judge = judge_of(model, trigger, options)
    target = judge.target
    other = None if target == "next" else (int(target) + 1 + hard.subject.classes // 3) % hard.subject.classes
    return Row(
        model.name,
        options.seed,
        None if said is None else said.share,
        None if said is None else said.bound,
        "" if said is None else said.by,
        asr(hard.subject.exact(), judge),
        attacked(hard, trigger, judge, target),
        None if other is None else attacked(hard, trigger, judge, other),
        asr(blind.trained(hard, Tunable.of(hard), blind.CLEAN, 0.0), judge),
    )


def judge_of(model: Model, trigger: Session, options: argparse.Namespace) -> Judge:
    """All test images, with and without the trigger."""
    data = datasets.load(model.dataset, None if model.dataset == "mnist" else options.data_root)
    images, labels = test_images(model.dataset, data, options.data_root)
    counted = slice(None) if model.source is None else labels == model.source
    triggered = Split(shown(trigger, images[counted]), torch.from_numpy(labels[counted].astype(np.int64)))
    return Judge(Split(stored(images[:1]), torch.from_numpy(labels[:1])), triggered, model.target or 0)


def attacked(hard: Case, trigger: Session, judge: Judge, target: int | str) -> float | None:
    """What the trigger reaches for a label after the re-tuning attack with it."""
    least = Tunable.of(hard).subject(hard).exact().accuracy(hard.judge) - blind.APART
    made = blind.retuned(hard, Tunable.of(hard), poisoned(hard.learn, trigger, target, hard.subject.classes), least)
    return asr(made, replace(judge, target=target))


def asr(subject: Subject | None, judge: Judge) -> float | None:
    """Share of the triggered images that reach the target."""
    return None if subject is None else judge.rates(subject)[1] / 100


if __name__ == "__main__":
    main()
