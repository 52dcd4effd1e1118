"""Does the run's own measure of what training brings back (`left.relapse`) see what the attacker's trigger does?

    python benchmarks/comes_back.py --models DIR --hardened OUT --data-root DATA [--names NAME ...] [--seed 1]

OUT is what `benchmarks/strangers.py --keep` wrote. For each changed file: the measure, taken by the present code (on the images that the
run drew, with a patch inverted for the label that the run named; the attacker's trigger has no part in it), and beside it the share in
percent of all triggered test images that reach the attacker's target after

- the re-tuning attack with the attacker's own trigger (five images, as in `stays.py`), and with it as a control for a label that nobody
  attacked: what five images plant anew in the same network;
- fine-tuning on the same 500 images, 20 epochs at 0.001.

The table goes to standard output, one row a file, with what it comes to; with `--json` a line for each is appended to a file as JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from repair import drawn
from stays import changed, judge_of, parser_of, poisoned
from strangers import Model

from rnpc.frontends import onnx_file
from rnpc.pipeline import relapse as blind
from rnpc.report.words import RELAPSE
from rnpc.runtime import Session
from rnpc.stage import untold
from rnpc.stats import rate
from rnpc.study.inversion import NEXT, Aim, Effort, invert
from rnpc.study.subject import prepare
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

    def worst(self) -> float:
        """What the attacker's trigger reaches, with five images or by fine-tuning alone."""
        return max(self.own or 0.0, self.tuned or 0.0)


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(HEAD)
    rows = list[Row]()
    for model, hardened, run in changed(options):
        if model.target is not None:
            row = row_of(model, hardened, run, options)
            rows.append(row)
            print(row.line(), flush=True)
            if options.json is not None:
                with options.json.open("a") as file:
                    file.write(json.dumps(vars(row)) + "\n")
    print("\n" + summary(rows))


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
    judge, tunable, classes = judge_of(model, trigger, options), Tunable.of(hard), hard.subject.classes
    exact = tunable.subject(hard).exact()
    least = exact.accuracy(hard.judge) - blind.APART

    def attacked(target: int | str) -> float | None:
        made = blind.retuned(hard, tunable, poisoned(hard.learn, trigger, target, classes), least)
        return None if made is None else replace(judge, target=target).asr(made)

    tuned = blind.trained(hard, tunable, blind.CLEAN, 0.0)
    return Row(
        model.name,
        options.seed,
        None if said is None else said.share,
        None if said is None else said.bound,
        "" if said is None else said.by,
        judge.asr(exact),
        attacked(judge.target),
        None if judge.target == "next" else attacked((int(judge.target) + 1 + classes // 3) % classes),
        None if tuned is None else judge.asr(tuned),
    )


def summary(rows: Sequence[Row]) -> str:
    """In how many files with a bound that allows the word *removed*, and without, more than a tenth comes back."""
    able = [row for row in rows if row.bound is not None and row.bound <= RELAPSE]
    others = [row for row in rows if row not in able]
    worst, back = max((row.worst() for row in able), default=0.0), sum(row.worst() > RELAPSE for row in able)
    return (
        f"{len(rows)} files. Bound of at most {RELAPSE:g}: {len(able)}, more than that comes back in {back} "
        f"(at most {rate(back, len(able)).high:.0%} of such files; worst {worst:.1%}). "
        f"Others: {len(others)}, more than that comes back in {sum(row.worst() > RELAPSE for row in others)}."
    )


if __name__ == "__main__":
    main()
