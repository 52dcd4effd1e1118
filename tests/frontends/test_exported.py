"""The gate in front of torch.export.load."""

from __future__ import annotations

import copy
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rnpc.errors import InputRefused
from rnpc.frontends import exported
from rnpc.program import Program


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def archive(module: Any) -> bytes:
    """The module as a .pt2 file."""
    net = copy.deepcopy(module).eval()
    program = torch.export.export(net, (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def members(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {info.filename: file.read(info) for info in file.infolist()}


def packed(content: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in content.items():
            file.writestr(name, data)
    return buffer.getvalue()


def name_of(content: dict[str, bytes], end: str) -> str:
    return next(name for name in content if name.endswith(end))


def refused(data: bytes, match: str) -> None:
    with pytest.raises(InputRefused, match=match) as error:
        exported.checked(data, "m.pt2")
    assert "\n" not in str(error.value)


def test_same_answer_as_the_module(archive: bytes, program: Program, tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(archive)
    found = exported.load(path)
    assert [(s.kind, s.channels, s.weight) for s in found.sites] == [(s.kind, s.channels, s.weight) for s in program.sites]
    assert found.name == "m.pt2" and found.signature == program.signature


def test_a_checked_archive_has_the_same_members(archive: bytes) -> None:
    assert members(exported.checked(archive, "m")) == members(archive)


def test_pickled_objects(archive: bytes, tmp_path: Path) -> None:
    content = members(archive)
    mark = tmp_path / "ran"
    buffer = io.BytesIO()
    torch.save((Bomb(mark),), buffer)
    samples = name_of(content, "sample_inputs/model.pt")
    refused(packed({**content, samples: buffer.getvalue()}), "pickled objects")
    refused(packed({**content, samples: pickle.dumps(Bomb(mark))}), "pickled objects")
    config = name_of(content, "model_weights_config.json")
    edited = json.loads(content[config])
    next(iter(edited["config"].values()))["use_pickle"] = True
    refused(packed({**content, config: json.dumps(edited).encode()}), "pickled objects")
    assert not mark.exists()


def edited_model(archive: bytes, change: Callable[[Any], None]) -> bytes:
    content = members(archive)
    name = name_of(content, "models/model.json")
    document = json.loads(content[name])
    change(document)
    return packed({**content, name: json.dumps(document).encode()})


@pytest.mark.parametrize("target", ["torch.load", "torch.hub.load", "_operator.attrgetter", "math", "#ns:op", "torch.ops.own.run.default"])
def test_targets(target: str, archive: bytes) -> None:
    def change(document: Any) -> None:
        document["graph_module"]["graph"]["nodes"][0]["target"] = target

    refused(edited_model(archive, change), "a node with target")


@pytest.mark.parametrize(
    "text", ["__import__('os').system('x')", "(lambda: 1)()", "x.y", "f(1)", "[1]", "Symbol('a b')", "1 if 1 else 2", ""]
)
def test_expressions(text: str, archive: bytes) -> None:
    assert not exported.arithmetic(text)

    def change(document: Any) -> None:
        document["range_constraints"]["z"] = {"as_expr": {"expr_str": text}}

    refused(edited_model(archive, change), "the expression")


@pytest.mark.parametrize("text", ["Symbol('s77', positive=True, integer=True)", "2*s0 + 1", "FloorDiv(s0, 2)", "Max(1, s0 - 3)", "-s0"])
def test_arithmetic(text: str) -> None:
    assert exported.arithmetic(text)


def test_other_members_and_damage(archive: bytes) -> None:
    content = members(archive)
    refused(packed({**content, "m/data/aotinductor/model/x.so": b"\x7fELF"}), "an unknown member")
    refused(archive[: len(archive) // 2], "a damaged archive")
    refused(packed({**content, name_of(content, "models/model.json"): b"{"}), "an unreadable member")
    refused(edited_model(archive, lambda d: d.update(treespec='{"context": "default_factory"}')), "default_factory")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name(archive: bytes) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in [*members(archive).items(), ("a/version", b"1"), ("a/version", b"2")]:
            file.writestr(name, data)
    refused(buffer.getvalue(), "two members of one name")


def test_trust_lets_it_in(archive: bytes, tmp_path: Path) -> None:
    content = members(archive)
    path = tmp_path / "m.pt2"
    path.write_bytes(packed({**content, f"{next(iter(content)).partition('/')[0]}/notes.txt": b"x"}))
    with pytest.raises(InputRefused, match="an unknown member"):
        exported.load(path)
    assert exported.load(path, trust=True).sites


def test_an_archive_that_torch_cannot_read(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(packed({"m/archive_format": b"pt2"}))
    with pytest.raises(InputRefused, match=r"torch\.export\.load cannot read the archive"):
        exported.load(path)
