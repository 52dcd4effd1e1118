"""Nodes in another order. ONNX wants them sorted; files of hand-written converters are not always, and onnxruntime sorts by itself."""

from __future__ import annotations

from onnx import ModelProto

from rnpc.victims.forms.base import Form, Given
from rnpc.victims.forms.surgery import keep


def unsorted(model: ModelProto, given: Given) -> ModelProto:
    """Last node first."""
    keep(model.graph, list(reversed(model.graph.node)))
    return model


FORMS = (Form("unsorted", "nodes last to first", unsorted, valid=False),)
