"""A network to be tuned as the user's own was trained, and its tensors back under the user's own names.

The twin is built from the graph with BatchNormalization kept. A convolution into which one was folded falls apart at a usual rate, so it
gets one back: with mean and variance of its output on clean images it changes nothing, and in train mode it normalises. Afterwards it is
folded again, W' = a W and b' = a (b - mu) + beta with a = gamma / sqrt(var + eps). Exporters fold into a bias, so a convolution without one
(or with zeros) is left as it is, and so is one whose weight or bias serves another layer too. What stands before the first layer (a
normalisation of the image) is not trained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import Parameter

from rnpc.errors import InputRefused
from rnpc.passes.canonical.batchnorm import unfold_bn
from rnpc.passes.canonical.qforms import quantised
from rnpc.passes.facts.sites import find_sites
from rnpc.passes.facts.view import FLOATS, View, is_op
from rnpc.program import FilterSite
from rnpc.study.activations import moments
from rnpc.study.case import Case
from rnpc.study.subject import Subject
from rnpc.study.surgery import Channel, edits_of
from rnpc.twin import Twin, build
from rnpc.twin.module import Edit

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Norm:
    """A BatchNorm of the twin, by the value that it makes. `mean`, `var`: names of its statistics in the user's graph, where it has them;
    else it was put back behind the convolution with `weight` and `bias`, its own are `gamma` and `beta`."""

    value: str
    mean: str = ""
    var: str = ""
    weight: str = ""
    bias: str = ""
    gamma: str = ""
    beta: str = ""
    eps: float = 1e-5


@dataclass(frozen=True)
class Tunable:
    """`twin` is trained in place, `edits` hold silenced channels. `homes`: a name in the twin -> the tensor of the user's file behind it;
    `kept`, `restored`: BatchNorms that the user's graph has, and those put back."""

    twin: Twin
    edits: Mapping[str, Edit]
    homes: Mapping[str, TensorProto]
    kept: tuple[Norm, ...]
    restored: tuple[Norm, ...]

    @staticmethod
    def of(case: Case, channels: Sequence[Channel] = ()) -> Tunable:
        """A fresh one with these channels silenced. Raises InputRefused for a quantised model, and where a weight is not stored as float
        numbers of its own."""
        if quantised(case.subject.original):
            raise refused("the model is quantised, and its codes cannot be tuned", "tune the float model, or choose a method that prunes")
        model = case.subject.kept
        view, sites = View(model), {site.value: site for site in find_sites(model)}
        kept = tuple(Norm(n.output[0], n.input[3], n.input[4]) for n in view.nodes if is_op(n, "BatchNormalization"))
        folded = [site for site in sites.values() if site.kind == "conv" and alone(view, site)]
        inner = with_norms(case, model, folded)
        made = {site.value: site for site in find_sites(inner) if site.kind == "bn"}
        restored = tuple(back(site, made[site.value]) for site in folded)
        twin = build(inner).to(case.subject.device)
        own = {name for norm in restored for name in (norm.gamma, norm.beta)}
        trained = sorted(own | late(view, twin.parameter_names()))
        for parameter in twin.parameters():
            parameter.requires_grad_(False)
        for name in trained:
            twin.parameter_of(name).requires_grad_()
        statistics = [name for norm in kept for name in (norm.mean, norm.var)]
        homes = homes_of(View(case.subject.original), [*(name for name in trained if name not in own), *statistics])
        return Tunable(twin, edits_of(case.subject, channels), homes, kept, restored)

    def parameters(self) -> list[Parameter]:
        """What is trained; a tied one once."""
        return [parameter for parameter in self.twin.parameters() if parameter.requires_grad]

    def subject(self, case: Case) -> Subject:
        """The case's subject with this network in its twin's place; to be asked with `edits`."""
        return replace(case.subject, twin=self.twin)

    def tensors(self) -> dict[str, np.ndarray]:
        """What has changed, by the names and in the types of the user's file; BatchNorms that were put back are folded in again."""
        changed = {}
        for name, value in self.values():
            home = self.homes[name]
            new = value.detach().float().cpu().numpy().astype(helper.tensor_dtype_to_np_dtype(home.data_type))
            if not np.array_equal(new, numpy_helper.to_array(home)):
                changed[home.name] = new
        return changed

    def move(self, other: Tunable, part: float) -> None:
        """Go this part of the way to where another one of the same network is, in a straight line."""
        there = other.twin.state_dict()
        between = {n: torch.lerp(v, there[n], part) if v.is_floating_point() else v for n, v in self.twin.state_dict().items()}
        self.twin.load_state_dict(between)

    def values(self) -> Iterator[tuple[str, Tensor]]:
        """Names in the twin with their values, as the user's graph needs them."""
        parts = {name for norm in self.restored for name in (norm.weight, norm.bias)}
        statistics = {name for norm in self.kept for name in (norm.mean, norm.var)}
        for name in self.homes.keys() - parts - statistics:
            yield name, self.twin.parameter_of(name)
        for norm in self.kept:
            mean, var = self.twin.statistics_of(norm.value)
            yield norm.mean, mean
            yield norm.var, var
        for norm in self.restored:
            weight, bias, gamma, beta = (self.twin.parameter_of(name).detach() for name in (norm.weight, norm.bias, norm.gamma, norm.beta))
            mean, var = self.twin.statistics_of(norm.value)
            scale = gamma / torch.sqrt(var + norm.eps)
            yield norm.weight, weight * scale.view(-1, *[1] * (weight.ndim - 1))
            yield norm.bias, scale * (bias - mean) + beta


def alone(view: View, site: FilterSite) -> bool:
    """Whether a convolution has a bias that says something (exporters write zeros where there was none), and shares no tensor."""
    bias = view.tensor(site.bias) if site.bias is not None else None
    return bias is not None and view.uses(site.weight) == view.uses(bias.name) == 1 and bool(numpy_helper.to_array(bias).any())


def with_norms(case: Case, model: ModelProto, sites: Sequence[FilterSite]) -> ModelProto:
    """The model with a BatchNormalization behind each site that changes nothing on the learn images."""
    if not sites:
        return model
    means, deviations = moments(case.subject, build(model).to(case.subject.device), sites, case.learn)
    restored: ModelProto = unfold_bn(model, {name: (means[name].numpy(), deviations[name].square().numpy()) for name in means})
    return restored


def back(conv: FilterSite, norm: FilterSite) -> Norm:
    """The BatchNorm that was put behind a convolution."""
    assert conv.bias is not None and norm.bias is not None
    return Norm(conv.value, weight=conv.weight, bias=conv.bias, gamma=norm.weight, beta=norm.bias)


def late(view: View, names: Collection[str]) -> set[str]:
    """The names that are read elsewhere than between the image and the first layers."""
    tensors = set(view.tensors)
    image = {name for name in view.readers if name not in view.makers and name not in tensors}
    early, front = set(image), set[int]()
    seen = set(image)
    for k, node in enumerate(view.nodes):
        reads = seen.intersection(node.input)
        if reads and reads <= early and not is_op(node, *LAYERS):
            front.add(k)
            early.update(node.output)
        if reads:
            seen.update(node.output)
    return {name for name in names if any(k not in front for k, _ in view.readers.get(name, []))}


def homes_of(view: View, names: Sequence[str]) -> dict[str, TensorProto]:
    """The stored tensor of the user's graph behind each name. Raises InputRefused where there is none of its own."""
    found = {name: home(view, name) for name in names}
    homes = {name: tensor for name, tensor in found.items() if tensor is not None}
    if lost := next((name for name in names if name not in homes), None):
        raise refused(f"weight {lost} is not stored as a dense tensor of float numbers", "export the model with such weights")
    if shared := next((name for name, count in Counter(homes[name].name for name in names).items() if count > 1), None):
        raise refused(f"tensor {shared} serves several layers, which tuning would part", "export the model with a tensor for each layer")
    return homes


def home(view: View, name: str) -> TensorProto | None:
    """The float tensor behind a name, through Identity and Cast."""
    node = view.maker(name)
    if name not in view.tensors and node is not None and is_op(node, "Identity", "Cast"):
        return home(view, node.input[0])
    tensor = view.tensors.get(name)
    return tensor if tensor is not None and tensor.data_type in FLOATS else None


def refused(what: str, todo: str) -> InputRefused:
    """The error of a model that cannot be tuned."""
    return InputRefused(what, where="tuning", todo=todo)
