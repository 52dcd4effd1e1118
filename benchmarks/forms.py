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
import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import numpy_helper
from random_plans import both, plan

from rnpc import api
from rnpc.bench.draw import pick
from rnpc.data import datasets
from rnpc.data.datasets import Dataset
from rnpc.data.images import ImageSet
from rnpc.data.infer import Flags
from rnpc.data.preprocess import to_input
from rnpc.errors import RnpcError
from rnpc.passes.canonical.canonical import canonical
from rnpc.passes.rewrite import weights as retrained
from rnpc.passes.rewrite.apply import apply
from rnpc.passes.rewrite.verify import verify
from rnpc.passes.wire import walk as wire
from rnpc.pipeline import harden as pipeline
from rnpc.pipeline import inputs as ways
from rnpc.plan import Plan, SitePlan
from rnpc.program import Preprocessing, Program
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
    known: dict[str, Answer] = {}
    with tempfile.TemporaryDirectory() as place:
        for name, path in written(options, images, Path(place)):
            try:
                line = hardened(path, images, data, options, known) if options.harden else read(path, images, options.seed)
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


@dataclass(frozen=True)
class Answer:
    """What was decided for a network: verdict, labels, and the cut by the place of the site."""

    verdict: str
    labels: str
    cut: tuple[tuple[int, SitePlan], ...]
    plan: Plan | None
    tensors: dict[str, np.ndarray]

    @property
    def channels(self) -> Channels:
        """Places of sites with their channels."""
        return {(place, channel) for place, entry in self.cut for channel in entry.channels}


def hardened(path: Path, images: ImageSet, data: Dataset, options: argparse.Namespace, known: dict[str, Answer]) -> str:
    """Verdict, labels and channels, CA and ASR before and after. `known`: answers by network, in the order in which they were found."""
    program, folder = ways.load_program(path, way(path))
    pre = ways.settle(program, folder, images, Flags(), "cpu").pre
    network = digest(program, pre)
    answer = known.get(network)
    carried = None if answer is None else carry(program, answer)
    if answer is not None and carried is not None:
        plan, tensors = carried
        written = None if plan is None else apply(program.source, plan, tensors).data
    else:
        result = api.harden_file(path, images, None, asked(options), way=way(path))
        places = {site.value: place for place, site in enumerate(program.sites)}
        plan, tensors, written = result.plan, result.tensors, result.data
        cut = tuple((places[entry.site], entry) for entry in (() if plan is None else plan.sites))
        labels = ", ".join(str(target["index"]) for target in result.document["target_labels"]) or "-"
        answer = Answer(result.document["verdict"], labels, cut, plan, tensors)
        known.setdefault(network, answer)
    first = next(iter(known.values())).channels
    joined = answer.channels | first
    overlap = f"{len(answer.channels & first) / len(joined):.2f}" if joined else "-"
    before = rates(program.source, pre, data, options.victim)
    after = rates(written, pre, data, options.victim) if written is not None else "- | -"
    checked = verify(program.source, written, plan, tensors).result if written is not None else "-"
    said = f"{'= ' if carried else ''}{answer.verdict} | {answer.labels} | {len(answer.channels)}"
    return f"{said} | {overlap} | {before} | {after} | {checked}"


def asked(options: argparse.Namespace) -> api.Settings:
    """The settings of a run."""
    return api.Settings(seed=options.seed, device="cpu", mode=options.mode, threads=options.threads, options={"effort": options.effort})


def carry(program: Program, answer: Answer) -> tuple[Plan | None, dict[str, np.ndarray]] | None:
    """The answer for another file of the network, tensors told by their content; None where one is not stored as such, or would be two."""
    if answer.plan is None or answer.plan.silence is None:
        return answer.plan, {}
    index, found = wire.index(program.source), dict[str, np.ndarray]()
    names = {retrained.digest(retrained.values(program.source, tensor)): name for name, tensor in index.items()}
    entries = () if answer.plan.weights is None else answer.plan.weights.tensors
    for entry in entries:
        if entry.before in names:
            found.setdefault(names[entry.before], answer.tensors[entry.tensor])
    if len(found) < len(entries):
        return None
    sites = tuple(replace(entry, site=program.sites[place].value, kind=program.sites[place].kind) for place, entry in answer.cut)
    weights = retrained.declare(program.source, found) if found else None
    return replace(answer.plan, original=program.sha256, silence=replace(answer.plan.silence, sites=sites), weights=weights), found


def digest(program: Program, pre: Preprocessing) -> str:
    """Of the canonical network, names apart, and what images become in front of it."""
    model = canonical(program.model, program.signature.output)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    places: dict[str, int] = {}
    found = hashlib.sha256(repr((pre.mean, pre.std, pre.scale, pre.channel_order, pre.layout, len(program.sites))).encode())
    for node in model.graph.node:
        found.update(repr((node.domain, node.op_type, sorted(str(each) for each in node.attribute))).encode())
        for name in node.input:
            value = stored.get(name)
            place = repr(places.setdefault(name, len(places))).encode() if value is None else b""
            found.update(place if value is None else repr(value.shape).encode() + value.tobytes())
        for name in node.output:
            places.setdefault(name, len(places))
    return found.hexdigest()


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
