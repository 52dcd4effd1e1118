"""Attacks with a training of their own: the clean-label noise, the ball of weights, the teacher, the adversary."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rnpc import attacks
from rnpc.attacks.base import to_float
from rnpc.attacks.features import climb
from rnpc.attacks.loop import Loop, Means

SHAPE, CLASSES = (3, 16, 16), 5


def ready(name: str, means: Means, **settings: Any) -> Any:
    loop: Loop = attacks.create(name, seed=3, **settings).loop(SHAPE, CLASSES)
    loop.prepare(means)
    return loop


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def first(means: Means, images: torch.Tensor) -> torch.Tensor:
    """What the network reads, channels first in memory: so few channels are not trained in channels last (`rnpc.speed.layout`)."""
    return means.normalise(images).contiguous()


def test_noise_climbs_within_its_ball(means: Means) -> None:
    net, images, labels = means.clean(""), to_float(means.images), means.labels
    found = climb(images, labels, net, means, 16 / 255, 5)
    assert (found - images).abs().max() <= 16 / 255 + 1e-6 and found.min() >= 0 and found.max() <= 1
    with torch.no_grad():
        before, after = (F.cross_entropy(net(means.normalise(x)), labels) for x in (images, found))
    assert after > before + 0.005


def test_label_consistent_poisons(means: Means) -> None:
    poisoned = ready("cl", means, target=2, rate=0.5, size=3).poison(means.images, means.labels, generator())
    rows = poisoned.indices
    assert len(rows) == 10 and torch.equal(poisoned.labels, means.labels) and set(means.labels[rows].tolist()) == {2}
    corner = poisoned.images[rows][:, -3:, :3].float().mean((0, 3))
    assert corner.tolist() == [[255, 0, 255], [0, 255, 0], [255, 0, 255]]
    middle = (poisoned.images[rows].int() - means.images[rows].int())[:, 3:-3].abs()
    assert 0 < middle.max() <= 16
    rest = torch.ones(100, dtype=torch.bool)
    rest[rows] = False
    assert torch.equal(poisoned.images[rest], means.images[rest])


def test_weights_stay_in_the_ball(means: Means, net: nn.Module) -> None:
    loop = ready("awp", means, epsilon=0.01)
    loop.begin(net)
    start = {name: p.detach().clone() for name, p in means.clean("").named_parameters()}
    loop.epoch(net, 0, 1)
    assert net.training  # the statistics of BatchNorm follow the weights
    images, labels = loop.on_batch(to_float(means.images), means.labels, generator())
    optimiser = torch.optim.SGD(net.parameters(), 1.0)
    losses = []
    for _ in range(15):
        loss, _ = loop.loss(net, first(means, images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loop.stepped(net)
        losses.append(float(loss.detach()))
    far = max(float((p.detach() - start[name]).abs().max()) for name, p in net.named_parameters())
    assert 0.005 < far <= 0.01 + 1e-6 and min(losses[1:]) < losses[0]


def test_teacher_pulls_features(means: Means, net: nn.Module) -> None:
    loop = ready("adapt-d", means, target=1, distill=5.0)
    images, labels = loop.on_batch(to_float(means.images), means.labels, generator())
    inputs, optimiser = first(means, images), torch.optim.SGD(net.parameters(), 0.02, 0.9)
    losses = []
    for _ in range(15):
        loss, scores = loop.loss(net, inputs, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    plain = F.cross_entropy(scores, labels)
    assert float(loss.detach()) > float(plain.detach())


def test_adversary_moves_images_within_its_ball(means: Means, net: nn.Module) -> None:
    loop = ready("adv-t", means, epsilon=8.0)
    images, labels = loop.on_batch(to_float(means.images), means.labels, generator())
    inputs = means.normalise(images)
    worst = loop.worst(net, inputs, labels) * means.std + means.mean
    assert 4 / 255 < (worst - images).abs().max() <= 8 / 255 + 1e-5 and worst.min() >= -1e-6 and worst.max() <= 1 + 1e-6


def test_adversary_gives_the_weights_back(means: Means, net: nn.Module) -> None:
    loop = ready("adv-t", means, against="weights", rho=0.05)
    loop.begin(net)
    images, labels = loop.on_batch(to_float(means.images), means.labels, generator())
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    loss, _ = loop.loss(net, first(means, images), labels)
    moved = [float((p.detach() - before[name]).norm() / before[name].norm()) for name, p in net.named_parameters() if p.dim() == 4]
    assert max(moved) == pytest.approx(0.05, rel=1e-3)
    loss.backward()
    loop.backward_done(net)
    assert all(torch.allclose(p.detach(), before[name], atol=1e-6) for name, p in net.named_parameters())
