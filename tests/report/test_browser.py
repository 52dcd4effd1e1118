"""The page in headless Chromium, where one is installed: every picture is there, has a size, and is not cut off by the page's own rules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rnpc.panel import Panel
from rnpc.report import write

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (path := shutil.which(name))), None)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-extensions", "--virtual-time-budget=5000"),
]
PROBE = """<script>
const box = e => { const b = e.getBoundingClientRect(); return [b.width, b.height]; };
const found = {
  images: [...document.images].map(i => [i.complete, i.naturalWidth, i.naturalHeight, ...box(i)]),
  plots: [...document.querySelectorAll("svg.plot")].map(s => [...box(s), s.querySelectorAll("path, use, text").length]),
  panels: [...document.querySelectorAll(".panel")].map(p => [p.getBoundingClientRect().top, p.getBoundingClientRect().width]),
  wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
  heading: document.querySelector("h1").innerText,
};
document.body.setAttribute("data-found", JSON.stringify(found));
</script>"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


def browse(page: Path, *flags: str) -> str:
    """Standard output of headless Chromium on a file, with a profile of its own."""
    profile = f"--user-data-dir={page.parent / 'profile'}"
    command = [str(BROWSER), *FLAGS, profile, *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_every_picture_is_there(tmp_path: Path, document: dict[str, Any], panels: Sequence[Panel]) -> None:
    page = write(tmp_path, document, panels)["html"].read_text()
    probed = tmp_path / "probed.html"
    probed.write_text(re.sub(r"<meta http-equiv[^>]*>", "", page).replace("</body>", PROBE + "</body>"))
    text = browse(probed, "--window-size=1000,1400", "--dump-dom")
    raw = re.search(r'data-found="([^"]*)"', text)
    assert raw, "the page did not run to its end"
    found = json.loads(raw[1].replace("&quot;", '"'))
    assert found["heading"] == "Backdoor found and removed" and not found["wide"]
    assert [i[:3] for i in found["images"]] == [[True, 32, 32]] * 7 and all(min(i[3:]) > 80 for i in found["images"])
    assert len(found["plots"]) == 7 and all(w > 300 and h > 100 and marks > 20 for w, h, marks in found["plots"])
    tops = {round(top) for top, _ in found["panels"]}
    assert len(tops) == len(panels) - 2 and not any(wide < 300 for _, wide in found["panels"])  # two pairs stand side by side


def test_it_prints(tmp_path: Path, document: dict[str, Any], panels: Sequence[Panel]) -> None:
    page = write(tmp_path, document, panels)["html"]
    browse(page, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'report.pdf'}")
    pdf = (tmp_path / "report.pdf").read_bytes()
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert pdf.startswith(b"%PDF") and 3 <= pages <= 7
