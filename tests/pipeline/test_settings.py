"""Settings are checked before anything is loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnpc.errors import UsageError
from rnpc.pipeline.settings import Settings


def test_a_method_brings_its_own_detector_or_none() -> None:
    witnesses = {method: Settings(method=method).witness() for method in ("auto", "rnp", "ft-sam")}
    assert witnesses["auto"] is not None and witnesses["rnp"] is None and witnesses["ft-sam"] is None


def test_another_detector_may_be_asked_for() -> None:
    witness = Settings(method="ft-sam", detector="mm-bd").witness()
    assert witness is not None and witness.name == "mm-bd"


def test_options_reach_the_method() -> None:
    assert Settings(method="ft-sam", options={"rho": 8}).defense().settings()["rho"] == 8.0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_ca_drop": 0.0}, "--max-ca-drop"),
        ({"max_ca_drop": 1.0}, "--max-ca-drop"),
        ({"seed": -1}, "--seed"),
        ({"seed": 2**32}, "--seed"),
        ({"method": "nad"}, "no such method"),
        ({"detector": "strip"}, "no such detector"),
        ({"method": "rnp", "options": {"rho": 2.0}}, "no setting named rho"),
        ({"method": "ft-sam", "options": {"epochs": 2.5}}, "epochs cannot be 2.5"),
    ],
)
def test_what_cannot_be_is_refused_at_once(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Settings(**given)


@pytest.mark.parametrize(("given", "allowed"), [({}, 0.04), ({"max_ca_drop": 0.02}, 0.02), ({"method": "ft-sam"}, 0.02)])
def test_only_auto_goes_beyond_a_budget_that_nobody_set(given: dict[str, Any], allowed: float) -> None:
    assert Settings(**given).allowed(np.arange(320) < 160) == allowed
