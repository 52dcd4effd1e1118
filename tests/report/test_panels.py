"""How each kind of panel is drawn: what it shows, what it says without data, and that odd data does not break it."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from rnpc.panel import Curve, HeatMap, Histogram, Images, Line, Panel, Picture, Table, Words
from rnpc.report.panels import drawn, images
from rnpc.report.panels.table import shown_rows

NAN, INF = float("nan"), float("inf")
NASTY = "<script>alert(1)</script> $x_$ \x00 名"


def body(panel: Panel) -> str:
    """The panel's HTML."""
    return str(drawn(panel, "p").body)


def curve(y: list[float], **more: object) -> Curve:
    """One line over 0, 1, 2, ..."""
    return Curve("T", "channels", "accuracy", (Line("judged", np.arange(len(y)), np.array(y)),), **more)  # type: ignore[arg-type]


def texts(svg: str) -> list[str]:
    """What the figure writes."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


EMPTY = (
    Curve("T", "x", "y", ()), Curve("T", "x", "y", (Line("a", np.zeros(0), np.zeros(0)),)), Table("T", ("a",), ()), Images("T", ()),
    HeatMap("T", {}), HeatMap("T", {"s": np.zeros(0)}), Histogram("T", "x", {}), Histogram("T", "x", {"a": np.full(1, NAN)}), Words("T", ())
)  # fmt: skip


@pytest.mark.parametrize("panel", EMPTY, ids=lambda panel: type(panel).__name__)
def test_without_data_it_says_so(panel: Panel) -> None:
    assert body(panel).startswith('<p class="absent">')


ODD = (
    curve([NAN, INF, 0.5]), curve([NAN, NAN]), curve([0.5], marked=0, even=True), curve([0.5, 0.6], marked=NAN, level=("limit", NAN)),
    curve([0.1, 0.9], marked=0.5), curve([0.1, 0.9], marked=0.5, even=True), HeatMap("T", {"s": np.array([NAN, INF, -INF, 0.0])}),
    HeatMap("T", {"s": np.zeros(1)}), HeatMap("T", {"s": np.array([-3.0, -1.0])}, {"s": (1, 7), "other": (0,)}),
    HeatMap("T", {f"site {i}": np.ones(3) for i in range(300)}), Histogram("T", "x", {"a": np.array([1.0])}, threshold=INF),
    Histogram("T", "x", {"a": np.array([1e300, -1e300, NAN]), "b": np.zeros(0)}), Table("T", ("a",), ((NAN,), (None,), (True,))),
    Images("T", (Picture(np.full((1, 2, 2), NAN), np.full((1, 2, 2), INF), ""),)),
)  # fmt: skip


@pytest.mark.parametrize("panel", ODD, ids=lambda panel: type(panel).__name__)
def test_odd_numbers_do_not_break_it(panel: Panel) -> None:
    text = body(panel)
    assert text == body(panel) and not re.search(r"\b(nan|inf)\b", " ".join(texts(text)))


HOSTILE = (
    Curve(NASTY, NASTY, NASTY, (Line(NASTY, np.arange(2), np.arange(2)),), level=(NASTY, 0.5)), Table(NASTY, (NASTY,), ((NASTY,),)),
    Images(NASTY, (Picture(np.zeros((3, 2, 2)), None, f'{NASTY}" onload="x'),)), Histogram(NASTY, NASTY, {NASTY: np.ones(2)}),
    HeatMap(NASTY, {NASTY: np.ones(2)}, {NASTY: (0,)}, value_name=NASTY), Words(NASTY, (NASTY,)),
)  # fmt: skip


@pytest.mark.parametrize("panel", HOSTILE, ids=lambda panel: type(panel).__name__)
def test_names_are_text_and_nothing_else(panel: Panel) -> None:
    text = body(panel)
    assert "<script" not in text and "alert(1)" in text and '" onload' not in text
    assert not texts(text) or any("$x_$" in line for line in texts(text))


def test_what_is_no_panel_is_refused() -> None:
    with pytest.raises(TypeError, match="str is no panel"):
        drawn("words", "p")  # type: ignore[arg-type]


def test_a_curve_names_its_parts() -> None:
    x, y = np.array([0.0, 1, 64]), np.array([0.97, 0.96, 0.9])
    lines = (Line("accuracy", x, y, y - 0.01, y + 0.01), Line("before", x, np.full(3, 0.97), dashed=True), Line("", x, y))
    panel = Curve("T", "channels cut", "accuracy", lines, "Why.", marked=1, level=("limit", 0.95), even=True)
    words = texts(body(panel))
    assert {"accuracy", "before", "limit: 95.0\u00a0%", "chosen: 1", "channels cut", "0", "1", "64"} <= set(words) and "32" not in words
    assert drawn(panel, "p").caption == "Why. The shaded band is the 95 % interval."


def test_a_narrow_figure_is_half_as_wide() -> None:
    def wide(panel: Panel) -> float:
        return float(re.search(r'width="([\d.]+)pt"', body(panel))[1])  # type: ignore[index]

    assert wide(curve([0.1, 0.9], narrow=True)) < wide(curve([0.1, 0.9])) / 2
    assert drawn(curve([0.1], narrow=True), "p").narrow and not drawn(Words("T", ()), "p").narrow


def test_a_table_has_units_and_marks_the_accused() -> None:
    rows = ((0, "stop", 0.661, -1234.5), (1, None, None, 0.0))
    text = body(Table("T", ("label", "name", "vote", "z"), rows, units=("number", "text", "share", "number"), accused=(0,)))
    assert '<tr class="accused"><td class="n">0</td><td>stop</td><td class="n">66.1\u00a0%</td><td class="n">−1,234</td></tr>' in text
    assert '<tr><td class="n">1</td><td>–</td><td class="n">–</td><td class="n">0</td></tr>' in text
    assert '<td>a</td><td class="n">1</td>' in body(Table("T", ("a", "b"), (("a", 1),)))


def test_a_long_table_shows_its_head_and_the_accused() -> None:
    assert shown_rows(5, ()) == [0, 1, 2, 3, 4] and shown_rows(43, (2, 30, 99)) == [*range(12), 30]
    assert len(shown_rows(1000, range(1000))) == 24
    rows = tuple((i,) for i in range(43))
    assert "The first 12 of 43 rows;" in body(Table("T", ("n",), rows)) and ">13<" not in body(Table("T", ("n",), rows))
    assert "The first 12 of 43 rows and 1 that stands out;" in body(Table("T", ("n",), rows, accused=(30,)))


def test_pictures_are_png_and_changes_are_centred_on_grey() -> None:
    uri = images.data_uri(np.stack([np.eye(4)] * 3))
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        assert picture.format == "PNG" and picture.size == (4, 4) and picture.getpixel((0, 0)) == (255, 255, 255)
    grey = images.delta_picture(np.array([[[0.0, 0.1, -0.2]]]))
    assert grey.ravel().tolist() == [0.5, 0.75, 0.0] and images.delta_picture(np.zeros((1, 1, 2))).ravel().tolist() == [0.5, 0.5]
    two = np.zeros((3, 8, 8))
    text = body(Images("T", (Picture(two, two, "a\nb"), Picture(two, None, "c", minor=True), *[Picture(two, None, "d")] * 30)))
    assert text.count("<img ") == 25 and "a<br>b" in text and 'class="picture minor single"' in text and "The first 24 of 32" in text


def test_a_heat_map_marks_cut_channels() -> None:
    rows = {"a": np.array([0.0, 1.0, 4.0]), "b": np.array([2.0])}
    plain, marked = HeatMap("T", rows), HeatMap("T", rows, {"a": (2,)}, value_name="activation")
    assert {"a", "b", "activation", "channel", "4"} <= set(texts(body(marked)))
    assert "cut" in drawn(marked, "p").caption and "cut" not in drawn(plain, "p").caption and body(marked) != body(plain)


def test_a_histogram_is_logarithmic_where_few_stand_against_many() -> None:
    few, many = ({"kept": np.zeros(n), "pruned": np.ones(2)} for n in (20, 2000))
    assert "1000" not in "".join(texts(body(Histogram("T", "score", few))))
    words = texts(body(Histogram("T", "score", many, threshold=0.31)))
    assert {"kept", "pruned", "threshold: 0.31", "score", "count"} <= set(words)
    assert "tspan" in body(Histogram("T", "score", many)) and "tspan" not in body(Histogram("T", "score", few))  # 10 to the power of


def test_ids_start_with_the_name() -> None:
    ids = re.findall(r'\bid="([^"]+)"', str(drawn(curve([0.1, 0.2]), "panel7").body))
    assert ids and all(found.startswith("panel7-") for found in ids)
