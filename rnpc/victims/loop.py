"""The training loop: epochs over a poisoned set, a checkpoint after each, and progress.

Randomness comes from generators of the spec's seed: one for the poisoning, torch's global one for the initial weights, one for
batches and augmentation, whose state is in the checkpoint. So a run that was killed gives the same victim as one that was not.

Two schedules: `one-cycle` is short (a rise, then half a cosine down to zero), `steps` is the long one of the publications (the rate divided
by ten at 30 % and at 60 % of the epochs, as at the 60th and 120th of 200; shifts by four pixels).
"""

from __future__ import annotations

import math
import os
import pickle
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from rnpc import models, speed
from rnpc.attacks.base import Attack, to_float
from rnpc.attacks.loop import Loop, Means
from rnpc.data.datasets import Dataset
from rnpc.errors import UsageError
from rnpc.victims.augment import augment
from rnpc.victims.descend import Descendant
from rnpc.victims.spec import VictimSpec

MOMENTUM, WEIGHT_DECAY, WARM_UP = 0.9, 5e-4, 0.25


@dataclass(frozen=True)
class Progress:
    """Where a run is: the stage, the epoch (from 1) of `epochs`, the step of all steps, running loss and accuracy, seconds left."""

    stage: Literal["train", "clean", "learn", "export", "measure"]
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    loss: float = math.nan
    accuracy: float = math.nan
    seconds_left: float = math.nan


class Trainer:
    """A model, its attack and its data while they train. `clean` gives attacks a clean model (see `Means`)."""

    clean: Callable[[str], nn.Module]

    def __init__(
        self, spec: VictimSpec, attack: Attack, data: Dataset, rows: np.ndarray, device: Literal["cpu", "cuda"], checkpoint: Path
    ) -> None:
        """`rows`: the training images to use. Raises UsageError where the attack leaves nothing to poison, or no batch is filled."""
        self.spec, self.attack, self.device, self.checkpoint = spec, attack, device, checkpoint
        self.precision = speed.precision(device)
        images = torch.from_numpy(np.ascontiguousarray(data.train_images[rows]))
        labels = torch.from_numpy(np.ascontiguousarray(data.train_labels[rows]))
        self.images, self.labels, self.poisoned = images, labels, 0
        self.loop: Loop = Descendant(spec, attack, data) if spec.descends else attack.loop(data.shape, len(data.classes))
        self.clean = self.no_clean
        attack.check_labels(labels, len(data.classes))
        if not self.loop.learns:
            self.poison()
        self.flip, self.steps_each = data.flip, len(self.labels) // spec.batch
        if self.steps_each == 0:
            what = f"{len(self.labels)} images do not fill a batch of {spec.batch}"
            raise UsageError(what, where=spec.dataset, todo="raise --fraction")
        attack.check_batch(spec.batch)
        self.mean, self.std = (torch.tensor(v, device=device)[None, :, None, None] for v in (data.mean, data.std))
        torch.manual_seed(spec.seed)
        channels, size, _ = data.shape
        self.model: nn.Module = models.create(spec.arch, classes=len(data.classes), width=spec.width, channels=channels, size=size)
        move: Any = self.model.to  # torch's stub of `to` leaves memory_format out
        self.layout = speed.layout(self.model, device)
        move(device=device, memory_format=self.layout)
        self.generator = torch.Generator().manual_seed(spec.seed + 1)

    def poison(self) -> None:
        """Poison the training set, with whatever the attack learned."""
        poisoned = self.loop.poison(self.images, self.labels, torch.Generator().manual_seed(self.spec.seed))
        self.images, self.labels, self.poisoned = poisoned.images, poisoned.labels, len(poisoned.indices)

    def no_clean(self, folder: str) -> nn.Module:
        """What `clean` is until somebody gives one."""
        raise UsageError("the attack needs a clean model and gets none", where=self.attack.name, todo="train with train_victim")

    def learn(self) -> None:
        """What the attack makes before training: its trigger, its clean model."""
        self.loop.prepare(Means(self.images, self.labels, self.mean, self.std, self.device, self.spec.seed, self.clean))
        self.poison()

    def run(self, progress: Callable[[Progress], None]) -> None:
        """Train what is left to train."""
        if self.loop.learns:
            progress(Progress("learn"))
            self.learn()
        self.loop.begin(self.model)
        parameters = [*self.model.parameters(), *self.loop.parameters()]
        optimizer = torch.optim.SGD(parameters, self.spec.lr, MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True, fused=True)
        first = self.resume(optimizer)
        # Attacks that learn look into the model by hooks, which a compiled one would not call.
        compiled = self.device == "cuda" and not self.loop.learns
        network: nn.Module = torch.compile(self.model) if compiled else self.model  # type: ignore[assignment]
        started = time.monotonic()
        for epoch in range(first, self.epochs):
            self.epoch(network, optimizer, epoch, lambda event: progress(with_time(event, started, first * self.steps_each)))
            self.save(optimizer, epoch + 1)
        self.loop.finish(self.model)

    @property
    def epochs(self) -> int:
        """Passes over the training set."""
        return self.loop.passes(self.spec.epochs)

    def epoch(self, network: nn.Module, optimizer: torch.optim.Optimizer, epoch: int, report: Callable[[Progress], None]) -> None:
        """One pass over the data in a new order; the last images that do not fill a batch are left out."""
        total, epochs = self.steps_each * self.epochs, self.epochs
        self.model.train()
        self.loop.epoch(self.model, epoch, epochs)
        order = torch.randperm(len(self.labels), generator=self.generator)
        loss_sum = hits = 0.0
        for place in range(self.steps_each):
            step = epoch * self.steps_each + place
            for group in optimizer.param_groups:
                group["lr"] = self.loop.pace * SCHEDULES[self.spec.schedule](step, total, self.spec.lr)
            loss, right = self.step(network, optimizer, order[place * self.spec.batch : (place + 1) * self.spec.batch])
            loss_sum, hits = loss_sum + loss, hits + right
            seen = place + 1
            report(Progress("train", epoch + 1, epochs, step + 1, total, loss_sum / seen, hits / (seen * self.spec.batch)))

    def step(self, network: nn.Module, optimizer: torch.optim.Optimizer, rows: Tensor) -> tuple[float, float]:
        """One batch; returns its loss and the number of right answers (to the labels that it was taught)."""
        images, labels = self.loop.on_batch(to_float(self.images[rows]), self.labels[rows], self.generator)
        images, labels = augment(images, self.flip, self.generator, SHIFTS[self.spec.schedule]).to(self.device), labels.to(self.device)
        inputs = speed.laid_out((images - self.mean) / self.std, self.layout)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"):
            loss, scores = self.loop.loss(network, inputs, labels)
        optimizer.zero_grad()
        loss.backward()
        self.loop.backward_done(network)
        optimizer.step()
        self.loop.stepped(network)
        return loss.item(), float((scores.argmax(1) == labels).sum())

    def save(self, optimizer: torch.optim.Optimizer, epochs: int) -> None:
        """Checkpoint after so many epochs."""
        state = {
            "spec": self.spec.to_json(),
            "epochs": epochs,
            "model": self.model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "loop": self.loop.state(),
            "generator": self.generator.get_state(),
        }
        # Two processes may train one victim; each writes beside under a name of its own.
        beside = self.checkpoint.with_name(f".{self.checkpoint.name}.{secrets.token_hex(6)}.part")
        try:
            torch.save(state, beside)
            os.replace(beside, self.checkpoint)
        finally:
            beside.unlink(missing_ok=True)

    def resume(self, optimizer: torch.optim.Optimizer) -> int:
        """Load the checkpoint of this spec where there is one; returns the epochs done. A damaged one is trained over."""
        try:
            state: dict[str, Any] = torch.load(self.checkpoint, weights_only=True, map_location=self.device)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            return 0
        if state.get("spec") != self.spec.to_json():
            return 0
        self.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        self.loop.restore(state["loop"])
        self.generator.set_state(state["generator"].cpu())
        return int(state["epochs"])

    def plain_model(self) -> nn.Module:
        """The network on the processor, in eval mode."""
        self.model.eval().cpu()
        return self.model

    def summary(self) -> dict[str, Any]:
        """What was trained on and how, for `measured.json`."""
        return {
            "images": len(self.labels),
            "poisoned": self.poisoned,
            "optimizer": f"SGD, Nesterov momentum {MOMENTUM}, weight decay {WEIGHT_DECAY:g}, {self.spec.schedule.replace('-', ' ')}",
            "precision": self.precision,
        }


def one_cycle(step: int, steps: int, peak: float) -> float:
    """Learning rate of a step: linear up to `peak` over the first quarter, a half cosine down to zero (Smith and Topin 2017)."""
    up = max(1, round(WARM_UP * steps))
    if step < up:
        return peak * (step + 1) / up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - up) / max(1, steps - up)))


def steps_down(step: int, steps: int, peak: float) -> float:
    """Learning rate of a step: `peak`, a tenth of it from 30 % of the steps on, a hundredth from 60 % on."""
    return float(peak * 0.1 ** sum(step >= share * steps for share in (0.3, 0.6)))


SCHEDULES: dict[str, Callable[[int, int, float], float]] = {"one-cycle": one_cycle, "steps": steps_down}
SHIFTS = {"one-cycle": 2, "steps": 4}
"""Pixels that augmentation shifts by."""


def with_time(event: Progress, started: float, skipped: int) -> Progress:
    """The event with the seconds that are left at the pace so far; `skipped` steps were done by an earlier run."""
    pace = (time.monotonic() - started) / max(1, event.step - skipped)
    return Progress(**{**vars(event), "seconds_left": pace * (event.steps - event.step)})
