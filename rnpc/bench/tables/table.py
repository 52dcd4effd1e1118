"""table.md: every cell of a SPEC as it is, failed ones too."""

from __future__ import annotations

from collections.abc import Sequence

from rnpc.bench import oracle
from rnpc.bench.hardening import NEXT
from rnpc.bench.lines import Line, short
from rnpc.bench.tables.words import counted, grid, rate

COLUMNS = (
    "#", "victim", "form", "data", "method", "verdict", "label", "right", "channels", "CA before", "CA after", "ASR before", "ASR after",
    "left", "forced: CA", "ASR", "oracle: channels", "CA", "ASR", "s", "MB",
)  # fmt: skip
NOTE = (
    "CA and ASR in percent, measured in onnxruntime on the whole test split, with 95 % intervals (Clopper-Pearson). ASR counts",
    "images whose label is not the target (of one class alone for an attack on one), or all of them for the target `next`. After: what",
    "a user has after `harden` with default options (the original where nothing was written). Label: the one accused most (next: the one",
    "after an image's own); right: whether it is the target. Left: the success of the trigger that the document itself still reports.",
    "**Forced**: a backdoored victim not called so, cut whatever the verdict. **Oracle**: the cut along the same ranking with the lowest",
    f"ASR that loses at most {100 * oracle.MAX_DROP:g} points of CA, chosen with the trigger on at most {oracle.SAMPLE} test images.",
    "Neither of the two is a result of hardening. s and MB: seconds and peak memory of hardening alone.",
)


def files(name: str, rows: Sequence[Line], cells: int) -> dict[str, bytes]:
    """The file."""
    return {"table.md": table(name, rows, cells).encode()}


def table(name: str, rows: Sequence[Line], cells: int) -> str:
    """The table in Markdown, with what its words mean."""
    return "\n".join([f"# {name}: cells\n", counted(rows, cells), "", *NOTE, "", *grid(COLUMNS, [row(each) for each in rows])]) + "\n"


def row(each: Line) -> list[str]:
    """The texts of one line."""
    head = [str(each["number"]), short(each["victim"], each.get("target")), each["form"], str(each["seed"]), each["method"]]
    if each["status"] == "failed":
        return [*head, f"failed: {each['error']}".replace("|", "/"), *[""] * (len(COLUMNS) - len(head) - 1)]
    cost, forced, best = each["cost"], each["forced"], each["oracle"]
    return [
        *head,
        verdict(each),
        named(each["labels"][0]["index"]) if each["labels"] else "-",
        {True: "yes", False: "no", None: "-"}[each["label_right"]],
        "-" if each["channels"]["of"] is None else f"{each['channels']['pruned']} of {each['channels']['of']}",
        *(rate(each[when][what]) for what in ("ca", "asr") for when in ("before", "after")),
        left(each),
        *(["-"] * 2 if forced is None else [rate(forced["ca"]), rate(forced["asr"])]),
        *(["-"] * 3 if best is None else [str(best["channels"]), rate(best["ca"]), rate(best["asr"])]),
        f"{cost['seconds']:g}",
        f"{cost['peak_mb']:.0f}",
    ]


def named(index: int) -> str:
    """A label as a SPEC writes it."""
    return "next" if index == NEXT else str(index)


def left(each: Line) -> str:
    """What the document says is left of the trigger."""
    said = each.get("left") or {}
    if said.get("success") is None:
        return "-"
    return f"{100 * said['success']:.1f}" + ("" if said.get("told") else " (not told)")


def verdict(each: Line) -> str:
    """The verdict, and what became of the file."""
    what = "untouched" if each["untouched"] else "nothing written" if not each["written"] else ""
    return f"{each['verdict'] or 'none'}{f' ({what})' if what else ''}"
