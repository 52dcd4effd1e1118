"""The stored tensors after the removal: what each use of a tensor reads, and which tensor it gets.

A tensor is cut in place where all its uses come to the same; else each use that differs gets a clone, and the tensor stays for the others.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from rnpc.errors import RnpcError
from rnpc.passes.facts.channels.base import Cut
from rnpc.passes.facts.channels.sweep import Facts
from rnpc.passes.facts.view import Slot, is_op, node_name

Edit = dict[str, object]
DATA = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data", "raw_data")


@dataclass
class Tensors:
    """The tensors of a model being cut. `new`: use -> what it will read, before cutting. `resized`: name -> its new sizes."""

    model: ModelProto
    facts: Facts
    kept: np.ndarray
    new: dict[Slot, np.ndarray] = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
    resized: dict[str, tuple[int, ...]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        view = self.facts.view
        self.taken = {*view.makers, *view.readers, *view.tensors, *view.captured, *view.outputs}

    def read(self, slot: Slot) -> np.ndarray:
        """What a use reads now."""
        if slot not in self.new:
            k, position = slot
            tensor = self.facts.view.tensor(self.facts.view.nodes[k].input[position])
            if tensor is None:
                raise RnpcError(f"input {position} is computed", where=node_name(self.facts.view.nodes[k]), todo="please report it")
            self.new[slot] = np.asarray(numpy_helper.to_array(tensor))
        return self.new[slot]

    def write(self, slot: Slot, array: np.ndarray) -> None:
        """What a use will read."""
        self.new[slot] = array.astype(self.read(slot).dtype, copy=False)

    def finish(self) -> None:
        """Cut, clone and store."""
        for slot, cuts in self.facts.found.cuts.items():
            if any(not self.kept[cut.ids].all() for cut in cuts):
                self.new[slot] = cut_array(self.read(slot), cuts, self.kept)
        roots: dict[str, list[Slot]] = defaultdict(list)
        for slot in sorted(self.new):
            roots[self.facts.view.root(self.facts.view.nodes[slot[0]].input[slot[1]])].append(slot)
        for root, slots in roots.items():
            self.store(root, slots)

    def store(self, root: str, slots: list[Slot]) -> None:
        """Give each use of one tensor what it reads."""
        tensor, alike = self.facts.view.tensors[root], list[tuple[np.ndarray, list[Slot]]]()
        for slot in slots:
            same = next((group for array, group in alike if equal(array, self.new[slot])), None)
            if same is None:
                alike.append((self.new[slot], [slot]))
            else:
                same.append(slot)
        if self.facts.view.uses(root) == len(slots):
            array, _ = alike.pop(0)
            before = numpy_helper.to_array(tensor)
            if not equal(array, np.asarray(before)):
                self.edits.append({"kind": "cut", "tensor": root, "before": list(before.shape), "after": list(array.shape)})
                put(tensor, array)
                self.note(root, array.shape)
        for array, group in alike:
            self.clone(root, tensor, array, group)

    def clone(self, root: str, tensor: TensorProto, array: np.ndarray, slots: list[Slot]) -> None:
        """A tensor of their own for uses that differ from the others."""
        copy = self.add(f"{root}_rnpc", array, tensor.data_type)
        for k, position in slots:
            self.model.graph.node[k].input[position] = copy
        nodes = [node_name(self.facts.view.nodes[k]) for k, _ in slots]
        self.edits.append({"kind": "clone", "tensor": root, "copy": copy, "nodes": nodes, "after": list(array.shape)})

    def add(self, name: str, array: np.ndarray, kind: int) -> str:
        """A new initializer under a free name; before IR 4 it has to be a graph input too."""
        free = next(n for n in (name, *(f"{name}_{i}" for i in range(1, len(self.taken) + 2))) if n not in self.taken)
        self.taken.add(free)
        tensor = self.model.graph.initializer.add(name=free, data_type=kind)
        put(tensor, array)
        if self.model.ir_version < 4:
            self.model.graph.input.append(helper.make_tensor_value_info(free, kind, list(array.shape)))
        return free

    def note(self, root: str, shape: tuple[int, ...]) -> None:
        """A tensor and its other names have a new shape."""
        self.resized[root] = shape
        for k, _ in self.facts.view.readers.get(root, []):
            node = self.facts.view.nodes[k]
            if is_op(node, "Identity"):
                self.note(node.output[0], shape)


def cut_array(array: np.ndarray, cuts: list[Cut], kept: np.ndarray) -> np.ndarray:
    """Without the positions that go. Axes that differ from group to group come first, while all rows are there."""
    for cut in sorted(cuts, key=lambda cut: cut.grouped is None):
        stays = kept[cut.ids]
        array = np.compress(stays, array, axis=cut.axis) if cut.grouped is None else cut_groups(array, cut, stays)
    return np.ascontiguousarray(array)


def cut_groups(array: np.ndarray, cut: Cut, stays: np.ndarray) -> np.ndarray:
    """Row r keeps the positions of its group; groups that go whole take what the others take (their rows go afterwards)."""
    count = int(stays.sum(axis=1).max())
    chosen = np.stack([np.flatnonzero(row)[:count] if row.sum() == count else np.arange(count) for row in stays])
    index = chosen[cut.grouped].reshape(len(array), count, *[1] * (array.ndim - 2))
    return np.take_along_axis(array, np.broadcast_to(index, (len(array), count, *array.shape[2:])), axis=1)


def equal(one: np.ndarray, two: np.ndarray) -> bool:
    """Same shape and bytes."""
    return one is two or (one.shape == two.shape and one.tobytes() == two.tobytes())


def put(tensor: TensorProto, array: np.ndarray) -> None:
    """Other numbers in a tensor, whatever else its message holds."""
    for name in DATA:
        tensor.ClearField(name)
    del tensor.dims[:]
    tensor.dims.extend(array.shape)
    little = array.astype(array.dtype.newbyteorder("<")) if array.dtype.byteorder == ">" else array
    tensor.raw_data = little.tobytes()
    if len(tensor.raw_data) != prod(array.shape) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize:
        raise RnpcError(f"tensor {tensor.name} was written with another size", where="remove", todo="please report it")


def sizes_of(info: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    """State other sizes where the entry states a shape of this rank."""
    dims = info.type.tensor_type.shape.dim
    if len(dims) == len(shape):
        for dim, size in zip(dims, shape, strict=True):
            dim.dim_value = size
