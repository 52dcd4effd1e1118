"""Locks: one holder, and the dead hold nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rnpc.bench import locks


def test_one_holder(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "a.lock"
    with locks.held(path) as first:
        assert first and locks.is_held(path)
        with locks.held(path) as second:
            assert not second
        assert locks.is_held(path)
    assert not path.exists()


def test_dead_holder(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    code = f"import os, pathlib; from rnpc.bench import locks; locks.acquire(pathlib.Path({str(path)!r})); os._exit(1)"
    subprocess.run([sys.executable, "-P", "-c", code], check=False)
    assert path.is_file() and not locks.is_held(path)
    with locks.held(path) as mine:
        assert mine


def test_zombie(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()  # ends when the process does, which then waits to be waited for
    child.stdout.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert locks.identity(child.pid) is None
    child.wait()
    assert locks.identity(child.pid) is None


def test_pid_given_out_again(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text(f"{os.getpid()} 1 another-boot")
    assert not locks.is_held(path)


def test_half_written(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    for text in ("", "x", "12"):
        path.write_text(text)
        with locks.held(path) as mine:
            assert mine


def test_many_takers(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text("")
    code = (
        f"import pathlib, sys; from rnpc.bench import locks; sys.stdin.readline(); "
        f"print(locks.acquire(pathlib.Path({str(path)!r})), flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    takers = [subprocess.Popen([sys.executable, "-P", "-c", code], **pipes) for _ in range(4)]  # type: ignore[call-overload]
    for taker in takers:
        taker.stdin.write("\n")
        taker.stdin.flush()
    assert sorted(taker.stdout.readline().strip() for taker in takers) == ["False"] * 3 + ["True"]
    for taker in takers:
        taker.communicate()
