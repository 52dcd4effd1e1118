"""Forms of a victim, made where its training did not write them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rnpc.bench import forms, spec
from rnpc.bench.cell import Settings
from rnpc.bench.measure import Attacked, measure
from rnpc.bench.run import Bench
from rnpc.bench.spec import BenchSpec
from rnpc.data import contents, datasets
from rnpc.data.datasets import Dataset
from rnpc.passes.wire import external
from rnpc.victims.spec import VictimSpec
from rnpc.victims.train import finished


@pytest.fixture
def mini_spec(mini: Path) -> BenchSpec:
    """The small SPEC."""
    return spec.load(str(mini))


@pytest.fixture
def found(mini_spec: BenchSpec, out: Path) -> tuple[VictimSpec, Path, Dataset]:
    """A trained victim, its folder, its data."""
    victim = mini_spec.victims[0]
    return victim, out / "victims" / victim.key, datasets.load("mnist", None)


@pytest.mark.parametrize("form", ["folded", "batchnorm", "legacy", "nhwc", "uint8", "external", "int8-qdq"])
def test_each_form_is_the_same_network(form: str, found: tuple[VictimSpec, Path, Dataset]) -> None:
    victim, folder, data = found
    small = replace(data, test_images=data.test_images[:200], test_labels=data.test_labels[:200])
    on = Attacked(small, forms.preprocessing(data, "folded"), (folder / "trigger.onnx").read_bytes(), 3, tuple(range(10)), "cpu", 1)
    first = measure((folder / "folded.onnx").read_bytes(), on)
    path = forms.model(victim, folder, form, data)
    model = external.inline(path.read_bytes(), path.parent, form)[0]
    other = measure(model, replace(on, pre=forms.preprocessing(data, form)))
    assert np.mean(first.correct() == other.correct()) > 0.98 and first.asr is not None and other.asr is not None
    assert abs(first.asr[0] - other.asr[0]) <= 4
    assert all(path.with_name(name).is_file() for name in ("preprocessor_config.json", "labels.json"))
    assert finished(victim, folder) is not None


def test_made_once_and_again_where_something_changed(found: tuple[VictimSpec, Path, Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    victim, folder, data = found
    path = forms.model(victim, folder, "nhwc", data)
    with monkeypatch.context() as patch:
        patch.setattr(forms, "write", lambda *given: pytest.fail("made again"))
        assert forms.model(victim, folder, "nhwc", data) == path
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    assert forms.model(victim, folder, "nhwc", data).read_bytes() == whole
    made: list[str] = []
    write = forms.write
    monkeypatch.setattr(forms, "write", lambda *given: made.append("again") or write(*given))
    monkeypatch.setattr(forms, "code", lambda: "other code")
    forms.model(victim, folder, "nhwc", data)
    shutil.copy(folder / "batchnorm.onnx", folder / "folded.onnx")
    forms.model(victim, folder, "nhwc", data)
    assert made == ["again"] * 2


def test_a_second_file_counts(found: tuple[VictimSpec, Path, Dataset]) -> None:
    victim, folder, data = found
    path = forms.model(victim, folder, "external", data)
    second = path.with_name("model.onnx.data")
    first = forms.digest(path)
    second.write_bytes(b"x" + second.read_bytes()[1:])
    assert forms.digest(path) != first != contents.of_file(path)
    assert forms.digest(folder / "folded.onnx") == contents.of_file(folder / "folded.onnx")


def test_names() -> None:
    assert set(forms.OWN) < set(forms.names()) and "bf16" not in forms.names()


def test_a_form_that_a_network_cannot_have_is_a_failed_cell(mini_spec: BenchSpec, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the table goes on."""
    from rnpc.errors import InputRefused

    def refuse(*given: object) -> dict[str, bytes]:
        raise InputRefused("nothing to write otherwise", where="nhwc", todo="choose another form")

    monkeypatch.setattr(forms, "write", refuse)
    bench = Bench(replace(mini_spec, forms=("nhwc",)), None, out, Settings("cpu"))
    tasks = bench.cell_tasks(1)
    assert [task["refused"] for task in tasks] == ["nhwc: nothing to write otherwise; choose another form"]
    from rnpc.bench.engines.local import LocalEngine

    told: list[str] = []
    bench.run(LocalEngine(1, 1), tell=lambda change: told.append(change.kind))
    assert told == ["failed", "failed"]
    assert {result.document["error"] for result in bench.results() if result.document} == {tasks[0]["refused"]}


def test_a_cell_of_another_form(mini_spec: BenchSpec, out: Path) -> None:
    bench = Bench(replace(mini_spec, forms=("folded", "nhwc")), None, out, Settings("cpu"))
    one, two = bench.cell_tasks(1)
    assert one["identity"]["input"]["layout"] == "NCHW" and two["identity"]["input"]["layout"] == "NHWC"
    assert two["model"].endswith("forms/nhwc/model.onnx") and two["trigger"] == one["trigger"] and one["key"] != two["key"]
    assert one["identity"]["counted"] == [label for label in range(10) if label != 3] and bench.cell_tasks(2)[0]["trigger"] is None
