"""torch -> ONNX with BatchNorm kept, through torch.export.

Both of torch's exporters fold BatchNorm into the convolution by default; with `optimize=False` they do not, and the litter that remains
(shape arithmetic around constants) is folded by onnxscript. The exporter's notes on each node (stack traces with absolute paths among
them) are dropped: they would differ from machine to machine.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from onnx import ModelProto
from torch import nn
from torch.export import Dim, ExportedProgram

from rnpc.errors import InputRefused

TODO = "export it to ONNX yourself and give that file"


def trace(module: nn.Module, shape: tuple[int, ...], where: str) -> ExportedProgram:
    """Export a module (in eval mode, on the CPU) for images of shape [channels, height, width], the batch dynamic where it can be."""
    parameter = next(module.parameters(), None)
    images = torch.zeros(2, *shape, dtype=torch.float32 if parameter is None else parameter.dtype)
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(module, (images,), dynamic_shapes=({0: Dim.AUTO},), strict=False)
    except Exception as error:  # whatever the module's own code raises
        raise refuse("torch.export cannot trace the module", where, error) from error


def to_onnx(program: ExportedProgram, where: str) -> bytes:
    """Serialized ONNX of an exported program: BatchNorm kept, input `input`, output `logits`, no notes of the exporter."""
    from onnxscript import optimizer

    try:
        with quiet():
            made: Any = torch.onnx.export(
                program, dynamo=True, optimize=False, verbose=False, input_names=["input"], output_names=["logits"]
            )
            optimizer.fold_constants(made.model)
            optimizer.remove_unused_nodes(made.model)
            model = made.model_proto
    except Exception as error:
        raise refuse("torch's exporter cannot write the module as ONNX", where, error) from error
    tidy(model)
    return bytes(model.SerializeToString(deterministic=True))


def refuse(what: str, where: str, error: Exception) -> InputRefused:
    """The error of this module, with the first line of torch's."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return InputRefused(f"{what} ({lines[0][:160]})", where=where, todo=TODO)


def tidy(model: ModelProto) -> None:
    """Drop the exporter's notes and name the dynamic batch."""
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param if graph.input else ""
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if batch and dim.dim_param == batch:
                dim.dim_param = "batch"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's remarks (missing torchvision, deprecations of its own) off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
