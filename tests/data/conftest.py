"""Data sets in their official layouts, made small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RNG = np.random.default_rng(0)


def picture(path: Path, size: int = 32) -> np.ndarray:
    """Writes an image of noise and returns its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def save_picture() -> Callable[..., np.ndarray]:
    """`picture`: writes noise as an image, and returns its pixels."""
    return picture


@pytest.fixture
def signs(tmp_path: Path) -> Path:
    """GTSRB with two training images a class and three test images."""
    root = tmp_path / "root"
    for label in range(43):
        for shot in range(2):
            picture(root / "GTSRB" / "Final_Training" / "Images" / f"{label:05d}" / f"00000_{shot:05d}.png")
    for index in range(3):
        picture(root / "GTSRB" / "Final_Test" / "Images" / f"{index:05d}.png", size=20)
    rows = "Filename;Width;ClassId\n00000.ppm;20;16\n00002.ppm;20;1\n00001.ppm;20;42\n"
    (root / "GTSRB" / "Final_Test" / "GT-final_test.csv").write_text(rows)
    return root
