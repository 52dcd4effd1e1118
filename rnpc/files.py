"""Writing outputs so that nothing is lost: beside the final place first, then moved into it.

A reader sees the old file or the new one, never half of one; a failed or interrupted run leaves what was there. A link is followed, so that
its target is replaced and the link stays. Devices, folders and the inputs of the run are refused as outputs before any work is done.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from rnpc.errors import InputRefused, RnpcError, SurroundingsError, UsageError

Kind = Literal["file", "folder", "other"]


def check_output(path: str | Path, inputs: Iterable[str | Path] = ()) -> Path:
    """The path that a write to `path` will replace, links resolved.

    Raises UsageError where it is one of `inputs` (the same file by whatever name or link), SurroundingsError where it cannot be written.
    """
    real = Path(os.path.realpath(path))
    if any(same(real, Path(other)) for other in inputs):
        raise UsageError("the output is an input of this run", where=str(path), todo="choose another output")
    if kind(real, unwritable, str(path)) not in (None, "file"):
        raise SurroundingsError("the output exists and is no regular file", where=str(path), todo="choose another output")
    check_folder(real.parent, str(path))
    return real


def check_outputs(paths: Sequence[str | Path], inputs: Iterable[str | Path] = ()) -> None:
    """`check_output` for each path. Raises UsageError where two of them are one file, too."""
    known = list(inputs)
    for i, path in enumerate(paths):
        real = check_output(path, known)
        if any(same(real, Path(other)) for other in paths[:i]):
            raise UsageError("two outputs in one place", where=str(path), todo="choose another output")


def check_folder(folder: Path, where: str) -> None:
    """Raises SurroundingsError unless a file can be made in `folder`: it tries, since permission bits do not tell it all."""
    if kind(folder, unwritable, where) != "folder":
        raise SurroundingsError(f"there is no folder {folder}", where=where, todo="make it first, or choose another output")
    try:
        trial = fresh(folder / "trial")
        trial.unlink()
    except OSError as error:
        raise unwritable(where, error) from error


def make_folder(path: str | Path) -> Path:
    """Makes a folder and its parents. Raises SurroundingsError where that fails or nothing could be written into it."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(str(path), error) from error
    check_folder(folder, str(path))
    return folder


def write(path: str | Path, data: bytes, inputs: Iterable[str | Path] = ()) -> None:
    """Write one file beside its place and move it there."""
    write_all({Path(path): data}, inputs)


def write_all(outputs: Mapping[Path, bytes], inputs: Iterable[str | Path] = ()) -> None:
    """Write all files beside their places, and only then move any: a full disk leaves every old file whole."""
    known = list(inputs)
    places = {path: check_output(path, known) for path in outputs}
    staged: dict[Path, Path] = {}
    try:
        for path, data in outputs.items():
            staged[path] = place = fresh(places[path])
            fill(place, data, like=places[path])
        for path in outputs:
            os.replace(staged[path], places[path])
            del staged[path]
    except OSError as error:
        raise unwritable(str(error.filename or next(iter(outputs))), error) from error
    finally:
        for left in staged.values():
            left.unlink(missing_ok=True)


def fresh(place: Path) -> Path:
    """A new empty file beside `place`, made with the user's umask; its name is hidden and short enough for any file system."""
    path = place.parent / f".{place.name[:60]}.{secrets.token_hex(6)}.part"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    return path


def fill(path: Path, data: bytes, like: Path) -> None:
    """Write and sync `data`; take the permissions of the file that it will replace."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if like.exists():
        path.chmod(like.stat().st_mode & 0o777)


def same(path: Path, other: Path) -> bool:
    """Whether two paths are one file: by name after following links, or by inode."""
    if path == Path(os.path.realpath(other)):
        return True
    try:
        return path.samefile(other)
    except OSError:
        return False


def unreadable(where: str, error: OSError) -> InputRefused:
    """The error for an input that the system does not let us look at."""
    return InputRefused(f"cannot be read ({error.strerror or error})", where=where, todo="check the path and its permissions")


def unwritable(where: str, error: OSError) -> SurroundingsError:
    """The error for an output that cannot be written."""
    todo = "check permissions and space, or choose another output"
    return SurroundingsError(f"cannot be written ({error.strerror or error})", where=where, todo=todo)


def kind(path: str | Path, refuse: Callable[[str, OSError], RnpcError] = unreadable, where: str | None = None) -> Kind | None:
    """What is at `path`, links followed; None where nothing is. Raises what `refuse` makes where the system does not tell.

    `Path.exists` and its like raise OSError for a folder that is closed to the user and for a name that is too long.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null byte, which a table's row may hold
        return None
    except OSError as error:
        raise refuse(where or str(path), error) from error
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"
