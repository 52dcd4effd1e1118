"""Filter sites inside local functions: found where the functions are written out, and edited where the file stores their tensors.

A function gets its weights from the call, so the tensors are the main graph's. The site is named by its value in the inlined graph, as in
the studied network. It is one only where each of its tensors is read once by one call, and once inside: then an edit of the tensor is an
edit of this layer alone. A layer without a bias is none, since a bias could not be handed in.
"""

from __future__ import annotations

from onnx import ModelProto

from rnpc.passes.canonical.inline import Inline
from rnpc.passes.driver import copied
from rnpc.passes.facts.view import Slot, View


def inlined(model: ModelProto) -> ModelProto:
    """The model with its functions written out."""
    return Inline().run(copied(model)).model


class Calls:
    """Where nodes of the inlined graph stand in the user's."""

    def __init__(self, model: ModelProto, plain: ModelProto) -> None:
        self.view, self.plain = View(model), View(plain)
        self.functions = {(function.domain, function.name) for function in model.functions}

    def node(self, k: int) -> int | None:
        """The user's node that is node k of the inlined graph; None for one inside a function."""
        own = self.view.makers.get(self.plain.nodes[k].output[0])
        if own is None or (self.view.nodes[own].domain, self.view.nodes[own].op_type) in self.functions:
            return None
        return own

    def slot(self, slot: Slot) -> Slot | None:
        """The user's input through which the tensor at an inlined node's input is read; None where that is not one input alone."""
        own = self.node(slot[0])
        if own is not None:
            return own, slot[1]
        name = self.plain.nodes[slot[0]].input[slot[1]]
        uses = self.view.readers.get(name, [])
        alone = len(uses) == 1 and len(self.plain.readers.get(name, [])) == 1 and self.view.tensor(name) is not None
        return uses[0] if alone else None
