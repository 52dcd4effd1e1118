"""Slots of a node are set wherever they lie."""

from __future__ import annotations

import pytest
from onnx import ModelProto, NodeProto, helper

from rnpc.passes.wire import splice
from rnpc.passes.wire import walk as wire


@pytest.mark.parametrize("inputs", [[], ["x"], ["x", "w"], ["x", "w", "", "z"]])
@pytest.mark.parametrize("slot", [0, 1, 2, 3, 5])
def test_any_slot_can_be_set(inputs: list[str], slot: int) -> None:
    """Slots between are absent inputs; a slot two behind the last one was once dropped without a word."""
    node = NodeProto(op_type="Own", input=inputs, output=["y"], domain="own")
    data = helper.make_model(helper.make_graph([node], "g", [], [])).SerializeToString() + wire.block(4000, b"kept")
    walked = wire.graph(data)
    done = splice.rewrite(data, [splice.set_input(data, walked.field, walked.nodes[0], slot, "new")])
    want = [*inputs, *[""] * (slot + 1 - len(inputs))]
    want[slot] = "new"
    found = ModelProto.FromString(done).graph.node[0]
    assert list(found.input) == want and list(found.output) == ["y"] and done.endswith(wire.block(4000, b"kept"))
