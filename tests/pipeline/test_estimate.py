"""How long a run will take: as many images as the race takes, times what one takes here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from rnpc.data.images import ImageSet
from rnpc.data.infer import Flags
from rnpc.detectors import DETECTORS
from rnpc.detectors.triggers.race import PACES, Pace, Round
from rnpc.frontends import onnx_file
from rnpc.pipeline import estimate
from rnpc.pipeline.estimate import OTHERWISE, REMOVAL, detection_images, expected_seconds, race_images
from rnpc.pipeline.inputs import Inputs, settle
from rnpc.pipeline.settings import Settings
from rnpc.study.inversion import Effort


def whole(batch: int) -> int:
    return batch


def test_a_race_is_counted_round_by_round() -> None:
    pace = Pace((Round(8, Effort(10, 4)), Round(2, Effort(20, 8))), Effort(3, 5), (Round(3, Effort(7, 2)),), 1)
    assert race_images(pace, 4, whole) == 2 * (4 * 10 * 4 + 2 * 20 * 8) + 4 * 3 * 5 + 3 * 7 * 2
    assert race_images(pace, 100, whole) == 2 * (8 * 10 * 4 + 2 * 20 * 8) + 8 * 3 * 5 + 3 * 7 * 2
    assert race_images(pace, 4, lambda batch: 1) == 2 * (4 * 10 + 2 * 20) + 4 * 3 + 3 * 7


def test_efforts_differ_and_what_is_unknown_counts_as_the_usual_one() -> None:
    quick, standard, thorough = (race_images(PACES[name], 43, whole) for name in ("quick", "standard", "thorough"))
    assert quick < standard < thorough and 0.5 * OTHERWISE < standard < 2 * OTHERWISE
    assert detection_images(None, 43, whole) == 0
    assert detection_images(DETECTORS.create("triggers"), 43, whole) == standard
    assert detection_images(DETECTORS.create("mm-bd"), 43, whole) == OTHERWISE


@pytest.fixture
def inputs(toy: Callable[..., onnx.ModelProto], bright: Callable[..., np.ndarray]) -> Inputs:
    labels = np.arange(60) % 5
    images = ImageSet(bright(labels), labels, tuple(map(str, range(60))), tuple("01234"))
    program = onnx_file.program("m.onnx", toy().SerializeToString())
    return settle(program, None, images, Flags(mean=(0.0,), std=(1.0,)), "cpu", threads=1)


def test_seconds_are_those_of_an_image_here(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(threads=1, device="cpu")
    assert 0 < expected_seconds(inputs, settings) < 600
    monkeypatch.setattr(estimate, "seconds_of_image", lambda subject, inputs: 1e-3)
    assert expected_seconds(inputs, settings) == pytest.approx(1e-3 * (race_images(PACES["standard"], 5, whole) + REMOVAL))
