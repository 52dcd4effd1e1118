"""The two files: same input, same bytes; both or neither; offline, well-formed, and deaf to what names say."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnpc import files
from rnpc.errors import SurroundingsError
from rnpc.panel import HeatMap, Images, Panel, Table, Words
from rnpc.report import write

VOID = {"meta", "img", "br"}
NASTY = "<script>alert(1)</script> $x_$"


class Balance(HTMLParser):
    """Counts tags, and collects those that are closed in another order than they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.seen: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def html(folder: Path, document: dict[str, Any], panels: Sequence[Panel]) -> str:
    """The page as text."""
    return write(folder, document, panels)["html"].read_text()


def parsed(page: str) -> Balance:
    """The page's tags."""
    parser = Balance()
    parser.feed(page)
    parser.close()
    return parser


def titles(page: str) -> list[str]:
    """Titles from the first panel on."""
    return re.findall(r"<h2>([^<]+)</h2>", page.partition('class="panels"')[2])


def test_same_bytes(tmp_path: Path, document: dict[str, Any], panels: Sequence[Panel]) -> None:
    first, second = write(tmp_path / "a", document, panels), write(tmp_path / "b", document, panels)
    assert [first[k].read_bytes() for k in ("html", "json")] == [second[k].read_bytes() for k in ("html", "json")]


def test_json_is_whole_and_canonical(tmp_path: Path, document: dict[str, Any], panels: Sequence[Panel]) -> None:
    text = write(tmp_path, document, panels)["json"].read_text()
    read = json.loads(text)
    assert read["document"] == document and read["schema"] == "rnpc.report/2"
    assert [panel["kind"] for panel in read["panels"]] == [type(panel).__name__ for panel in panels]
    assert read["panels"][0]["pictures"][0]["image"]["shape"] == [3, 32, 32] and len(read["panels"][3]["rows"]) == 43
    assert text == json.dumps(read, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"


def test_page_is_offline_and_names_what_matters(tmp_path: Path, document: dict[str, Any], panels: Sequence[Panel]) -> None:
    page = html(tmp_path, document, panels)
    links = [v for v in re.findall(r'(?:src|href)="([^"]+)"', page) if not v.startswith(("data:", "#"))]
    assert links == [] and "@import" not in page and "http-equiv" in page
    assert set(re.findall(r'https?://[^"\s]+', page)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, not links
    for words in (
        "Backdoor found and removed",
        "speed limit 20",
        document["output"]["sha256"],
        "rnpc harden model.onnx --defense-data DIR",
    ):
        assert words in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_page_is_well_formed(tmp_path: Path, document: dict[str, Any], panels: Sequence[Panel]) -> None:
    found = parsed(html(tmp_path, document, panels))
    assert found.wrong == [] and found.open == [] and "script" not in found.seen
    assert found.seen["h1"] == 1 and found.seen["svg"] == 7 and found.seen["img"] == 7


def test_panels_stand_in_the_given_order(tmp_path: Path, document: dict[str, Any], panels: Sequence[Panel]) -> None:
    quick = tuple(panel for panel in panels if isinstance(panel, Table | Words | Images))
    assert titles(html(tmp_path, document, quick[::-1]))[: len(quick)] == [panel.title for panel in quick[::-1]]
    page = html(tmp_path, document, panels)
    assert titles(page)[: len(panels)] == [panel.title for panel in panels]
    assert page.count('class="panel narrow"') == 4 and all(panel.caption in page for panel in panels)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("clean", "No backdoor found"),
        ("inconclusive", "Inconclusive"),
        (None, "No verdict, nothing changed"),
        ("backdoored", "found, not removed"),
    ],
)
def test_no_panels_is_explained(tmp_path: Path, verdict: str | None, words: str) -> None:
    page = html(tmp_path, {"verdict": verdict, "rnpc": "0.1.0", "method": "rnp", "seed": 0}, ())
    assert words in page and "The method rnp gave no evidence to show." in page and "<svg" not in page and not parsed(page).wrong


def test_an_empty_document_has_a_page(tmp_path: Path) -> None:
    page = html(tmp_path, {}, ())
    assert "None" not in page and not parsed(page).wrong


def test_text_from_outside_is_escaped(tmp_path: Path, document: dict[str, Any]) -> None:
    hostile = {
        **document, "input": {"path": NASTY, "sha256": "0"}, "target_labels": [{"index": 0, "name": NASTY}], "reasons": [NASTY],
        "pruned": {"channels": 1, "of": 2, "sites": [{"site": NASTY, "channels": [1]}]}, "notes": [NASTY], "unseen": [NASTY],
        "left": {**document["left"], "words": NASTY}, "settings": {NASTY: NASTY}, "method": NASTY,
    }  # fmt: skip
    panels = (HeatMap(NASTY, {NASTY: np.ones(1)}, {NASTY: (0,)}, NASTY, NASTY), Words(NASTY, (NASTY,), NASTY))
    page = html(tmp_path, hostile, panels)
    assert "<script" not in page and "script" not in parsed(page).seen and page.count("alert(1)") > 12


def test_names_that_are_no_utf8(tmp_path: Path, document: dict[str, Any]) -> None:
    path = b"m\xe9.onnx".decode(errors="surrogateescape")
    written = write(tmp_path, {**document, "input": {"path": path, "sha256": "0"}}, (Words(path, (path,)),))
    assert json.loads(written["json"].read_text())["document"]["input"]["path"] == path and "m\\udce9.onnx" in written["html"].read_text()


def test_all_to_all_has_no_index(tmp_path: Path, document: dict[str, Any]) -> None:
    page = html(tmp_path, {**document, "target_labels": [{"index": None, "name": "next", "share": None}]}, ())
    assert "the label after an image's own" in page.replace("&#39;", "'") and "None" not in page


def test_what_cannot_be_told_is_not_called_removed(tmp_path: Path, document: dict[str, Any], panels: Sequence[Panel]) -> None:
    page = html(tmp_path, {**document, "left": {**document["left"], "told": False}}, panels)
    assert "cannot be told" in page and not re.search(r"\bgone\b|(?<!not )\bremoved\b", page)


def test_failed_write_leaves_the_old_report(
    tmp_path: Path, document: dict[str, Any], panels: Sequence[Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, document, ())
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(SurroundingsError, match="No space left"):
        write(tmp_path, document, panels)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_file_in_the_way_is_refused(tmp_path: Path, document: dict[str, Any]) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(SurroundingsError, match="taken: cannot be written"):
        write(tmp_path / "taken", document, ())
