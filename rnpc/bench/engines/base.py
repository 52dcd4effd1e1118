"""The engine that runs tasks, as one signature: local processes now, a cluster as one more file.

A task is plain JSON (see worker.py): whatever runs it calls the worker in a fresh process with access to the bench's folder, and passes its
events on. An engine never retries: results lie in the folder, and the next run finds what is missing. It keeps no book of who does what,
either: the worker takes the task's lock, whose owner is a process on a host and lives by its heartbeat (see locks.py), so that two engines
on two hosts do no task twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

Task = dict[str, Any]
Kind = Literal["progress", "busy", "kept", "stale", "done", "failed", "died"]


@dataclass(frozen=True)
class Event:
    """What a task says: `progress` with a text, or its end. `died` is an end without a word (killed, out of memory)."""

    task: Task
    kind: Kind
    text: str = ""

    @staticmethod
    def parse(task: Task, line: str) -> Event | None:
        """The event of a line that a worker wrote; None for a line that is broken or says something else. No worker says `died`."""
        try:
            said = json.loads(line)
            kind, text = said["event"], said.get("text", "")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        known: Kind | None = next((each for each in get_args(Kind) if each == kind), None)
        return None if known is None or known == "died" else Event(task, known, str(text))


class Engine(Protocol):
    """Runs tasks beside one another."""

    def start(self, task: Task) -> None:
        """Start a task."""

    def next(self, timeout: float) -> Event | None:
        """The next event, or None after `timeout` seconds without one. A task that has ended says so exactly once."""

    def free(self) -> bool:
        """Whether another task may be started."""

    def running(self) -> int:
        """How many tasks have not ended."""

    def close(self) -> None:
        """End everything that runs."""
