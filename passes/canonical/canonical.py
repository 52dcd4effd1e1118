"""canonical: the one way from the user's graph to the network that is studied, and that is proved against the user's file.

Functions inlined, nodes in order, sparse tensors dense, operators on codes as float ones between Q and DQ, constants and wires gone,
weights behind a Cast plain, the batch free, the score tail off, and BatchNormalization folded into the convolution before it, so that one
network gives one answer however it was exported. `kept` leaves BatchNormalization where it is, for a method that masks its weights. Values
that stay keep their names, and a filter site is named by its value: sites found in the studied network are sites of the user's graph.
"""

from __future__ import annotations

from onnx import ModelProto

from rnpc.passes.canonical.batchnorm import FoldNorms
from rnpc.passes.canonical.cast import PlainWeights
from rnpc.passes.canonical.clean import PLAIN, Clean
from rnpc.passes.canonical.quantised import Dequantise
from rnpc.passes.canonical.tail import Tail
from rnpc.passes.driver import Compare, Pass, PassResult, apply


def passes(output: str | None = None, fold: bool = True) -> tuple[Pass, ...]:
    """The passes in their order; `output`: the graph output that carries the scores (default: the first)."""
    return (*PLAIN, Dequantise(), Clean(), PlainWeights(), *((FoldNorms(),) if fold else ()), Tail(output))


def canonical(model: ModelProto, output: str | None = None) -> ModelProto:
    """The studied network of a model: one output, class scores [N, K] as the last linear layer makes them.

    `output` names the graph output that carries the scores (default: the first). The given model is not changed. Raises InputRefused, with
    pass and node, for what cannot be put into this form.
    """
    return rewritten(model, output).model


def kept(model: ModelProto, output: str | None = None) -> ModelProto:
    """The same with BatchNormalization kept."""
    return rewritten(model, output, fold=False).model


def rewritten(model: ModelProto, output: str | None = None, fold: bool = True, compare: Compare | None = None) -> PassResult:
    """The studied network with the edits that led to it. `compare` holds each pass to its bound (see `driver`)."""
    return apply(passes(output, fold), model, compare)
