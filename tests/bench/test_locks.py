"""Locks: one owner, the dead own nothing, and other hosts are believed while they breathe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from rnpc.bench import locks


def elsewhere(path: Path, age: float = 0.0) -> locks.Owner:
    """A lock of another host's process, whose pid is given out here too, last touched `age` seconds ago."""
    owner = locks.Owner("another host", os.getpid(), locks.started(os.getpid()) or "", "t")
    path.write_text(json.dumps(asdict(owner)))
    os.utime(path, (time.time() - age, time.time() - age))
    return owner


def test_one_owner(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "a.lock"
    with locks.held(path) as one:
        assert one and locks.is_held(path)
        with locks.held(path) as two:
            assert not two
        assert locks.is_held(path)
    assert [p.name for p in path.parent.iterdir()] == [locks.GATE]


def test_dead_owner(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    code = f"import os, pathlib; from rnpc.bench import locks; locks.acquire(pathlib.Path({str(path)!r})); os._exit(1)"
    subprocess.run([sys.executable, "-P", "-c", code], check=False)
    assert path.is_file() and not locks.is_held(path)
    with locks.held(path) as mine:
        assert mine


def test_a_lock_of_another_host_lives_while_it_is_touched(tmp_path: Path) -> None:
    """Its pid says nothing here: with it alone a lock of another host looks dead, and a task would be done twice."""
    path = tmp_path / "a.lock"
    elsewhere(path)
    assert locks.is_held(path) and locks.acquire(path) is None
    elsewhere(path, age=locks.LEASE / 2)
    assert locks.is_held(path)
    elsewhere(path, age=locks.LEASE + 5)
    assert not locks.is_held(path)
    with locks.held(path) as mine:
        assert mine


def test_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BEAT", 0.02)
    path = tmp_path / "a.lock"
    with locks.held(path):
        os.utime(path, (1, 1))
        for _ in range(200):
            time.sleep(0.01)
            if path.stat().st_mtime > 1:
                break
        assert path.stat().st_mtime > 1


def test_an_owner_is_told_when_its_lock_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BEAT", 0.02)
    path, told = tmp_path / "a.lock", threading.Event()
    with locks.held(path, told.set):
        theirs = elsewhere(path)
        assert told.wait(5)
    assert locks.read(path) == theirs  # what is not ours is not removed


def test_a_taker_gives_back_what_is_not_dead(tmp_path: Path) -> None:
    """Without flock between hosts, a lock may have been made between looking and moving."""
    path = tmp_path / "a.lock"
    dead = elsewhere(path, age=locks.LEASE + 5)
    living = replace(dead, token="u")
    path.write_text(json.dumps(asdict(living)))
    locks.clear(path, dead)
    assert locks.read(path) == living and not locks.make(path, dead)
    locks.clear(path, living)
    assert not path.exists() and locks.make(path, dead)


def test_zombie() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()  # ends when the process does, which then waits to be waited for
    child.stdout.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert locks.started(child.pid) is None
    child.wait()
    assert locks.started(child.pid) is None


def test_pid_given_out_again(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text(json.dumps(asdict(locks.Owner(locks.here(), os.getpid(), "1", "t"))))
    assert not locks.is_held(path)


def test_something_else_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    for text in ("", "x", "12", "{}", '{"host": "h", "pid": "x", "started": "1", "token": "t"}'):
        path.write_text(text)
        with locks.held(path) as mine:
            assert mine


def test_many_takers(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text("")
    code = (
        f"import pathlib, sys; from rnpc.bench import locks; sys.stdin.readline(); "
        f"print(locks.acquire(pathlib.Path({str(path)!r})) is not None, flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    takers = [subprocess.Popen([sys.executable, "-P", "-c", code], **pipes) for _ in range(4)]  # type: ignore[call-overload]
    for taker in takers:
        taker.stdin.write("\n")
        taker.stdin.flush()
    assert sorted(taker.stdout.readline().strip() for taker in takers) == ["False"] * 3 + ["True"]
    for taker in takers:
        taker.communicate()
