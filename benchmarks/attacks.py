"""What victims measured when they were trained, as one table.

    python benchmarks/attacks.py BENCH/victims [MORE ...] [--check DATA]

Each argument is a folder of folders that `rnpc attack` or `rnpc bench` wrote. A row is a victim's measured.json: CA and ASR of folded.onnx
in onnxruntime on the whole test split, with 95 % intervals (Clopper-Pearson).

With --check, `rnpc eval` runs on each file with its trigger.onnx and the test split (DATA: folder of the data sets), and its counts are
compared with training's; exit 1 where one differs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from rnpc.data import datasets

RUN = "from rnpc.cli import main; main()"

HEAD = (
    "| data | network | attack (seed) | share, epochs | settings that differ | CA (95 %) | ASR (95 %) |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)


def main() -> int:
    """Print the table, or compare the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--check", type=Path, metavar="DATA")
    options = parser.parse_args()
    paths = sorted(path for folder in options.folders for path in folder.glob("*/measured.json"))
    if options.check is not None:
        return int(any([differs(path.parent, options.check) for path in paths]))
    found = [json.loads(path.read_text()) for path in paths]
    print("\n".join([*HEAD, *(row(each) for each in sorted(found, key=place))]))
    return 0


def differs(folder: Path, root: Path) -> bool:
    """Whether `rnpc eval` counts otherwise than training did; one line."""
    measured = json.loads((folder / "measured.json").read_text())
    spec, attack, folded = measured["spec"], measured["attack"], measured["folded"]
    data = datasets.load(spec["dataset"], None if spec["dataset"] == "mnist" else root)
    with tempfile.TemporaryDirectory() as place:
        np.savez(Path(place) / "test.npz", images=data.test_images, labels=data.test_labels.astype(np.int64))
        words = ["eval", str(folder / "folded.onnx"), "--data", f"{place}/test.npz", "--format", "json", "--device", "cpu"]
        if folded["asr"] is not None:
            words += ["--trigger", str(folder / "trigger.onnx"), "--target", str(attack["target"])]
            words += ["--source", str(attack["source"])] if "source" in attack else []
        done = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    pairs = [(folded["ca"], found["accuracy"])] + ([] if folded["asr"] is None else [(folded["asr"], found["attack"]["success"])])
    counts = [tuple((each["hits"], each["images"]) for each in pair) for pair in pairs]
    wrong = any(mine != theirs for mine, theirs in counts)
    print(f"{folder.name}: {attack['name']}, training and eval counted {counts}{'  DIFFER' if wrong else ''}", flush=True)
    return wrong


def place(measured: dict[str, Any]) -> tuple[Any, ...]:
    """Where a victim stands in the table."""
    spec = measured["spec"]
    return spec["dataset"], spec["arch"], spec["attack"] != "none", spec["attack"], spec["width"], spec["seed"]


def row(measured: dict[str, Any]) -> str:
    """One victim."""
    spec, folded = measured["spec"], measured["folded"]
    target = spec["target"] if spec["target"] is not None else measured["attack"].get("target")
    goal = "" if spec["attack"] == "none" else f" to {target}"
    settings = ", ".join(f"{key} {setting(value)}" for key, value in sorted(spec["settings"].items())) or "-"
    network = f"{spec['arch']} w{spec['width']}"
    attack = f"{spec['attack']}{goal} ({spec['seed']})"
    share = f"{spec['fraction']:g}, {spec['epochs']}"
    columns = (spec["dataset"], network, attack, share, settings, rate(folded["ca"]), rate(folded["asr"]))
    return f"| {' | '.join(columns)} |"


def setting(value: float | str) -> str:
    """A number without needless zeros, or a word."""
    return value if isinstance(value, str) else f"{value:g}"


def rate(found: dict[str, Any] | None) -> str:
    """A rate in percent with its interval."""
    if found is None:
        return "-"
    low, high = found["interval"]
    return f"{100 * found['value']:.2f} ({100 * low:.2f} to {100 * high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
