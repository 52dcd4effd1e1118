"""Does a backdoor that counted as removed stay gone when the user trains on?

    python benchmarks/stays.py --models DIR --hardened OUT --data-root DATA [--names NAME ...] [--seed 1] [--control MODEL]

OUT is what `benchmarks/strangers.py --keep` wrote: hardened files NAME.METHOD.SEED.onnx beside their JSON. For each one that was changed,
what the run called it and its own measure (`relapse`), and CA and ASR in percent on all test images (by the twin, which is proved equal) as
it is and after

- fine-tuning on the same 500 images, 20 epochs of SGD in batches of 64 at 0.01 and at 0.001, BatchNorm in training mode;
- the re-tuning attack: five epochs on these images and five triggered ones with the target as label, at 0.01, or at 0.003 or 0.001 where
  that costs more than five points of accuracy on these images;
- a step along the line from the original to the hardened weights: the largest ASR at 25, 50 and 75 % of the way.

`--control`: a sound model for the same data, put through the same beside each, without the line: what five triggered images plant anew.
The table goes to standard output. A channel that was made constant may learn again: nothing holds it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from strangers import IMAGES, Model, described, test_images

from rnpc import api
from rnpc.data import datasets
from rnpc.data.infer import Flags
from rnpc.pipeline import inputs as ways
from rnpc.pipeline.relapse import APART, PLANTED, planted, retuned
from rnpc.report.words import outcome_of
from rnpc.runtime import Session
from rnpc.study.case import Case
from rnpc.study.inversion import NEXT, Inverted
from rnpc.study.subject import Split, Subject, prepare, stored
from rnpc.study.tunable import Tunable
from rnpc.study.tuning import Schedule, tune
from rnpc.twin import build
from rnpc.twin.module import Edit

RATES = (0.01, 0.001)
HEAD = (
    "| model | seed | called | relapse | as written | tuned at 0.01 | tuned at 0.001 | five poisoned images | on the line |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


@dataclass(frozen=True)
class Judge:
    """Test images [n, C, H, W] in [0, 1], the same with the trigger, and labels."""

    clean: Split
    triggered: Split
    target: int | str

    def rates(self, subject: Subject, edits: Mapping[str, Edit] | None = None) -> tuple[float, float]:
        """CA and ASR in percent, with edits where they are given."""
        return 100 * subject.accuracy(self.clean, edits), 100 * self.asr(subject, edits)

    def asr(self, subject: Subject, edits: Mapping[str, Edit] | None = None) -> float:
        """ASR as a share."""
        answers, labels = subject.predict(self.triggered, edits), self.triggered.labels
        if self.target == "next":
            return float((answers == (labels + 1) % subject.classes).float().mean())
        others = labels != self.target
        return float((answers[others] == self.target).float().mean())


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--control", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(HEAD)
    for model, hardened, run in changed(options):
        relapse = run["left"]["relapse"]
        said = [outcome_of({**run, "output": run["after"]}).name.lower(), "-" if relapse is None else f"{relapse:.2f}"]
        print(row(model.name, options.seed, said, measured(model, hardened, options)), flush=True)
        if options.control is not None:
            found = measured(model, options.control, options, control=True)
            print(row(f"{options.control.parent.name}, its trigger", options.seed, ["-", "-"], found), flush=True)


def parser_of(about: str | None) -> argparse.ArgumentParser:
    """What says which files are looked at."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--models", "--hardened", "--data-root"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--names", nargs="*", default=None)
    parser.add_argument("--seed", type=int, default=1)
    return parser


def changed(options: argparse.Namespace) -> Iterator[tuple[Model, Path, dict[str, Any]]]:
    """Models with the hardened files that differ from them, and what the runs said."""
    for model in filter(None, map(described, sorted(options.models.iterdir()))):
        hardened = options.hardened / f"{model.name}.auto.{options.seed}.onnx"
        if (options.names is None or model.name in options.names) and hardened.is_file():
            run = json.loads(hardened.with_suffix(".json").read_text())
            if not run["untouched"]:
                yield model, hardened, run


def row(name: str, seed: int, said: Sequence[str], found: Iterable[tuple[float, float] | None]) -> str:
    """A line of the table."""
    cells = ["-" if each is None else f"{each[0]:.1f} / {each[1]:.1f}" for each in found]
    return f"| {name} | {seed} | {' | '.join([*said, *cells] + ['-'] * (5 - len(cells)))} |"


def measured(model: Model, hardened: Path, options: argparse.Namespace, control: bool = False) -> Iterator[tuple[float, float] | None]:
    """CA and ASR as written, tuned, attacked (None where each rate wrecks it), and the worst on the line; not that of a `control`, whose
    preprocessing lies beside it."""
    data = datasets.load(model.dataset, None if model.dataset == "mnist" else options.data_root)
    rows = np.random.default_rng(options.seed).permutation(len(data.train_labels))[:IMAGES]
    given = api.as_images(data.train_images[rows], data.train_labels[rows])
    original = studied(model.path, model.path.parent, given)
    subject = studied(hardened, hardened.parent if control else model.path.parent, given)
    trigger = Session((model.path.parent / "trigger.onnx").read_bytes(), device="cpu")
    judge = judge_of(model, trigger, options)
    learn = Split(stored(given.images), torch.from_numpy(data.train_labels[rows].astype(np.int64)))
    everything = np.arange(len(rows))
    case = Case(subject, learn, learn, learn, (everything, everything, everything), seed=options.seed)
    yield judge.rates(subject)
    for rate in RATES:
        yield judge.rates(tuned(case, Schedule(20, rate)))
    attacked = retuned(case, Tunable.of(case), poisoned(learn, trigger, judge.target, subject.classes), subject.accuracy(learn) - APART)
    yield None if attacked is None else judge.rates(attacked)
    if not control:
        yield max((judge.rates(between(original, subject, share)) for share in (0.25, 0.5, 0.75)), key=lambda found: found[1])


def judge_of(model: Model, trigger: Session, options: argparse.Namespace) -> Judge:
    """All test images, with the trigger those of its source class where the attack has one."""
    data = datasets.load(model.dataset, None if model.dataset == "mnist" else options.data_root)
    images, labels = test_images(model.dataset, data, options.data_root)
    counted = slice(None) if model.source is None else labels == model.source
    triggered = Split(shown(trigger, images[counted]), torch.from_numpy(labels[counted]))
    return Judge(Split(stored(images), torch.from_numpy(labels)), triggered, model.target or 0)


def studied(path: Path, beside: Path, given: api.ImageSet) -> Subject:
    """The subject of a model file, with the preprocessing of the folder `beside`."""
    program, _ = ways.load_program(path, ways.Way())
    found = ways.settle(program, beside, given, Flags(), "cpu", threads=1)
    return replace(prepare(program, found.pre, "cpu"), pre=found.pre).exact()


def shown(trigger: Session, images: np.ndarray) -> torch.Tensor:
    """uint8 [n, C, H, W] of the images with the trigger."""
    pixels = stored(images).float() / 255
    parts = [trigger.run_all(part.numpy())[0] for part in pixels.split(250)]
    return torch.from_numpy((255 * np.concatenate(parts)).round().clip(0, 255).astype(np.uint8))


def tuned(case: Case, schedule: Schedule) -> Subject:
    """The subject after training on `case.learn`."""
    tunable = Tunable.of(case)
    tune(case, tunable, schedule)
    return tunable.subject(case)


def poisoned(learn: Split, trigger: Session, target: int | str, classes: int) -> Split:
    """The images, and five of them with the trigger and the attack's labels."""
    label = NEXT if target == "next" else int(target)
    given = Inverted(label, "given", 0.0, lambda pixels: torch.from_numpy(trigger.run_all(pixels.numpy())[0]))
    return planted(learn, given, (learn.labels != label).nonzero()[:PLANTED, 0], classes)


def between(original: Subject, hardened: Subject, share: float) -> Subject:
    """`share` of the way from the original's weights to the hardened ones."""
    twin = build(hardened.model).requires_grad_(False)
    state = twin.state_dict()
    for name, value in original.twin.state_dict().items():
        there = state[name]
        there.copy_(value + share * (there - value) if value.is_floating_point() else value)
    return replace(hardened, twin=twin)


if __name__ == "__main__":
    main()
