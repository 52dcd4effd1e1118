"""`--method ft-sam`: fine-tuning by adaptive sharpness-aware minimisation (FT-SAM).

A backdoor's filters have large weights, which fine-tuning hardly moves. A step by the gradient at w + e, with e in a ball measured in
units of the weights themselves, moves just these; no label, no trigger and no channel is named. All layers are tuned, BatchNorm in train
mode. Where BatchNorm was folded, it is put back for the tuning and folded again.

Source: Zhu et al., ICCV 2023, with the authors' settings for CIFAR-10: adaptive radius 2, SGD at rate 0.01, momentum 0.9, weight decay
5e-4, labels smoothed by 0.1, a cosine of the rate. For GTSRB they take a radius of 8, no smoothing and 50 epochs. It differs in three:
`epochs` (100), batches of 64 (256, of 2,500 images), and flips, which are off unless asked for, since signs and digits turn into others.

It acts whatever the verdict, and only within the accuracy budget, judged once on images apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from rnpc.defenses.base import Defense, Outcome
from rnpc.defenses.tuned import crops, outcome
from rnpc.detectors.base import Detection
from rnpc.study.case import Case, Shares
from rnpc.study.tunable import Tunable
from rnpc.study.tuning import Schedule, sharpness_aware, tune


@dataclass(frozen=True)
class FtSam(Defense):
    """See the module."""

    name: ClassVar[str] = "ft-sam"
    shares: ClassVar[Shares] = Shares(learn=0.7)
    rho: float = field(default=2.0, metadata={"help": "radius of the adaptive ball (the authors: 2; 8 on GTSRB)"})
    rate: float = field(default=0.01, metadata={"help": "learning rate"})
    epochs: int = field(default=20, metadata={"help": "epochs over the learn images (published: 100)"})
    smoothing: float = field(default=0.1, metadata={"help": "label smoothing"})
    flip: bool = field(default=False, metadata={"help": "flip images at random, too"})

    def defend(self, case: Case, detection: Detection | None) -> Outcome:
        """Tune, and look whether it cost too much. Raises InputRefused for a model whose weights cannot be tuned."""
        tunable = Tunable.of(case)
        schedule = Schedule(self.epochs, self.rate, smoothing=self.smoothing, cosine=True, augment=partial(crops, flip=self.flip))
        course = tune(case, tunable, schedule, sharpness_aware(self.rho))
        return outcome(case, tunable, course)
