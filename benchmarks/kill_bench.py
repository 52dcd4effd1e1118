"""Kill `rnpc bench harden` at random moments, and show that nothing is lost, nothing done twice, and the tables are the same.

    python benchmarks/kill_bench.py --out DIR [--spec benchmarks/kill.toml] [--data-root DIR] [--kills 5] [--seed 0] [--jobs 2]

The SPEC runs once in peace (DIR/whole), then in DIR/killed, where it gets SIGKILL at a random moment of each of its first runs, victims in
training included. After each kill the finished victims and results must be those from before, not written again; in the end both folders
must hold the same models, results and tables, but for seconds and MB. Prints one JSON document, and exits 1 where a check fails.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

Seen = dict[str, tuple[int, bytes]]


def main() -> int:
    """Run, kill, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--spec", default=str(Path(__file__).with_name("kill.toml")))
    parser.add_argument("--data-root")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    if given.out.exists():
        parser.error(f"{given.out} exists: choose a new folder")
    name = tomllib.loads(Path(given.spec).read_text())["name"]
    whole, killed = given.out / "whole", given.out / "killed"
    seconds = finish(given, whole)
    kills, lost = [], 0
    rng, seen = random.Random(given.seed), dict[str, tuple[int, bytes]]()
    for _ in range(given.kills):
        moment = rng.uniform(0, seconds * 0.4)
        hit = kill(given, killed, moment)
        now = finished(killed)
        lost += sum(now.get(path) != entry for path, entry in seen.items())
        kills.append({"after_seconds": round(moment, 1), "was_running": hit, "finished_files": len(now)})
        seen = now
    finish(given, killed)
    lost += sum(finished(killed).get(path) != entry for path, entry in seen.items())
    checks = {
        "lost_or_done_twice": lost,
        "same_victims": victims(whole) == victims(killed),
        "same_results": results(whole / name) == results(killed / name),
        "same_table": table(whole / name) == table(killed / name),
        "locks_left": len(list(killed.glob("locks/*.lock"))),
    }
    print(json.dumps({"seconds_in_peace": round(seconds, 1), "kills": kills, **checks}, indent=1))
    return 0 if checks == {"lost_or_done_twice": 0, "same_victims": True, "same_results": True, "same_table": True, "locks_left": 0} else 1


def start(given: argparse.Namespace, out: Path) -> subprocess.Popen[bytes]:
    """The command, in a process of its own."""
    code = "import sys; from rnpc.cli import main; main(sys.argv[1:])"
    arguments = ["bench", "harden", given.spec, "--out", str(out), "--jobs", str(given.jobs)]
    root = ["--data-root", given.data_root] if given.data_root else []
    return subprocess.Popen([sys.executable, "-P", "-c", code, *arguments, *root], stdout=subprocess.DEVNULL)


def finish(given: argparse.Namespace, out: Path) -> float:
    """A run to its end, and its seconds."""
    started = time.monotonic()
    code = start(given, out).wait()
    if code != 0:
        sys.exit(f"the bench ended with code {code}")
    return time.monotonic() - started


def kill(given: argparse.Namespace, out: Path, seconds: float) -> bool:
    """A run that gets SIGKILL after so many seconds; False where it had ended by itself."""
    run = start(given, out)
    try:
        run.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        return True
    return False


def finished(out: Path) -> Seen:
    """Everything that is finished: results, measurements, and victims, each with the time of its writing."""
    files = [*out.glob("cells/*.json"), *out.glob("answers/*.json")]
    files += [file for mark in out.glob("victims/*/measured.json") for file in mark.parent.iterdir() if file.is_file()]
    return {str(file.relative_to(out)): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def victims(out: Path) -> dict[str, bytes]:
    """The victims' models and triggers."""
    return {str(file.relative_to(out)): file.read_bytes() for file in out.glob("victims/*/*.onnx")}


def results(folder: Path) -> list[dict[str, Any]]:
    """results.jsonl without seconds and MB."""
    lines = [json.loads(text) for text in (folder / "results.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "cost"} for line in lines]


def table(folder: Path) -> list[str]:
    """table.md without its last two columns, seconds and MB."""
    return [line.rsplit("|", 3)[0] for line in (folder / "table.md").read_text().splitlines()]


if __name__ == "__main__":
    sys.exit(main())
