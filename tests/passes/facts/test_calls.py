"""Where nodes and tensors of the inlined graph stand in a graph with functions."""

from __future__ import annotations

from onnx import helper, parser

from rnpc.passes.facts.calls import Calls, inlined

TEXT = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]> g (float[2] x) => (float[2] y) <float[2] w = {1, 2}, float[2] v = {3, 4}> {
    a = my.Twice (x, w) b = Add (a, v) c = Add (b, v) y = my.Twice (c, v)
}
<domain: "my", opset_import: ["" : 17]> Twice (i, s) => (o) { m = Mul (i, s) o = Add (m, m) }"""


def test_nodes_and_slots() -> None:
    model = parser.parse_model(TEXT)
    plain = inlined(model)
    assert [node.op_type for node in plain.graph.node] == ["Mul", "Add", "Add", "Add", "Mul", "Add"] and len(model.functions) == 1
    calls = Calls(model, plain)
    assert [calls.node(k) for k in range(6)] == [None, None, 1, 2, None, None]
    assert calls.slot((0, 1)) == (0, 1)  # w, which the first call alone reads
    assert calls.slot((2, 1)) == (1, 1)
    assert calls.slot((4, 1)) is None and calls.slot((0, 0)) is None  # v has three readers; x is no tensor
    assert helper.printable_graph(plain.graph)
