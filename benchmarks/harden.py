"""Where the time and the memory of one `rnpc harden` go, stage by stage.

    python benchmarks/harden.py MODEL --defense-data DIR [--runs 3] [--seed 0] [--threads 2] [--effort quick] [--beside rnp] [--out FILE]

Each run is a whole `rnpc harden` in a process of its own, as a user would start it. Printed are the seconds of each stage by median over
the runs, the whole command's seconds (start of Python included; all runs, and the smallest), and the largest resident memory. What else the
machine does is in these numbers: the load average before the runs is printed beside them. `--beside METHOD` runs that one in turn with
the other, and prints how many times its seconds the other took.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--defense-data", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--effort", default="standard")
    parser.add_argument("--beside")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    methods = ["auto", options.beside] if options.beside else ["auto"]
    turns = [[once(options, method) for method in methods] for _ in range(options.runs)]
    found = summary([turn[0] for turn in turns], load)
    if options.beside:
        found["ratio"] = round(statistics.median(own["seconds"] / other["seconds"] for own, other in turns), 2)
        found["beside"] = {"method": options.beside, **summary([turn[1] for turn in turns], load)}
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    print("\n".join(lines(found)))


def once(options: argparse.Namespace, method: str) -> dict[str, Any]:
    """One run: seconds, peak memory in MB (10^6 bytes), seconds by stage, exit code."""
    with tempfile.TemporaryDirectory() as folder:
        timings = Path(folder) / "timings.json"
        words = ["harden", options.model, "--defense-data", options.defense_data, "-o", Path(folder) / "out.onnx", "--timings", timings]
        words += ["--seed", options.seed, "--threads", options.threads, "--method", method, "--quiet"]
        words += ["--effort", options.effort] if method == "auto" else []
        start = time.perf_counter()
        command = [sys.executable, "-c", "import sys; from rnpc.cli import main; main(sys.argv[1:])", *map(str, words)]
        with subprocess.Popen(command) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        if not timings.is_file():
            sys.exit(f"rnpc harden ended with code {process.returncode} and wrote no timings")
        memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
        return {"seconds": seconds, "mb": memory, "exit": process.returncode, "stages": json.loads(timings.read_text())}


def summary(runs: list[dict[str, Any]], load: float) -> dict[str, Any]:
    """What is printed."""
    stages = {name: statistics.median(run["stages"].get(name, 0.0) for run in runs) for name in runs[0]["stages"]}
    seconds = [round(run["seconds"], 1) for run in runs]
    stages["the rest: start of Python, imports, writing"] = statistics.median(run["seconds"] - sum(run["stages"].values()) for run in runs)
    return {
        "seconds": seconds,
        "least": min(seconds),
        "mb": round(max(run["mb"] for run in runs)),
        "exit": [run["exit"] for run in runs],
        "load": round(load, 2),
        "stages": {name: round(value, 2) for name, value in stages.items()},
    }


def lines(found: dict[str, Any]) -> list[str]:
    """A Markdown table and two lines."""
    rows = [f"| {name} | {seconds:.2f} |" for name, seconds in found["stages"].items()]
    more = (
        ["", f"beside it `--method {found['beside']['method']}`:", "", *lines(found["beside"]), f"{found['ratio']} times its seconds"]
        if "beside" in found
        else []
    )
    return [
        "| stage | s |",
        "| --- | --- |",
        *rows,
        "",
        f"whole command: {', '.join(map(str, found['seconds']))} s, exit codes {found['exit']}, peak memory {found['mb']} MB",
        f"load average before: {found['load']}",
        *more,
    ]


if __name__ == "__main__":
    main()
