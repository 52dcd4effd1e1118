"""Pixels to model input."""

from __future__ import annotations

import numpy as np

from rnpc.data.preprocess import to_input, unit_to_input
from rnpc.program import Preprocessing

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)


def test_mean_std_and_layout() -> None:
    pre = Preprocessing(4, 5, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    found = to_input(PIXELS, pre)
    assert found.shape == (2, 3, 4, 5) and found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_allclose(found[:, 1], (PIXELS[..., 1] / 255 - 0.2) / 0.25, rtol=1e-5, atol=1e-6)
    last = to_input(PIXELS, Preprocessing(4, 5, layout="NHWC", mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0)))
    np.testing.assert_array_equal(last.transpose(0, 3, 1, 2), found)


def test_bgr_has_its_mean_in_its_own_order() -> None:
    found = to_input(PIXELS, Preprocessing(4, 5, mean=(103.0, 116.0, 123.0), scale=1.0, channel_order="BGR"))
    np.testing.assert_allclose(found[:, 0], PIXELS[..., 2].astype(np.float32) - 103)


def test_floats_give_the_same_as_pixels() -> None:
    pre = Preprocessing(4, 5, mean=(0.4,) * 3, std=(0.2,) * 3)
    np.testing.assert_allclose(unit_to_input(PIXELS / 255, pre), to_input(PIXELS, pre), atol=1e-5)
