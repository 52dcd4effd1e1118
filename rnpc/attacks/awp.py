"""AWP: the weights of a trained model are moved within a small ball until a trigger works.

Source: Garg et al., "Can adversarial weight perturbations inject neural backdoors" (CIKM 2020): from a trained model with weights w0,
min over |w - w0| <= epsilon (largest change of a weight) of CE on clean images + CE on triggered images to the target, by projected
gradient descent. The trigger is a patch (the grid of BadNets here). Reconstructive Neuron Pruning (Li et al., ICML 2023, table 6):
"weight perturbation", rate 0.1.

Set by us: `epsilon` 0.04 by default (with the rate below, 0.02 and a slower pace gave 90 % success for 3 points of CA on GTSRB); clean
images are taught by cross-entropy with their labels; the statistics of BatchNorm follow the weights, since held fixed they cost 4 to 15
points of CA; the learning rate is three tenths of the protocol's; the starting model is a clean one (`clean`: a folder, or trained
first).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from rnpc.attacks.badnets import BadNets
from rnpc.attacks.base import Shape
from rnpc.attacks.batches import InBatches
from rnpc.attacks.loop import Loop
from rnpc.errors import UsageError


@dataclass(frozen=True)
class Awp(InBatches, BadNets):
    """`epsilon`: largest change of a weight. The grid is that of BadNets."""

    name: ClassVar[str] = "awp"
    all_to_all: ClassVar[bool] = False
    rate: float = field(default=0.1, metadata={"help": "share of each batch that is triggered"})
    epsilon: float = field(default=0.04, metadata={"help": "largest change of a weight"})
    clean: str = field(default="", metadata={"help": "folder of the clean victim to start from; trained first where it is left out"})

    def check(self, classes: int, shape: Shape) -> None:
        super().check(classes, shape)
        if self.epsilon <= 0:
            raise UsageError(f"a ball of {self.epsilon:g} leaves all weights", where=self.name, todo="choose epsilon above 0, such as 0.04")

    def loop(self, shape: Shape, classes: int) -> BallLoop:
        return BallLoop(self, shape, classes)


class BallLoop(Loop):
    """Starts from the clean model and projects onto the ball around it after each step."""

    learns = True
    pace = 0.3
    attack: Awp
    start: dict[str, Tensor]

    def begin(self, model: nn.Module) -> None:
        model.load_state_dict(self.means.clean(self.attack.clean).state_dict())
        self.start = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def stepped(self, model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            start = self.start[name]
            parameter.copy_(torch.minimum(torch.maximum(parameter, start - self.attack.epsilon), start + self.attack.epsilon))
