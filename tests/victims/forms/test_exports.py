"""Forms that exporters make: the scores of the module, BatchNormalization there or not, and `export.network`'s bytes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from rnpc import models
from rnpc.errors import UsageError
from rnpc.runtime import Session
from rnpc.victims import export, forms

SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    made = models.ARCHITECTURES["resnet18"](classes=5, width=4, size=16, depths=(1, 1, 1, 1))
    for norm in (m for m in made.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 1.0
    with torch.no_grad():
        made.train()(torch.randn(16, *SHAPE))
    return made.eval()


@pytest.fixture(scope="module")
def written(net: nn.Module) -> dict[str, bytes]:
    return {name: forms.write(net, SHAPE, name)["model.onnx"] for name in ("folded", "batchnorm", "legacy", "legacy-batchnorm")}


@pytest.mark.parametrize(("name", "norms"), [("folded", 0), ("batchnorm", 12), ("legacy", 0), ("legacy-batchnorm", 12)])
def test_exported(name: str, norms: int, net: nn.Module, written: dict[str, bytes]) -> None:
    data = written[name]
    images = torch.randn(6, *SHAPE)
    with torch.no_grad():
        wanted = net(images).numpy()
    found = Session(data, device="cpu", threads=1).run(images.numpy())
    assert np.abs(found - wanted).max() <= 1e-4 * max(1.0, np.abs(wanted).max())
    model = onnx.load_from_string(data)
    assert Counter(node.op_type for node in model.graph.node)["BatchNormalization"] == norms
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["input", "logits"]
    assert b"/tests/" not in data and b".py" not in data, "a path of the machine"


def test_first_two_are_the_exporters_own(net: nn.Module, written: dict[str, bytes]) -> None:
    assert (written["folded"], written["batchnorm"]) == export.network(net, SHAPE)


def test_a_module_in_any_form(net: nn.Module, written: dict[str, bytes]) -> None:
    files = forms.write(net, SHAPE, "external", file="a.onnx")
    assert list(files) == ["a.onnx", "a.onnx.data"]
    assert files == forms.files(written["folded"], "external", file="a.onnx")
    assert forms.rewrite(written["folded"], "folded") == written["folded"]


def test_a_file_cannot_be_exported_again(written: dict[str, bytes]) -> None:
    with pytest.raises(UsageError, match="only an exporter"):
        forms.rewrite(written["folded"], "legacy")
