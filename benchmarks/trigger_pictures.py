"""Pictures of triggers: a row of images, the same with the trigger, and the difference.

    python benchmarks/trigger_pictures.py [VICTIM ...] [--attack NAME ...] --data-root DIR -o docs/images

Each VICTIM is a folder that `rnpc attack` wrote, whose trigger.onnx is shown on images of its data set; an attack whose trigger is there
before any victim is can be named instead, and is shown on GTSRB. The picture is `trigger-NAME.png`. The three images are the first test
images of the classes 2, 14 and 33 (or of the attack's source class), the same for all. The difference is shown around grey, three times
as strong as it is.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from rnpc import attacks
from rnpc.data import datasets
from rnpc.data.datasets import Dataset
from rnpc.files import make_folder
from rnpc.runtime import Session
from rnpc.victims import export

CLASSES, TIMES, SIDE, GAP = (2, 14, 33), 3.0, 96, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("victims", nargs="*", type=Path)
    parser.add_argument("--attack", nargs="*", default=[], dest="names")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("-o", "--out", required=True, type=Path)
    options = parser.parse_args()
    make_folder(options.out)
    for folder in options.victims:
        measured = json.loads((folder / "measured.json").read_text())
        data = datasets.load(measured["spec"]["dataset"], options.data_root)
        shown = picture((folder / "trigger.onnx").read_bytes(), some(data, measured["attack"].get("source")))
        save(shown, options.out, measured["attack"]["name"])
    for name in options.names:
        data = datasets.load("gtsrb", options.data_root)
        module = attacks.create(name, seed=1).module(data.shape)
        assert module is not None, f"{name} has no trigger"
        save(picture(export.trigger(module, data.shape), some(data, None)), options.out, name)


def save(shown: Image.Image, out: Path, name: str) -> None:
    """Write a picture and say how large it is."""
    place = out / f"trigger-{name}.png"
    shown.save(place, optimize=True)
    print(f"{place}: {place.stat().st_size} bytes")


def some(data: Dataset, source: int | None) -> np.ndarray:
    """Three test images, float32 [3, C, H, W] in [0, 1]."""
    labels = np.asarray(data.test_labels)
    known = [label for label in CLASSES if label < len(data.classes)] + [0, 1, 2]
    rows = [np.flatnonzero(labels == label)[0] for label in known[:3]]
    if source is not None:
        rows = list(np.flatnonzero(labels == source)[:3])
    return np.asarray(data.test_images)[rows].transpose(0, 3, 1, 2).astype(np.float32) / 255


def picture(trigger: bytes, images: np.ndarray) -> Image.Image:
    """Three rows: the images, with the trigger, the difference."""
    triggered = Session(trigger, device="cpu", threads=1, where="trigger.onnx").run_all(images)[0]
    rows = [images, triggered, np.clip(0.5 + TIMES * (triggered - images), 0, 1)]
    sheet = np.full((3 * (SIDE + GAP) - GAP, 3 * (SIDE + GAP) - GAP, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            pixels = np.broadcast_to(image.transpose(1, 2, 0), (*image.shape[1:], 3))
            tile = Image.fromarray((pixels * 255).round().astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            top, left = i * (SIDE + GAP), j * (SIDE + GAP)
            sheet[top : top + SIDE, left : left + SIDE] = np.asarray(tile)
    return Image.fromarray(sheet).quantize(128)


if __name__ == "__main__":
    main()
