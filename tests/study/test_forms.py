"""What a change does to an image, and what it costs."""

from __future__ import annotations

import pytest
import torch

from rnpc.study.forms import FORMS, Change, Parts, start
from rnpc.study.forms.warp import rms, still


def parts(form: str) -> Parts:
    """Parameters for small images."""
    return start(FORMS[form], (3, 8, 10), torch.Generator().manual_seed(0), torch.device("cpu"))


@pytest.mark.parametrize("form", FORMS)
def test_a_change_keeps_shape_and_range_and_has_a_gradient(form: str) -> None:
    found, pixels = parts(form), torch.rand(4, 3, 8, 10)
    change, cost = found.change()
    shown = change(pixels)
    assert shown.shape == pixels.shape and shown.min() >= 0 and shown.max() <= 1
    (shown.sum() + cost).backward()
    assert all(leaf.grad is not None and torch.isfinite(leaf.grad).all() for leaf in found.leaves)


@pytest.mark.parametrize("form", FORMS)
def test_a_budget_scales_the_change_down_to_it(form: str) -> None:
    found = parts(form)
    free = float(found.change()[1].detach())
    assert float(found.change(free / 2)[1].detach()) == pytest.approx(free / 2, rel=1e-4)
    assert float(found.change(2 * free)[1].detach()) == free


def test_places_that_do_not_move_change_nothing() -> None:
    pixels = torch.rand(2, 3, 8, 10)
    blank = torch.zeros(1, 1, 8, 10)
    assert torch.allclose(Change(blank + 1, blank, still(8, 10))(pixels), pixels, atol=1e-5)


def test_a_warp_costs_its_displacement_in_pixels() -> None:
    found, pixels = parts("warp"), torch.rand(1, 3, 8, 10)
    with torch.no_grad():
        found.leaves[0].zero_()
        found.leaves[0][:, 0] = 1.0  # one pixel to the right, everywhere
    change, cost = found.change()
    assert float(cost.detach()) == pytest.approx(1.0, abs=1e-4)
    assert torch.allclose(change(pixels)[..., :-1], pixels[..., 1:], atol=1e-4)
    assert float(rms(torch.zeros(1, 8, 10, 2))) < 1e-5
