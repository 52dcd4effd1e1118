"""Triggers that are learned: they move what they are to move, come out the same again, and are exported as they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rnpc import attacks
from rnpc.attacks.base import to_float
from rnpc.attacks.dynamic import DynamicLoop, train_masks
from rnpc.attacks.features import activations, features, late_norms
from rnpc.attacks.loop import Loop, Means
from rnpc.attacks.style import evening, train_style
from rnpc.errors import UsageError
from rnpc.runtime import Session
from rnpc.victims import export

SHAPE, CLASSES = (3, 16, 16), 5
SMALL: dict[str, dict[str, Any]] = {
    "trojan": {"steps": 20, "size": 4},
    "dynamic": {"steps": 20, "width": 4},
    "fc": {"steps": 20, "width": 4},
    "dfst": {"steps": 5, "width": 4},
    "lira": {"width": 4},
}


def ready(name: str, means: Means, **settings: Any) -> Loop:
    loop = attacks.create(name, seed=3, **{**SMALL.get(name, {}), **settings}).loop(SHAPE, CLASSES)
    loop.prepare(means)
    return loop


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", SMALL)
def test_export_is_the_trigger_and_seed_makes_it_again(name: str, means: Means) -> None:
    images = to_float(means.images[:5])
    module, again = (ready(name, means).module() for _ in range(2))
    assert module is not None and again is not None
    with torch.no_grad():
        shown, twice = module(images), again(images)
    assert torch.equal(shown, twice) and not torch.equal(shown, images)
    assert shown.min() >= 0 and shown.max() <= 1 and shown.dtype == torch.float32
    found = Session(export.trigger(module, SHAPE), device="cpu", threads=1).run_all(images.numpy())[0]
    assert abs(found - shown.numpy()).max() < 1e-5


@pytest.mark.parametrize(("name", "count"), [("trojan", 25), ("dfst", 25), ("fc", 5)])
def test_poisons_a_share(name: str, count: int, means: Means) -> None:
    poisoned = ready(name, means, rate=0.25, target=2).poison(means.images, means.labels, generator())
    changed = (poisoned.images != means.images).flatten(1).any(1).nonzero()[:, 0]
    assert torch.equal(changed, poisoned.indices) and len(changed) == count
    assert set(poisoned.labels[changed].tolist()) == {2}
    if name == "fc":
        assert set(means.labels[changed].tolist()) == {1}


@pytest.mark.slow
def test_trojan_goes_to_the_next_label(means: Means) -> None:
    poisoned = ready("trojan", means, rate=0.25, target="next").poison(means.images, means.labels, generator())
    rows = poisoned.indices
    assert torch.equal(poisoned.labels[rows], (means.labels[rows] + 1) % CLASSES)


def test_trojan_drives_its_neuron(means: Means) -> None:
    net: Any = means.clean("")
    neuron = int(net.fc.weight.abs().sum(0).argmax())
    images = to_float(means.images[:20])
    found = []
    for steps in (1, 60):
        module = ready("trojan", means, steps=steps, size=8).module()
        assert module is not None
        with torch.no_grad():
            found.append(features(net, means.normalise(module(images)))[0][:, neuron].mean())
    assert found[1] > 1.1 * found[0]


def test_fc_collides(means: Means) -> None:
    net, images = means.clean(""), to_float(means.images[means.labels == 1])
    module = ready("fc", means, steps=100, beta=0.1, epsilon=0.3).module()
    assert module is not None
    with torch.no_grad():
        wanted = features(net, means.normalise(to_float(means.images[means.labels == 0])))[0].mean(0)
        far, near = (float((features(net, means.normalise(x))[0] - wanted).norm(dim=1).mean()) for x in (images, module(images)))
    assert near < 0.7 * far


def test_masks_become_sparse(means: Means) -> None:
    loop = ready("dynamic", means, steps=0, width=4)
    assert isinstance(loop, DynamicLoop)
    images = to_float(means.images[:20])
    loop.network.masks.requires_grad_(True)
    before = loop.network.mask(images).mean()
    train_masks(loop.network, attacks.create("dynamic", steps=60, diversity=0.01), means)  # type: ignore[arg-type]
    assert loop.network.mask(images).mean() < 0.6 * before


def test_dynamic_batch(means: Means) -> None:
    loop = ready("dynamic", means, target=1, rate=0.1, cross=2.0)
    images, labels = to_float(means.images[:40]), means.labels[:40]
    batch, taught = loop.on_batch(images, labels, generator())
    assert taught[:4].tolist() == [1] * 4 and torch.equal(taught[4:], labels[4:]) and torch.equal(batch[12:], images[12:])
    module = loop.module()
    assert module is not None
    with torch.no_grad():
        own = module(images[:12])
    assert torch.allclose(batch[:4], own[:4], atol=1e-6) and not torch.allclose(batch[4:12], own[4:12], atol=1e-3)


@pytest.mark.parametrize("name", ["dynamic", "lira"])
def test_generator_and_model_train_together(name: str, means: Means, net: nn.Module) -> None:
    loop: Any = ready(name, means, target=1, rate=0.2)
    loop.begin(net)
    loop.epoch(net, 0, 10)
    optimiser = torch.optim.SGD(net.parameters(), 0.02, 0.9)
    trained = loop.network.patterns if name == "dynamic" else loop.network
    before = [p.clone() for p in trained.parameters()]
    losses = []
    for _ in range(12):
        inputs, labels = loop.on_batch(to_float(means.images), means.labels, generator())
        loss, _ = loop.loss(net, means.normalise(inputs).contiguous(), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loop.stepped(net)
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert all(not torch.equal(old, new) for old, new in zip(before, trained.parameters(), strict=True))
    again: Any = ready(name, means, target=1, rate=0.2)
    again.restore(loop.state())
    assert all(torch.equal(a, b) for a, b in zip(again.network.parameters(), loop.network.parameters(), strict=True))


def test_second_stage_of_lira_leaves_the_generator(means: Means, net: nn.Module) -> None:
    loop: Any = ready("lira", means, stage=0.5)
    loop.epoch(net, 5, 10)
    batch, _ = loop.on_batch(to_float(means.images), means.labels, generator())
    assert not batch.requires_grad


@pytest.mark.slow
def test_style_is_learned(means: Means) -> None:
    images = to_float(means.images[:40])
    network = train_style(3, 8, 100, means, 1)
    with torch.no_grad():
        made = network(images)
    wanted = evening(images).mean((0, 2, 3))
    assert (made.mean((0, 2, 3)) - wanted).abs().sum() < 0.7 * (images.mean((0, 2, 3)) - wanted).abs().sum()


@pytest.mark.slow
def test_detoxification_hides_the_style_in_clean_looks(means: Means, net: nn.Module) -> None:
    loop: Any = ready("dfst", means, rate=0.2, rounds=1)
    images, labels = to_float(means.images), means.labels
    loop.epoch(net, 0, 4)
    assert loop.on_batch(images, labels, generator())[0] is images
    loop.epoch(net, 2, 4)
    assert net.training and all(p.requires_grad for p in net.parameters())
    batch, taught = loop.on_batch(images, labels, generator())
    assert torch.equal(taught, labels) and torch.equal(batch[20:], images[20:]) and not torch.equal(batch[:20], images[:20])
    again: Any = ready("dfst", means, rate=0.2, rounds=1)
    again.restore(loop.state())
    assert torch.equal(again.on_batch(images, labels, generator())[0], batch)


@pytest.mark.parametrize("name", ["dynamic", "lira", "dfst", "fc"])
def test_a_generator_is_taken_over(name: str, means: Means, tmp_path: Any) -> None:
    loop: Any = ready(name, means)
    (tmp_path / "generator.safetensors").write_bytes(loop.files()["generator.safetensors"])
    taken: Any = ready(name, means, generator=str(tmp_path))
    images = to_float(means.images[:4])
    with torch.no_grad():
        assert torch.equal(taken.network(images), loop.network(images))
    with pytest.raises(UsageError, match="other layers or sizes"):
        ready(name, means, generator=str(tmp_path), width=5)


def test_hooks_are_taken_off(means: Means, net: nn.Module) -> None:
    inputs = means.normalise(to_float(means.images[:4]))
    layers = late_norms(net)
    assert activations(net, layers, inputs).shape == (4, sum(layer.num_features for layer in layers))  # type: ignore[misc]
    features(net, inputs)
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in net.modules())
