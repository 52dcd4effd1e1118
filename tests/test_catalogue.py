"""The registry of methods: names without imports, settings from fields, and what does not fit is refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import is_dataclass
from typing import Any

import pytest

from rnpc.catalogue import Catalogue, Entry
from rnpc.defenses import DEFAULT, DEFENSES
from rnpc.defenses.base import Defense
from rnpc.detectors import DETECTORS
from rnpc.detectors.base import Detector
from rnpc.errors import UsageError

CATALOGUES: list[Catalogue[Any]] = [DEFENSES, DETECTORS]


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda catalogue: catalogue.what)
def test_every_name_leads_to_a_class_that_bears_it(catalogue: Catalogue[Any]) -> None:
    for name in catalogue.names():
        kind = catalogue.kind(name)
        assert is_dataclass(kind) and issubclass(kind, (Defense, Detector)) and kind.name == name
        assert catalogue.entries[name].help and "\n" not in catalogue.entries[name].help
        assert all(field.metadata.get("help") for field in catalogue.fields(name))
        assert catalogue.create(name).settings() == {field.name: field.default for field in catalogue.fields(name)}


def test_names_cost_no_import() -> None:
    code = "import sys; from rnpc.defenses import DEFENSES; from rnpc.detectors import DETECTORS; DEFENSES.names(), DETECTORS.names()"
    code += "; sys.exit(bool({'torch', 'onnx', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_defense_follows_a_detector_that_there_is() -> None:
    assert DEFAULT in DEFENSES.names()
    for name in DEFENSES.names():
        assert DEFENSES.kind(name).detector in (None, *DETECTORS.names())


def test_unknown_names_are_refused_with_the_list() -> None:
    with pytest.raises(UsageError, match="no such method; choose one of auto, rnp"):
        DEFENSES.create("fine")
    with pytest.raises(UsageError, match="no such detector"):
        DETECTORS.kind("mmbd")


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="no setting named layers; choose among limit"):
        DEFENSES.create("fine-pruning", {"layers": 2})


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", 1.5), ("epochs", True), ("epochs", "3"), ("rho", float("nan")), ("rho", True), ("flip", 1)]
)
def test_a_setting_of_another_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{name} cannot be"):
        DEFENSES.create("ft-sam", {name: value})


def test_an_integer_may_stand_for_a_float() -> None:
    rho = DEFENSES.create("ft-sam", {"rho": 8}).settings()["rho"]
    assert rho == 8.0 and isinstance(rho, float)


def test_a_place_that_is_not_there_raises() -> None:
    with pytest.raises(ModuleNotFoundError):
        Catalogue("method", {"lost": Entry("rnpc.no_such_room:Lost", "nowhere")}).kind("lost")
