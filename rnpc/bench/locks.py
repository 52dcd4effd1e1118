"""Lock files that survive nothing: a lock whose process is dead does not count.

A lock is a file made with O_EXCL that names its process: pid, the time that it started, and the machine's boot, so that a pid that was
given out again is not mistaken for the holder. Taking over a dead process's lock is two steps (remove, make); a gate around them, held for
a moment by flock and released by the kernel whatever happens, keeps two takers apart.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GATE = ".gate"


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Holds the lock in the `with` block; yields False, and holds nothing, where a living process has it."""
    mine = acquire(path)
    try:
        yield mine
    finally:
        if mine:
            path.unlink(missing_ok=True)


def acquire(path: Path) -> bool:
    """Take the lock, over a dead holder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gate(path.parent):
        if is_held(path):
            return False
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "w") as file:
            file.write(identity(os.getpid()) or "")
        return True


@contextmanager
def gate(folder: Path) -> Iterator[None]:
    """One process at a time."""
    with (folder / GATE).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        text = path.read_text()
    except OSError:
        return False
    pid = text.split(" ")[0]
    return pid.isdecimal() and identity(int(pid)) == text


def identity(pid: int) -> str | None:
    """What tells a process apart from all others, or None where none of that pid runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    try:
        # Behind the command's name in brackets, which may hold anything: state is the first field, start time the twentieth.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, IndexError):
        return f"{pid} - -"
    return None if fields[0] in "ZX" else f"{pid} {fields[19]} {boot}"
