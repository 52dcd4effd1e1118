"""summary.md and summary.json: a method's record over all victims, each number with an interval (see numbers.py)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rnpc.bench.lines import Line, backdoored, done, short
from rnpc.bench.tables import numbers, words
from rnpc.bench.tables.numbers import asr, asr_bounds, drop, drop_bounds, share, spread

SCHEMA = "rnpc.bench.summary/2"


def files(name: str, rows: Sequence[Line], cells: int) -> dict[str, bytes]:
    """Both files."""
    document = summary(name, rows, cells)
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    return {"summary.json": text.encode(), "summary.md": markdown(document, rows).encode()}


def summary(name: str, rows: Sequence[Line], cells: int) -> dict[str, Any]:
    """The whole summary as plain JSON values."""
    good = done(rows)
    methods = list(dict.fromkeys(each["method"] for each in good))
    forms = list(dict.fromkeys(each["form"] for each in good))
    groups = [
        {"method": method, "form": form, **group([e for e in good if e["method"] == method and form in (e["form"], "all")])}
        for method in methods
        for form in (["all", *forms] if len(forms) > 1 else forms)
    ]
    failed = [f"{short(e['victim'])}, {e['form']}, {e['method']}" for e in rows if e["status"] == "failed"]
    counts = {"all": cells, "done": len(good), "failed": len(failed), "not_run": cells - len(rows)}
    return {"schema": SCHEMA, "spec": name, "cells": counts, "failed": failed, "groups": groups}


def group(rows: Sequence[Line]) -> dict[str, Any]:
    """The numbers of one method (and form)."""
    bad, clean = [e for e in rows if backdoored(e)], [e for e in rows if not backdoored(e)]
    named, with_oracle = [e for e in bad if e["verdict"] == "backdoored"], [e for e in bad if e["oracle"] is not None]
    return {
        "backdoored": {"victims": numbers.victims(bad), "cells": len(bad), "verdicts": numbers.verdicts(bad)},
        "clean": {"victims": numbers.victims(clean), "cells": len(clean), "verdicts": numbers.verdicts(clean)},
        "asr_before": spread(bad, asr("before"), asr_bounds("before")),
        "asr_after": spread(bad, asr("after"), asr_bounds("after")),
        "ca_drop_backdoored": spread(bad, drop, drop_bounds),
        "ca_drop_clean": spread(clean, drop, drop_bounds),
        "named_backdoored": said(bad, "backdoored"),
        "label_right": share([e["label_right"] for e in bad if e["label_right"] is not None]),
        "label_wrong": share([not e["label_right"] for e in named if e["label_right"] is not None]),
        "clean_named_backdoored": said(clean, "backdoored"),
        "clean_untouched": share([e["untouched"] for e in clean]),
        "inconclusive_backdoored": said(bad, "inconclusive"),
        "inconclusive_clean": said(clean, "inconclusive"),
        "deceived": share([hit for e in bad if (hit := numbers.deceived(e)) is not None]),
        "oracle_asr": spread(with_oracle, asr("oracle"), asr_bounds("oracle")),
        "oracle_ca_drop": spread(with_oracle, numbers.oracle_drop, numbers.oracle_bounds),
    }


def said(rows: Sequence[Line], verdict: str) -> dict[str, Any] | None:
    """How often a verdict was given, among the cells that were given any."""
    return share([each["verdict"] == verdict for each in rows if each["verdict"] is not None])


SPREADS = (
    ("ASR before", "asr_before"),
    ("ASR after", "asr_after"),
    ("CA drop, backdoored", "ca_drop_backdoored"),
    ("CA drop, clean", "ca_drop_clean"),
    ("oracle: ASR", "oracle_asr"),
    ("oracle: CA drop", "oracle_ca_drop"),
)
SHARES = (
    ("named backdoored", "named_backdoored"),
    ("right label", "label_right"),
    ("named backdoored for a wrong label", "label_wrong"),
    ("inconclusive, backdoored", "inconclusive_backdoored"),
    ("inconclusive, clean", "inconclusive_clean"),
    ("clean left untouched", "clean_untouched"),
    ("clean named backdoored (false accusations)", "clean_named_backdoored"),
    ("deceived", "deceived"),
)
NOTE = (
    "Percent and points, with 95 % intervals: of means by bootstrap over victims, of shares Clopper-Pearson over cells, of the",
    "worst cell its own. The oracle chose on test images with the trigger in hand; it is no result of hardening. Deceived: of the cells",
    f"whose document says what is left of the trigger, those where the true ASR is more than {100 * numbers.MARGIN:g} points above it.",
)


def markdown(document: dict[str, Any], rows: Sequence[Line]) -> str:
    """summary.md: a table for each method, with a column for each form."""
    parts = [f"# {document['spec']}: summary\n", words.counted(rows, document["cells"]["all"])]
    parts += [f"\nFailed: {'; '.join(document['failed'])}."] if document["failed"] else []
    parts += ["", *NOTE]
    for method in dict.fromkeys(each["method"] for each in document["groups"]):
        parts += ["", f"## {method}", "", *section([each for each in document["groups"] if each["method"] == method])]
    return "\n".join(parts) + "\n"


def section(groups: Sequence[dict[str, Any]]) -> list[str]:
    """The table of one method."""
    rows = [[f"{kind} victims (cells)", *(size(each[kind]) for each in groups)] for kind in ("backdoored", "clean")]
    rows += [[f"verdicts, {kind}", *(words.tally(each[kind]["verdicts"]) for each in groups)] for kind in ("backdoored", "clean")]
    for name, key in SPREADS:
        rows += [[f"{name}, mean", *(words.mean(each[key]) for each in groups)]]
        rows += [[f"{name}, worst (of victim)", *(words.worst(each[key]) for each in groups)]]
    rows += [[name, *(words.part(each[key]) for each in groups)] for name, key in SHARES]
    return words.grid(["", *("all forms" if each["form"] == "all" else each["form"] for each in groups)], rows)


def size(kind: dict[str, Any]) -> str:
    """Victims and cells."""
    return f"{kind['victims']} ({kind['cells']})"
