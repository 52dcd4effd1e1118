"""`--method fine-pruning`: dormant channels of the last convolution fall, then the rest is fine-tuned.

Channels that clean images leave silent may be what a backdoor speaks through. They are ordered by their mean activation on clean images,
behind the activation function, and fall one by one, the most silent first, until accuracy has lost more than `limit`. Then the network is
fine-tuned for a few epochs, the channels that fell held at zero.

Source: Liu et al., RAID 2018. Limit, rate and epochs are left to the user there: 4 points are what reimplementations often take, ten
epochs of SGD at 0.01 with momentum 0.9 are ours. Channels fall by images of their own (`choose`), and the outcome is judged once, on
others, within the accuracy budget. It acts whatever the verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper
from torch import Tensor

from rnpc.defenses.base import Defense, Nothing, Outcome
from rnpc.defenses.tuned import outcome
from rnpc.detectors.base import Detection
from rnpc.panel import Curve, Histogram, Line
from rnpc.passes.facts.view import View, is_op
from rnpc.program import FilterSite
from rnpc.stage import Stage
from rnpc.study.activations import moments
from rnpc.study.case import Case, Shares
from rnpc.study.subject import BATCH, Split
from rnpc.study.surgery import Channel
from rnpc.study.tunable import Tunable
from rnpc.study.tuning import Schedule, tune
from rnpc.twin import Twin, build

SMOOTH = ("Celu", "Elu", "Gelu", "HardSigmoid", "HardSwish", "Mish", "Selu", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh")
ACTIVATIONS = ("Clip", "LeakyRelu", "PRelu", "Relu", "ThresholdedRelu", *SMOOTH)
THROUGH = ("Add", "BatchNormalization", "Sum")
"""What may stand between a convolution and its activation function."""


@dataclass(frozen=True)
class FinePruning(Defense):
    """See the module."""

    name: ClassVar[str] = "fine-pruning"
    shares: ClassVar[Shares] = Shares(learn=0.4, choose=0.2)
    limit: float = field(default=0.04, metadata={"help": "loss of accuracy at which pruning ends, before fine-tuning"})
    rate: float = field(default=0.01, metadata={"help": "learning rate of fine-tuning"})
    epochs: int = field(default=10, metadata={"help": "epochs of fine-tuning; 0 for none"})

    def defend(self, case: Case, detection: Detection | None) -> Outcome:
        """Prune, tune, and look whether it cost too much. Raises InputRefused for a model whose weights cannot be tuned."""
        convolutions = [site for site in case.subject.sites if site.kind == "conv"]
        if not convolutions:
            return Nothing(why="the model has no convolution whose channels could fall")
        site = convolutions[-1]
        case.tell(Stage.RANK, None, None)
        activity = activity_of(case, site)
        ranking = ranked(site, activity)
        case.tell(Stage.CUT, None, None)
        curve = accuracies(case, site, ranking, self.limit)
        gone = ranking[: len(curve) - 1 if curve[0] - curve[-1] <= self.limit else len(curve) - 2]
        tunable = Tunable.of(case, gone)
        course = tune(case, tunable, Schedule(self.epochs, self.rate))
        said = f"{len(gone)} of {site.channels} channels of the last convolution are dormant on clean images"
        return outcome(case, tunable, course, gone, ranking, panels(activity, curve, len(gone)), (said,))


def activity_of(case: Case, site: FilterSite) -> np.ndarray:
    """Mean of each channel behind the activation function, over the learn images and space; float [channels]."""
    value = activated(View(case.subject.model), site.value)
    means, _ = moments(case.subject.exact(), case.subject.twin, [replace(site, value=value)], case.learn)
    return np.asarray(means[value].numpy())


def activated(view: View, value: str) -> str:
    """What the activation function makes of a value, reached through additions and norms; the value itself where there is none. A gate that
    the value is multiplied by (x sigmoid(x)) counts with the product."""
    seen = value
    while True:
        readers = [view.nodes[k] for k, _ in view.readers.get(seen, [])]
        found = [node for kinds in (("Mul",), ACTIVATIONS) for node in readers if is_op(node, *kinds)]
        if found:
            return str(found[0].output[0])
        onward = next((node for node in readers if is_op(node, *THROUGH)), None)
        if onward is None:
            return value
        seen = onward.output[0]


def ranked(site: FilterSite, activity: np.ndarray) -> tuple[Channel, ...]:
    """Channels by rising activity; the score is 1 for the least and 0 for the most active."""
    span = max(float(np.ptp(activity)), 1e-12)
    scores = 1 - (activity - activity.min()) / span
    return tuple(Channel(site.value, int(c), float(scores[c]), 0.0) for c in np.argsort(activity, kind="stable"))


def accuracies(case: Case, site: FilterSite, order: Sequence[Channel], limit: float) -> list[float]:
    """Accuracy with none, one, two, ... channels at zero, until it has lost more than `limit` or one channel is left. Where no images were
    set apart to choose by, those that are learnt on serve."""
    apart = not np.array_equal(case.rows[1], case.rows[2])
    rest = list(behind(case, site, case.choose if apart else case.learn))
    curve: list[float] = []
    for count in range(site.channels):
        if count:
            for _, _, feeds, place in rest:
                feeds[place].movedim(site.axis, 0)[order[count - 1].index] = 0.0
        with torch.no_grad():
            hits = [(twin.evaluate(feeds)[0][0].argmax(1) == labels).float() for twin, labels, feeds, _ in rest]
        curve.append(float(torch.cat(hits).mean()))
        if curve[0] - curve[-1] > limit:
            break
    return curve


def behind(case: Case, site: FilterSite, data: Split) -> Iterator[tuple[Twin, Tensor, list[Tensor], int]]:
    """Part by part of the images: the network behind the site, the labels, what it reads, and where among that the site's value stands.
    What lies before the site does not change and is computed once."""
    model, names = rest_of(case.subject.model, site.value)
    twin = build(model).to(case.subject.device)
    for pixels, labels in data.parts(case.subject.at_once(BATCH)):
        with torch.no_grad():
            _, values = case.subject.values(pixels, names)
        yield twin, labels, [values[name].clone() for name in names], names.index(site.value)


def rest_of(model: ModelProto, value: str) -> tuple[ModelProto, list[str]]:
    """The part of a graph that depends on a value, and the names of the values that it reads, this one included."""
    late, nodes = {value}, []
    for node in model.graph.node:
        if late.intersection(node.input):
            late.update(node.output)
            nodes.append(node)
    stored, made = {tensor.name for tensor in model.graph.initializer}, {name for node in nodes for name in node.output}
    names = list(dict.fromkeys(name for node in nodes for name in node.input if name and name not in stored | made))
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    used = {name for node in nodes for name in node.input}
    weights = [tensor for tensor in model.graph.initializer if tensor.name in used]
    graph = helper.make_graph(nodes, "rest", inputs, list(model.graph.output), weights)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version), names


def panels(activity: np.ndarray, curve: Sequence[float], gone: int) -> tuple[Curve, Histogram]:
    """Accuracy while channels fall, and their activities."""
    line = Line("accuracy", np.arange(len(curve), dtype=float), np.array(curve))
    caption = "Channels of the last convolution fall by rising activity, before any fine-tuning."
    falling = Curve("Accuracy while channels fall", "channels", "share of images", (line,), caption, marked=float(gone), narrow=True)
    level = float(np.sort(activity)[gone - 1]) if gone else None
    words = "On clean images; those at the left fell."
    shown = Histogram("Mean activations", "mean activation", {"channels": activity}, level, words, narrow=True)
    return falling, shown
