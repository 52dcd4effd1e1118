"""Reconstructive Neuron Pruning: unlearn, then recover.

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

from rnpc.method.subject import Subject
from rnpc.passes.batchnorm import unfold_bn
from rnpc.passes.sites import find_sites
from rnpc.program import FilterSite, Masks
from rnpc.speed import one_thread
from rnpc.twin import Twin, build
from rnpc.twin.module import Edit

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
    """Steps of SGD with momentum 0.9. `stop`: accuracy at which unlearning ends. `scale` weighs the recovery's loss."""

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


def masked_twin(subject: Subject, model: ModelProto) -> tuple[Twin, tuple[FilterSite, ...]]:
    """A twin in which every site is a BatchNormalization: kept ones stay, folded ones are put back."""
    folded = [site for site in find_sites(model) if site.kind == "conv"]
    restored = unfold_bn(model, statistics(subject, folded, build(model).to(subject.device))) if folded else model
    sites = tuple(site for site in find_sites(restored) if site.kind == "bn")
    return build(restored).to(subject.device), sites


def statistics(subject: Subject, sites: list[FilterSite], twin: Twin) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and variance of each site's channels over clean images and space."""
    names, n = [site.value for site in sites], 0
    first: dict[str, Tensor] = {}
    second: dict[str, Tensor] = {}
    with torch.no_grad():
        for part in subject.learn.pixels.split(64):
            _, kept = twin(subject.normalise(part), capture=names)
            n += len(part)
            for name in names:
                value = kept[name].double().flatten(2)
                first[name] = first.get(name, torch.zeros((), device=value.device)) + value.mean(2).sum(0)
                second[name] = second.get(name, torch.zeros((), device=value.device)) + value.square().mean(2).sum(0)
    means = {name: first[name] / n for name in names}
    return {name: (means[name].cpu().numpy(), (second[name] / n - means[name] ** 2).clamp_min(0).cpu().numpy()) for name in names}


def unlearn(subject: Subject, twin: Twin, schedule: Schedule, seed: int, augment: Augment | None = None) -> list[Point]:
    """Maximise the loss over all parameters of `twin`, in place, until accuracy is at most `schedule.stop`."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [p.requires_grad_() for p in twin.parameters()]
    sgd = torch.optim.SGD(parameters, lr=schedule.unlearn_rate, momentum=0.9, weight_decay=schedule.decay)
    course, seen = [], list[tuple[Tensor, Tensor, float]]()
    twin.train()
    for step in range(schedule.unlearn_steps):
        if step in schedule.decay_at:
            sgd.param_groups[0]["lr"] *= 0.1
        pixels, labels = batch(subject, schedule.batch, generator, augment)
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


def recover(
    subject: Subject, twin: Twin, sites: tuple[FilterSite, ...], schedule: Schedule, seed: int, augment: Augment | None = None
) -> Masks:
    """Masks [0, 1] that lower the loss of the unlearned twin again, all other parameters frozen."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    masks = {site.value: torch.ones(site.channels, device=subject.device, requires_grad=True) for site in sites}
    betas = {site.value: twin.parameter_of(site.bias) for site in sites if site.bias is not None}
    edits = {site.value: shrink(masks[site.value], betas[site.value], site.axis) for site in sites}
    sgd = torch.optim.SGD(list(masks.values()), lr=schedule.recover_rate, momentum=0.9)
    twin.train()
    for _ in range(schedule.recover_steps):
        pixels, labels = batch(subject, schedule.batch, generator, augment)
        with subject.precision():
            scores = twin(subject.normalise(pixels), edits).float()
        sgd.zero_grad()
        (schedule.scale * F.cross_entropy(scores, labels)).backward()
        sgd.step()
        with torch.no_grad():
            for mask in masks.values():
                mask.clamp_(0, 1)
    twin.eval()
    return {name: mask.detach().cpu().numpy() for name, mask in masks.items()}


def shrink(mask: Tensor, beta: Tensor, axis: int) -> Edit:
    """BatchNorm with its weight multiplied by the mask: beta + m (y - beta)."""

    def edit(value: Tensor) -> Tensor:
        shape = [1] * value.ndim
        shape[axis] = -1
        rest = beta.view(shape)
        return rest + mask.view(shape) * (value - rest)

    return edit


def batch(subject: Subject, size: int, generator: torch.Generator, augment: Augment | None) -> tuple[Tensor, Tensor]:
    """A random batch of the learn images."""
    rows = torch.randperm(len(subject.learn), generator=generator)[:size].to(subject.device)
    pixels = subject.learn.pixels[rows]
    return (augment(pixels, generator) if augment else pixels), subject.learn.labels[rows]
