"""ImageSet: the images of a folder or archive at the model's size, with labels where there are any.

`load` decodes as small as it can: every image comes out at the size that `Preprocessing` asks for, so that 500 photographs need no
more memory than 500 network inputs. What cannot be decoded is counted, listed, and refused above a share of 10 %.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from rnpc import files
from rnpc.data import archive, imagefile, listing
from rnpc.errors import InputRefused
from rnpc.program import Preprocessing

UNREADABLE_SHARE = 0.10
DECODERS = 2  # threads; the order of results does not depend on it


@dataclass(frozen=True)
class ImageSet:
    """Images uint8 [n, H, W, C] with their `names` (relative paths). `labels` int64 [n] index into `classes`; both None without labels.

    As loaded, `classes` are the sorted names that occur; `data.classes.align` turns both into the order of the model's outputs.
    """

    images: np.ndarray
    labels: np.ndarray | None
    names: tuple[str, ...]
    classes: tuple[str, ...] | None
    unreadable: tuple[str, ...] = ()
    kind: str = ""

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names, labels and pixels."""
        sha = hashlib.sha256()
        sha.update(repr((self.images.shape, self.names)).encode())
        if self.labels is not None:
            sha.update(self.labels.astype("<i8").tobytes())
        sha.update(np.ascontiguousarray(self.images).data)
        return sha.hexdigest()

    def take(self, rows: Sequence[int] | np.ndarray) -> ImageSet:
        """The images at `rows`, in that order."""
        index = np.asarray(rows, dtype=np.int64)
        labels = None if self.labels is None else self.labels[index]
        return replace(self, images=self.images[index], labels=labels, names=tuple(self.names[i] for i in index))


def load(
    path: str | Path,
    size: Preprocessing | tuple[int, int],
    channels: int = 3,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> ImageSet:
    """All images under `path` (a folder or an npz file) at `size`, a Preprocessing or (height, width).

    `progress(done, total)` is called from this thread. Raises InputRefused: no such path, no images, too many unreadable ones.
    """
    root = Path(path)
    pre = size if isinstance(size, Preprocessing) else Preprocessing(height=size[0], width=size[1])
    if channels not in imagefile.MODES:
        raise InputRefused(f"the model wants {channels} channels", where=str(root), todo="rnpc reads images of 1, 3 or 4")
    kind = files.kind(root)
    if kind == "file" and root.suffix.lower() == ".npz":
        images, labels = archive.read(root, pre, channels)
        names = tuple(f"{i:06d}" for i in range(len(images)))
        return build(images, labels, names, (), f"archive {root.name}")
    if kind != "folder":
        what = "neither a folder nor an .npz file" if kind else "no such file or folder"
        raise InputRefused(what, where=str(root), todo="give a folder of images")
    return from_listing(root, listing.find(root), pre, channels, progress)


def common_size(path: str | Path) -> tuple[int, int] | None:
    """(height, width) that all images under `path` share, by their headers; None where they differ or there are none."""
    root = Path(path)
    kind = files.kind(root)
    if kind == "file":
        return archive.size(root)
    sizes = {imagefile.size(file) for file in listing.find(root).files} - {None} if kind == "folder" else set()
    return sizes.pop() if len(sizes) == 1 else None


def from_listing(
    root: Path, listed: listing.Listing, pre: Preprocessing, channels: int, progress: Callable[[int, int], None] | None
) -> ImageSet:
    """Decode the listed files."""
    total = len(listed.files)
    images = np.empty((total, pre.height, pre.width, channels), dtype=np.uint8)
    good: list[int] = []
    with ThreadPoolExecutor(DECODERS) as pool:
        for i, image in enumerate(pool.map(lambda f: imagefile.read(f, pre, channels), listed.files)):
            if image is not None:
                images[i] = image
                good.append(i)
            if progress is not None:
                progress(i + 1, total)
    bad = sorted(set(range(total)) - set(good))
    unreadable = tuple(listed.names[i] for i in bad)
    if len(bad) > UNREADABLE_SHARE * total:
        what = f"{len(bad)} of {total} images cannot be decoded ({', '.join(unreadable[:3])}{', ...' if len(bad) > 3 else ''})"
        raise InputRefused(what, where=str(root), todo=f"at most {UNREADABLE_SHARE:.0%} may be unreadable: repair or remove them")
    kept = images if not bad else images[good]
    labels = None if listed.labels is None else [listed.labels[i] for i in good]
    return build(kept, labels, tuple(listed.names[i] for i in good), unreadable, listed.kind)


def build(images: np.ndarray, labels: Sequence[str] | None, names: tuple[str, ...], unreadable: tuple[str, ...], kind: str) -> ImageSet:
    """An ImageSet whose classes are the sorted label names."""
    if labels is None:
        return ImageSet(images, None, names, None, unreadable, kind)
    classes = tuple(sorted(set(labels)))
    place = {name: i for i, name in enumerate(classes)}
    return ImageSet(images, np.array([place[name] for name in labels], dtype=np.int64), names, classes, unreadable, kind)
