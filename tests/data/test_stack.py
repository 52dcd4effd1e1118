"""Many small files into one array."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rnpc.data import stack
from rnpc.errors import InputRefused
from rnpc.program import Preprocessing


def test_in_order_and_at_size(tmp_path: Path, save_picture: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "AHEAD", 3)
    pixels = [save_picture(tmp_path / f"{i}.png", size=16) for i in range(8)]
    (tmp_path / "notes.txt").write_text("no image")
    files = stack.listed(tmp_path)
    assert np.array_equal(stack.images(files, Preprocessing(16, 16)), np.stack(pixels))
    assert stack.images(files, Preprocessing(8, 4)).shape == (8, 8, 4, 3) and stack.images([], Preprocessing(8, 4)).shape == (0, 8, 4, 3)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, save_picture: Callable[..., np.ndarray]) -> None:
    save_picture(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(b"no image")
    with pytest.raises(InputRefused, match=r"1\.png: not a readable image"):
        stack.images(stack.listed(tmp_path), Preprocessing(32, 32))
