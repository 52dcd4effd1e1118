"""Imagenette, ten classes of ImageNet in its photographs: `train/WNID/*` and `val/WNID/*`, as a folder or as the tar that it comes in.

    imagenette160/train/n01440764/*.webp       any name that begins with imagenette, or the data root itself; a subset of the images will do
    imagenette2-320.tgz                        the same inside an archive; nothing is unpacked to disk

Photographs of any size: the shorter side is resized to 160 pixels (`imagenette`) or 224 (`imagenette224`) and the centre is cut out. They
stay uint8, 77 kB or 151 kB each. Mean and standard deviation are ImageNet's. Source: Howard, https://github.com/fastai/imagenette (2019).
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from rnpc.data import imagefile, stack
from rnpc.data.datasets import Arrays, Source, missing
from rnpc.errors import InputRefused
from rnpc.program import Preprocessing

HOME = "https://github.com/fastai/imagenette"
EXPECTED = "imagenette*/train/WNID and imagenette*/val/WNID, or imagenette*.tar or .tgz"
CLASSES = {
    "n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player", "n03000684": "chain saw",
    "n03028079": "church", "n03394916": "French horn", "n03417042": "garbage truck", "n03425413": "gas pump",
    "n03445777": "golf ball", "n03888257": "parachute",
}  # fmt: skip
SPLITS = ("train", "val")
ARCHIVES = ("imagenette*.tar", "imagenette*.tgz", "imagenette*.tar.gz")
LABELS = {wnid: label for label, wnid in enumerate(CLASSES)}


def folder(root: Path | None) -> Path | None:
    """The folder that holds both splits."""
    places = [root, *sorted(root.glob("imagenette*"))] if root else []
    return next((p for p in places if all((p / split / wnid).is_dir() for split in SPLITS for wnid in CLASSES)), None)


def archive(root: Path | None) -> Path | None:
    """The archive below the root."""
    tars = sorted(f for pattern in ARCHIVES for f in root.glob(pattern) if f.is_file()) if root else []
    return tars[0] if tars else None


def find(root: Path | None) -> list[Path]:
    """All files that `decode` reads."""
    tree, tar = folder(root), archive(root)
    if tree:
        return [f for split in SPLITS for wnid in CLASSES for f in stack.listed(tree / split / wnid)]
    if tar is None:
        raise missing("imagenette", root, EXPECTED, HOME)
    return [tar]


def decode(root: Path | None, size: int) -> Arrays:
    """The four arrays at size x size pixels."""
    tree, tar = folder(root), archive(root)
    pre = Preprocessing(size, size, shortest_edge=size)
    if tree is None and tar is None:
        raise missing("imagenette", root, EXPECTED, HOME)
    splits = [from_folder(tree / split, pre) if tree else from_archive(tar, split, pre) for split in SPLITS]  # type: ignore[arg-type]
    for split, (images, labels) in zip(SPLITS, splits, strict=True):
        lacking = [wnid for wnid, label in LABELS.items() if not np.any(labels == label)]
        if lacking:
            raise InputRefused(f"{split}/{lacking[0]} has no images", where=str(tree or tar), todo=f"get it from {HOME}")
        assert len(images) == len(labels)
    return (*splits[0], *splits[1])


def from_folder(split: Path, pre: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a split's class folders."""
    groups = [stack.listed(split / wnid) for wnid in CLASSES]
    labels = np.concatenate([np.full(len(files), label, np.int64) for label, files in enumerate(groups)])
    return stack.images([f for files in groups for f in files], pre), labels


def from_archive(tar: Path, split: str, pre: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a split, in the order of a folder's: by class, then by name."""
    rows: list[tuple[int, str, np.ndarray]] = []
    try:
        for name, label, data in members(tar, split):
            pixels = imagefile.read(io.BytesIO(data), pre, 3)
            if pixels is None:
                raise InputRefused(f"{name} is not a readable image", where=str(tar), todo=f"get it from {HOME}")
            rows.append((label, name, pixels))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputRefused(f"not a whole archive ({error})", where=str(tar), todo=f"get it from {HOME}") from error
    rows.sort(key=lambda each: each[:2])
    images = np.empty((len(rows), pre.height, pre.width, 3), np.uint8)
    for row in range(len(rows)):
        images[row] = rows[row][2]
        rows[row] = (*rows[row][:2], images[row])  # lets go of the single copy
    return images, np.array([label for label, _, _ in rows], np.int64)


def members(tar: Path, split: str) -> Iterator[tuple[str, int, bytes]]:
    """(file name, label, content) of a split's images."""
    with tarfile.open(tar) as opened:
        for member in opened:
            parts = PurePosixPath(member.name).parts
            if len(parts) < 3 or parts[-3] != split or parts[-2] not in LABELS or not stack.is_image(parts[-1]):
                continue
            file = opened.extractfile(member)
            if file is not None:
                yield parts[-1], LABELS[parts[-2]], file.read()


def source(size: int) -> Source:
    """The data set at a size."""
    names, mean, std = tuple(CLASSES.values()), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return Source(find, lambda root: decode(root, size), names, mean, std, flip=True)


SOURCE, LARGE = source(160), source(224)
