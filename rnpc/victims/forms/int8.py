"""Eight bits, by onnxruntime's static quantisation: weights int8 with a scale for each channel, activations uint8, ranges from images.

`int8-qdq` surrounds float operators with QuantizeLinear and DequantizeLinear; Relu before a quantisation is left out, since saturation at
the zero point does the same. `int8-qoperator` has QLinearConv and its like. The bound allows for eight bits in each of some twenty
layers.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from rnpc.frontends.export import quiet
from rnpc.victims.forms.base import Form, Given, images_of

BATCH = 32


def qdq(model: ModelProto, given: Given) -> ModelProto:
    """QuantizeLinear and DequantizeLinear around float operators."""
    return quantised(model, images_of(given, "int8-qdq"), "QDQ")


def qoperator(model: ModelProto, given: Given) -> ModelProto:
    """Quantised operators."""
    return quantised(model, images_of(given, "int8-qoperator"), "QOperator")


def quantised(model: ModelProto, images: np.ndarray, kind: str) -> ModelProto:
    """The model quantised on the images."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns by the root logger that pre-processing, done when this form begins, would help
    try:
        with quiet(), tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "model.onnx"
            quantize_static(
                onnx.shape_inference.infer_shapes(model),
                target,
                reader(images, model.graph.input[0].name),
                quant_format=QuantFormat[kind],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
            found: ModelProto = onnx.load(target)
    finally:
        logger.setLevel(level)
    return found


def reader(images: np.ndarray, name: str) -> Any:
    """The images as onnxruntime's calibration reads them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Batches, once through."""

        def __init__(self) -> None:
            self.parts = iter([images[i : i + BATCH] for i in range(0, len(images), BATCH)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            part = next(self.parts, None)
            return None if part is None else {name: part}

    return Reader()


FORMS = (
    Form("int8-qdq", "int8 as QuantizeLinear and DequantizeLinear pairs", qdq, bound=0.25),
    Form("int8-qoperator", "int8 as QLinearConv and its like", qoperator, bound=0.25),
)
