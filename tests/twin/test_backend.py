"""onnx's own node tests through the twin: all cases of supported operators are right, and docs/conformance.md says so."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from rnpc.twin.conformance import Result, markdown, survey
from rnpc.twin.node import OPERATORS

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
REFUSED = {
    "Attention with a cache",
    "Attention with left_window_size",
    "Attention with left_window_size, right_window_size",
    "Attention with softcap",
    "BatchNormalization in training mode",
    "Dropout in training mode",
    "GatherND with batch_dims",
    "MaxPool with Indices",
    "QuantizeLinear with a computed zero point",
    "Resize keeping the aspect ratio",
    "Resize with half_pixel and antialias 1",
    "Resize with tf_crop_and_resize and antialias 0",
    "ScatterND with a reduction",
    "SpaceToDepth in mode CRD",
}
"""Forms of known operators that no image classifier needs: the twin refuses them by name."""


@pytest.fixture(scope="module")
def results() -> list[Result]:
    torch.manual_seed(0)
    return survey()


def test_all_cases_of_supported_operators_are_right(results: list[Result]) -> None:
    wrong = [line for r in results for line in r.wrong]
    assert not wrong, "\n".join(wrong)
    assert sum(r.right for r in results) >= 2200


def test_only_known_forms_are_refused(results: list[Result]) -> None:
    assert {form for r in results for form in r.refused} == REFUSED


def test_every_operator_of_the_registry_has_a_case(results: list[Result]) -> None:
    touched = {operator for r in results if not r.reason for operator in r.operators}
    assert {entry.op_type for entry in OPERATORS} <= touched


def test_page_is_up_to_date(results: list[Result]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    if f"onnx {onnx.__version__}," not in page:
        pytest.skip("the page was made with another version of onnx")
    assert page == markdown(results), "run `python -m rnpc.twin.conformance docs/conformance.md`"
