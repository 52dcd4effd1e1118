"""One table for everything that is known about an operator: (domain, op_type) -> closed ranges of since_version -> entry.

A model states one opset for a domain; `onnx.defs` turns that into the version in which an operator last changed (its
since_version), and an entry says for which of those it holds. Ranges are closed at both ends, so that a version nobody has looked at is a
miss and never a guess; ranges that overlap are a programming error and raise at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import onnx

T = TypeVar("T")
OPSETS = range(7, 27)
"""Opset versions of the default domain that rnpc reads."""


@dataclass(frozen=True)
class Entry(Generic[T]):
    """`value` holds for since_version `first` to `last`, both included."""

    domain: str
    op_type: str
    first: int
    last: int
    value: T


class Registry(Generic[T]):
    """Entries by operator; `what` names the table in error messages."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._entries: dict[tuple[str, str], list[Entry[T]]] = {}

    def register(self, op_type: str, first: int, last: int | None = None, domain: str = "") -> Callable[[T], T]:
        """Decorator: the decorated value serves `op_type` from since_version `first` to `last` (`first` alone where it is None)."""

        def keep(value: T) -> T:
            self.add(Entry(canonical(domain), op_type, first, first if last is None else last, value))
            return value

        return keep

    def add(self, entry: Entry[T]) -> None:
        """Raises ValueError where the range is empty or meets one that is there."""
        here = self._entries.setdefault((entry.domain, entry.op_type), [])
        if entry.first > entry.last:
            raise ValueError(f"{self.what}: {entry.op_type}: empty range {entry.first} to {entry.last}")
        for other in here:
            if entry.first <= other.last and other.first <= entry.last:
                raise ValueError(f"{self.what}: {entry.op_type}: {entry.first} to {entry.last} overlaps {other.first} to {other.last}")
        here.append(entry)
        here.sort(key=lambda e: e.first)

    def find(self, op_type: str, opset: int, domain: str = "") -> T | None:
        """The entry for `op_type` in a model of this opset; None is a miss."""
        since = since_version(op_type, opset, domain)
        if since is None:
            return None
        here = self._entries.get((canonical(domain), op_type), [])
        return next((e.value for e in here if e.first <= since <= e.last), None)

    def __iter__(self) -> Iterator[Entry[T]]:
        """All entries, by domain, operator and version."""
        for key in sorted(self._entries):
            yield from self._entries[key]


def canonical(domain: str) -> str:
    """The default domain has two spellings."""
    return "" if domain == "ai.onnx" else domain


def since_version(op_type: str, opset: int, domain: str = "") -> int | None:
    """The version in which the operator last changed, seen from `opset`; None where onnx knows no such operator."""
    try:
        return int(onnx.defs.get_schema(op_type, opset, canonical(domain)).since_version)
    except onnx.defs.SchemaError:
        return None
