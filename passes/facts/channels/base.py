"""What a rule of the channel analysis sees and says: one node, the channels of its inputs, and the ways to describe its outputs.

A value that is tracked has one channel axis. Each position along it bears an *id*; positions that can only go together (the two sides of an
addition, a channel and its pixels behind a Flatten) have united ids, and the sets that come of it are the units of removal. Each position
also has a constant: the number that all its entries are equal to, or nan for anything. A value without `Channels` is unknown: the analysis
never came there, and nothing of it may go.

A rule that cannot say what an operator does to channels raises `Stop`. The node's inputs then stay as they are (law 6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
from onnx import NodeProto

from rnpc.passes.facts.channels.operands import Operand, find_operand
from rnpc.passes.facts.view import Slot, attribute
from rnpc.registry import Registry

if TYPE_CHECKING:
    from rnpc.passes.facts.channels.sweep import Sweep


class Stop(Exception):
    """Raised by a rule for a form of its operator that it does not know; the message says which."""


@dataclass(frozen=True)
class Channels:
    """The channel axis of a value (from 0), an id for each position (int64 [n]) and its constant (float64 [n], nan where anything)."""

    axis: int
    ids: np.ndarray
    constant: np.ndarray

    @property
    def count(self) -> int:
        """Positions along the axis."""
        return len(self.ids)


@dataclass(frozen=True)
class Number:
    """A whole number in the file that counts channels: after removal it is the number of kept `ids` [n], or of rows [rows, n] with any
    kept.

    Where it stands: attribute `name` of node k, or entry `index` of the stored tensor at input `slot`. `among`: the ids of the whole
    axis, where the number may be counted from its end.
    """

    node: int
    ids: np.ndarray
    name: str = ""
    slot: int = -1
    index: int = 0
    among: np.ndarray | None = None


@dataclass(frozen=True)
class Cut:
    """A stored tensor loses the positions of `axis` whose ids go. `grouped`: ids are [groups, n], and the rows of axis 0 lie in these."""

    axis: int
    ids: np.ndarray
    grouped: np.ndarray | None = None


@dataclass(frozen=True)
class Balance:
    """Ids [groups, n] of which each group must lose equally many, unless all ids of the group go, those of `other` included."""

    node: int
    ids: np.ndarray
    other: np.ndarray | None


@dataclass(frozen=True)
class Bias:
    """Where a constant can be added to a layer's output: the slot that reads a stored bias [outputs], or an empty slot (`missing`)."""

    slot: Slot
    array: np.ndarray
    missing: bool = False


Layout = Literal["out_in", "in_out"]


@dataclass(frozen=True)
class Linear:
    """A layer with stored weights, which sums over its input channels: y[o] = sum over i of weight[o, i] * x[i] + bias[o].

    `weight` is the operand; `layout` says whether its axes 0 and 1 are outputs and inputs, or the reverse (the axis that is split into
    `groups` is then stored once for each group). `reads` [outputs, inputs of a group]: whether any entry is not zero. `pads`: borders see
    fewer entries than the inside, so that a constant input does not make a constant output. `scale`: what a sum of weights must be
    multiplied by to be added to the bias.
    """

    node: int
    source: str
    output: str
    channels: Channels
    weight: Operand
    layout: Layout
    groups: int
    reads: np.ndarray
    pads: bool
    bias: Bias | None
    scale: float = 1.0

    def blocks(self, array: np.ndarray) -> np.ndarray:
        """The weight as [groups, outputs of a group, inputs of a group, taps], a view where that is possible."""
        first, second = array.shape[0], array.shape[1]
        if self.layout == "out_in" or self.groups == 1:
            whole = array if self.layout == "out_in" else np.swapaxes(array, 0, 1)
            return whole.reshape(self.groups, whole.shape[0] // self.groups, whole.shape[1], -1)
        return np.swapaxes(array.reshape(self.groups, first // self.groups, second, -1), 1, 2)

    def unblock(self, blocks: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Inverse of `blocks`."""
        whole = blocks if self.layout == "out_in" else np.swapaxes(blocks, 1, 2)
        return np.ascontiguousarray(whole).reshape(shape)


@dataclass(frozen=True)
class Flow:
    """Which output positions an input position is read by: those of its group. -1 is no group."""

    slot: int
    output: int
    source: np.ndarray
    target: np.ndarray


@dataclass
class Found:
    """What the rules have said so far, the raw material of `Facts`."""

    edges: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    pins: list[tuple[np.ndarray, str]] = field(default_factory=list)
    cuts: dict[Slot, list[Cut]] = field(default_factory=dict)
    numbers: list[Number] = field(default_factory=list)
    linears: list[Linear] = field(default_factory=list)
    balances: list[Balance] = field(default_factory=list)
    shaped: list[tuple[str, int, np.ndarray]] = field(default_factory=list)
    flows: dict[int, list[Flow]] = field(default_factory=dict)
    splits: list[tuple[int, tuple[np.ndarray, ...]]] = field(default_factory=list)
    gathers: list[tuple[int, np.ndarray]] = field(default_factory=list)

    def take(self, more: Found) -> None:
        """Add what one rule said."""
        for name in ("edges", "pins", "numbers", "linears", "balances", "shaped", "splits", "gathers"):
            getattr(self, name).extend(getattr(more, name))
        for slot, cuts in more.cuts.items():
            self.cuts.setdefault(slot, []).extend(cuts)
        self.flows.update(more.flows)


class Step:
    """One node under analysis. What its rule says is kept apart (`found`, `made`) until the rule has come to its end."""

    def __init__(self, sweep: Sweep, k: int, node: NodeProto) -> None:
        self.sweep, self.k, self.node, self.view = sweep, k, node, sweep.view
        self.found, self.made = Found(), dict[str, Channels]()

    # what the rule is told

    def has(self, slot: int) -> bool:
        """Whether there is such an input."""
        return slot < len(self.node.input) and bool(self.node.input[slot])

    def channels(self, slot: int) -> Channels | None:
        """What is known of an input; None where it is not tracked."""
        return self.sweep.values.get(self.node.input[slot]) if self.has(slot) else None

    def shape(self, slot: int) -> list[int]:
        """Sizes of an input, unknown ones as large primes. Stops where the rank is unknown."""
        return self._shape(self.node.input[slot])

    def rank(self, slot: int) -> int:
        """Number of axes of an input, stored or computed."""
        operand = self.operand(slot)
        return len(self.shape(slot)) if operand is None else operand.array.ndim

    def out_shape(self, output: int = 0) -> list[int]:
        """Sizes of an output."""
        return self._shape(self.node.output[output])

    def _shape(self, name: str) -> list[int]:
        found = self.sweep.sizes.get(name)
        if found is None:
            raise Stop(f"the shape of {name} is not known")
        return found

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute of the node. Attributes are float32, and so is a default."""
        return attribute(self.node, name, float(np.float32(default)) if isinstance(default, float) else default)

    def operand(self, slot: int) -> Operand | None:
        """The stored tensor behind an input, if there is one."""
        return find_operand(self.view, (self.k, slot)) if self.has(slot) else None

    def need(self, slot: int, what: str) -> Operand:
        """The stored tensor behind an input. Stops where it is computed."""
        found = self.operand(slot)
        if found is None:
            raise Stop(f"{what} is not stored in the file")
        return found

    def whole_numbers(self, slot: int, name: str) -> list[int] | None:
        """Integers given as an input (newer versions) or an attribute (older ones); None where neither is there."""
        if self.has(slot):
            return [int(i) for i in self.need(slot, name).array.reshape(-1)]
        given = self.attr(name)
        return None if given is None else [int(i) for i in (given if isinstance(given, list | tuple) else [given])]

    # what the rule says

    def fresh(self, count: int) -> np.ndarray:
        """New ids."""
        return self.sweep.fresh(count)

    def put(self, axis: int, ids: np.ndarray, constant: np.ndarray | None = None, output: int = 0) -> None:
        """Describe an output. Constants are rounded to its type; one that is not finite is anything."""
        name = self.node.output[output]
        known = np.full(len(ids), np.nan) if constant is None else self.sweep.rounded(name, constant)
        if self.out_shape(output)[axis] != len(ids):
            raise Stop(f"{name} has {self.out_shape(output)[axis]} channels by its shape and {len(ids)} by its inputs")
        self.made[name] = Channels(axis, ids, known)
        self.found.shaped.append((name, axis, ids))

    def unite(self, one: np.ndarray, two: np.ndarray) -> None:
        """These positions go together, pair by pair."""
        if one is not two:
            self.found.edges.append((one.reshape(-1), two.reshape(-1)))

    def pin(self, ids: np.ndarray, why: str) -> None:
        """These positions stay."""
        self.found.pins.append((ids, why))

    def cut(self, operand: Operand, axis: int, ids: np.ndarray) -> None:
        """The stored tensor follows these ids along an axis of its own."""
        for leaf in operand.leaves:
            if axis in leaf.axes:
                self.found.cuts.setdefault(leaf.slot, []).append(Cut(leaf.axes[axis], ids))
        self.found.shaped.extend((name, axes[axis], ids) for name, axes in operand.chain if axis in axes)

    def flow(self, slot: int, source: np.ndarray, target: np.ndarray, output: int = 0) -> None:
        """Position i of the input is read by the output's positions with the same group; -1 by none."""
        self.found.flows.setdefault(self.k, []).append(Flow(slot, output, source, target))

    def straight(self, slot: int, channels: Channels, where: np.ndarray | None = None) -> None:
        """Position i is read by output position i (only `where`)."""
        groups = np.arange(channels.count)
        self.flow(slot, groups if where is None else np.where(where, groups, -1), groups)


Rule = Callable[[Step], None]
RULES: Registry[Rule] = Registry("channel rule")


def axis_of(step: Step, given: int, slot: int = 0) -> int:
    """An axis counted from the front."""
    return given + len(step.shape(slot)) if given < 0 else given


def round_to(kind: int, values: np.ndarray) -> np.ndarray:
    """float64 values as the type holds them; nan where it would overflow, and for types that hold no floats."""
    if kind not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16):
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        held = values.astype(onnx.helper.tensor_dtype_to_np_dtype(kind)).astype(np.float64)
    return np.where(np.isfinite(held), held, np.nan)
