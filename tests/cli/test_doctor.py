"""`rnpc doctor` as a user types it."""

from __future__ import annotations

import json
from importlib import metadata

import pytest

from rnpc.cli import doctor, run
from rnpc.errors import Exit


def test_this_machine_is_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--format", "json"]) == Exit.OK
    found = json.loads(capsys.readouterr().out)
    states = {check["name"]: check["state"] for check in found["checks"]}
    assert found["schema"] == "rnpc.doctor/1" and found["healthy"] is True
    assert states["CPUExecutionProvider"] == "ok" and states["torch"] == "ok" and "processor" in states


def test_a_missing_requirement_is_exit_5(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "REQUIRED", {"json": "json", "no_such_module_here": "no-such-module"})
    assert run(["doctor"]) == Exit.SURROUNDINGS
    out = capsys.readouterr().out
    assert "missing" in out and "install no-such-module" in " ".join(out.replace("│", " ").split())


def test_a_missing_extra_is_no_failure() -> None:
    assert doctor.module("no_such_module_here", "it", required=False).state == "absent"


def test_two_onnxruntimes_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
    line = doctor.conflict()
    assert line.state == "broken" and line.required and "overwrite each other" in line.text


def test_a_provider_that_is_listed_but_does_not_start_is_told() -> None:
    ran, _ = doctor.start("CPUExecutionProvider")
    assert ran == "CPUExecutionProvider"
    assert doctor.start("NoSuchExecutionProvider")[0] != "NoSuchExecutionProvider"
