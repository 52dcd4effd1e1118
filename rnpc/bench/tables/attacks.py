"""attacks.md: how each method fares against each attack, all forms together, clean victims last."""

from __future__ import annotations

from collections.abc import Sequence

from rnpc.bench.lines import Line, backdoored, done
from rnpc.bench.tables import words
from rnpc.bench.tables.summary import group

COLUMNS = (
    "attack", "victims (cells)", "verdicts", "right label", "ASR before", "ASR after", "worst ASR", "CA drop", "worst CA drop", "deceived",
)  # fmt: skip
CLEAN = ("clean victims", "cells", "verdicts", "left untouched", "named backdoored", "CA drop", "worst CA drop")


def files(name: str, rows: Sequence[Line], cells: int) -> dict[str, bytes]:
    """The file."""
    good = done(rows)
    parts = [f"# {name}: by attack\n", words.counted(rows, cells), "", "Percent and points; intervals as in summary.md."]
    for method in dict.fromkeys(each["method"] for each in good):
        parts += ["", f"## {method}", "", *section([each for each in good if each["method"] == method])]
    return {"attacks.md": ("\n".join(parts) + "\n").encode()}


def section(rows: Sequence[Line]) -> list[str]:
    """The tables of one method."""
    bad, clean = [each for each in rows if backdoored(each)], [each for each in rows if not backdoored(each)]
    names = sorted({attack(each) for each in bad})
    table = words.grid(COLUMNS, [line(name, [each for each in bad if attack(each) == name]) for name in names])
    return [*(table if bad else []), *([""] if bad and clean else []), *(words.grid(CLEAN, [clean_line(clean)]) if clean else [])]


def attack(each: Line) -> str:
    """The victim's attack; one that maps each label to the next stands apart."""
    return f"{each['victim']['attack']}{', all to all' if each['target'] == 'next' else ''}"


def line(name: str, rows: Sequence[Line]) -> list[str]:
    """One attack."""
    record = group(rows)
    return [
        name,
        f"{record['backdoored']['victims']} ({len(rows)})",
        words.tally(record["backdoored"]["verdicts"]),
        words.part(record["label_right"]),
        words.mean(record["asr_before"]),
        words.mean(record["asr_after"]),
        words.worst(record["asr_after"]),
        words.mean(record["ca_drop_backdoored"]),
        words.worst(record["ca_drop_backdoored"]),
        words.part(record["deceived"]),
    ]


def clean_line(rows: Sequence[Line]) -> list[str]:
    """The clean victims."""
    record = group(rows)
    return [
        str(record["clean"]["victims"]),
        str(len(rows)),
        words.tally(record["clean"]["verdicts"]),
        words.part(record["clean_untouched"]),
        words.part(record["clean_named_backdoored"]),
        words.mean(record["ca_drop_clean"]),
        words.worst(record["ca_drop_clean"]),
    ]
