"""SPEC: which victims are hardened, and how, read from TOML and checked field by field.

    schema = "rnpc.bench/1"
    name = "choose"
    [defaults]                  # fields of every victim that leaves them out
    [[victim]]                  # a VictimSpec each
    [harden]                    # forms x seeds x methods, over all victims
    forms = ["folded", "batchnorm"]
    images = 500
    seeds = [1]
    methods = ["auto", "rnp"]

Every error is one line that names the file, the table and the field.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rnpc import files
from rnpc.bench import forms as known_forms
from rnpc.data import datasets
from rnpc.defenses import DEFENSES
from rnpc.errors import InputRefused, UsageError
from rnpc.program import SEEDS
from rnpc.victims.spec import VictimSpec

SCHEMA = "rnpc.bench/1"
BUILT_IN = Path(__file__).parent / "specs"
TAKEN = ("victims", "cells", "answers", "locks")
"""Folders of a bench that no SPEC may be named like."""


@dataclass(frozen=True)
class Cell:
    """One line of the table: a victim (its `number` in the SPEC, from 1), a file of it, a draw of defense data, a method."""

    number: int
    victim: VictimSpec
    form: str
    images: int
    seed: int
    method: str


@dataclass(frozen=True)
class BenchSpec:
    """A SPEC. `where` is the file as the user named it, for errors."""

    name: str
    victims: tuple[VictimSpec, ...]
    forms: tuple[str, ...]
    images: int
    seeds: tuple[int, ...]
    methods: tuple[str, ...]
    where: str

    def cells(self) -> tuple[Cell, ...]:
        """All cells, in the order of the table."""
        numbered = enumerate(self.victims, 1)
        return tuple(
            Cell(number, victim, form, self.images, seed, method)
            for number, victim in numbered
            for form in self.forms
            for seed in self.seeds
            for method in self.methods
        )

    def place(self, number: int) -> str:
        """How an error calls a victim."""
        return f"{self.where}, [[victim]] {number}"


def load(spec: str) -> BenchSpec:
    """The SPEC at a path, or the built-in one of that name. Raises UsageError (a wrong field) or InputRefused (no such file, no TOML)."""
    path = Path(spec)
    built_in = BUILT_IN / f"{spec}.toml"
    if files.kind(path) != "file" and spec.isidentifier() and built_in.is_file():
        path = built_in
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in BUILT_IN.glob("*.toml")))
        raise InputRefused(f"no SPEC there ({error.strerror})", where=spec, todo=f"give a TOML file, or one of {known}") from error
    except ValueError as error:  # tomllib's error and a wrong encoding alike
        raise InputRefused(f"not TOML ({error})", where=spec, todo="see docs/bench.md") from error
    return parse(raw, spec)


def parse(raw: dict[str, Any], where: str) -> BenchSpec:
    """Check a parsed SPEC. Raises UsageError."""
    known(raw, ("schema", "name", "defaults", "victim", "harden"), where)
    if raw.get("schema") != SCHEMA:
        raise UsageError(f"field schema is {raw.get('schema')!r}", where=where, todo=f'write schema = "{SCHEMA}"')
    name = need(raw, "name", is_name, f"a word of letters, digits, - and _ other than {', '.join(TAKEN)}", where)
    defaults = need({"defaults": {}, **raw}, "defaults", is_table, "a table", where)
    tables = need(raw, "victim", lambda v: isinstance(v, list) and bool(v) and all(map(is_table, v)), "[[victim]] tables", where)
    victims = tuple(victim(defaults, table, f"{where}, [[victim]] {number}") for number, table in enumerate(tables, 1))
    for number, each in enumerate(victims, 1):
        first = victims.index(each) + 1
        if first < number:
            place = f"{where}, [[victim]] {number}"
            raise UsageError(f"the same victim as [[victim]] {first}", where=place, todo="change a field, or remove it")
    return hardening(need(raw, "harden", is_table, "a table", where), name, victims, where)


def hardening(raw: dict[str, Any], name: str, victims: tuple[VictimSpec, ...], where: str) -> BenchSpec:
    """The table [harden]."""
    place = f"{where}, [harden]"
    known(raw, ("forms", "images", "seeds", "methods"), place)
    images = need(raw, "images", lambda v: is_int(v) and v >= 1, "a number of images from 1", place)
    of_form, of_method = known_forms.names(), DEFENSES.names()
    forms = each_once(raw, "forms", lambda f: f in of_form, ", ".join(of_form), place)
    seeds = each_once(raw, "seeds", lambda s: is_int(s) and s in SEEDS, f"integers from 0 to {SEEDS[-1]}", place)
    methods = each_once(raw, "methods", lambda m: m in of_method, ", ".join(of_method), place)
    return BenchSpec(name, victims, forms, images, seeds, methods, where)


KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "attack": (lambda v: isinstance(v, str), "a text"),
    "dataset": (lambda v: isinstance(v, str), "a text"),
    "arch": (lambda v: isinstance(v, str), "a text"),
    "width": (lambda v: is_int(v), "an integer"),
    "target": (lambda v: is_int(v) or v == "next", 'a label or "next"'),
    "seed": (lambda v: is_int(v), "an integer"),
    "rate": (lambda v: is_number(v), "a number"),
    "fraction": (lambda v: is_number(v), "a number"),
    "epochs": (lambda v: is_int(v), "an integer"),
    "batch": (lambda v: is_int(v), "an integer"),
    "lr": (lambda v: is_number(v), "a number"),
    "schedule": (lambda v: isinstance(v, str), "a text"),
    "descends": (lambda v: isinstance(v, str), "a text"),
    "settings": (lambda v: is_table(v), "a table"),
}
"""What a victim's field may hold; a field of VictimSpec that is not here is checked by VictimSpec alone."""


def victim(defaults: dict[str, Any], table: dict[str, Any], where: str) -> VictimSpec:
    """One [[victim]]. Its own errors come without a place, so the place is put before them."""
    names = tuple(f.name for f in fields(VictimSpec))
    for raw, place in ((defaults, f"{where.rsplit(', ', 1)[0]}, [defaults]"), (table, where)):
        known(raw, names, place)
        for key in raw:
            check, wanted = KINDS.get(key, (lambda v: True, ""))
            need(raw, key, check, wanted, place)
    try:
        return VictimSpec.from_document({**defaults, **table})
    except UsageError as error:
        raise placed(error, where) from error


def check_data(spec: BenchSpec, number: int, data: datasets.Dataset) -> None:
    """Raises UsageError where a victim does not fit its data set (a target outside the classes, nothing to poison, too few images)."""
    try:
        spec.victims[number - 1].checked(len(data.classes), data.shape)
    except UsageError as error:
        raise placed(error, spec.place(number)) from error
    if spec.images > len(data.train_labels):
        what = f"field images is {spec.images}, but {data.name} has {len(data.train_labels)} training images"
        raise UsageError(what, where=f"{spec.where}, [harden]", todo="choose fewer")


def placed(error: UsageError, where: str) -> UsageError:
    """The error, with the place in the SPEC before its own."""
    return UsageError(f"{error.where}: {error.what}" if error.where else error.what, where=where, todo=error.todo)


def known(raw: dict[str, Any], names: tuple[str, ...], where: str) -> None:
    """Raises UsageError for a field that does not exist."""
    for key in raw:
        if key not in names:
            raise UsageError(f"no field named {key}", where=where, todo=f"choose among {', '.join(names)}")


def need(raw: dict[str, Any], key: str, check: Callable[[Any], bool], wanted: str, where: str) -> Any:
    """The field's value. Raises UsageError where it is missing or of another kind."""
    if key not in raw:
        raise UsageError(f"field {key} is missing", where=where, todo=f"give {wanted}")
    if not check(raw[key]):
        raise UsageError(f"field {key} is {raw[key]!r}", where=where, todo=f"give {wanted}")
    return raw[key]


def is_int(value: Any) -> bool:
    """An integer, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """An integer or a float."""
    return is_int(value) or isinstance(value, float)


def is_table(value: Any) -> bool:
    """A TOML table."""
    return isinstance(value, dict)


def each_once(raw: dict[str, Any], key: str, check: Callable[[Any], bool], wanted: str, where: str) -> tuple[Any, ...]:
    """A list with at least one entry, all different, each of which passes."""

    def fits(value: Any) -> bool:
        return isinstance(value, list) and bool(value) and all(check(v) for v in value) and len({str(v) for v in value}) == len(value)

    return tuple(need(raw, key, fits, f"a list of {wanted}, each once", where))


def is_name(value: Any) -> bool:
    """A name that is also a folder's."""
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][\w-]*", value, re.ASCII) is not None and value not in TAKEN
