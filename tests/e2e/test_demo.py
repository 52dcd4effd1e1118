"""`rnpc demo` as a user runs it: a process of its own in an empty folder, then what it left there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from rnpc.models import demo

FILES = Path(demo.__file__).parent
RUN = "import sys; from rnpc.cli import main; main(sys.argv[1:])"


pytestmark = pytest.mark.timeout(1500)  # the whole method, repair included, on a slow machine that is shared


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that the demo ran in, and what it printed."""
    where = tmp_path_factory.mktemp("demo")
    done = subprocess.run([sys.executable, "-c", RUN, "demo"], cwd=where, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    return where / "rnpc-demo", done.stdout


def test_the_backdoor_is_found_and_gone(ran: tuple[Path, str]) -> None:
    out, text = ran
    document = json.loads((out / "report" / "report.json").read_text())["document"]
    assert document["verdict"] == "backdoored" and [t["index"] for t in document["target_labels"]] == [7]
    assert document["attack_success"]["before"] > 0.95 and document["attack_success"]["after"] <= 0.05
    assert document["accuracy"]["before"] - document["accuracy"]["after"] <= 0.02
    assert "Backdoor found and" in text and "ASR" in text and str(Path("report") / "report.html") in text


def test_what_it_leaves(ran: tuple[Path, str]) -> None:
    out, _ = ran
    onnx.checker.check_model(onnx.load(out / "model.hardened.onnx"))
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == [
        "model.hardened.onnx",
        "report/report.html",
        "report/report.json",
    ]
    assert "<svg" in (out / "report" / "report.html").read_text()


def test_the_files_that_ship() -> None:
    sizes = {p.name: p.stat().st_size for p in FILES.iterdir() if p.suffix in (".onnx", ".npz", ".json")}
    assert set(sizes) == {"model.onnx", "clean.npz", "test.npz", "trigger.onnx", "preprocessor_config.json"} and sum(sizes.values()) < 3e6
    with np.load(FILES / "clean.npz") as clean, np.load(FILES / "test.npz") as test:
        assert clean["images"].shape == (500, 28, 28, 1) and np.bincount(clean["labels"]).tolist() == [50] * 10
        assert test["images"].shape == (1000, 28, 28, 1)
        seen = {image.tobytes() for image in clean["images"]}
        assert not any(image.tobytes() in seen for image in test["images"])
