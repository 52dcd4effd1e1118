"""The official ONNX backend node tests, run through the twin: every case of opset 7 to 26 whose operators the registry knows.

Each case runs twice: with all inputs fed, and with all but the first written into the graph, which takes the path of known constants.
"""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

import rnpc.twin.ops  # noqa: F401  (fills the registry)
from rnpc.errors import UnsupportedOperator
from rnpc.registry import OPSETS, canonical
from rnpc.twin import build
from rnpc.twin.node import OPERATORS, host

EXCLUDED = {
    "test_attention_3d_causal_bf16": "bfloat16 in, coarser than the twin's float32",
    "test_attention_4d_causal_bf16": "bfloat16 in, coarser than the twin's float32",
    "test_attention_4d_attn_mask_causal_bf16": "bfloat16 in, coarser than the twin's float32",
    "test_attention_4d_padded_kv_bf16": "bfloat16 in, coarser than the twin's float32",
    "test_attention_4d_causal_padded_kv_bf16": "bfloat16 in, coarser than the twin's float32",
    "test_celu_bfloat16": "bfloat16 in, coarser than the twin's float32",
    "test_reduce_max_empty_set": "the largest of nothing: torch raises",
    "test_reduce_min_empty_set": "the smallest of nothing: torch raises",
    "test_resize_downsample_scales_linear_align_corners": "onnxruntime divides by the whole output size, as the twin does",
    "test_resize_downsample_scales_cubic_align_corners": "onnxruntime divides by the whole output size, as the twin does",
}
"""Prefix of a case's name -> why it is left out."""

REFUSED = {
    "Attention with a cache",
    "Attention with left_window_size",
    "Attention with left_window_size, right_window_size",
    "Attention with softcap",
    "BatchNormalization in training mode",
    "Dropout in training mode",
    "GatherND with batch_dims",
    "MaxPool with Indices",
    "Resize keeping the aspect ratio",
    "Resize with half_pixel and antialias 1",
    "Resize with tf_crop_and_resize and antialias 0",
    "ScatterND with a reduction",
    "SpaceToDepth in mode CRD",
}
"""Forms of known operators that no image classifier needs: the twin refuses them by name."""


def cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        return list(load_model_tests(kind="node"))


def as_read(model: onnx.ModelProto) -> onnx.ModelProto:
    """Cases of a newer opset are read as the newest that rnpc knows: their operators changed by the types they take."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for opset in copy.opset_import:
        if canonical(opset.domain) == "" and opset.version > OPSETS[-1]:
            opset.version = OPSETS[-1]
    return copy


def known(model: onnx.ModelProto) -> bool:
    opset = next((o.version for o in model.opset_import if canonical(o.domain) == ""), 0)
    nodes = model.graph.node
    return opset in OPSETS and not model.functions and all(OPERATORS.find(n.op_type, opset, n.domain) for n in nodes)


def excluded(name: str) -> str | None:
    return next((reason for prefix, reason in EXCLUDED.items() if name.startswith(prefix)), None)


def tensors(values: Any) -> bool:
    return all(isinstance(v, np.ndarray | np.generic) and v.dtype.kind != "O" for v in values)


def written(model: onnx.ModelProto, inputs: list[np.ndarray]) -> onnx.ModelProto:
    """The model with all inputs but the first as initializers."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for info, value in list(zip(model.graph.input, inputs, strict=True))[1:]:
        copy.graph.initializer.append(numpy_helper.from_array(np.asarray(value), info.name))
    return copy


def differs(model: onnx.ModelProto, feeds: list[np.ndarray], expected: list[np.ndarray], rtol: float) -> str | None:
    """What is wrong with the twin's outputs, or None."""
    try:
        found, _ = build(model).evaluate([host(np.asarray(v)) for v in feeds])
    except UnsupportedOperator:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    for got, want in zip(found, expected, strict=True):
        value, wish = got.detach().numpy(), host(np.asarray(want)).numpy()
        if value.shape != wish.shape or value.dtype != wish.dtype:
            return f"{value.dtype}{value.shape}, expected {wish.dtype}{wish.shape}"
        if not np.allclose(value, wish, rtol=rtol, atol=1e-5, equal_nan=True):
            return f"off by {np.nanmax(np.abs(value.astype(float) - wish.astype(float)))}"
    return None


def test_node_suite() -> None:
    torch.manual_seed(0)
    counts: Counter[str] = Counter()
    failures, touched, refused = [], set(), set()
    for case in cases():
        read = as_read(case.model)
        if not known(read) or not all(tensors(i) and tensors(o) for i, o in case.data_sets):
            counts["operator not in the registry"] += 1
            continue
        if reason := excluded(case.name):
            counts[reason] += 1
            continue
        touched.update(n.op_type for n in read.graph.node)
        for inputs, outputs in case.data_sets:
            for form, model, feeds in (("fed", read, inputs), ("written", written(read, inputs), inputs[:1])):
                try:
                    wrong = differs(model, feeds, outputs, case.rtol)
                except UnsupportedOperator as error:
                    refused.update(op for _, _, op, _ in error.nodes)
                    counts["refused by name"] += 1
                    continue
                counts["right" if wrong is None else "wrong"] += 1
                if wrong:
                    failures.append(f"{case.name} ({form}): {wrong}")
    print(dict(counts))
    assert not failures, "\n".join(failures)
    assert refused == REFUSED
    assert {entry.op_type for entry in OPERATORS} == touched
    assert counts["right"] >= 2000
