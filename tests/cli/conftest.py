"""Methods that decide at once, so that what surrounds them can be tested in no time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest

from rnpc import api
from rnpc.defenses.auto.blind import Request
from rnpc.defenses.decision import Decision, Evidence
from rnpc.program import Finding
from rnpc.study.surgery import Channel

Verdict = Literal["backdoored", "clean", "inconclusive"] | None
Decides = Callable[..., list[Request]]


@pytest.fixture
def decides(monkeypatch: pytest.MonkeyPatch) -> Decides:
    """decides(verdict, cut=channels of the first site) puts such a method in place; returns the list of requests that it gets."""

    def put(verdict: Verdict, cut: tuple[int, ...] = ()) -> list[Request]:
        requests: list[Request] = []

        def decide(request: Request) -> Decision:
            requests.append(request)
            site, k = request.program.sites[0], request.program.signature.classes
            channels = tuple(Channel(site.value, c, 1.5, 0.25) for c in cut)
            nothing = np.full(k, np.nan)
            evidence = Evidence(nothing, nothing, np.full(k, 1 / k), numbers={"ratio": 0.5})
            accused = ((1, 0.75),) if verdict != "clean" else ()
            finding = Finding(verdict, accused, None, ("a reason",))
            return Decision(finding, channels, channels, np.arange(len(request.images)), evidence, 1.5)

        for name in list(api.METHODS):
            monkeypatch.setitem(api.METHODS, name, decide)
        return requests

    return put
