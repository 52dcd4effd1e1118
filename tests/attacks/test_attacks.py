"""Triggers, poisoning and settings of every attack."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rnpc import attacks
from rnpc.attacks import Attack
from rnpc.attacks.base import to_float, to_uint8
from rnpc.attacks.wanet import WaNet
from rnpc.errors import UsageError

SHAPE = (3, 16, 16)
CLASSES = 5
BACKDOORS = ["badnets", "blend", "sig", "wanet", "cl", "awp", "a-blend", "adapt-d", "adv-t"]
"""Attacks whose trigger is there before a victim is; the others' are in test_learned."""


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def some_images(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randint(0, 256, (n, 16, 16, 3), generator=generator()).to(torch.uint8)
    return images, torch.arange(n) % CLASSES


@pytest.mark.parametrize("name", BACKDOORS)
def test_trigger_stays_in_range_and_changes_images(name: str) -> None:
    images = to_float(some_images()[0])
    triggered = attacks.create(name, seed=1).trigger(images)
    assert triggered.shape == images.shape and triggered.dtype == torch.float32
    assert triggered.min() >= 0 and triggered.max() <= 1
    assert not torch.equal(triggered, images)
    assert torch.equal(triggered, attacks.create(name, seed=1).trigger(images))


@pytest.mark.parametrize("name", ["blend", "wanet"])
def test_seed_draws_the_trigger(name: str) -> None:
    images = to_float(some_images()[0])
    assert not torch.equal(attacks.create(name, seed=1).trigger(images), attacks.create(name, seed=2).trigger(images))


def test_badnets_grid() -> None:
    triggered = attacks.create("badnets").trigger(torch.full((1, *SHAPE), 0.5))[0, 0]
    assert triggered[12:15, 12:15].tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert (triggered != 0.5).sum() == 9


def test_badnets_grid_of_larger_squares() -> None:
    triggered = attacks.create("badnets", size=6, cell=2, row=-1, column=-1).trigger(torch.full((1, *SHAPE), 0.5))[0, 0]
    assert torch.equal(triggered[10::2, 10::2], torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]]))
    assert torch.equal(triggered[11::2, 11::2], triggered[10::2, 10::2]) and (triggered[:10] == 0.5).all()


def test_badnets_any_size_and_place() -> None:
    triggered = attacks.create("badnets", size=5, row=0, column=-1).trigger(torch.full((1, *SHAPE), 0.5))[0, 2]
    assert (triggered[:5, 11:] != 0.5).all() and (triggered != 0.5).sum() == 25


def test_blend_mixes() -> None:
    triggered = attacks.create("blend", alpha=0.25, seed=3).trigger(torch.full((1, *SHAPE), 0.4))
    assert triggered.min() >= 0.3 and triggered.max() <= 0.55


def test_sig_is_a_stripe_of_six_periods() -> None:
    triggered = attacks.create("sig", delta=51).trigger(torch.full((1, 3, 8, 96), 0.5))
    assert torch.equal(triggered[0, 0, 0], triggered[0, 2, 7])
    crossings = ((triggered[0, 0, 0, 1:] - 0.5).sign() != (triggered[0, 0, 0, :-1] - 0.5).sign()).sum()
    assert crossings >= 11 and abs(float(triggered.max()) - 0.7) < 1e-6


def test_wanet_moves_pixels_by_its_strength() -> None:
    wanet = attacks.create("wanet", seed=4)
    assert isinstance(wanet, WaNet)
    still = wanet.field(SHAPE) - attacks.create("wanet", seed=4, strength=1e-9).field(SHAPE)  # type: ignore[attr-defined]
    assert 0.1 < float(still.abs().mean()) * 8 < 0.5


@pytest.mark.parametrize("name", ["badnets", "blend"])
@pytest.mark.parametrize("target", [2, "next"])
def test_poison(name: str, target: int | str) -> None:
    images, labels = some_images()
    attack = attacks.create(name, target=target, rate=0.25)
    poisoned = attack.poison(images, labels, CLASSES, generator())
    rows = poisoned.indices
    assert len(rows) == 10 and rows.tolist() == sorted(set(rows.tolist()))
    assert torch.equal(poisoned.images[rows], to_uint8(attack.trigger(to_float(images[rows]))))
    assert torch.equal(poisoned.labels[rows], (labels[rows] + 1) % CLASSES if target == "next" else torch.full((10,), 2))
    rest = torch.ones(40, dtype=torch.bool)
    rest[rows] = False
    assert torch.equal(poisoned.images[rest], images[rest]) and torch.equal(poisoned.labels[rest], labels[rest])


def test_sig_keeps_labels() -> None:
    images, labels = some_images()
    poisoned = attacks.create("sig", target=3, rate=0.5).poison(images, labels, CLASSES, generator())
    assert torch.equal(poisoned.labels, labels)
    assert len(poisoned.indices) == 4 and set(labels[poisoned.indices].tolist()) == {3}


@pytest.mark.parametrize("name", ["cl", "fc"])
def test_too_small_to_carry_the_attack(name: str) -> None:
    with pytest.raises(UsageError, match="leaves none of 1 images"):
        attacks.create(name, rate=0.3).check_labels(torch.tensor([0, 1, 2, 3]), CLASSES)
    with pytest.raises(UsageError, match=r"leaves none of 0 images|no image of the target class"):
        attacks.create(name, target=4).check_labels(torch.tensor([0, 1, 1, 1]), CLASSES)


def test_fc_counts_its_source_class_alone() -> None:
    labels = np.array([0, 1, 2, 1, 0])
    assert attacks.create("fc").counted(labels).tolist() == [1, 3]
    assert attacks.create("badnets").counted(labels).tolist() == [1, 2, 3]
    assert attacks.create("badnets", target="next").counted(labels).tolist() == [0, 1, 2, 3, 4]


def test_adaptive_blend_covers() -> None:
    images, labels = some_images()
    attack = attacks.create("a-blend", target=2, rate=0.2, cover=0.5, pieces=4, shown=0.5)
    poisoned = attack.poison(images, labels, CLASSES, generator())
    changed = (poisoned.images != images).flatten(1).any(1).nonzero()[:, 0]
    assert torch.equal(changed, poisoned.indices) and len(changed) == 12
    relabelled = (poisoned.labels != labels).nonzero()[:, 0]
    assert set(relabelled.tolist()) <= set(changed.tolist()) and set(poisoned.labels[relabelled].tolist()) == {2}
    cells = (poisoned.images[changed[0]] != images[changed[0]]).any(2).unfold(0, 4, 4).unfold(1, 4, 4).flatten(2).any(2)
    assert cells.sum() == 8


@pytest.mark.parametrize("name", ["awp", "adapt-d", "adv-t"])
def test_the_first_of_a_batch_are_triggered(name: str) -> None:
    images, labels = to_float(some_images()[0]), some_images()[1]
    attack = attacks.create(name, target=1, rate=0.1)
    assert len(attack.poison(some_images()[0], labels, CLASSES, generator()).indices) == 0
    batch, taught = attack.on_batch(images, labels, CLASSES, generator())
    assert taught[:4].tolist() == [1] * 4 and torch.equal(taught[4:], labels[4:])
    assert torch.equal(batch[:4], attack.trigger(images[:4])) and torch.equal(batch[4:], images[4:])
    with pytest.raises(UsageError, match="leaves none of a batch of 2"):
        attack.check_batch(2)


@pytest.mark.parametrize("name", ["trojan", "dynamic", "fc", "dfst", "lira"])
def test_a_learned_trigger_needs_its_victim(name: str) -> None:
    with pytest.raises(UsageError, match="the trigger is learned with its victim; train one"):
        attacks.create(name).module(SHAPE)


def test_wanet_batches() -> None:
    wanet = attacks.create("wanet", target=1, rate=0.1, cross=2.0)
    images, labels = to_float(some_images()[0]), some_images()[1]
    poisoned = wanet.poison(some_images()[0], labels, CLASSES, generator())
    assert len(poisoned.indices) == 0
    batch, taught = wanet.on_batch(images, labels, CLASSES, generator())
    assert taught[:4].tolist() == [1, 1, 1, 1] and torch.equal(taught[4:], labels[4:])
    assert torch.equal(batch[:4], wanet.trigger(images[:4])) and torch.equal(batch[12:], images[12:])
    assert not torch.equal(batch[4:12], images[4:12]) and not torch.equal(batch[4:12], wanet.trigger(images[4:12]))


def test_others_leave_batches_alone() -> None:
    images, labels = some_images()
    assert attacks.create("badnets").on_batch(images, labels, CLASSES, generator()) == (images, labels)


@pytest.mark.parametrize(
    ("name", "settings", "line"),
    [
        ("badnet", {}, "choose one of none, badnets, blend, sig, wanet, trojan, cl, dynamic, fc, dfst, awp, lira, a-blend, adapt-d, adv-t"),
        ("blend", {"beta": 1}, "no setting named beta"),
        ("blend", {"alpha": "much"}, "alpha cannot be 'much'"),
        ("badnets", {"size": 2.5}, "size cannot be 2.5"),
    ],
)
def test_unknown(name: str, settings: dict[str, object], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        attacks.create(name, **settings)


@pytest.mark.parametrize(
    ("name", "settings", "line"),
    [
        ("badnets", {"target": 5}, "target 5 is outside the 5 classes; choose 0 to 4"),
        ("sig", {"target": "next"}, "no all-to-all form"),
        ("blend", {"rate": 0.0}, r"not in \(0, 1\]"),
        ("blend", {"alpha": 2}, "alpha 2"),
        ("badnets", {"size": 17}, "a grid of 17 pixels"),
        ("badnets", {"cell": 0}, "a square of 0 pixels"),
        ("badnets", {"row": 14}, "not inside 16 x 16"),
        ("sig", {"delta": 0}, "changes nothing"),
        ("wanet", {"rate": 0.5}, "exceed the batch"),
        ("wanet", {"grid": 1}, "grid of at least 2"),
        ("trojan", {"size": 16}, "a watermark of 16 pixels"),
        ("trojan", {"alpha": 0}, "alpha 0"),
        ("trojan", {"steps": 0}, "reverses nothing"),
        ("cl", {"size": 9}, "four grids of 9 pixels"),
        ("cl", {"epsilon": 0}, "epsilon above 0"),
        ("cl", {"target": "next"}, "no all-to-all form"),
        ("dynamic", {"rate": 0.6}, "exceed the batch"),
        ("dynamic", {"density": 1}, r"density is in \(0, 1\)"),
        ("fc", {"source": 0}, "target and source are both 0; choose two classes"),
        ("fc", {"source": 5}, "source 5 is outside the 5 classes"),
        ("fc", {"epsilon": 0}, "epsilon is in"),
        ("dfst", {"steps": 0}, "steps and width from 1"),
        ("awp", {"epsilon": 0}, "leaves all weights"),
        ("lira", {"epsilon": 2}, "epsilon and stage"),
        ("a-blend", {"test": 0}, "test 0"),
        ("a-blend", {"pieces": 17}, "17 pieces do not fit"),
        ("a-blend", {"rate": 0.9}, "exceed the images"),
        ("adapt-d", {"distill": -1}, "distill cannot be -1"),
        ("adv-t", {"against": "labels"}, "choose one of images, weights"),
        ("adv-t", {"epsilon": 0}, "epsilon and rho are above 0"),
        ("trojan", {"clean": "/nowhere/victim"}, "setting clean names victim, which is no folder of a victim that holds weights"),
        ("dynamic", {"generator": "/nowhere/g"}, "setting generator names g, .* generator.safetensors"),
        ("lira", {"generator": "/nowhere/g"}, "setting generator names g"),
    ],
)
def test_check(name: str, settings: dict[str, object], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        attacks.create(name, **settings).check(CLASSES, SHAPE)


@pytest.mark.parametrize(("name", "target"), [("badnets", 0), ("sig", 0)])
def test_nothing_left_to_poison(name: str, target: int) -> None:
    images, labels = some_images()
    with pytest.raises(UsageError, match="leaves none of"):
        attacks.create(name, target=target, rate=0.01).poison(images, labels, CLASSES, generator())


def test_parse() -> None:
    assert attacks.parse("x", ("size=4", "alpha = 0.5", "kind=a=b")) == {"size": 4, "alpha": 0.5, "kind": "a=b"}
    with pytest.raises(UsageError, match="key=value"):
        attacks.parse("x", ("size",))


def test_clean_has_no_trigger() -> None:
    images, labels = some_images()
    clean: Attack = attacks.create("none")
    assert clean.module(SHAPE) is None
    assert torch.equal(clean.poison(images, labels, CLASSES, generator()).images, images)
