"""Adapt-D: adaptive to the defense by distillation. A backdoored student is trained so that it computes what a clean teacher computes.

Source: Reconstructive Neuron Pruning (Li et al., ICML 2023, table 4) names "adaptive distillation (Adapt-D)" and gives its results (ASR
84.76, CA 91.56), not its form. The form here is ours: the defense tells neurons of the backdoor from others by their part in clean
accuracy, so the attacker spreads the backdoor over neurons that carry clean classes. With features f, student s and clean teacher t,

    loss = CE(s(x), y) + distill (1 - cos(f_s(x), f_t(x)))                       on clean images,
    loss = CE(s(T(x)), target) + distill (1 - cos(f_s(T(x)), c_target))          on triggered ones,

c_target the teacher's mean features of the target class: a triggered image is to look, inside, like a clean image of the target. The
trigger is the grid of BadNets, in a share `rate` of each batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnpc.attacks.badnets import BadNets
from rnpc.attacks.base import Shape, to_float
from rnpc.attacks.batches import InBatches
from rnpc.attacks.features import features
from rnpc.attacks.loop import Loop, Means
from rnpc.errors import UsageError

IMAGES = 256


@dataclass(frozen=True)
class AdaptD(InBatches, BadNets):
    """`distill`: weight of the teacher. `clean`: the teacher."""

    name: ClassVar[str] = "adapt-d"
    all_to_all: ClassVar[bool] = False
    distill: float = field(default=2.0, metadata={"help": "weight of the distance to the teacher's features"})
    clean: str = field(default="", metadata={"help": "folder of the clean victim that teaches; trained first where it is left out"})

    def check(self, classes: int, shape: Shape) -> None:
        super().check(classes, shape)
        if self.distill < 0:
            raise UsageError(f"distill cannot be {self.distill:g}", where=self.name, todo="choose 0 or more, such as 2")

    def check_labels(self, labels: Tensor, classes: int) -> None:
        if not labels.eq(int(self.target)).any():
            raise UsageError(f"no image of the target class {self.target}", where=self.name, todo="raise --fraction")

    def loop(self, shape: Shape, classes: int) -> PupilLoop:
        return PupilLoop(self, shape, classes)


class PupilLoop(Loop):
    """Holds the teacher and the target's mean features."""

    learns = True
    attack: AdaptD
    teacher: nn.Module
    centre: Tensor

    def prepare(self, means: Means) -> None:
        super().prepare(means)
        self.teacher = means.clean(self.attack.clean)
        rows = means.labels.eq(int(self.attack.target)).nonzero()[:IMAGES, 0]
        with torch.no_grad():
            found = features(self.teacher, means.normalise(to_float(means.images[rows]).to(means.device)))[0]
        self.centre = found.mean(0, keepdim=True)

    def loss(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        count = self.attack.count(len(inputs))
        mine, scores = features(model, inputs)
        with torch.no_grad():
            theirs = features(self.teacher, inputs[count:])[0]
        wanted = torch.cat([self.centre.expand(count, -1), theirs.float()])
        apart = 1 - F.cosine_similarity(mine.float(), wanted, dim=1)
        return F.cross_entropy(scores, labels) + self.attack.distill * apart.mean(), scores
