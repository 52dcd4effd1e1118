"""Runs a SPEC with a fake defense in a process that can be killed: python drive.py SPEC OUT FAKE JOBS. Prints a line a change."""

from __future__ import annotations

import sys
from pathlib import Path

from rnpc.bench import outputs, spec
from rnpc.bench.cell import Settings
from rnpc.bench.engines.local import LocalEngine
from rnpc.bench.run import Bench, Change


def main(name: str, out: str, fake: str, jobs: str) -> None:
    """Run and write the tables."""
    here = str(Path(__file__).parent)
    sys.path.append(here)
    bench = Bench(spec.load(name), None, Path(out), Settings(device="cpu", harden=f"fakes:{fake}"), [here])
    engine = LocalEngine(int(jobs), 1)
    try:
        bench.run(engine, tell=show)
    finally:
        engine.close()
    outputs.write(bench.store.tables(bench.spec.name), bench.spec.name, bench.results())


def show(change: Change) -> None:
    """Print what happened to a task, but not how far it is."""
    if change.kind != "progress":
        print(change.kind, change.name, change.text, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
