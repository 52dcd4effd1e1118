"""The process of one task: reads a job as one line of JSON, does it under the task's lock, and writes its result.

Standard input stays open as a life line: when the bench goes, however it goes, the line ends and so does this process. It ends, too, where
another host has taken its lock for dead. Standard output carries events, one JSON line each; what libraries print goes to standard error.

    {"event": "progress", "text": ...}    something to show
    {"event": "busy"}                     another process has the lock
    {"event": "kept"}                     the result was there already
    {"event": "stale"}                    the source code is not what the bench started with
    {"event": "done"} | {"event": "failed", "text": ...}
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnpc.bench import locks, store
from rnpc.bench.store import Store
from rnpc.errors import RnpcError

Say = Callable[..., None]
Work = Callable[[dict[str, Any], Say], None]


def main() -> None:
    """Entry point of `python -m rnpc.bench.worker`."""
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    task: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=life_line, daemon=True).start()
    for folder in task.get("path", ()):
        sys.path.append(folder)

    def say(event: str, **fields: Any) -> None:
        events.write(json.dumps({"event": event, **fields}) + "\n")

    with locks.held(Store(Path(task["out"])).lock(name_of(task)), lambda: leave(say)) as mine:
        if not mine:
            return say("busy")
        from rnpc.speed import keep_memory

        keep_memory()
        WORK[task["kind"]](task, say)


def life_line() -> None:
    """End this process as soon as standard input ends."""
    os.read(0, 1)
    os._exit(137)


def leave(say: Say) -> None:
    """End this process, since another one has its task."""
    say("busy")
    os._exit(1)


def name_of(task: dict[str, Any]) -> str:
    """The task's name among the locks."""
    return f"{task['kind']}-{task['key']}"


def do_cell(task: dict[str, Any], say: Say) -> None:
    """Harden and measure, unless the result is there; a failure is a result too, and is tried again by the next run."""
    place = Store(Path(task["out"])).cell(task["key"])
    if is_there(place, task["failed_at"]):
        return say("kept")
    from rnpc.bench import cell, source

    if source.cell_digest(task["identity"]["harden"].partition(":")[0]) != task["identity"]["code"]:
        return say("stale")
    try:
        store.write(place, cell.run(task, Teller(say)))
    except Exception as error:  # whatever a defense raises is this cell's result; the rest of the table goes on
        store.write(place, failure(task, describe(error), traceback.format_exc()))
        return say("failed", text=describe(error))
    say("done")


def is_there(place: Path, failed_at: int | None) -> bool:
    """Whether a cell's result is there: done, or a failure that is newer than the one of `failed_at`."""
    result = store.read(place)
    return result is not None and (result["status"] == "done" or place.stat().st_mtime_ns != failed_at)


def do_victim(task: dict[str, Any], say: Say) -> None:
    """Train a victim where it is missing; a killed training goes on from its last epoch."""
    from rnpc.victims.spec import VictimSpec
    from rnpc.victims.train import train_victim

    spec = VictimSpec.from_document(task["victim"])
    teller = Teller(say)
    try:
        root = None if task["data_root"] is None else Path(task["data_root"])
        settings = {"threads": task["threads"], "device": task["device"]}
        train_victim(spec, root, task["folder"], **settings, progress=lambda event: teller(stage(event)))
    except Exception as error:  # as above
        traceback.print_exc()
        return say("failed", text=describe(error))
    say("done")


class Teller:
    """Passes texts about progress on, at most one a second."""

    def __init__(self, say: Say) -> None:
        self.say, self.last = say, 0.0

    def __call__(self, text: str) -> None:
        if time.monotonic() - self.last >= 1:
            self.last = time.monotonic()
            self.say("progress", text=text)


def stage(event: Any) -> str:
    """Where a training is."""
    if event.stage != "train":
        return str(event.stage)
    return f"epoch {event.epoch}/{event.epochs}, loss {event.loss:.2f}, accuracy {event.accuracy:.1%}"


def failure(task: dict[str, Any], text: str, trace: str = "") -> dict[str, Any]:
    """The result of a cell that failed."""
    from rnpc.bench.cell import head

    return {**head(task), "status": "failed", "error": text, "traceback": trace}


def describe(error: Exception) -> str:
    """One line about an exception."""
    if isinstance(error, RnpcError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


WORK: dict[str, Work] = {"cell": do_cell, "victim": do_victim}

if __name__ == "__main__":
    main()
