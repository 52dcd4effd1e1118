"""summary.md and summary.json: a method's record over all victims, each number with an interval.

Shares have exact intervals (Clopper-Pearson) over cells. Means have bootstrap intervals over victims: a victim's cells (forms, draws) stand
or fall together, so victims are resampled, not cells. The worst cell comes with its own interval: of its rate, or, for a drop of CA, of the
pairs (Agresti-Min). The interval of a share takes cells for independent, which two forms of one victim are not; the groups by form do
not have that flaw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from rnpc.bench.lines import Line, backdoored, done, short
from rnpc.bench.tables.table import counted
from rnpc.stats import rate

SCHEMA = "rnpc.bench.tables.summary/1"
DRAWS = 10_000
Value = Callable[[Line], float]
Bounds = Callable[[Line], tuple[float, float]]


def summary(name: str, found: Sequence[Line], cells: int) -> dict[str, Any]:
    """The whole summary as plain JSON values."""
    good = done(found)
    methods = list(dict.fromkeys(each["method"] for each in good))
    forms = list(dict.fromkeys(each["form"] for each in good))
    groups = [
        {"method": method, "form": form, **group([e for e in good if e["method"] == method and form in (e["form"], "all")])}
        for method in methods
        for form in (["all", *forms] if len(forms) > 1 else forms)
    ]
    failed = [f"{short(e['victim'])}, {e['form']}, {e['method']}" for e in found if e["status"] == "failed"]
    counts = {"all": cells, "done": len(good), "failed": len(failed), "not_run": cells - len(found)}
    return {"schema": SCHEMA, "spec": name, "cells": counts, "failed": failed, "groups": groups}


def group(found: Sequence[Line]) -> dict[str, Any]:
    """The numbers of one method (and form)."""
    bad, clean = [e for e in found if backdoored(e)], [e for e in found if not backdoored(e)]
    with_oracle = [e for e in bad if e["oracle"] is not None]
    return {
        "backdoored": {"victims": count(bad), "cells": len(bad)},
        "clean": {"victims": count(clean), "cells": len(clean)},
        "asr_before": spread(bad, asr("before"), asr_bounds("before")),
        "asr_after": spread(bad, asr("after"), asr_bounds("after")),
        "ca_drop_backdoored": spread(bad, drop, drop_bounds),
        "ca_drop_clean": spread(clean, drop, drop_bounds),
        "named_backdoored": share([e["verdict"] == "backdoored" for e in bad if e["verdict"] is not None]),
        "label_right": share([e["label_right"] for e in bad if e["label_right"] is not None]),
        "clean_named_backdoored": share([e["verdict"] == "backdoored" for e in clean if e["verdict"] is not None]),
        "clean_untouched": share([e["untouched"] for e in clean]),
        "oracle_asr": spread(with_oracle, asr("oracle"), asr_bounds("oracle")),
        "oracle_ca_drop": spread(with_oracle, oracle_drop, oracle_bounds),
    }


def count(found: Sequence[Line]) -> int:
    """How many victims."""
    return len({e["number"] for e in found})


def share(hits: Sequence[bool]) -> dict[str, Any] | None:
    """A share of cells; None without any."""
    if not hits:
        return None
    r = rate(sum(hits), len(hits))
    return {"value": r.value, "hits": r.hits, "cells": r.n, "interval": [r.low, r.high]}


def spread(found: Sequence[Line], value: Value, bounds: Bounds) -> dict[str, Any] | None:
    """Mean and worst (largest) of a value; None without any cell."""
    if not found:
        return None
    by_victim: dict[int, list[float]] = {}
    for each in found:
        by_victim.setdefault(each["number"], []).append(value(each))
    means = np.array([np.mean(values) for values in by_victim.values()])
    worst = max(found, key=value)
    return {
        "mean": float(means.mean()),
        "interval": bootstrap(means),
        "worst": {"value": value(worst), "interval": list(bounds(worst)), "number": worst["number"], "form": worst["form"]},
    }


def bootstrap(means: np.ndarray) -> list[float]:
    """95 % percentile interval of the mean over victims, from a fixed seed."""
    rows = np.random.default_rng(0).integers(len(means), size=(DRAWS, len(means)))
    low, high = np.quantile(means[rows].mean(1), [0.025, 0.975])
    return [float(low), float(high)]


def asr(when: str) -> Value:
    """ASR of a line before, after, or at the oracle's cut."""
    return lambda each: float(each[when]["asr"]["value"])


def asr_bounds(when: str) -> Bounds:
    """Its interval."""
    return lambda each: (each[when]["asr"]["interval"][0], each[when]["asr"]["interval"][1])


def drop(each: Line) -> float:
    """The drop of CA, in [-1, 1]."""
    return float(each["drop"]["value"])


def drop_bounds(each: Line) -> tuple[float, float]:
    """Its two-sided 95 % interval (Agresti and Min 2005: half an image in each discordant cell)."""
    return paired(each["drop"]["lost"], each["drop"]["won"], each["drop"]["images"])


def paired(lost: int, won: int, n: int) -> tuple[float, float]:
    """Interval of (lost - won) / n; nothing lost and nothing won is no change at all, and has no width."""
    if lost == won == 0:
        return 0.0, 0.0
    p10, p01, m = (lost + 0.5) / (n + 2), (won + 0.5) / (n + 2), n + 2
    wide = float(stats.norm.ppf(0.975)) * float(np.sqrt(max(p10 + p01 - (p10 - p01) ** 2, 0.0) / m))
    return p10 - p01 - wide, p10 - p01 + wide


def oracle_drop(each: Line) -> float:
    """The drop of CA at the oracle's cut."""
    return float(each["before"]["ca"]["value"] - each["oracle"]["ca"]["value"])


def oracle_bounds(each: Line) -> tuple[float, float]:
    """Bounds from the two rates' own intervals: wide, since the pairs are not kept."""
    old, new = each["before"]["ca"]["interval"], each["oracle"]["ca"]["interval"]
    return old[0] - new[1], old[1] - new[0]


ROWS = (
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
    ("clean left untouched", "clean_untouched"),
    ("clean named backdoored", "clean_named_backdoored"),
)


def markdown(document: dict[str, Any], found: Sequence[Line]) -> str:
    """summary.md: a table for each method, with a column for each form."""
    parts = [f"# {document['spec']}: summary\n", counted(found, document["cells"]["all"])]
    parts += [f"\nFailed: {'; '.join(document['failed'])}."] if document["failed"] else []
    parts += [
        "",
        "Percent and points, with 95 % intervals: of means by bootstrap over victims, of shares Clopper-Pearson over cells, of the",
        "worst cell its own. The oracle chose on test images with the trigger in hand; it is no result of hardening.",
    ]
    for method in dict.fromkeys(each["method"] for each in document["groups"]):
        parts += ["", f"## {method}", "", *section([each for each in document["groups"] if each["method"] == method])]
    return "\n".join(parts) + "\n"


def section(groups: Sequence[dict[str, Any]]) -> list[str]:
    """The table of one method."""
    names = ["all forms" if each["form"] == "all" else each["form"] for each in groups]
    lines = [f"| | {' | '.join(names)} |", f"| --- |{' --- |' * len(groups)}"]
    lines += [f"| {kind} victims (cells) | {' | '.join(size(each[kind]) for each in groups)} |" for kind in ("backdoored", "clean")]
    for name, key in ROWS:
        lines += [f"| {name}, mean | {' | '.join(mean(each[key]) for each in groups)} |"]
        lines += [f"| {name}, worst (of victim) | {' | '.join(worst(each[key]) for each in groups)} |"]
    return lines + [f"| {name} | {' | '.join(part(each[key]) for each in groups)} |" for name, key in SHARES]


def size(found: dict[str, int]) -> str:
    """Victims and cells."""
    return f"{found['victims']} ({found['cells']})"


def mean(found: dict[str, Any] | None) -> str:
    """A mean with its interval."""
    return "-" if found is None else percent(found["mean"], found["interval"])


def worst(found: dict[str, Any] | None) -> str:
    """The worst cell with its interval and its victim's number."""
    return "-" if found is None else f"{percent(found['worst']['value'], found['worst']['interval'])} ({found['worst']['number']})"


def part(found: dict[str, Any] | None) -> str:
    """A share with its count and interval."""
    return "-" if found is None else f"{found['hits']} of {found['cells']}: {percent(found['value'], found['interval'])}"


def percent(value: float, interval: Sequence[float]) -> str:
    """A number in percent with its interval."""
    return f"{100 * value:.2f} [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]"
