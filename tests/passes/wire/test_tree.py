"""The schema's own list of places: whatever may hold a tensor is entered."""

from __future__ import annotations

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, numpy_helper

from rnpc.passes.wire import tree


def test_every_place_of_the_schema() -> None:
    model, count = ModelProto(), 0

    def tensor() -> TensorProto:
        nonlocal count
        count += 1
        return numpy_helper.from_array(np.zeros(1, np.float32), f"t{count}")

    def attribute(deep: bool) -> AttributeProto:
        entry = AttributeProto(name="a", t=tensor(), tensors=[tensor(), tensor()])
        entry.sparse_tensor.values.CopyFrom(tensor())
        entry.sparse_tensors.add().indices.CopyFrom(tensor())
        for graph in (entry.g, entry.graphs.add()) if deep else ():
            graph.initializer.append(tensor())
            graph.sparse_initializer.add().values.CopyFrom(tensor())
            graph.node.append(NodeProto(attribute=[attribute(False)]))
        return entry

    model.graph.node.append(NodeProto(attribute=[attribute(True)]))
    model.functions.add().node.append(NodeProto(attribute=[attribute(True)]))
    model.functions[0].attribute_proto.append(attribute(False))
    model.training_info.add().algorithm.initializer.append(tensor())
    model.training_info[0].initialization.initializer.append(tensor())
    found = [t.name for t in tree.tensors(model.SerializeToString())]
    assert len(found) == count == len(set(found))


def test_kinds_that_can_hold_a_tensor() -> None:
    names = {name.rpartition(".")[2] for name in tree.holders()}
    assert {"ModelProto", "GraphProto", "NodeProto", "AttributeProto", "SparseTensorProto", "FunctionProto", "TensorProto"} <= names
    assert not {"ValueInfoProto", "TypeProto", "StringStringEntryProto"} & names
