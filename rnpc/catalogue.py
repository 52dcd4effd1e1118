"""A registry of methods by name: each name leads to a class in a module of its own, which is imported when it is asked for.

So the names and their one-line help cost nothing, and CLI options, API, bench fields and documents are made from one list. What a method
can be set to are the fields of its dataclass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, fields
from importlib import import_module
from typing import Any, Generic, TypeVar

from rnpc.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """`place`: module:class; `help`: one line."""

    place: str
    help: str


class Catalogue(Generic[T]):
    """Entries by name; `what` names one of them in errors."""

    def __init__(self, what: str, entries: Mapping[str, Entry]) -> None:
        self.what, self.entries = what, dict(entries)

    def names(self) -> tuple[str, ...]:
        """All names, in the order of the list."""
        return tuple(self.entries)

    def kind(self, name: str) -> type[T]:
        """The class of that name. Raises UsageError with the list."""
        if name not in self.entries:
            raise UsageError(f"no such {self.what}", where=name, todo=f"choose one of {', '.join(self.entries)}")
        module, _, member = self.entries[name].place.partition(":")
        kind: type[T] = getattr(import_module(module), member)
        return kind

    def create(self, name: str, settings: Mapping[str, Any] | None = None) -> T:
        """The method of that name; settings that are not given keep their published values. Raises UsageError for others."""
        kind, known = self.kind(name), {f.name: f for f in self.fields(name)}
        typed: dict[str, Any] = {}
        for key, value in (settings or {}).items():
            if key not in known:
                todo = f"choose among {', '.join(known)}" if known else "it has none"
                raise UsageError(f"no setting named {key}", where=name, todo=todo)
            typed[key] = fitting(name, known[key], value)
        return kind(**typed)

    def fields(self, name: str) -> Iterator[Field[Any]]:
        """The settings of a method."""
        kind: Any = self.kind(name)
        return (f for f in fields(kind) if f.init)


def fitting(where: str, field: Field[Any], value: Any) -> Any:
    """A value in the type of the field's default; an integer may stand for a float. Raises UsageError."""
    kind = type(field.default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise UsageError(f"{field.name} cannot be {value!r}", where=where, todo=f"give a value like {field.default!r}")
    return value
