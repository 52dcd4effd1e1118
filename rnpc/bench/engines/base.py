"""The engine that runs tasks, as one signature: local processes now, a cluster as one more file.

A task is plain JSON (see worker.py): whatever runs it calls the worker in a fresh process with access to the bench's folder, and passes its
events on. An engine never retries: results lie in the folder, and the next run finds what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

Kind = Literal["progress", "busy", "kept", "stale", "done", "failed", "died"]


@dataclass(frozen=True)
class Event:
    """What a task says: `progress` with a text, or its end. `died` is an end without a word (killed, out of memory)."""

    task: dict[str, Any]
    kind: Kind
    text: str = ""


class Engine(Protocol):
    """Runs tasks beside one another."""

    def free(self) -> bool:
        """Whether another task may be started."""

    def running(self) -> int:
        """How many tasks have not ended."""

    def start(self, task: dict[str, Any]) -> None:
        """Start a task."""

    def next(self, timeout: float) -> Event | None:
        """The next event, or None after `timeout` seconds without one. A task that has ended says so exactly once."""

    def close(self) -> None:
        """End everything that runs."""
