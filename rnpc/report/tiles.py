"""The key numbers at the top of the page: accuracy, what triggers still do, the accused label, the size of the change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnpc.report.numbers import DASH, arrow, count, p_value, percent
from rnpc.report.words import channels, label_name, one_class, tuned
from rnpc.stats import rate


@dataclass(frozen=True)
class Tile:
    """A title, a short value, and the small print."""

    title: str
    value: str
    detail: str


def tiles(document: Mapping[str, Any]) -> list[Tile]:
    """The tiles of a document. What is left has one where something was changed, attack success where it was measured or else."""
    left, attack = document.get("left") if changes(document) else None, document.get("attack_success")
    return [
        accuracy_tile(document.get("accuracy") or {}),
        *([left_tile(left)] if left else []),
        *([attack_tile(attack)] if attack or not left else []),
        target_tile(document),
        change_tile(document),
    ]


def changes(document: Mapping[str, Any]) -> bool:
    """Whether a file was written that differs from the input."""
    return bool(document.get("output")) and bool(channels(document) or tuned(document))


def accuracy_tile(accuracy: Mapping[str, Any]) -> Tile:
    """Clean accuracy before and after, with both intervals."""
    before, after, images = accuracy.get("before"), accuracy.get("after"), int(accuracy.get("images") or 0)
    if before is None:
        return Tile("Clean accuracy", DASH, "not measured")
    detail = f"before {span(interval(before, images, accuracy.get('interval_before')))}"
    if after is not None:
        detail += f"; after {span(interval(after, images, accuracy.get('interval')))}; {count(images, 'image')}"
    return Tile("Clean accuracy", arrow(before, after), detail)


def left_tile(left: Mapping[str, Any]) -> Tile:
    """What the best of many triggers still reaches. Where that cannot be told, the numbers are small print, not the value."""
    title, numbers, words = "Trigger success left", arrow(left.get("before"), left.get("success")), str(left.get("words") or "")
    natural = [f"natural level {percent(left['natural'])}"] if left.get("natural") is not None else []
    if left.get("success") is None:
        return Tile(title, "not measured", words)
    if not left.get("told"):
        return Tile(title, "cannot be told", "; ".join([f"tried: {numbers}", *natural, *([words] if words else [])]))
    return Tile(title, numbers, "; ".join([*natural, *one_class(left), *([words] if words else [])]))


def attack_tile(attack: Mapping[str, Any] | None) -> Tile:
    """Attack success before and after, where the trigger was given."""
    if not attack:
        return Tile("Attack success", DASH, "not measured: no trigger was given")
    before, after, images = attack.get("before"), attack.get("after"), int(attack.get("images") or 0)
    final = after if after is not None else before
    limits = span(interval(final, images, attack.get("interval"))) if final is not None else ""
    detail = f"after {limits}; {count(images, 'image')} with the trigger" if after is not None else f"{limits}; {count(images, 'image')}"
    return Tile("Attack success", arrow(before, after), detail)


def target_tile(document: Mapping[str, Any]) -> Tile:
    """The accused labels by name; their numbers, shares of votes and the p-value in the small print."""
    targets: Sequence[Mapping[str, Any]] = document.get("target_labels") or ()
    p = [p_value(document["confidence"])] if document.get("confidence") is not None else []
    if not targets:
        return Tile("Target label", "none", "; ".join(["no label is accused", *p]))
    title = "Suspected label" if document.get("verdict") == "inconclusive" else "Target label"
    names = ", ".join(str(label.get("name") or label_name(label)) for label in targets)
    votes = ", ".join(
        label_name({**label, "name": None}) + ("" if label.get("share") is None else f": share of votes {percent(label['share'], 0)}")
        for label in targets
    )
    return Tile(title, names, "; ".join([votes, *p]))


def change_tile(document: Mapping[str, Any]) -> Tile:
    """How many channels are constant, or how many tensors have new weights."""
    cut, tensors, total = channels(document), tuned(document), int((document.get("pruned") or {}).get("of") or 0)
    share = f"of {total:,}, that is {percent(cut / total)}" if cut and total else f"of {total:,}"
    if not tensors:
        return Tile("Channels pruned", f"{cut:,}", share)
    return Tile("Tensors retrained", f"{tensors:,}", f"and {count(cut, 'channel')} {share} constant" if cut else "no channel cut")


def interval(value: float, images: int, given: Sequence[float] | None) -> tuple[float, float] | None:
    """The interval as given, else Clopper-Pearson's from the value and the count; None without a count."""
    if given:
        return float(given[0]), float(given[1])
    if images <= 0:
        return None
    exact = rate(round(value * images), images)
    return exact.low, exact.high


def span(limits: tuple[float, float] | None) -> str:
    """An interval in percent."""
    return "without interval" if limits is None else f"{100 * limits[0]:.1f} – {percent(limits[1])}"
