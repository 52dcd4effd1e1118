"""Reconstructive Neuron Pruning's two stages: unlearn, then recover.

Unlearn: raise the cross-entropy on clean images over all parameters until accuracy falls to chance; what clean images do not touch, a
backdoor above all, stays, and the label it speaks collects the votes. Recover: with the unlearned weights frozen, lower the cross-entropy
again by one mask a filter, in [0, 1], on the BatchNorm weight: y = beta + m (y0 - beta). Filters that are of no use to clean images lose
their mask.

Source: Li et al., "Reconstructive Neuron Pruning for Backdoor Defense", ICML 2023. BatchNorm runs on batch statistics in both stages, as
in the authors' code. Where BatchNorm was folded away it is put back first, from the statistics of clean images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from onnx import ModelProto
from torch import Tensor
from torch.nn import functional as F

from rnpc.passes.canonical.batchnorm import unfold_bn
from rnpc.passes.facts.sites import find_sites
from rnpc.program import FilterSite, Masks
from rnpc.speed import one_thread
from rnpc.study.activations import moments
from rnpc.study.case import Case
from rnpc.twin import Twin, build
from rnpc.twin.module import Edit

LEAST = 4
"""Images of a batch at least, however large they are."""
Augment = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Point:
    """The course of unlearning at one step: accuracy, loss (nats) and votes [K] on the batches since the last point."""

    step: int
    accuracy: float
    loss: float
    votes: np.ndarray


@dataclass(frozen=True)
class Schedule:
    """Steps of SGD with momentum 0.9. `stop`: accuracy at which unlearning ends. `scale` weighs the recovery's loss; `epoch`: steps between
    two points of the course; `augment`: what is done to a batch."""

    unlearn_steps: int
    recover_steps: int
    batch: int
    unlearn_rate: float = 0.01
    recover_rate: float = 0.2
    decay: float = 5e-4
    decay_at: tuple[int, ...] = ()
    stop: float = 0.2
    scale: float = 0.2
    epoch: int = 1
    augment: Augment | None = None


@dataclass(frozen=True)
class Reconstruction:
    """What came of both stages. `masks`: site -> float32 [C]; `mean_masks`: the same averaged over the steps of recovery, which breaks
    the tie of masks that end at exactly zero."""

    course: tuple[Point, ...]
    masks: Masks
    mean_masks: Masks
    votes: np.ndarray


def briefly(case: Case) -> Reconstruction:
    """A short unlearning and recovery on a copy with BatchNorm put back everywhere: evidence for a report, in a few seconds."""
    schedule = Schedule(unlearn_steps=16, recover_steps=12, batch=32, stop=1.5 / case.classes, epoch=2)
    return reconstruct(case, case.subject.model, schedule)


def reconstruct(case: Case, model: ModelProto, schedule: Schedule) -> Reconstruction:
    """Both stages on a fresh twin of `model`, by the learn images. Without a site that can be masked, only the first."""
    twin, sites = masked_twin(case, model)
    course = unlearn(case, twin, schedule)
    masks, mean = recover(case, twin, sites, schedule) if sites else (Masks(), Masks())
    return Reconstruction(tuple(course), masks, mean, course[-1].votes if course else np.zeros(case.classes))


def masked_twin(case: Case, model: ModelProto) -> tuple[Twin, tuple[FilterSite, ...]]:
    """A twin in which every convolution's site is a BatchNormalization: kept ones stay, folded ones are put back."""
    folded = tuple(site for site in find_sites(model) if site.kind == "conv")
    restored = model
    if folded:
        means, deviations = moments(case.subject, build(model).to(case.subject.device), folded, case.learn)
        restored = unfold_bn(model, {name: (means[name].numpy(), deviations[name].square().numpy()) for name in means})
    sites = tuple(site for site in find_sites(restored) if site.kind == "bn")
    return build(restored).to(case.subject.device), sites


def unlearn(case: Case, twin: Twin, schedule: Schedule) -> list[Point]:
    """Maximise the loss over all parameters of `twin`, in place, until accuracy is at most `schedule.stop`."""
    subject, generator = case.subject, torch.Generator().manual_seed(case.seed)
    parameters = [p.requires_grad_() for p in twin.parameters()]
    sgd = torch.optim.SGD(parameters, lr=schedule.unlearn_rate, momentum=0.9, weight_decay=schedule.decay)
    course, seen = [], list[tuple[Tensor, Tensor, float]]()
    twin.train()
    for step in range(schedule.unlearn_steps):
        if step in schedule.decay_at:
            sgd.param_groups[0]["lr"] *= 0.1
        pixels, labels = batch(case, schedule, generator)
        with subject.precision():
            scores = twin(subject.normalise(pixels)).float()
        loss = F.cross_entropy(scores, labels)
        seen.append((scores.argmax(1), labels, float(loss.detach())))
        if (step + 1) % schedule.epoch == 0 or step == schedule.unlearn_steps - 1:
            course.append(point(step, seen, subject.classes))
            seen.clear()
            if course[-1].accuracy <= schedule.stop:
                break
        sgd.zero_grad()
        with one_thread(subject.fast):
            (-loss).backward()
        sgd.step()
    twin.eval()
    return course


def point(step: int, seen: list[tuple[Tensor, Tensor, float]], classes: int) -> Point:
    """Accuracy, loss and votes over the batches seen."""
    votes, labels = torch.cat([s[0] for s in seen]), torch.cat([s[1] for s in seen])
    share = torch.bincount(votes, minlength=classes).float() / len(votes)
    return Point(step, float((votes == labels).float().mean()), float(np.mean([s[2] for s in seen])), share.cpu().numpy())


def recover(case: Case, twin: Twin, sites: tuple[FilterSite, ...], schedule: Schedule) -> tuple[Masks, Masks]:
    """Masks [0, 1] that lower the loss of the unlearned twin again, all other parameters frozen: the last ones, and their mean over the
    steps."""
    subject, generator = case.subject, torch.Generator().manual_seed(case.seed)
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    masks = {site.value: torch.ones(site.channels, device=subject.device, requires_grad=True) for site in sites}
    betas = {site.value: twin.parameter_of(site.bias) for site in sites if site.bias is not None}
    edits = {site.value: shrink(masks[site.value], betas[site.value], site.axis) for site in sites}
    sgd = torch.optim.SGD(list(masks.values()), lr=schedule.recover_rate, momentum=0.9)
    sums = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    twin.train()
    for _ in range(schedule.recover_steps):
        pixels, labels = batch(case, schedule, generator)
        with subject.precision():
            scores = twin(subject.normalise(pixels), edits).float()
        sgd.zero_grad()
        (schedule.scale * F.cross_entropy(scores, labels)).backward()
        sgd.step()
        with torch.no_grad():
            for name, mask in masks.items():
                sums[name] += mask.clamp_(0, 1)
    twin.eval()
    mean = {name: (total / max(schedule.recover_steps, 1)).cpu().numpy() for name, total in sums.items()}
    return {name: mask.detach().cpu().numpy() for name, mask in masks.items()}, mean


def shrink(mask: Tensor, beta: Tensor, axis: int) -> Edit:
    """BatchNorm with its weight multiplied by the mask: beta + m (y - beta)."""

    def edit(value: Tensor) -> Tensor:
        shape = [1] * value.ndim
        shape[axis] = -1
        rest = beta.view(shape)
        return rest + mask.view(shape) * (value - rest)

    return edit


def batch(case: Case, schedule: Schedule, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random batch of images, augmented where the schedule says so; fewer where they are large, which have as many pixels to take the
    statistics of."""
    data, count = case.learn, case.subject.at_once(schedule.batch, LEAST)
    rows = torch.randperm(len(data), generator=generator)[:count].to(data.labels.device)
    pixels = data.pixels(rows)
    return (schedule.augment(pixels, generator) if schedule.augment else pixels), data.labels[rows]
