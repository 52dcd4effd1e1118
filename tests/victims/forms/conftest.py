"""The demo's network with images it was made for, and what a form of it gives in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from rnpc.runtime import Session
from rnpc.victims import forms

DEMO = Path(__file__).parents[3] / "models" / "demo"
MEAN, STD = (0.1307,), (0.3081,)


@dataclass(frozen=True)
class Demo:
    """The folded file, what forms need, and the file's scores on the images."""

    folded: bytes
    given: forms.Given
    images: np.ndarray
    scores: np.ndarray


@pytest.fixture(scope="session")
def demo() -> Demo:
    data = (DEMO / "model.onnx").read_bytes()
    pixels = np.load(DEMO / "clean.npz")["images"][:64].transpose(0, 3, 1, 2)
    images = ((pixels / 255 - MEAN[0]) / STD[0]).astype(np.float32)
    return Demo(data, forms.Given(images, MEAN, STD), images, Session(data, device="cpu", threads=1).run(images))


@pytest.fixture
def load(tmp_path: Path) -> Callable[[forms.Files], onnx.ModelProto]:
    """The model as one that finds its files in a folder loads it."""

    def loaded(files: forms.Files) -> onnx.ModelProto:
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        model: onnx.ModelProto = onnx.load(tmp_path / next(iter(files)))
        return model

    return loaded
