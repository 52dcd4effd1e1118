"""Lock files that several hosts may share, and that survive nobody: a lock whose process is dead does not count.

A lock is a file that names its owner: the host (name, boot and process namespace), the process (pid and the time of its start, so that a
pid that was given out again is not mistaken for the owner) and a token. On the owner's own host others look whether the process lives. From
another host that cannot be seen: there the owner's heartbeat counts, which is the file's time, set every `BEAT` seconds by a thread of the
owner; a lock that has not been touched for `LEASE` seconds is dead. Times are those of the file system, asked by touching a file in the
same folder, so that clocks of hosts are never compared.

A lock appears whole, by a hard link to a file that was written beside. Taking over a dead one is two steps (move away, make); a gate around
them, held for a moment by flock, keeps takers apart, and where a file system has no flock between hosts the taker looks at what it moved,
and gives it back if that was a living lock. An owner that finds its lock gone (its host slept longer than the lease) is told.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

GATE = ".gate"
BEAT, LEASE = 10.0, 120.0
"""Seconds between heartbeats, and those after which a lock of another host is dead. Attributes of files may be cached for a minute."""


@dataclass(frozen=True)
class Owner:
    """Who holds a lock."""

    host: str
    pid: int
    started: str
    token: str


@contextmanager
def held(path: Path, lost: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Holds the lock in the `with` block; yields False, and holds nothing, where a living process has it.

    `lost` is called, from another thread, where someone took the lock for dead meanwhile.
    """
    mine = acquire(path)
    if mine is None:
        yield False
        return
    stop = threading.Event()
    heart = threading.Thread(target=beat, args=(path, mine, stop, lost), daemon=True)
    heart.start()
    try:
        yield True
    finally:
        stop.set()
        heart.join()
        if read(path) == mine:
            path.unlink(missing_ok=True)


def acquire(path: Path) -> Owner | None:
    """Take the lock, over a dead owner if need be; None where a living one has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = Owner(here(), os.getpid(), started(os.getpid()) or "", secrets.token_hex(8))
    with gate(path.parent):
        seen = read(path)
        if is_held(path):
            return None
        clear(path, seen)
        return mine if make(path, mine) else None


def make(path: Path, owner: Owner) -> bool:
    """Make the lock, whole, unless there is one."""
    beside = path.with_name(f".{path.name}.{owner.token}")
    beside.write_text(json.dumps(asdict(owner)))
    try:
        os.link(beside, path)
    except FileExistsError:
        return False
    finally:
        beside.unlink()
    return True


def clear(path: Path, dead: Owner | None) -> None:
    """Move a dead owner's lock away. A lock that another taker has made meanwhile is given back."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if read(aside) != dead:
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)


@contextmanager
def gate(folder: Path) -> Iterator[None]:
    """One process at a time, where the file system knows flock."""
    with (folder / GATE).open("a") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def beat(path: Path, owner: Owner, stop: threading.Event, lost: Callable[[], None]) -> None:
    """Touch the lock until `stop`; ends with `lost` where it is not the owner's any more."""
    while not stop.wait(BEAT):
        if read(path) != owner:
            lost()
            return
        with contextlib.suppress(OSError):
            os.utime(path)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    owner = read(path)
    if owner is None:
        return False
    if owner.host == here():
        return started(owner.pid) == owner.started
    try:
        return now(path.parent) - path.stat().st_mtime < LEASE
    except FileNotFoundError:
        return False


def read(path: Path) -> Owner | None:
    """The lock's owner; None where there is no lock, or something else under its name."""
    try:
        said = json.loads(path.read_text())
        return Owner(str(said["host"]), int(said["pid"]), str(said["started"]), str(said["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def now(folder: Path) -> float:
    """What time it is for the file system that holds `folder`."""
    place = folder / GATE
    place.touch()
    return place.stat().st_mtime


@cache
def here() -> str:
    """What tells this host from others: containers of one machine share a boot, but not their processes."""
    return f"{socket.gethostname()} {first(Path('/proc/sys/kernel/random/boot_id'))} {link(Path('/proc/self/ns/pid'))}"


def first(file: Path) -> str:
    """A file's text, or - where the system has none."""
    try:
        return file.read_text().strip()
    except OSError:
        return "-"


def link(file: Path) -> str:
    """What a link names, or - where the system has none."""
    try:
        return os.readlink(file)
    except OSError:
        return "-"


def started(pid: int) -> str | None:
    """When a process of this host started, in ticks since its boot ("-" where the system does not tell); None where none of that pid runs
    (a zombie does not)."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass
    try:
        # Behind the command's name in brackets, which may hold anything: state is the first field, start time the twentieth.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "-"
    return None if len(fields) < 20 or fields[0] in "ZX" else fields[19]
