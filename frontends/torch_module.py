"""A `torch.nn.Module` -> Program, and hardened weights back into a module.

The module is never touched: a deep copy is moved to the CPU, set to eval mode and exported with BatchNorm kept.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import nn

from rnpc.errors import InputRefused
from rnpc.frontends import onnx_file
from rnpc.frontends.export import to_onnx, trace
from rnpc.program import Program


def load(module: nn.Module, shape: Sequence[int], output: str | None = None, study: bool = True) -> Program:
    """The Program of a module that takes images of `shape`, [channels, height, width] or with a batch in front.

    Raises InputRefused where torch cannot export the module, or where it is no prunable classifier.
    """
    name = type(module).__name__
    if len(shape) not in (3, 4) or any(size < 1 for size in shape[-3:]):
        raise InputRefused(f"{tuple(shape)} is no image shape", where=name, todo="give (channels, height, width)")
    try:
        own = copy.deepcopy(module).cpu().eval()
    except Exception as error:
        raise InputRefused(
            f"the module cannot be copied ({error})", where=name, todo="give a module without open graphs or handles"
        ) from error
    return onnx_file.program(name, to_onnx(trace(own, tuple(shape[-3:]), name), name), None, output, study)
