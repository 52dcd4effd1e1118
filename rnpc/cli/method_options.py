"""Options that come from a method's settings: `rnpc harden --method NAME --help` shows those of that method, with their defaults.

The method is looked for in the arguments before they are parsed, so that only the chosen one is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rnpc.catalogue import Catalogue

PREFIX = "method_"
"""Of parameter names, so that a setting never meets an option of the command."""


class MethodCommand(click.Command):
    """A command with `--method`; `catalogue` and `default` say which methods there are."""

    catalogue: Catalogue[Any]
    default: str

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:
        name = chosen(args) or self.default
        taken = {option for param in self.params for option in param.opts}
        if name in self.catalogue.names():
            self.params = [p for p in self.params if not str(p.name).startswith(PREFIX)]
            self.params += [option(f) for f in self.catalogue.fields(name) if flag(f.name) not in taken]
        return super().make_context(info_name, args, parent, **extra)


def chosen(args: Sequence[str]) -> str | None:
    """The last value of `--method` among the arguments."""
    found = None
    for place, word in enumerate(args):
        if word == "--method" and place + 1 < len(args):
            found = args[place + 1]
        elif word.startswith("--method="):
            found = word.partition("=")[2]
    return found


def flag(name: str) -> str:
    """The option of a setting."""
    return f"--{name.replace('_', '-')}"


def option(field: Field[Any]) -> click.Option:
    """A setting as an option; without it the method's own default holds."""
    kind = bool if isinstance(field.default, bool) else type(field.default)
    spelled = f"{flag(field.name)}/--no-{field.name.replace('_', '-')}" if kind is bool else flag(field.name)
    text = f"{field.metadata.get('help', 'a setting of the method')} [method's default: {field.default}]"
    return click.Option([spelled, f"{PREFIX}{field.name}"], type=kind, default=None, help=text)


def settings_of(given: dict[str, Any]) -> dict[str, Any]:
    """The settings among a command's arguments; these are taken out of `given`."""
    names = [name for name in given if name.startswith(PREFIX)]
    values = {name.removeprefix(PREFIX): given.pop(name) for name in names}
    return {name: value for name, value in values.items() if value is not None}
