"""The engine of this machine: a fresh Python process a task, at most `jobs` at a time.

The pipe to a task's standard input is its life line (see worker.py): it closes when this process goes, even by SIGKILL.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import IO

from rnpc.bench.engines.base import Event, Task

GRACE = 60.0
"""Seconds that a process may take to end after it has said that its task did."""
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Running:
    """A task's process, the file that takes what it prints, and the thread that listens to it."""

    process: subprocess.Popen[str]
    printed: IO[bytes]
    listener: threading.Thread


class LocalEngine:
    """See base.py. `threads` is what each process may use."""

    def __init__(self, jobs: int, threads: int) -> None:
        self.jobs = jobs
        self.surroundings = {**os.environ, **{name: str(threads) for name in VARIABLES}}
        self.events: queue.Queue[Event] = queue.Queue()
        self.tasks: dict[str, Running] = {}

    def start(self, task: Task) -> None:
        printed = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `forget`, when the process has ended
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rnpc.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
            text=True,
            errors="replace",
            env=self.surroundings,
        )
        listener = threading.Thread(target=self.listen, args=(task, process, printed), daemon=True)
        self.tasks[task["key"]] = Running(process, printed, listener)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # a process that died at once is noticed by its listener
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
        listener.start()

    def listen(self, task: Task, process: subprocess.Popen[str], printed: IO[bytes]) -> None:
        """Pass the events of one process on, whatever else it writes; its end comes last, when it is really gone, and comes in any case."""
        end, limit = None, threading.Timer(GRACE, process.kill)
        limit.daemon = True
        assert process.stdout is not None
        try:
            for line in process.stdout:
                event = Event.parse(task, line)
                if event is None or end is not None:
                    continue
                if event.kind == "progress":
                    self.events.put(event)
                else:
                    end = event
                    limit.start()
        finally:
            code = process.wait()
            limit.cancel()
            self.events.put(end or Event(task, "died", cause(code, printed)))

    def next(self, timeout: float) -> Event | None:
        try:
            event = self.events.get(timeout=timeout)
        except queue.Empty:
            return None
        if event.kind != "progress":
            self.forget(self.tasks.pop(event.task["key"]))
        return event

    def free(self) -> bool:
        return len(self.tasks) < self.jobs

    def running(self) -> int:
        return len(self.tasks)

    def forget(self, task: Running) -> None:
        """Close what belongs to a task that has ended."""
        task.listener.join()
        for file in (task.process.stdin, task.process.stdout, task.printed):
            assert file is not None
            with contextlib.suppress(BrokenPipeError):
                file.close()

    def close(self) -> None:
        for task in self.tasks.values():
            task.process.kill()
        for task in self.tasks.values():
            self.forget(task)
        self.tasks.clear()


def cause(code: int, printed: IO[bytes]) -> str:
    """Why a process ended without a word."""
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
    printed.seek(0)
    lines = printed.read().decode(errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "nothing was printed")
    return f"its process ended with code {code}: {last.strip()[:200]}"
