"""What apply and verify say of a plan, and what they read beside the model."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from rnpc.cli import plan_files
from rnpc.errors import InputRefused
from rnpc.passes.rewrite import tensor_file
from rnpc.plan import Plan, Retrained, Silence, SitePlan, Weights

SITE = SitePlan("v", "conv", (1, 4), ("00000000", "3f800000"))


def test_words() -> None:
    plan = Plan("m", 0, "o", "", Silence((SITE,), "remove"), Weights((Retrained("w", "a", "b"),)))
    assert plan_files.plan_text(plan) == "2 channels of 1 site removed, 1 tensor retrained"
    assert plan_files.plan_text(plan, 1) == "1 channel of 1 site removed, 1 more zeroed, 1 tensor retrained"
    assert plan_files.plan_text(Plan("m", 0, "o", "")) == "no edits"
    found = plan_files.plan_json(plan)
    assert (found["mode"], found["sites"], found["channels"], found["tensors"]) == ("remove", {"v": [1, 4]}, 2, ["w"])


def test_the_digest_is_of_the_whole_model(toy_file: Path) -> None:
    whole = plan_files.read_model(toy_file)
    assert whole.raw == whole.data == toy_file.read_bytes() and whole.notes == ()
    onnx.save(onnx.load(toy_file), toy_file, save_as_external_data=True, location="m.data", size_threshold=0)
    first = plan_files.read_model(toy_file)
    assert first.sha256 == hashlib.sha256(first.data).hexdigest() and first.raw != first.data and len(first.notes) == 1
    content = (toy_file.parent / "m.data").read_bytes()
    (toy_file.parent / "m.data").write_bytes(content[:-1] + b"\x00")
    assert plan_files.read_model(toy_file).sha256 != first.sha256 and plan_files.read_model(toy_file).raw == first.raw


def test_an_error_is_called_by_the_users_name() -> None:
    names = {"plan": Path("folder/mine.json"), "weights": None}
    for where, shown in (("plan", "mine.json: no"), ("weights", "weights: no"), ("other", "other: no"), (None, "no")):
        with pytest.raises(InputRefused) as caught, plan_files.called(names):
            raise InputRefused("no", where=where)
        assert str(caught.value) == shown


def test_files(toy_file: Path, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(tensor_file.dump({"w": np.ones(2, np.float32)}))
    (tmp_path / "p").write_bytes(b"\xef\xbb\xbf" + b'{"sites": {"features": [0]}}')  # with a byte order mark
    found = plan_files.read_weights(tmp_path / "w")
    assert plan_files.read_weights(None) is None and found is not None and found["w"].tolist() == [1, 1]
    assert plan_files.read_plan(tmp_path / "p", plan_files.read_model(toy_file)).channels == 1
    with pytest.raises(InputRefused, match="a folder, not a file; give a plan"):
        plan_files.text(tmp_path)
    (tmp_path / "bad").write_bytes(b"\xff{}")
    with pytest.raises(InputRefused, match="no text"):
        plan_files.text(tmp_path / "bad")
