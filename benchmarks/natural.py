"""What the trigger of each victim does in sound models of the same data set: how much of its success is a backdoor's.

    python benchmarks/natural.py FOLDER [MORE ...] --data-root DATA [--images 4000] [--names NAME ...]

Each FOLDER holds folders of victims (`rnpc attack`, `rnpc bench`) or of models as strangers.py takes them; the sound ones among them are
asked. A row is a victim: its ASR, and how far its trigger goes in the sound models, in percent of test images of other classes (of its
source class where the attack has one), drawn by a fixed seed and as many as --images at most, in onnxruntime. A trigger that works as
well in a model that nobody poisoned is no evidence of a backdoor, and no detector can be blamed for not seeing one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from strangers import Model, described, test_images

from rnpc import api
from rnpc.data import datasets
from rnpc.data.infer import Flags
from rnpc.pipeline import inputs
from rnpc.runtime import Session, attack_success, predict_triggered

SHOWN = 500
HEAD = "| trigger of | target | in its victim | in sound models (least, median, most) | sound models |\n| --- | --- | --- | --- | --- |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--names", nargs="*", default=None, help="victims to look at")
    options = parser.parse_args()
    models = [model for folder in options.folders for place in sorted(folder.iterdir()) if (model := described(place)) is not None]
    print(HEAD)
    for name in sorted({model.dataset for model in models}):
        some = [model for model in models if model.dataset == name]
        for line in rows(some, name, options):
            print(line, flush=True)


def rows(models: Sequence[Model], dataset: str, options: argparse.Namespace) -> Iterator[str]:
    """A line a victim."""
    data = datasets.load(dataset, None if dataset == "mnist" else options.data_root)
    images, labels = test_images(dataset, data, options.data_root)
    given = api.as_images(data.train_images[:SHOWN], data.train_labels[:SHOWN])
    sound = [model for model in models if model.target is None]
    for victim in models:
        if victim.target is None or (options.names and victim.name not in options.names):
            continue
        chosen = np.flatnonzero(labels == victim.source) if victim.source is not None else np.arange(len(labels))
        some = chosen[np.random.default_rng(0).permutation(len(chosen))[: options.images]]
        own, *others = (reached(model, victim, images[some], labels[some], given) for model in [victim, *sound])
        spread = f"{min(others):.1f}, {np.median(others):.1f}, {max(others):.1f}" if others else "-"
        yield f"| {victim.name} | {victim.target} | {own:.1f} | {spread} | {len(others)} |"


def reached(model: Model, victim: Model, images: np.ndarray, labels: np.ndarray, given: api.ImageSet) -> float:
    """Share in percent of the victim's triggered images that `model` sends to the victim's target."""
    program, _ = inputs.load_program(model.path, inputs.Way())
    pre = inputs.settle(program, model.path.parent, given, Flags(), "cpu", threads=1).pre
    trigger = Session((victim.path.parent / "trigger.onnx").read_bytes(), device="cpu", threads=1)
    answers = predict_triggered(Session.of(program, device="cpu", threads=1), trigger, images, pre)
    assert victim.target is not None
    found = attack_success(answers, labels, victim.target)
    return 100 * found.hits / found.n


if __name__ == "__main__":
    main()
