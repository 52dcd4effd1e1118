"""Processes of this machine: whatever they write, and however they end, each ends exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from typing import Any

import pytest

from rnpc.bench.engines import local
from rnpc.bench.engines.local import LocalEngine, cause


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a piece of Python in the place of a worker: `engine(code)` is a LocalEngine with one task."""
    made: list[LocalEngine] = []

    def make(code: str) -> LocalEngine:
        def popen(command: list[str], **given: Any) -> subprocess.Popen[str]:
            return subprocess.Popen([sys.executable, "-c", code], **given)

        monkeypatch.setattr(local, "subprocess", Fake(popen))
        made.append(LocalEngine(1, 1))
        made[-1].start({"key": "k"})
        return made[-1]

    yield make
    for each in made:
        each.close()


class Fake:
    """The module subprocess with another Popen."""

    PIPE = subprocess.PIPE

    def __init__(self, popen: Any) -> None:
        self.Popen = popen


def test_broken_lines_do_not_make_a_run_wait(engine: Any) -> None:
    """A line that was cut off, or printed by a library, once ended the listener, and with it every hope of the task's end."""
    lines = r"'{\"event\": \"prog', 'warning', '\udcff', '{\"event\": \"progress\", \"text\": \"a\"}', '3', '{\"event\": \"done\"}', 'bye'"
    code = f"import sys; sys.stdout.reconfigure(errors='surrogateescape')\nfor line in ({lines}): print(line)"
    running = engine(code)
    assert [event.kind for event in (running.next(60), running.next(60))] == ["progress", "done"]
    assert running.running() == 0 and running.free()


def test_an_end_without_a_word(engine: Any) -> None:
    event = engine("print('{'); import os; os._exit(3)").next(60)
    assert event.kind == "died" and "code 3" in event.text


def test_a_process_that_does_not_go_is_ended(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "GRACE", 0.2)
    running = engine('print(\'{"event": "done"}\', flush=True); import time; time.sleep(600)')
    assert running.next(60).kind == "done"


def test_close(engine: Any) -> None:
    running = engine("import time; time.sleep(600)")
    assert not running.free() and running.next(0.01) is None
    running.close()
    assert running.running() == 0


def test_threads_of_a_process(engine: Any) -> None:
    running = engine('import os; print(\'{"event": "failed", "text": "\' + os.environ[\'OMP_NUM_THREADS\'] + \'"}\')')
    assert running.next(60).text == "1" and "OMP_NUM_THREADS" in running.surroundings and os.environ is not running.surroundings


def test_cause() -> None:
    with tempfile.TemporaryFile() as printed:
        printed.write(b"Traceback\nValueError: x\n\n")
        assert cause(1, printed) == "its process ended with code 1: ValueError: x"
        assert "SIGKILL" in cause(-signal.SIGKILL, printed) and "memory" in cause(-signal.SIGKILL, printed)
