"""A module in, hardened weights back: the same function as the edited graph."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from rnpc.errors import InputRefused
from rnpc.frontends import back, torch_module
from rnpc.passes.rewrite.apply import apply
from rnpc.passes.rewrite.weights import declare
from rnpc.passes.rewrite.zero import write_zeros
from rnpc.plan import Plan, Silence
from rnpc.program import Program


def graph_scores(data: bytes, x: torch.Tensor) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"input": x.numpy()})[0])


def same(one: Mapping[str, torch.Tensor], two: Mapping[str, torch.Tensor]) -> bool:
    return list(one) == list(two) and all(torch.equal(one[key], two[key]) for key in one)


def test_batchnorm_is_kept_and_names_are_the_modules(program: Program) -> None:
    assert [(s.kind, s.weight) for s in program.sites] == [("bn", "1.weight"), ("conv", "3.weight"), ("linear", "7.weight")]
    assert program.signature.batch is None and program.name == "Sequential"
    assert (program.signature.channels, program.signature.height, program.signature.classes) == (3, 8, 4)


def test_no_notes_of_the_exporter(program: Program) -> None:
    assert b".py" not in program.source and not any(node.metadata_props or node.doc_string for node in program.model.graph.node)


def test_the_module_stays_as_it_was_and_twice_is_the_same(module: nn.Module, program: Program) -> None:
    module.train()
    before = copy.deepcopy(module.state_dict())
    again = torch_module.load(module, (2, 3, 8, 8))
    assert same(before, module.state_dict()) and all(m.training for m in module.modules())
    assert again.source == program.source


def test_graph_and_module_agree_before_and_after(module: nn.Module, program: Program, plan: Plan) -> None:
    x = torch.randn(3, 3, 8, 8)
    before = copy.deepcopy(module.state_dict())
    hardened = back.apply_to_module(module, program, plan)
    data = write_zeros(program.source, program.model, plan.sites).data
    np.testing.assert_allclose(graph_scores(program.source, x), copy.deepcopy(module).eval()(x).detach(), atol=1e-5)
    np.testing.assert_allclose(graph_scores(data, x), hardened.eval()(x).detach(), atol=1e-5)
    assert not np.allclose(graph_scores(data, x), graph_scores(program.source, x), atol=1e-3)
    assert same(before, module.state_dict())
    assert hardened[3].bias is not None and module[3].bias is None  # type: ignore[index]


def test_state_dict_without_the_layer_that_lacks_a_bias(module: nn.Module, program: Program, plan: Plan) -> None:
    state = module.state_dict()
    with pytest.raises(InputRefused, match=r"site .*: 3 has no bias to hold the constant"):
        back.apply_to_state_dict(state, program, plan)
    part = replace(plan, silence=Silence((plan.sites[0], plan.sites[2])))
    edited = back.apply_to_state_dict(state, program, part)
    assert edited["1.weight"][[1, 3]].tolist() == [0, 0] and edited["1.bias"][[1, 3]].tolist() == [0.5, -0.25]
    assert not edited["7.weight"][1].any() and edited["7.weight"][0].any() and edited["9.weight"] is state["9.weight"]
    assert state["1.weight"].all() and list(edited) == list(state)


def test_a_plan_for_another_model(module: nn.Module, program: Program, plan: Plan) -> None:
    with pytest.raises(InputRefused, match="the plan was made for"):
        back.apply_to_module(module, program, replace(plan, original="0" * 64))
    with pytest.raises(InputRefused, match=r"no parameter of the module is the tensor 1\.weight"):
        back.apply_to_state_dict({"other": torch.zeros(3)}, program, plan)


def test_tied_parameters_are_refused(program: Program, plan: Plan, module: nn.Module) -> None:
    state = dict(module.state_dict())
    state["tied"] = state["1.weight"]
    with pytest.raises(InputRefused, match=r"1\.weight is shared by several layers"):
        back.apply_to_state_dict(state, program, plan)


def test_retrained_tensors_go_back_before_channels_fall(module: nn.Module, program: Program, plan: Plan) -> None:
    """The same function as the graph that `apply` writes; a layer whose weights the exporter transposed included."""
    rng = np.random.default_rng(0)
    floats = [t for t in program.model.graph.initializer if t.data_type == 1 and len(t.dims) > 0 and "running" not in t.name]
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in floats if len(np.unique(onnx.numpy_helper.to_array(t))) > 1}
    tensors = {name: (value + rng.normal(0, 0.1, value.shape)).astype(np.float32) for name, value in arrays.items()}
    both = replace(plan, weights=declare(program.source, tensors))
    hardened, x = back.apply_to_module(module, program, both, tensors), torch.randn(3, 3, 8, 8)
    data = apply(program.source, both, tensors).data
    np.testing.assert_allclose(graph_scores(data, x), hardened.eval()(x).detach(), atol=1e-5)
    assert not np.allclose(graph_scores(data, x), back.apply_to_module(module, program, plan).eval()(x).detach(), atol=1e-3)


def test_retrained_tensors_that_the_module_does_not_have_or_shares(module: nn.Module, program: Program, plan: Plan) -> None:
    tensors, state = {"9.weight": np.zeros((4, 6), np.float32)}, dict(module.state_dict())
    part = replace(plan, silence=None)
    with pytest.raises(InputRefused, match=r"no parameter of the module is the tensor 9\.weight, which was retrained"):
        back.apply_to_state_dict({key: value for key, value in state.items() if key != "9.weight"}, program, part, tensors)
    with pytest.raises(InputRefused, match=r"9\.weight, which was retrained, is shared"):
        back.apply_to_state_dict({**state, "tied": state["9.weight"]}, program, part, tensors)
    plan = replace(plan, silence=replace(plan.silence, mode="remove"))  # type: ignore[type-var]
    with pytest.raises(InputRefused, match="only channels that are zeroed"):
        back.apply_to_state_dict(state, program, plan)


def test_a_transposed_copy_is_found_by_value() -> None:
    array = np.arange(6.0).reshape(2, 3)
    entry = back.by_value(array, 1, {"a": torch.zeros(2, 3), "w": torch.from_numpy(array.T.copy())})
    assert entry == back.Entry("w", 0)
    assert back.by_value(np.ones(3), 0, {"a": torch.ones(3)}) is None
    assert back.by_value(array, 1, {"a": torch.from_numpy(array), "b": torch.from_numpy(array)}) is None


class Branch(nn.Module):
    """A module whose path depends on its input's values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


@pytest.mark.parametrize(
    ("net", "shape", "match"),
    [
        (Branch(), (3, 8, 8), "Branch: torch.export cannot trace the module"),
        (nn.Linear(3, 2), (3, 8), "is no image shape"),
        (nn.Conv2d(3, 4, 3), (3, 8, 8), "Conv2d: output logits is .*, not class scores"),
    ],
)
def test_what_cannot_be_used(net: nn.Module, shape: tuple[int, ...], match: str) -> None:
    with pytest.raises(InputRefused, match=match) as error:
        torch_module.load(net, shape)
    assert "\n" not in str(error.value)


def test_a_module_that_cannot_be_copied() -> None:
    net: Any = nn.Linear(2, 2)
    net.handle = (n for n in range(3))
    with pytest.raises(InputRefused, match="cannot be copied"):
        torch_module.load(net, (3, 8, 8))
