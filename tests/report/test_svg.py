"""Figures as SVG: the same bytes, unique ids, and text that is only text."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from rnpc.report.svg import render, short, text


def line(figure: Figure) -> None:
    """A figure with a clip path, a mark and a Chinese label, for which matplotlib's own font has no glyph."""
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], "o-", label="a")
    ax.set_title("名")


def test_same_bytes_without_dates() -> None:
    first, second = (render("p", "T", (3, 2), line) for _ in range(2))
    assert first == second and "<metadata" not in first and not re.search(r"20\d\d-\d\d", first) and "名" in first


def test_it_is_well_formed_and_its_ids_have_a_prefix() -> None:
    svg = render("p1", 'a "b" <c>', (3, 2), line)
    root = ElementTree.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) if "xmlns=" not in svg else svg)
    assert root.attrib["aria-label"] == 'a "b" <c>'
    ids = re.findall(r'\bid="([^"]+)"', svg)
    used = re.findall(r'(?:url\(|href=")#([^")]+)', svg)
    assert ids and all(i.startswith("p1-") for i in ids) and set(used) <= set(ids)


def test_text_for_a_figure() -> None:
    assert text("a\nb\x00c$d") == r"a b c\$d" and text("x" * 50, 10) == "…" + "x" * 9 and text("5\u00a0%") == "5\u00a0%"
    assert [short(v) for v in (0.12345, None, float("nan"), float("-inf"))] == ["0.123", "", "", ""]
