"""Hardens given victims as a user would and measures what came out, on test images that no run saw.

    python benchmarks/victims.py --victims DIR --data-root DIR --out DIR [--names NAME ...] [--forms ...] [--seeds ...]

DIR of victims: folders with folded.onnx, batchnorm.onnx, preprocessor_config.json and, where backdoored, trigger.onnx. For each victim,
form and seed, 500 images are drawn from the training split of GTSRB or CIFAR-10 (by the victim's name), `rnpc harden` runs in a process
of its own with default options, and CA and ASR are measured in onnxruntime on all test images, before and after. One JSON file a run is
written to OUT, so an interrupted series goes on; the table goes to standard output and OUT/table.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from rnpc import runtime
from rnpc.data import config, datasets
from rnpc.data.datasets import Dataset
from rnpc.program import Preprocessing

IMAGES = 500


def main() -> None:
    """Run what is missing and print the table."""
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or sorted(p.name for p in options.victims.iterdir() if (p / "folded.onnx").is_file()):
        for form in options.forms:
            for seed in options.seeds:
                place = options.out / f"{name}.{form}.{seed}.json"
                if not place.is_file():
                    found = one(options.victims / name, form, seed, options)
                    place.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
                    print(row(json.loads(place.read_text())), flush=True)
    rows = [row(json.loads(place.read_text())) for place in sorted(options.out.glob("*.json"))]
    (options.out / "table.md").write_text("\n".join([*HEAD, *rows]) + "\n")
    print("\n".join([*HEAD, *rows]))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--victims", type=Path, required=True)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--names", nargs="*", default=None)
    parser.add_argument("--forms", nargs="*", default=["folded", "batchnorm"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    return parser.parse_args()


def one(victim: Path, form: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One run: draw, harden, measure."""
    data = datasets.load("cifar10" if "cifar" in victim.name else "gtsrb", options.data_root)
    stated = config.read_file(victim / "preprocessor_config.json")
    pre = Preprocessing(height=32, width=32, mean=stated.mean or (0.0,), std=stated.std or (1.0,))
    rows = np.random.default_rng(seed).permutation(len(data.train_labels))[:IMAGES]
    with tempfile.TemporaryDirectory() as folder:
        drawn, out = Path(folder) / "defense.npz", Path(folder) / "hardened.onnx"
        np.savez(drawn, images=data.train_images[rows], labels=data.train_labels[rows].astype(np.int64))
        document, seconds, memory, code = harden(victim / f"{form}.onnx", drawn, out, seed)
        original = (victim / f"{form}.onnx").read_bytes()
        before = remembered(options.out / "before" / f"{victim.name}.{form}.json", original, victim, data, pre)
        same = out.is_file() and out.read_bytes() == original
        after = before if same else measure(out.read_bytes(), victim, data, pre) if out.is_file() else None
    kept = {k: document[k] for k in ("verdict", "target_labels", "evidence", "pruned", "threshold", "accuracy", "rnpc")}
    kept["pruned"] = {"channels": kept["pruned"]["channels"], "of": kept["pruned"]["of"]}
    outcome = {"before": before, "after": after, "untouched": same, "exit": code, "seconds": round(seconds, 1), "mb": round(memory)}
    return {"victim": victim.name, "form": form, "seed": seed, "images": IMAGES, **kept, **outcome}


def remembered(place: Path, model: bytes, victim: Path, data: Dataset, pre: Preprocessing) -> dict[str, Any]:
    """`measure` of an original, which is the same for every seed."""
    if not place.is_file():
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps(measure(model, victim, data, pre)))
    found: dict[str, Any] = json.loads(place.read_text())
    return found


def harden(model: Path, data: Path, out: Path, seed: int) -> tuple[dict[str, Any], float, float, int]:
    """(document, seconds, peak MB, exit code) of `rnpc harden` in a process of its own."""
    code = "import sys; from rnpc.cli import main; main(sys.argv[1:])"
    words = [sys.executable, "-c", code, "harden", str(model), "--defense-data", str(data), "-o", str(out), "--seed", str(seed)]
    start = time.perf_counter()
    with subprocess.Popen([*words, "--format", "json"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return json.loads(text), time.perf_counter() - start, usage.ru_maxrss / 1024, process.returncode


def measure(model: bytes, victim: Path, data: Dataset, pre: Preprocessing) -> dict[str, Any]:
    """CA and ASR on all test images."""
    session, labels = runtime.Session(model), data.test_labels.astype(np.int64)
    clean = runtime.accuracy(runtime.predict(session, data.test_images, pre), labels)
    found: dict[str, Any] = {"ca": [clean.hits, clean.n, clean.low, clean.high]}
    if (victim / "trigger.onnx").is_file():
        trigger = runtime.Session((victim / "trigger.onnx").read_bytes())
        target = int(json.loads((victim / "measured.json").read_text()).get("target", 0))
        success = runtime.attack_success(runtime.predict_triggered(session, trigger, data.test_images, pre), labels, target)
        found["asr"] = [success.hits, success.n, success.low, success.high]
    return found


HEAD = [
    "| victim | form | seed | verdict | label | ratio | channels | CA before | CA after (95 %) | ASR before | ASR after (95 %) | untouched "
    "| s | MB |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
]


def row(run: dict[str, Any]) -> str:
    """A line of the table."""
    after = run["after"] or {}
    label = ", ".join(t["name"] if t["index"] is None else str(t["index"]) for t in run["target_labels"]) or "-"
    cells = [
        run["victim"], run["form"], run["seed"], run["verdict"], label, f"{run['evidence'].get('ratio', float('nan')):.2f}",
        run["pruned"]["channels"], share(run["before"].get("ca")), bounds(after.get("ca")), share(run["before"].get("asr")),
        bounds(after.get("asr")), "yes" if run["untouched"] else "no", run["seconds"], run["mb"],
    ]  # fmt: skip
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def share(rate: list[float] | None) -> str:
    """A rate in percent."""
    return "-" if rate is None else f"{100 * rate[0] / rate[1]:.2f}"


def bounds(rate: list[float] | None) -> str:
    """A rate with its interval in percent."""
    return "-" if rate is None else f"{share(rate)} ({100 * rate[2]:.2f} to {100 * rate[3]:.2f})"


if __name__ == "__main__":
    main()
