"""One victim in all the forms in which ONNX can hold it: is each read, proved, edited and verified, and do all get one answer?

    python benchmarks/forms.py VICTIM --dataset gtsrb --data-root DIR [--only FORM ...] [--images 500] [--seed 1]
                                      [--harden [--mode remove] [--effort quick]]

VICTIM is a folder with `folded.onnx`, `preprocessor_config.json` and, for ASR, `trigger.onnx` and `measured.json`; `batchnorm.onnx` is
used where it lies there. Every form that needs no module is made of the folded file. Printed without `--harden`: the twin's difference
from onnxruntime, filter sites, and for a random plan the difference between zeroed and removed scores, the removed file's size in units
of the original's, and what `verify` says. With it: verdict, labels, channels and their Jaccard overlap with the first form's (told
apart by the place of their layer), CA and ASR in percent before and after on the test split, and what `verify` says. A refusal stands
where it happened.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from random_plans import both, plan

from rnpc import api
from rnpc.bench.draw import pick
from rnpc.data import datasets
from rnpc.data.datasets import Dataset
from rnpc.data.images import ImageSet
from rnpc.data.infer import Flags
from rnpc.data.preprocess import to_input
from rnpc.errors import RnpcError
from rnpc.passes.rewrite.verify import verify
from rnpc.pipeline import harden as pipeline
from rnpc.pipeline import inputs as ways
from rnpc.program import Preprocessing
from rnpc.runtime import Session, accuracy, attack_success, predict, predict_triggered
from rnpc.victims import forms

Channels = set[tuple[int, int]]
READ = "| form | twin | sites | planned | zeroed - removed | size | verify |\n| --- | --- | --- | --- | --- | --- | --- |"
HARDENED = (
    "| form | verdict | labels | channels | Jaccard | CA | ASR | CA after | ASR after | verify |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("victim", type=Path)
    parser.add_argument("--dataset", default="gtsrb", choices=datasets.names())
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--only", nargs="+", default=(), metavar="FORM", help="forms; default: all")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--harden", action="store_true")
    parser.add_argument("--mode", choices=("zero", "remove"), default="zero")
    parser.add_argument("--effort", choices=("quick", "standard", "thorough"), default="standard")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    data = datasets.load(options.dataset, options.data_root)
    rows = np.random.default_rng(options.seed).choice(len(data.train_labels), options.images, replace=False)
    images = pick(data, sorted(int(row) for row in rows))
    print(HARDENED if options.harden else READ)
    first: Channels | None = None
    with tempfile.TemporaryDirectory() as place:
        for name, path in written(options, images, Path(place)):
            try:
                if options.harden:
                    line, found = hardened(path, images, data, options, first)
                    first = found if first is None else first
                else:
                    line = read(path, images, options.seed)
            except RnpcError as error:
                line = str(error)
            print(f"| {name} | {line} |", flush=True)


def written(options: argparse.Namespace, images: ImageSet, place: Path) -> Iterator[tuple[str, Path]]:
    """Each form's name and file, in a folder of its own with its preprocessing beside it."""
    folder: Path = options.victim
    stated = json.loads((folder / "preprocessor_config.json").read_text())
    folded = (folder / "folded.onnx").read_bytes()
    given = given_by(stated, images)
    for name, form in forms.FORMS.items():
        if options.only and name not in options.only:
            continue
        beside = folder / f"{name}.onnx"
        if form.rewrite is None and not beside.is_file():
            continue
        try:
            made = {"model.onnx": beside.read_bytes()} if form.rewrite is None else forms.files(folded, name, given)
        except RnpcError as error:
            print(f"| {name} | {error} |")
            continue
        (place / name).mkdir()
        for file, content in made.items():
            (place / name / file).write_bytes(content)
        (place / name / "preprocessor_config.json").write_text(json.dumps(form.config(stated)))
        yield name, place / name / "model.onnx"


def given_by(stated: dict[str, Any], images: ImageSet) -> forms.Given:
    """What the forms need: the images as the folded file reads them, and its preprocessing."""
    mean, std, scale = tuple(stated["image_mean"]), tuple(stated["image_std"]), float(stated["rescale_factor"])
    height, width = images.images.shape[1:3]
    inputs = to_input(images.images, Preprocessing(height, width, mean=mean, std=std, scale=scale))
    return forms.Given(inputs, mean, std, scale)


def way(path: Path) -> ways.Way:
    """How the form is read: of several outputs, the scores."""
    return ways.Way(output="logits") if path.parent.name == "features" else ways.Way()


def read(path: Path, images: ImageSet, seed: int) -> str:
    """The twin's difference, and zeroed against removed."""
    settings = api.Settings(seed=seed, device="cpu")
    program, folder = ways.load_program(path, way(path))
    found = ways.settle(program, folder, images, Flags(), "cpu")
    try:
        twin = f"{pipeline.proved(pipeline.studied(program, settings), found, settings):.1e}"
    except RnpcError as error:
        twin = str(error)
    made = plan(program.source, seed)
    outcome = both(program.source, made, to_input(images.images[:64], found.pre))
    checked = verify(program.source, outcome.removed or outcome.zeroed).result
    size = f"{len(outcome.removed) / len(program.source):.2f}" if outcome.removed else outcome.refused
    return f"{twin} | {outcome.sites} | {outcome.planned} | {outcome.difference:.1e} | {size} | {checked}"


def hardened(path: Path, images: ImageSet, data: Dataset, options: argparse.Namespace, first: Channels | None) -> tuple[str, Channels]:
    """Verdict, labels and channels, CA and ASR before and after."""
    asked = {"effort": options.effort}
    settings = api.Settings(seed=options.seed, device="cpu", mode=options.mode, threads=options.threads, options=asked)
    result = api.harden_file(path, images, None, settings, way=way(path))
    program, folder = ways.load_program(path, way(path))
    pre = ways.settle(program, folder, images, Flags(), "cpu").pre
    sites = [site.value for site in program.sites]
    entries = () if result.plan is None else result.plan.sites
    channels = {(sites.index(entry.site), c) for entry in entries for c in entry.channels}
    joined = channels | (first or channels)
    overlap = f"{len(channels & (channels if first is None else first)) / len(joined):.2f}" if joined else "-"
    labels = ", ".join(str(target["index"]) for target in result.document["target_labels"]) or "-"
    before = rates(program.source, pre, data, options.victim)
    after = rates(result.data, pre, data, options.victim) if result.data is not None else "- | -"
    checked = verify(program.source, result.data).result if result.data is not None else "-"
    return f"{result.document['verdict']} | {labels} | {len(channels)} | {overlap} | {before} | {after} | {checked}", channels


def rates(model: bytes, pre: Preprocessing, data: Dataset, victim: Path) -> str:
    """CA and ASR of a file on the test split, in percent."""
    session, labels = Session(model, device="cpu"), np.asarray(data.test_labels)
    clean = accuracy(predict(session, data.test_images, pre), labels).value
    trigger = victim / "trigger.onnx"
    if not trigger.is_file():
        return f"{100 * clean:.2f} | -"
    target = json.loads((victim / "measured.json").read_text())["target"]
    scores = predict_triggered(session, Session(trigger.read_bytes(), device="cpu"), data.test_images, pre)
    return f"{100 * clean:.2f} | {100 * attack_success(scores, labels, target).value:.2f}"


if __name__ == "__main__":
    main()
