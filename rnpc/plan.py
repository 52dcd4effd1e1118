"""Plan: the edits that turn the original into the hardened file, and nothing that depends on where or when they were decided.

An edit is of one of two kinds. `Silence` makes channels of filter sites constant (mode `zero`) or takes them out of the graph (mode
`remove`); it is small and whole. `Weights` replaces named tensors; it holds their digests, the new bytes travel in a safetensors file
beside the plan. A plan is JSON both ways, strictly typed, and shaped so that it can be the predicate of an in-toto statement.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from rnpc.errors import InputRefused
from rnpc.program import FilterSite, SiteKind

REWRITE = "rnpc.rewrite/2"
"""Version of the rules by which edits become bytes; `apply` refuses any other."""
Mode = Literal["zero", "remove"]
Setting = str | int | float | bool | None


@dataclass(frozen=True)
class SitePlan:
    """Channels of one site and the constant each becomes, as float32 bits in hex (big-endian, 8 digits)."""

    site: str
    kind: SiteKind
    channels: tuple[int, ...]
    values: tuple[str, ...]

    @staticmethod
    def of(site: FilterSite, values: Mapping[int, float]) -> SitePlan:
        """Plan for the channels of `values`, in rising order."""
        order = sorted(values)
        return SitePlan(site.value, site.kind, tuple(order), tuple(float_bits(values[c]) for c in order))

    def constants(self) -> dict[int, float]:
        """Channel -> constant."""
        return {c: bits_float(v) for c, v in zip(self.channels, self.values, strict=True)}


@dataclass(frozen=True)
class Silence:
    """Channels made constant in place (`zero`), or taken out of the graph as far as that is exact (`remove`)."""

    sites: tuple[SitePlan, ...]
    mode: Mode = "zero"


@dataclass(frozen=True)
class Retrained:
    """A tensor of the user's graph, and the sha256 (hex) of its little-endian bytes before and after."""

    tensor: str
    before: str
    after: str


@dataclass(frozen=True)
class Weights:
    """Tensors replaced by others of the same type and shape."""

    tensors: tuple[Retrained, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that turns the original into the hardened file.

    `original`: sha256 of the original, external data included; `data`: digest of the list of defense images, "" where there was none;
    `settings`: those of the method, by name. At most one edit of a kind; weights are replaced before channels are silenced.
    """

    method: str
    seed: int
    original: str
    data: str
    silence: Silence | None = None
    weights: Weights | None = None
    threshold: float | None = None
    settings: Mapping[str, Setting] = field(default_factory=dict)
    rewrite: str = REWRITE

    @property
    def sites(self) -> tuple[SitePlan, ...]:
        """The sites that lose channels."""
        return () if self.silence is None else self.silence.sites

    @property
    def channels(self) -> int:
        """How many channels the plan silences."""
        return sum(len(s.channels) for s in self.sites)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    @staticmethod
    def from_json(text: str, where: str = "plan") -> Plan:
        """Inverse of `to_json`. Raises InputRefused that names the field which has a wrong type."""
        return _Reader(where).plan(parse(text, where))


def silence(sites: Iterable[FilterSite], values: Mapping[str, Mapping[int, float]], mode: Mode = "zero") -> Silence:
    """The edit for `values` (site -> channel -> constant), its sites in the order of `sites`."""
    return Silence(tuple(SitePlan.of(site, values[site.value]) for site in sites if site.value in values), mode)


def parse(text: str, where: str) -> Any:
    """Plain values from JSON that can mean one thing only: no key stands twice, no number is infinite, all text can be written again.

    Raises InputRefused.
    """
    try:
        raw = json.loads(text, object_pairs_hook=_once)
        json.dumps(raw, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise InputRefused(f"no JSON ({error})", where=where, todo=TODO) from error
    return raw


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these members. Raises ValueError for a name that stands twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands twice")
    return found


KINDS: dict[type, str] = {str: "text", list: "a list", dict: "an object"}
TODO = "make the plan again with rnpc harden, or correct it by hand (docs/verify.md)"


class _Reader:
    """Reads plain JSON values strictly: what is missing, unknown or of another type is refused by its name."""

    def __init__(self, where: str) -> None:
        self.where = where

    def plan(self, raw: Any) -> Plan:
        """A whole plan."""
        names = ("method", "seed", "original", "data", "silence", "weights", "threshold", "settings", "rewrite")
        given = self.table(raw, "the plan", names, ("threshold", "settings", "silence", "weights"))
        settings = self.table(given.get("settings") or {}, "settings", None)
        if any(not isinstance(v, str | int | float | bool | None) for v in settings.values()):
            raise self.wrong("settings", "plain values", settings)
        return Plan(
            method=self.typed(given["method"], str, "method"),
            seed=self.integer(given["seed"], "seed"),
            original=self.typed(given["original"], str, "original"),
            data=self.typed(given["data"], str, "data"),
            silence=None if given.get("silence") is None else self.silence(given["silence"]),
            weights=None if given.get("weights") is None else self.weights(given["weights"]),
            threshold=None if given.get("threshold") is None else float(self.number(given["threshold"], "threshold")),
            settings=settings,
            rewrite=self.typed(given["rewrite"], str, "rewrite"),
        )

    def silence(self, raw: Any) -> Silence:
        """The edit that silences channels."""
        given = self.table(raw, "silence", ("sites", "mode"))
        if given["mode"] not in get_args(Mode):
            raise self.wrong("silence.mode", " or ".join(get_args(Mode)), given["mode"])
        sites = self.typed(given["sites"], list, "silence.sites")
        return Silence(tuple(self.site(entry, f"silence.sites[{k}]") for k, entry in enumerate(sites)), given["mode"])

    def site(self, raw: Any, name: str) -> SitePlan:
        """One site with its channels."""
        given = self.table(raw, name, ("site", "kind", "channels", "values"))
        if given["kind"] not in get_args(SiteKind):
            raise self.wrong(f"{name}.kind", ", ".join(get_args(SiteKind)), given["kind"])
        channels = tuple(self.integer(c, f"{name}.channels") for c in self.typed(given["channels"], list, f"{name}.channels"))
        values = tuple(self.typed(v, str, f"{name}.values") for v in self.typed(given["values"], list, f"{name}.values"))
        return SitePlan(self.typed(given["site"], str, f"{name}.site"), given["kind"], channels, values)

    def weights(self, raw: Any) -> Weights:
        """The edit that replaces tensors."""
        given, found = self.table(raw, "weights", ("tensors",)), []
        for k, entry in enumerate(self.typed(given["tensors"], list, "weights.tensors")):
            row = self.table(entry, f"weights.tensors[{k}]", ("tensor", "before", "after"))
            found.append(Retrained(*(self.typed(row[n], str, f"weights.tensors[{k}].{n}") for n in ("tensor", "before", "after"))))
        return Weights(tuple(found))

    def table(self, raw: Any, name: str, known: tuple[str, ...] | None, optional: tuple[str, ...] = ()) -> dict[str, Any]:
        """An object with these fields, and no others."""
        found: dict[str, Any] = self.typed(raw, dict, name)
        if known is None:
            return found
        if unknown := sorted(found.keys() - set(known)):
            raise InputRefused(f"{name} has no field {unknown[0]!r}", where=self.where, todo=TODO)
        if missing := sorted(set(known) - set(optional) - found.keys()):
            raise InputRefused(f"{name} lacks the field {missing[0]!r}", where=self.where, todo=TODO)
        return found

    def typed(self, value: Any, kind: type, name: str) -> Any:
        """A value of just this type."""
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.wrong(name, KINDS[kind], value)
        return value

    def integer(self, value: Any, name: str) -> int:
        """A whole number from 0; neither 1.5 nor true nor "0"."""
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(name, "a whole number from 0", value)
        return value

    def number(self, value: Any, name: str) -> float:
        """A finite number."""
        if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > sys.float_info.max:
            raise self.wrong(name, "a number", value)
        return value

    def wrong(self, name: str, wanted: str, value: Any) -> InputRefused:
        """The error for a value of another type."""
        shown = repr(value)
        return InputRefused(f"{name} is {shown if len(shown) <= 40 else shown[:37] + '...'}, not {wanted}", where=self.where, todo=TODO)


def float_bits(value: float) -> str:
    """Float32 bits of `value` as eight hex digits."""
    return np.array(value, dtype=">f4").tobytes().hex()


def bits_float(bits: str) -> float:
    """Inverse of `float_bits`."""
    return float(np.frombuffer(bytes.fromhex(bits), dtype=">f4")[0])
