"""The progress line: every stage has its share of the time, the bar never goes back, and nothing is shown where nobody looks."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from rnpc.cli.harden_progress import BEHIND, TYPICAL, Progress, done, shown
from rnpc.stage import Stage


def test_every_stage_has_a_share_and_they_make_a_run() -> None:
    assert set(TYPICAL) == set(Stage) and sum(TYPICAL.values()) == pytest.approx(1.0) and min(TYPICAL.values()) > 0
    assert [BEHIND[stage] for stage in Stage] == sorted(BEHIND.values())


def test_done_is_the_stage_and_its_share() -> None:
    assert done(Stage.LOAD_MODEL, None) == 0.0
    assert done(Stage.MEASURE, 1.0) == pytest.approx(1.0)
    assert BEHIND[Stage.CUT] < done(Stage.CUT, 0.5) < done(Stage.CUT, 2.0) == pytest.approx(BEHIND[Stage.AGAIN])


def test_words() -> None:
    assert shown(Stage.UNLEARN, None) == "unlearn" and shown(Stage.UNLEARN, 0.5) == "unlearn, accuracy 50.0%"


def test_the_bar_never_goes_back() -> None:
    progress = Progress(console=Console(file=io.StringIO(), force_terminal=True))
    seen = []
    with progress:
        for stage in (Stage.RANK, Stage.CUT, Stage.AGAIN, Stage.CUT, Stage.JUDGE):
            progress(stage, 0.5, 0.9)
            seen.append(progress._bar.tasks[0].completed)
    assert seen == sorted(seen) and seen[-1] < 1 and progress._bar.tasks[0].description == "judge, accuracy 90.0%"


def test_the_expected_time_stands_beside_the_stage() -> None:
    progress = Progress(console=Console(file=io.StringIO(), force_terminal=True))
    with progress:
        progress(Stage.LOAD_IMAGES)
        progress.expect(250)
        first = progress._bar.tasks[0].description
        progress(Stage.LABELS)
    assert first == "prove the twin (about 4 minutes in all)"
    assert progress._bar.tasks[0].description == "look at every label (about 4 minutes in all)"
    assert progress.visible and not Progress(hidden=True).visible


def test_without_a_terminal_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress(Stage.CUT, None, None)
    assert capsys.readouterr().err == ""
