"""Writes a trained network and a trigger as ONNX.

`folded` is what torch's exporter writes by default (BatchNorm folded into the convolutions), weights inside the file. `kept` is the same
export before that optimisation, with constants folded and unused nodes removed, so that BatchNormalization stays. Only the nodes' stack
traces are left out of both: they hold the paths of the machine that exported.
"""

from __future__ import annotations

from typing import Any

import onnx
import onnx_ir
import onnxscript.optimizer
import torch
from torch import nn

from rnpc.frontends.export import quiet

TRACE = "pkg.torch.onnx.stack_trace"


def network(model: nn.Module, shape: tuple[int, int, int]) -> tuple[bytes, bytes]:
    """(folded, kept) ONNX bytes of a classifier from `input` [batch, C, H, W] to `logits` [batch, K]."""
    program = export(model, shape, "input", "logits")
    kept = onnx_ir.serde.deserialize_model(program.model_proto)
    onnxscript.optimizer.fold_constants(kept)
    onnxscript.optimizer.remove_unused_nodes(kept)
    program.optimize()
    return finish(program.model_proto), finish(onnx_ir.serde.serialize_model(kept))


def trigger(module: nn.Module, shape: tuple[int, int, int]) -> bytes:
    """ONNX bytes of a trigger from `image` to `triggered`, float32 [batch, C, H, W] in [0, 1]."""
    program = export(module, shape, "image", "triggered")
    program.optimize()
    return finish(program.model_proto)


def export(module: nn.Module, shape: tuple[int, int, int], source: str, result: str) -> Any:
    """torch's ONNXProgram of a module in eval mode, unoptimised, with a free batch size."""
    module = module.eval().cpu()
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = tensor.data.contiguous()
    batch = torch.export.Dim("batch")
    with quiet():
        return torch.onnx.export(
            module,
            (torch.zeros(2, *shape),),
            dynamo=True,
            external_data=False,
            optimize=False,
            verbose=False,
            input_names=[source],
            output_names=[result],
            dynamic_shapes=({0: batch},),
        )


def finish(model: onnx.ModelProto) -> bytes:
    """Checked bytes without stack traces."""
    for node in model.graph.node:
        rest = [entry for entry in node.metadata_props if entry.key != TRACE]
        del node.metadata_props[:]
        node.metadata_props.extend(rest)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
