"""From a document and evidence to the HTML page: gathers what the template shows, and the reason for each part that is missing."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from rnpc.report import plots
from rnpc.report.evidence import Evidence, Trigger
from rnpc.report.images import data_uri, delta_picture
from rnpc.report.words import count, describe, label_name, percent
from rnpc.stats import rate

ABSENT = {
    "cuts": "No cut was judged: nothing was to be pruned, or the method takes a fixed threshold.",
    "heat": "No channel was ranked.",
    "masks": "No masks were recovered and no channel was ranked.",
    "course": "This method did not unlearn the model, or stopped before it.",
    "triggers": "No trigger was inverted.",
    "classes": "No evidence was gathered by class.",
}
MOST_CLASSES = 12
FLAGS = {"max_ca_drop": "--max-ca-drop", "method": "--method", "seed": "--seed", "device": "--device", "threads": "--threads"}


def page(document: Mapping[str, Any], evidence: Evidence) -> str:
    """The whole HTML page."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters.update(percent=percent, number=number, named=label_name)
    return environment.get_template("report.html.j2").render(context(document, evidence)) + "\n"


def context(document: Mapping[str, Any], evidence: Evidence) -> dict[str, Any]:
    """Everything that the template names."""
    classes = sorted(evidence.classes, key=lambda row: (row.norm is None, row.norm if row.norm is not None else 0.0, row.label))
    return {
        "document": document,
        "words": describe(document),
        "input": {"path": None, "sha256": None, **(document.get("input") or {})},
        "output": document.get("output") or {},
        "targets": document.get("target_labels") or [],
        "tiles": tiles(document),
        "plots": drawings(document, evidence),
        "absent": ABSENT,
        "triggers": [shown(t, document, evidence) for t in evidence.triggers],
        "classes": classes[:MOST_CLASSES],
        "class_count": len(classes),
        "accused": {label["index"] for label in document.get("target_labels") or []},
        "success": any(cut.success for cut in evidence.cuts),
        "chosen": evidence.cuts[evidence.chosen] if evidence.chosen is not None and evidence.cuts else None,
        "pruned_sites": (document.get("pruned") or {}).get("sites") or [],
        "settings": list(setting_rows(document.get("settings") or {})),
        "reasons": document.get("reasons") or [],
        "notes": [*(document.get("notes") or []), *(document.get("warnings") or [])],
        "edits": edit_counts(document.get("edits") or []),
        "command": command(document),
    }


def tiles(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """The key numbers: accuracy, attack success, target, channels."""
    cut = document.get("pruned") or {}
    targets = document.get("target_labels") or []
    gone, total = int(cut.get("channels") or 0), int(cut.get("of") or 0)
    share = f"of {total:,}, that is {percent(gone / total)}" if gone and total else f"of {total:,}"
    return [
        accuracy_tile(document.get("accuracy") or {}),
        attack_tile(document.get("attack_success")),
        target_tile(targets),
        {"title": "Channels pruned", "value": f"{gone:,}", "detail": share},
    ]


def target_tile(targets: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The accused labels by name, and their numbers and shares in the small print."""
    if not targets:
        return {"title": "Target label", "value": "none", "detail": "no label is accused"}
    names = ", ".join(str(label.get("name") or label["index"]) for label in targets)
    shares = ", ".join(
        label_name({**label, "name": None}) + ("" if label.get("share") is None else f": share of votes {percent(label['share'], 0)}")
        for label in targets
    )
    return {"title": "Target label", "value": names, "detail": shares}


def accuracy_tile(accuracy: Mapping[str, Any]) -> dict[str, str]:
    """Clean accuracy before and after, with both intervals."""
    before, after, images = accuracy.get("before"), accuracy.get("after"), int(accuracy.get("images") or 0)
    if before is None:
        return {"title": "Clean accuracy", "value": "–", "detail": "not measured"}
    detail = f"before {span(interval(before, images, accuracy.get('interval_before')))}"
    if after is not None:
        detail += f"; after {span(interval(after, images, accuracy.get('interval')))}; {count(images, 'image')}"
    return {"title": "Clean accuracy", "value": arrow(before, after), "detail": detail}


def attack_tile(attack: Mapping[str, Any] | None) -> dict[str, str]:
    """Attack success before and after, where the trigger was given."""
    if not attack:
        return {"title": "Attack success", "value": "–", "detail": "not measured: no trigger was given"}
    before, after, images = attack.get("before"), attack.get("after"), int(attack.get("images") or 0)
    final = after if after is not None else before
    limits = span(interval(final, images, attack.get("interval"))) if final is not None else ""
    detail = f"after {limits}; {count(images, 'image')} with the trigger" if after is not None else f"{limits}; {count(images, 'image')}"
    return {"title": "Attack success", "value": arrow(before, after), "detail": detail}


def arrow(before: float | None, after: float | None) -> str:
    """`97.0 % → 96.8 %`, one number where there is only one."""
    return percent(before) if after is None else f"{percent(before)} → {percent(after)}"


def interval(value: float, images: int, given: Any) -> tuple[float, float] | None:
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


def drawings(document: Mapping[str, Any], evidence: Evidence) -> dict[str, str]:
    """Name -> SVG, of those plots for which there is evidence."""
    before = (document.get("accuracy") or {}).get("before")
    settings = document.get("settings") or {}
    names = {row.label: row.name for row in evidence.classes}
    out: dict[str, str] = {}
    if evidence.cuts:
        out["cuts"] = plots.cuts_plot(evidence, before, settings.get("max_ca_drop"))
    if evidence.scores or evidence.masks:
        out["heat"] = plots.heat_map(evidence)
        out["masks"] = plots.histogram(evidence, document.get("threshold"))
    if evidence.course:
        out["course"] = plots.course_plot(evidence.course, names)
    return out


def shown(trigger: Trigger, document: Mapping[str, Any], evidence: Evidence) -> dict[str, Any]:
    """A trigger as two pictures and three numbers."""
    names = {row.label: row.name for row in evidence.classes}
    names |= {label["index"]: label.get("name") for label in document.get("target_labels") or []}
    unit = {"additive": "L2", "patch": "pixels", "warp": "pixels of displacement"}[trigger.form]
    accused = {label["index"] for label in document.get("target_labels") or []}
    return {
        "small": bool(accused) and (trigger.label not in accused or not trigger.held),
        "label": label_name({"index": trigger.label, "name": "next" if trigger.label is None else names.get(trigger.label)}),
        "form": trigger.form,
        "cost": f"{number(trigger.cost)} {unit}",
        "success": percent(trigger.success),
        "image": data_uri(trigger.image),
        "delta": data_uri(delta_picture(trigger.delta)),
        "size": f"{trigger.image.shape[2]} × {trigger.image.shape[1]}",
    }


def edit_counts(edits: Iterable[Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    """Kind of edit, how many tensors, how many entries or rows."""
    found: dict[str, tuple[set[str], int]] = {}
    for edit in edits:
        kind = str(edit.get("kind"))
        tensors, entries = found.get(kind, (set(), 0))
        found[kind] = (tensors | {str(edit.get("tensor") or edit.get("node") or "")}, entries + max(len(edit.get("index") or []), 1))
    return [(kind, len(tensors), entries) for kind, (tensors, entries) in sorted(found.items())]


def command(document: Mapping[str, Any]) -> str:
    """A command line that redoes this run; folders stay out of documents, so they are placeholders."""
    values = {**(document.get("settings") or {}), "seed": document.get("seed"), "method": document.get("method")}
    words = ["rnpc harden", shlex.quote(str((document.get("input") or {}).get("path") or "MODEL")), "--defense-data DIR"]
    for key, flag in FLAGS.items():
        if values.get(key) is not None and not isinstance(values[key], dict | list):
            words.append(f"{flag} {shlex.quote(str(values[key]))}")
    return " ".join(words + ["--force"] * bool(values.get("force")))


def number(value: Any) -> str:
    """A number in a table: integers whole, floats to three significant digits, a dash for none."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    text = f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{float(value):.3g}"
    return text.replace("-", "−")


def setting_rows(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(name, value, source) of each setting; those of a group come one by one, with the sources that the group names."""
    for key, value in sorted(settings.items()):
        if not isinstance(value, Mapping):
            yield key, flat(value), ""
            continue
        sources, group = value.get("sources") or {}, sorted((k, v) for k, v in value.items() if k != "sources" and v is not None)
        yield from ((inner, flat(v), str(sources.get(inner, ""))) for inner, v in group)


def flat(value: Any) -> str:
    """A setting in one line."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
