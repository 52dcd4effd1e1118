"""What victims measured when they were trained, as one table.

    python benchmarks/attacks.py BENCH/victims [MORE ...]

Each argument is a folder of folders that `rnpc attack` or `rnpc bench` wrote. A row is a victim's measured.json: CA and ASR of folded.onnx
in onnxruntime on the whole test split, with 95 % intervals (Clopper-Pearson).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HEAD = (
    "| data | network | attack (seed) | share, epochs | settings that differ | CA (95 %) | ASR (95 %) |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)


def main(folders: list[str]) -> None:
    """Print the table."""
    if not folders:
        sys.exit(__doc__)
    found = [json.loads(path.read_text()) for folder in folders for path in Path(folder).glob("*/measured.json")]
    print("\n".join([*HEAD, *(row(each) for each in sorted(found, key=place))]))


def place(measured: dict[str, Any]) -> tuple[Any, ...]:
    """Where a victim stands in the table."""
    spec = measured["spec"]
    return spec["dataset"], spec["arch"], spec["attack"] != "none", spec["attack"], spec["width"], spec["seed"]


def row(measured: dict[str, Any]) -> str:
    """One victim."""
    spec, folded = measured["spec"], measured["folded"]
    target = spec["target"] if spec["target"] is not None else measured["attack"].get("target")
    goal = "" if spec["attack"] == "none" else f" to {target}"
    settings = ", ".join(f"{key} {value:g}" for key, value in sorted(spec["settings"].items())) or "-"
    network = f"{spec['arch']} w{spec['width']}"
    attack = f"{spec['attack']}{goal} ({spec['seed']})"
    share = f"{spec['fraction']:g}, {spec['epochs']}"
    columns = (spec["dataset"], network, attack, share, settings, rate(folded["ca"]), rate(folded["asr"]))
    return f"| {' | '.join(columns)} |"


def rate(found: dict[str, Any] | None) -> str:
    """A rate in percent with its interval."""
    if found is None:
        return "-"
    low, high = found["interval"]
    return f"{100 * found['value']:.2f} ({100 * low:.2f} to {100 * high:.2f})"


if __name__ == "__main__":
    main(sys.argv[1:])
