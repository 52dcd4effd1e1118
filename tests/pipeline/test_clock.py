"""Progress, the seconds of each stage, and an estimate that is made only where it is shown."""

from __future__ import annotations

import pytest

from rnpc.pipeline.clock import Clock
from rnpc.stage import Stage


class Bar:
    """Shows an estimate, where it is visible."""

    def __init__(self, visible: bool) -> None:
        self.visible, self.seen = visible, list[float]()

    def __call__(self, stage: Stage, share: float | None, accuracy: float | None) -> None:
        """Nothing."""

    def expect(self, seconds: float) -> None:
        self.seen.append(seconds)


@pytest.mark.parametrize(("visible", "shown"), [(True, [7.0]), (False, [])])
def test_an_estimate_is_made_only_where_it_is_shown(visible: bool, shown: list[float]) -> None:
    bar, made = Bar(visible), list[int]()
    Clock(bar).expect(lambda: made.append(1) or 7.0)
    Clock(lambda *said: None).expect(lambda: made.append(1) or 7.0)
    assert bar.seen == shown and len(made) == len(shown)


def test_stages_add_up() -> None:
    clock = Clock(None)
    for stage in (Stage.CUT, Stage.AGAIN, Stage.CUT):
        clock(stage, None, None)
    assert list(clock.finish()) == [Stage.CUT.value, Stage.AGAIN.value]
