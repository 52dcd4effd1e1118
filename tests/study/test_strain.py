"""Strained copies and mixtures stay images, and the seed decides them."""

from __future__ import annotations

import torch

from rnpc.study.strain import AT_ONCE, blends, copies, mixed, rectangles, strained, turned
from rnpc.study.subject import Split


def images(n: int = 12, side: int = 16) -> torch.Tensor:
    """Random ones."""
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1))


def seeded() -> torch.Generator:
    """The same each time."""
    return torch.Generator().manual_seed(3)


def test_strained_images_are_others_in_the_same_range() -> None:
    hard = strained(images(), seeded())
    assert hard.shape == images().shape and hard.min() >= 0 and hard.max() <= 1 and not torch.equal(hard, images())
    assert torch.equal(hard, strained(images(), seeded())) and (hard - images()).abs().mean() < 0.4


def test_a_plain_image_stays_plain_but_for_noise() -> None:
    grey = torch.full((8, 1, 16, 16), 0.5)
    hard = strained(grey, seeded())
    assert (hard.std((1, 2, 3)) < 0.06).all() and hard.mean((1, 2, 3)).std() > 0.02


def test_mixtures_are_blends_or_rectangles_of_two() -> None:
    generator, kinds = seeded(), set()
    for _ in range(12):
        made = mixed(images(), generator)
        found, own = made.pixels, (made.pixels == images()).flatten(1).float().mean(1)
        kinds.add(bool(own.min() > 0.5))
        assert found.shape == images().shape and found.min() >= 0 and found.max() <= 1
        apart = made.others != torch.arange(len(images()))
        if own.min() > 0.5:  # of a rectangle the pixels that are not one's own
            assert torch.allclose(made.share[apart], 1 - own[apart], atol=1e-6)
        else:
            share = made.share.view(-1, 1, 1, 1)
            assert torch.allclose(found, (1 - share) * images() + share * images()[made.others], atol=1e-6)
    assert kinds == {True, False}


def test_the_other_image_has_at_most_half_of_a_blend_and_a_third_of_the_rectangle() -> None:
    assert blends(images(), seeded()).min() >= 0 and blends(images(), seeded()).max() <= 0.5
    masks = rectangles(images(200), seeded())
    assert set(masks.unique().tolist()) == {0.0, 1.0} and masks.mean((1, 2, 3)).max() <= 0.41


def test_copies_are_kept_in_a_byte_a_pixel() -> None:
    data = Split((255 * images(AT_ONCE + 6)).to(torch.uint8), torch.arange(AT_ONCE + 6))
    found = copies(data, 0, 2)
    assert found.stored.dtype == torch.uint8 and len(found) == 2 * len(data) and torch.equal(found.labels, data.labels.repeat(2))
    assert not torch.equal(found.stored[: len(data)], found.stored[len(data) :])
    assert torch.equal(found.stored, copies(data, 0, 2).stored) and not torch.equal(found.stored, copies(data, 1, 2).stored)


def test_turned_images_keep_range_and_size_and_follow_the_seed() -> None:
    pixels = torch.rand(6, 3, 16, 16)
    first, same, other = (turned(pixels, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == pixels.shape and 0 <= float(first.min()) <= float(first.max()) <= 1
    assert torch.equal(first, same) and not torch.equal(first, other)
    plain = torch.full((2, 1, 8, 8), 0.5)
    assert torch.allclose(turned(plain, torch.Generator().manual_seed(0)), plain)
