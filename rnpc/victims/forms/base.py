"""Form: a way in which one network can be written as ONNX.

A form starts from the folded file (`rewrite`), so that any victim can be had in it again, or, where an exporter of its own makes it, from
the module (`export`). It keeps what the network computes: its scores, after the tail that the form may add, differ from those of the
folded file by at most `bound` times the scores' scale (the largest score of the images, at least 1). What it changes at the input
(layout, type) is a field, and `feed` turns the folded file's input into the form's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
from onnx import ModelProto
from torch import nn

from rnpc.errors import InputRefused, UsageError
from rnpc.program import Layout

Shape = tuple[int, int, int]
Files = dict[str, bytes]
"""File name -> content; the model comes first."""
FLOAT_BOUND = 1e-4
"""Another order of the same float32 operations."""


@dataclass(frozen=True)
class Given:
    """What a form may need beside the network.

    `images`: model input to calibrate on, float32 [n, C, H, W]. `mean`, `std` and `scale`: the preprocessing that a form takes into the
    graph; mean and std by channel, in units of the scaled image.
    """

    images: np.ndarray | None = field(default=None, compare=False)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 1 / 255


@dataclass(frozen=True)
class Form:
    """One form.

    `rewrite` edits a parsed copy of the folded file and returns the result; `export` writes a module. `tail` gives the form's scores from
    the folded file's. `valid`: onnx.checker accepts it (it wants nodes sorted, onnxruntime does not). `outside`: weights go into a
    second file. `runs`: onnxruntime has CPU kernels for it.
    """

    name: str
    what: str
    rewrite: Callable[[ModelProto, Given], ModelProto] | None = None
    export: Callable[[nn.Module, Shape], bytes] | None = None
    bound: float = FLOAT_BOUND
    layout: Layout = "NCHW"
    dtype: Literal["float32", "uint8"] = "float32"
    tail: Callable[[np.ndarray], np.ndarray] | None = None
    valid: bool = True
    outside: bool = False
    runs: bool = True

    def scores(self, folded: np.ndarray) -> np.ndarray:
        """The form's scores [n, K] where the folded file gives these."""
        return folded if self.tail is None else self.tail(folded)

    def feed(self, images: np.ndarray, given: Given) -> np.ndarray:
        """The form's input for the folded file's input, float32 [n, C, H, W]; uint8 rounds to whole grey levels."""
        if self.dtype == "uint8":
            images = np.rint((images * column(given.std) + column(given.mean)) / given.scale).clip(0, 255).astype(np.uint8)
        return np.ascontiguousarray(images.transpose(0, 2, 3, 1)) if self.layout == "NHWC" else images

    def config(self, stated: Mapping[str, Any]) -> dict[str, Any]:
        """preprocessor_config.json for this form, where the folded file's is `stated`."""
        config = dict(stated)
        if self.dtype == "uint8":
            config |= {"do_rescale": False, "do_normalize": False}
            for key in ("rescale_factor", "image_mean", "image_std"):
                config.pop(key, None)
        return config


def column(values: tuple[float, ...]) -> np.ndarray:
    """Numbers by channel, to broadcast over [n, C, H, W]."""
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def images_of(given: Given, form: str) -> np.ndarray:
    """The images to calibrate on. Raises UsageError where none were given."""
    if given.images is None or len(given.images) == 0:
        raise UsageError("it is calibrated on images, and none were given", where=form, todo="give training images")
    return np.ascontiguousarray(given.images, np.float32)


def refuse(what: str, form: str) -> InputRefused:
    """The error of a network that a form does not fit."""
    return InputRefused(what, where=form, todo="choose another form for this network")


def parsed(data: bytes) -> ModelProto:
    """The model without the exporter's notes, which older IR versions do not know."""
    model = onnx.load_from_string(data)
    graph = model.graph
    for item in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    return model


def finish(model: ModelProto, form: Form) -> bytes:
    """Checked bytes."""
    if form.valid:
        onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
