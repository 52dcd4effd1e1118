"""Whole runs with a fake defense: kept, failed, retried, shared and killed."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Drive = Callable[..., "subprocess.Popen[str]"]
Cells = Callable[[Path], dict[str, tuple[int, dict[str, Any]]]]


def told(process: subprocess.Popen[str]) -> list[str]:
    """What happened to tasks, of a run that ended well."""
    text, _ = process.communicate()
    assert process.returncode == 0
    return [line.split(" ")[0] for line in text.splitlines()]


def lines(out: Path) -> list[dict[str, Any]]:
    """results.jsonl without what differs from run to run."""
    found = [json.loads(text) for text in (out / "mini" / "results.jsonl").read_text().splitlines()]
    return [{key: value for key, value in each.items() if key != "cost"} for each in found]


def table(out: Path) -> list[str]:
    """table.md without its last two columns, seconds and MB."""
    return [text.rsplit("|", 3)[0] for text in (out / "mini" / "table.md").read_text().splitlines()]


def test_failed_retried_kept(out: Path, drive: Drive, read_cells: Cells) -> None:
    """A cell that fails, or takes its process with it, is a result; the next run tries it again, and the one after that finds all done."""
    assert sorted(told(drive(out, "fail", FAKE_FAILS="1"))) == ["done"] + ["failed"] * 3 + ["started"] * 4
    assert "1 done, 3 failed" in (out / "mini" / "summary.md").read_text()
    errors = {found.get("error") for _, found in read_cells(out).values()}
    assert errors == {None, "ValueError: no luck", "its process ended with code 9: nothing was printed"}

    assert sorted(told(drive(out, "fail"))) == ["done"] * 3 + ["kept"] + ["started"] * 3
    first, texts = read_cells(out), {p.name: p.read_bytes() for p in (out / "mini").iterdir()}
    found = lines(out)
    assert [(each["number"], each["form"]) for each in found] == [(1, "folded"), (1, "batchnorm"), (2, "folded"), (2, "batchnorm")]
    assert found[0]["oracle"]["sample"]["images"] == 1000 and found[2]["oracle"] is None
    assert found[0]["forced"] is None and found[1]["forced"]["labels"] and found[1]["oracle"] and found[2]["forced"] is None
    assert found[0]["before"] == found[0]["after"] and all(each["untouched"] for each in found)

    assert told(drive(out, "fail")) == ["kept"] * 4
    assert read_cells(out) == first and {p.name: p.read_bytes() for p in (out / "mini").iterdir()} == texts
    assert not list((out / "locks").glob("*.lock"))


@pytest.mark.slow
def test_two_at_once(out: Path, drive: Drive) -> None:
    runs = [drive(out, FAKE_SECONDS="0.3"), drive(out, FAKE_SECONDS="0.3")]
    kinds = [kind for run in runs for kind in told(run)]
    assert kinds.count("done") == 4 and kinds.count("kept") == 4


@pytest.mark.slow
def test_killed(trained: Path, tmp_path: Path, drive: Drive, read_cells: Cells) -> None:
    """Kill at random moments, from while victims are missing on; nothing is lost, nothing done twice, and the tables are the same."""
    for name in ("whole", "killed"):
        shutil.copytree(trained, tmp_path / name)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    told(drive(whole))
    rng, seen = random.Random(7), dict[str, tuple[int, dict[str, Any]]]()
    for _ in range(3):
        kill(drive(killed, FAKE_SECONDS="0.3"), rng)
        now = read_cells(killed)
        assert all(now.get(name) == result for name, result in seen.items())
        assert all(result["status"] == "done" for _, result in now.values())
        seen = now
    told(drive(killed))
    assert all(read_cells(killed)[name] == result for name, result in seen.items())
    assert len(read_cells(killed)) == 4
    assert lines(killed) == lines(whole) and table(killed) == table(whole)


def kill(run: subprocess.Popen[str], rng: random.Random) -> None:
    """SIGKILL a run some time after one of its first lines."""
    assert run.stdout is not None
    for _ in range(rng.randrange(3)):
        run.stdout.readline()
    try:
        run.wait(timeout=rng.uniform(0, 4))
    except subprocess.TimeoutExpired:
        run.kill()
        run.wait()
    run.stdout.close()
