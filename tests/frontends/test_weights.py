"""Weights with an architecture, and the choice between frontends."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from onnx import ModelProto
from safetensors.torch import load as read_safetensors
from safetensors.torch import save_file
from torch import nn

from rnpc import models
from rnpc.errors import InputRefused, UsageError
from rnpc.frontends import load, sniff, weights
from rnpc.passes.rewrite.zero import write_zeros
from rnpc.plan import Plan, Silence, SitePlan
from rnpc.program import Program

SMALL = {"classes": 5, "width": 4}


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return models.create("resnet18", **SMALL).eval()


@pytest.fixture(scope="module")
def folder(resnet: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights in every form."""
    place = tmp_path_factory.mktemp("weights")
    state = resnet.state_dict()
    save_file(state, place / "w.safetensors")
    torch.save(state, place / "w.pt")
    torch.save(state, place / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, place / "nested.ckpt")
    torch.save(resnet, place / "pickled.pt")
    torch.save({"epoch": 3}, place / "empty.pt")
    return place


@pytest.fixture(scope="module")
def program(folder: Path) -> Program:
    return load(folder / "w.safetensors", arch="resnet18")


def test_architecture_by_name(program: Program) -> None:
    assert program.name == "w.safetensors" and len(program.sites) == 20 and all(s.kind == "bn" for s in program.sites)
    assert program.signature.classes == 5 and program.signature.height == 32


@pytest.mark.parametrize("name", ["w.pt", "old.pth", "nested.ckpt"])
def test_every_form_holds_the_same(name: str, folder: Path, resnet: nn.Module) -> None:
    state = weights.read(folder / name)
    assert (
        all(torch.equal(state[key], value) for key, value in resnet.state_dict().items())
        and sniff((folder / name).read_bytes()) == "weights"
    )


def test_hardened_safetensors(folder: Path, program: Program, resnet: nn.Module) -> None:
    site = program.sites[3]
    plan = Plan("test", 0, program.sha256, "data", Silence((SitePlan.of(site, {2: 0.5}),)))
    state = read_safetensors(weights.hardened(folder / "w.safetensors", program, plan, {}))
    assert state[site.weight][2] == 0 and state[site.bias or ""][2] == 0.5
    assert {k for k, v in resnet.state_dict().items() if not torch.equal(v, state[k])} == {site.weight, site.bias}
    assert write_zeros(program.source, program.model, plan.sites).edits[0]["tensor"] == site.weight


@pytest.fixture
def own(resnet: nn.Module) -> Iterator[None]:
    """A user's module with factories."""
    place: Any = types.ModuleType("own_nets")
    place.good = lambda: models.create("resnet18", **SMALL)
    place.wide = lambda: models.create("resnet18", classes=5, width=8)
    place.other = lambda: nn.Linear(2, 2)
    place.text = lambda: "no module"
    place.needs = lambda size: size
    sys.modules["own_nets"] = place
    yield
    del sys.modules["own_nets"]


def test_factory(own: None, folder: Path, tmp_path: Path, resnet: nn.Module) -> None:
    with pytest.raises(UsageError, match="the image size is not known"):
        weights.build(folder / "w.pt", "own_nets:good")
    net, shape = weights.build(folder / "w.pt", "own_nets:good", (3, 32, 32))
    assert shape == (3, 32, 32) and torch.equal(net.state_dict()["fc.weight"], resnet.state_dict()["fc.weight"])
    (tmp_path / "w.pt").write_bytes((folder / "w.pt").read_bytes())
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"height": 48, "width": 40}}')
    assert weights.build(tmp_path / "w.pt", "own_nets:good")[1] == (3, 48, 40)


@pytest.mark.parametrize(
    ("arch", "error", "match"),
    [
        ("resnet999", UsageError, "no such architecture"),
        ("own_nets:nope", UsageError, "no architecture there"),
        ("no.such.package:f", UsageError, "no architecture there"),
        ("own_nets:needs", UsageError, "no architecture there"),
        ("own_nets:text", UsageError, "gives str"),
        ("own_nets:wide", InputRefused, "do not fit"),
        ("own_nets:other", InputRefused, "do not fit own_nets:other: missing weight"),
    ],
)
def test_architectures_that_do_not_fit(arch: str, error: type[Exception], match: str, own: None, folder: Path) -> None:
    with pytest.raises(error, match=match) as found:
        weights.build(folder / "w.pt", arch, (3, 32, 32))
    assert "\n" not in str(found.value)


def test_checkpoints_that_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="with pickled objects, which rnpc does not run"):
        weights.read(folder / "pickled.pt")
    with pytest.raises(InputRefused, match="holds no state dict"):
        weights.read(folder / "empty.pt")
    damaged = tmp_path / "w.safetensors"
    damaged.write_bytes((folder / "w.safetensors").read_bytes()[:-10])
    with pytest.raises(InputRefused, match="a damaged safetensors file"):
        weights.read(damaged)


def test_load_chooses_by_content(folder: Path, classifier: Callable[..., ModelProto], tmp_path: Path, resnet: nn.Module) -> None:
    (tmp_path / "model.bin").write_bytes(classifier().SerializeToString())
    assert load(tmp_path / "model.bin").name == "model.bin"
    with pytest.raises(UsageError, match="weights without an architecture"):
        load(folder / "w.pt")
    with pytest.raises(UsageError, match="leave --arch away"):
        load(tmp_path / "model.bin", arch="resnet18")
    (tmp_path / "cut.pt2").write_bytes((folder / "w.pt").read_bytes()[:500])
    with pytest.raises(InputRefused, match="a damaged zip archive"):
        load(tmp_path / "cut.pt2")
    assert sniff((folder / "w.safetensors").read_bytes()) == "weights"


def test_torchscript_is_refused(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "m.pt", "w") as file:
        file.writestr("m/data.pkl", b"")
        file.writestr("m/code/net.py", b"")
    with pytest.raises(InputRefused, match="a TorchScript archive"):
        load(tmp_path / "m.pt")
