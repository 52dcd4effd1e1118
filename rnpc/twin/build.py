"""ONNX graph -> `Twin`: look every node up, sort initializers into parameters, buffers and constants, and lay out the slots.

A float initializer is a parameter; one that several nodes share stays one. Not trained are integers and booleans, scalars, and numbers that
are settings of their operator (bounds of Clip, exponents, scales of Resize): these are constants on the CPU. BatchNorm's mean and
variance are buffers, one pair a node, since exporters merge equal tensors of layers that are not tied.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import numpy as np
import onnx
from onnx import numpy_helper
from torch import Tensor

import rnpc.twin.ops  # noqa: F401  (fills the registry)
from rnpc.errors import InputRefused, UnsupportedOperator
from rnpc.passes.canonical.cast import PlainWeights
from rnpc.passes.canonical.clean import clean
from rnpc.passes.canonical.constants import weights
from rnpc.passes.canonical.quantised import dequantised
from rnpc.passes.facts.view import View, is_op
from rnpc.registry import OPSETS, canonical, since_version
from rnpc.twin.module import Layout, Step, Twin
from rnpc.twin.node import OPERATORS, Modes, Node, Unhandled, host

ABSENT = 0
"""The slot of an absent input; it always holds None."""


def build(model: onnx.ModelProto) -> Twin:
    """The twin of a classifier, in eval mode.

    Raises:
        UnsupportedOperator: listing every node that has no entry in the registry.
        InputRefused: the opset is outside 7 to 26.
    """
    opset, model = opset_of(model), dequantised(model)
    aliases, plain = _aliases(model), PlainWeights().run(clean(model)).model
    return _Builder(plain, opset, aliases).twin()


def opset_of(model: onnx.ModelProto) -> int:
    """The default domain's opset. Raises InputRefused outside 7 to 26."""
    opset = next((int(o.version) for o in model.opset_import if canonical(o.domain) == ""), 0)
    if opset not in OPSETS:
        raise InputRefused(f"opset {opset} is not read", where="model", todo=f"export with opset {OPSETS[0]} to {OPSETS[-1]}")
    return opset


def _aliases(model: onnx.ModelProto) -> dict[str, str]:
    """Identity outputs that stand for an initializer: exporters merge equal weights that way."""
    view = View(model)
    made = {name: view.root(name) for node in view.nodes if is_op(node, "Identity") for name in node.output}
    stored = {tensor.name: tensor.name for tensor in model.graph.initializer}
    return stored | {name: root for name, root in made.items() if root in stored}


def _key(name: str) -> str:
    """An initializer's name as torch takes it."""
    return "t:" + quote(name, safe="/:").replace(".", "%2E")


class _Builder:
    """Working state of one build."""

    def __init__(self, model: onnx.ModelProto, opset: int, aliases: dict[str, str]) -> None:
        self.graph, self.opset, self.aliases = model.graph, opset, aliases
        self.slots: dict[str, int] = {"": ABSENT}
        self.tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.constants: dict[str, np.ndarray] = {}
        self.parameters: dict[str, np.ndarray] = {}
        self.buffers: dict[str, np.ndarray] = {}
        self.statistics: dict[str, tuple[str, str]] = {}

    def twin(self) -> Twin:
        """Sort the tensors, look the nodes up, lay the slots out."""
        self._sort()
        nodes = [self._node(index, proto) for index, proto in enumerate(self.graph.node)]
        runs = self._runs(nodes)
        wired = [self._wire(node, proto) for node, proto in zip(nodes, self.graph.node, strict=True)]
        inputs = self._places(v.name for v in self.graph.input if v.name not in self.tensors)
        outputs = self._places(v.name for v in self.graph.output)
        layout = Layout(
            steps=self._steps(nodes, runs, wired, {slot for slot, _ in outputs}),
            inputs=inputs,
            outputs=outputs,
            parameters=self._bound(self.parameters),
            buffers=self._bound(self.buffers),
            names={alias: _key(root) for alias, root in self.aliases.items() if root in self.parameters},
            statistics=self.statistics,
            values=frozenset(n for node in nodes for n in node.outputs) | {name for _, name in inputs},
        )
        fixed = {self._slot(name): host(value) for name, value in self.constants.items()}
        slots = [fixed.get(i) for i in range(len(self.slots))]
        return Twin(layout, _tensors(self.parameters), _tensors(self.buffers), slots)

    def _slot(self, name: str) -> int:
        return self.slots.setdefault(name, len(self.slots))

    def _places(self, names: Iterable[str]) -> tuple[tuple[int, str], ...]:
        return tuple((self._slot(name), name) for name in names)

    def _bound(self, names: Iterable[str]) -> tuple[tuple[int, str], ...]:
        return tuple((self._slot(name), _key(name)) for name in names)

    def _sort(self) -> None:
        """Constants or parameters; statistics of BatchNorm are taken by the nodes themselves."""
        trained = weights(self.graph)
        uses: dict[str, list[bool]] = {}
        for node in self.graph.node:
            for index, name in enumerate(node.input):
                uses.setdefault(name, []).append(is_op(node, "BatchNormalization") and index in (3, 4))
        for name, value in self.tensors.items():
            if name not in trained or not is_float(value):
                self.constants[name] = value
            elif not all(uses.get(name, [False])):
                self.parameters[name] = value
            self.aliases.setdefault(name, name)

    def _node(self, index: int, proto: onnx.NodeProto) -> Node:
        name = proto.name or f"#{index} making {proto.output[0]}"
        since = since_version(proto.op_type, self.opset, proto.domain) or 0
        attributes = {a.name: attribute(a) for a in proto.attribute}
        return Node(name, proto.op_type, since, tuple(proto.input), tuple(proto.output), attributes, self.constants)

    def _runs(self, nodes: list[Node]) -> list[Modes]:
        """What each node runs. Raises UnsupportedOperator with all nodes that nothing is known for."""
        runs: list[Modes] = []
        missing: list[tuple[str, str, str, int]] = []
        for node, proto in zip(nodes, self.graph.node, strict=True):
            made, reason = self._look_up(node, proto)
            if made is None:
                missing.append((node.name, proto.domain, node.op_type + reason, self.opset))
            else:
                runs.append(made)
        if missing:
            raise UnsupportedOperator(missing, where="twin")
        return runs

    def _look_up(self, node: Node, proto: onnx.NodeProto) -> tuple[Modes | None, str]:
        factory = OPERATORS.find(node.op_type, self.opset, proto.domain)
        if factory is None:
            return None, ""
        try:
            made = factory(node)
        except Unhandled as reason:
            return None, f" {reason}"
        return (made if isinstance(made, Modes) else Modes(made, made)), ""

    def _wire(self, node: Node, proto: onnx.NodeProto) -> tuple[int, ...]:
        """Input slots of a node; a BatchNorm gets its own copies of mean and variance."""
        inputs = node.inputs
        if is_op(proto, "BatchNormalization") and all(name in self.tensors for name in inputs[3:5]):
            own = (f"{node.outputs[0]}:mean", f"{node.outputs[0]}:var")
            self.buffers.update(zip(own, (self.tensors[name] for name in inputs[3:5]), strict=True))
            self.statistics[node.outputs[0]] = (_key(own[0]), _key(own[1]))
            inputs = (*inputs[:3], *own)
        return tuple(self._slot(name) for name in inputs)

    def _steps(self, nodes: list[Node], runs: list[Modes], wired: list[tuple[int, ...]], keep: set[int]) -> tuple[Step, ...]:
        """The steps in order, each with the slots that are dead after it. Walks backward: the last reader frees."""
        seen = keep | {ABSENT}
        steps = []
        for node, run, inputs in reversed(list(zip(nodes, runs, wired, strict=True))):
            outputs = self._places(node.outputs)
            dead = {*inputs, *(slot for slot, _ in outputs)} - seen
            seen |= dead
            steps.append(Step(node.name, run.evaluate, run.train, inputs, outputs, len(outputs) == 1, tuple(sorted(dead))))
        return tuple(reversed(steps))


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {_key(name): host(value) for name, value in arrays.items()}


def is_float(value: np.ndarray) -> bool:
    """Any float, the small ones of ml_dtypes included."""
    return "float" in value.dtype.name


def attribute(proto: onnx.AttributeProto) -> Any:
    """An attribute's value: text decoded, tensors as arrays, lists as lists."""
    value = onnx.helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, Iterable) and not isinstance(value, str | onnx.GraphProto):
        return [v.decode() if isinstance(v, bytes) else v for v in value]
    return value
