"""The twin as a torch module: a list of steps over a list of slots.

Everything is settled when the twin is built: which function a step runs, which slots it reads and fills, and which values nobody reads
afterwards. A forward pass is then one loop. Edits and captures act on a value at the moment it is produced, under the name that it has in
the ONNX graph.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnpc.twin.node import Run

Edit = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Step:
    """One node. `outputs` pairs slots with value names; `free` are the slots that nobody reads later."""

    node: str
    run: Run
    train: Run
    inputs: tuple[int, ...]
    outputs: tuple[tuple[int, str], ...]
    single: bool
    free: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Where values live. `parameters` and `buffers`: slot -> key in the store; `names`: initializer name -> parameter's key."""

    steps: tuple[Step, ...]
    inputs: tuple[tuple[int, str], ...]
    outputs: tuple[tuple[int, str], ...]
    parameters: tuple[tuple[int, str], ...]
    buffers: tuple[tuple[int, str], ...]
    names: Mapping[str, str]
    statistics: Mapping[str, tuple[str, str]]
    values: frozenset[str]

    def __deepcopy__(self, memo: dict[int, Any]) -> Layout:
        return self


class Store(nn.Module):
    """Holds the parameters and buffers; its keys are escaped initializer names, since torch forbids dots."""


class Twin(nn.Module):
    """A classifier rebuilt from ONNX. Made by `rnpc.twin.build`; starts in eval mode, in float32, on the CPU.

    In train mode BatchNorm uses and updates batch statistics (momentum 0.1 as torch means it); nothing else changes: Dropout stays off.
    """

    def __init__(self, layout: Layout, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], slots: list[Any]) -> None:
        super().__init__()
        self.layout = layout
        self.store = Store()
        for key, tensor in parameters.items():
            self.store.register_parameter(key, nn.Parameter(tensor))
        for key, tensor in buffers.items():
            self.store.register_buffer(key, tensor)
        self._slots = slots
        self.eval()

    def forward(self, x: Tensor, edits: Mapping[str, Edit] | None = None, capture: Collection[str] = ()) -> Any:
        """Logits of `x` [n, ...]; with `capture`, also the named values.

        Args:
            x: the graph's image input, in its own layout.
            edits: value name -> function applied to the value before anyone reads it.
            capture: names of values to return, after their edit.

        Returns:
            The first graph output, or (that, {name: value}) where `capture` is not empty.

        Raises:
            KeyError: no such value in the twin.
        """
        results, kept = self.evaluate((x,), edits, capture)
        return (results[0], kept) if capture else results[0]

    def evaluate(
        self, feeds: Collection[Tensor], edits: Mapping[str, Edit] | None = None, capture: Collection[str] = ()
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """All graph outputs for all graph inputs, in the graph's order, and the captured values."""
        edits = edits or {}
        watched = self._check(edits, capture)
        slots, kept = self._start(), dict[str, Tensor]()
        for (slot, name), value in zip(self.layout.inputs, feeds, strict=True):
            slots[slot] = self._watch(name, value, edits, capture, kept) if name in watched else value
        training = self.training
        for step in self.layout.steps:
            results = self._run(step, training, slots)
            for (slot, name), value in zip(step.outputs, (results,) if step.single else results, strict=False):
                slots[slot] = self._watch(name, value, edits, capture, kept) if name in watched else value
            for slot in step.free:
                slots[slot] = None
        return [slots[slot] for slot, _ in self.layout.outputs], kept

    def _run(self, step: Step, training: bool, slots: list[Any]) -> Any:
        run = step.train if training else step.run
        try:
            return run(*[slots[i] for i in step.inputs])
        except Exception as error:
            error.add_note(f"in node {step.node} of the model")
            raise

    @staticmethod
    def _watch(name: str, value: Tensor, edits: Mapping[str, Edit], capture: Collection[str], kept: dict[str, Tensor]) -> Tensor:
        if name in edits:
            value = edits[name](value)
        if name in capture:
            kept[name] = value
        return value

    def _check(self, edits: Mapping[str, Edit], capture: Collection[str]) -> frozenset[str]:
        if not edits and not capture:
            return frozenset()
        watched = frozenset(edits) | frozenset(capture)
        if missing := watched - self.layout.values:
            raise KeyError(f"no such values in the twin: {', '.join(sorted(missing))}")
        return watched

    def _start(self) -> list[Any]:
        """Slots with constants, parameters and buffers in place. The store's dicts are read directly: attribute access is slow."""
        slots = self._slots.copy()
        parameters, buffers = self.store._parameters, self.store._buffers
        for slot, key in self.layout.parameters:
            slots[slot] = parameters[key]
        for slot, key in self.layout.buffers:
            slots[slot] = buffers[key]
        return slots

    def parameter_of(self, initializer: str) -> nn.Parameter:
        """The parameter made from an initializer. Raises KeyError for one that is a constant or a BatchNorm statistic."""
        if initializer not in self.layout.names:
            raise KeyError(f"no parameter for initializer {initializer!r}")
        return self.store.get_parameter(self.layout.names[initializer])

    def statistics_of(self, value: str) -> tuple[Tensor, Tensor]:
        """Running mean and variance [C] of the BatchNorm that produces `value`. Raises KeyError where none does."""
        mean, var = self.layout.statistics[value]
        return self.store.get_buffer(mean), self.store.get_buffer(var)

    def parameter_names(self) -> tuple[str, ...]:
        """Initializers that became parameters; tied ones stand under each of their names."""
        return tuple(self.layout.names)

    @torch.no_grad()
    def predict(self, x: Tensor, batch: int = 128) -> Tensor:
        """Logits of `x` in batches, without gradients."""
        return torch.cat([self(x[i : i + batch]) for i in range(0, len(x), batch)])
