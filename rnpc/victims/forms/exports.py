"""Forms that an exporter makes from the module: torch's exporter with BatchNorm folded or kept, and its older one likewise.

The older exporter (TorchScript) names folded weights `onnx::Conv_35` and merges equal initializers through Identity. With constant
folding it folds BatchNorm too; without, BatchNormalization stays, and so do its shape computations.
"""

from __future__ import annotations

import io
from typing import Any, cast

import onnx
import torch
from torch import nn

from rnpc.frontends.export import quiet
from rnpc.victims import export
from rnpc.victims.forms.base import Form, Shape


def folded(module: nn.Module, shape: Shape) -> bytes:
    """`export.network`'s first."""
    return export.network(module, shape)[0]


def batchnorm(module: nn.Module, shape: Shape) -> bytes:
    """`export.network`'s second."""
    return export.network(module, shape)[1]


def legacy(module: nn.Module, shape: Shape) -> bytes:
    """torch's older exporter as it comes."""
    return scripted(module, shape, fold=True)


def legacy_batchnorm(module: nn.Module, shape: Shape) -> bytes:
    """torch's older exporter without constant folding."""
    return scripted(module, shape, fold=False)


def scripted(module: nn.Module, shape: Shape, *, fold: bool) -> bytes:
    """ONNX by TorchScript, without the stack traces that name the machine's paths."""
    buffer = io.BytesIO()
    with quiet():
        torch.onnx.export(
            module.eval().cpu(),
            (torch.zeros(2, *shape),),
            cast(Any, buffer),  # TorchScript's writer takes a file; the annotation knows paths only
            dynamo=False,
            do_constant_folding=fold,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
        )
    model = onnx.load_from_string(buffer.getvalue())
    for node in model.graph.node:
        node.ClearField("doc_string")
    return export.finish(model)


FORMS = (
    Form("folded", "torch's exporter as it comes: BatchNorm folded into the convolutions", export=folded),
    Form("batchnorm", "torch's exporter with BatchNormalization kept", export=batchnorm),
    Form("legacy", "torch's older exporter as it comes", export=legacy),
    Form("legacy-batchnorm", "torch's older exporter with BatchNormalization kept", export=legacy_batchnorm),
)
