"""Probes: whole, inside the image, in range; what is moved off one edge does not come in on the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from rnpc.study.case import Case
from rnpc.study.forms import Change
from rnpc.study.inversion import Inverted
from rnpc.study.probes import SIZES, centre, corners, families, louder, moved, noisy, others, probes, squares, unit_of, whole_image
from rnpc.study.subject import Split

CPU = torch.device("cpu")
Shaped = Callable[[int, int, int], Case]


@pytest.fixture
def shaped(case: Case) -> Shaped:
    """shaped(channels, height, width): a case with images of that shape, which no network sees."""

    def make(*shape: int) -> Case:
        return replace(case, learn=Split(torch.randint(256, (6, *shape), dtype=torch.uint8), torch.zeros(6, dtype=torch.long)))

    return make


def patch(mask: torch.Tensor, label: int = 1) -> Inverted:
    """A white patch with that mask [H, W]."""
    return Inverted(label, "patch", float(mask.sum()), Change((1 - mask)[None, None], mask.expand(1, 3, *mask.shape)))


def block(height: int, width: int, top: int, left: int, size: int = 2) -> torch.Tensor:
    """A mask [height, width] of one block."""
    mask = torch.zeros(height, width)
    mask[top : top + size, left : left + size] = 1
    return mask


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 28, 28), (3, 32, 48), (3, 5, 4)])
def test_all_probes_fit_and_stay_in_range(shaped: Shaped, shape: tuple[int, int, int]) -> None:
    case = shaped(*shape)
    pixels = case.learn.pixels()
    known = [] if shape[0] == 1 else [patch(block(shape[1], shape[2], 1, 1))]
    found = probes(case, 1, known)
    for probe in found:
        shown = probe.change(pixels)
        assert shown.shape == pixels.shape and torch.isfinite(shown).all() and shown.min() >= 0 and shown.max() <= 1, probe.name
        assert probe.change.keep.min() >= 0 and probe.change.keep.max() <= 1, probe.name
    assert len(found) > 4 * len(SIZES) * 3 and all(probe.name for probe in found)


def test_families_are_made_without_an_inversion(shaped: Shaped) -> None:
    case = shaped(3, 32, 32)
    known = [patch(block(32, 32, 20, 4))]
    found, shown = families(case, 1, known), {probe.name for probe in probes(case, 1, known)}
    assert not any(probe.name.startswith("found") for probe in found)
    names = {probe.name for probe in found} - shown
    assert names and all("noise" in name for name in names), "squares of noise alone are new"
    pixels = case.learn.pixels()
    assert all(probe.change(pixels).min() >= 0 and probe.change(pixels).max() <= 1 for probe in found)
    assert len(families(case, 2, known)) == len(families(case, 1, [])) < len(found), "a patch of another label does not say where"


def test_noise_fills_its_square_and_nothing_else() -> None:
    made = dict(noisy(torch.Size((3, 32, 32)), (30, 2), CPU, seed=3))
    assert {name.rsplit(" ", 3)[0] for name in made} == {"noise", "coarse noise", "binary noise"}
    for change in made.values():
        inside = change.keep[0, 0] == 0
        assert change.shift[..., ~inside].eq(0).all() and inside[31, 2] and len(change.shift[..., inside].unique()) > 1
    assert made["binary noise 5 x 5"].shift.unique().tolist() == [0, 1]
    coarse = made["coarse noise 9 x 9"].shift
    assert torch.equal(coarse[..., 24::2, 0], coarse[..., 25::2, 0]), "two by two pixels are alike"
    again = dict(noisy(torch.Size((3, 32, 32)), (30, 2), CPU, seed=3))
    assert all(torch.equal(made[name].shift, again[name].shift) for name in made)


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 8, 8), (1, 28, 20), (3, 6, 6)])
def test_squares_in_the_corners_are_whole_and_inside(shape: tuple[int, int, int]) -> None:
    for row, column in corners(torch.Size(shape)):
        for name, change in squares(torch.Size(shape), (row, column), CPU):
            mask = 1 - change.keep[0, 0]
            size = min(int(name.split()[1]), *shape[1:])
            rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
            assert len(rows) == len(columns) == size and mask.sum() == size**2, name
            near = [min(int(line[0]), side - 1 - int(line[-1])) for line, side in zip((rows, columns), shape[1:], strict=True)]
            assert max(near) <= 2, name
            assert change.shift[:, :, mask == 0].abs().sum() == 0, name


def test_a_checker_alternates_and_a_colour_is_that_colour() -> None:
    found = dict(squares(torch.Size((3, 8, 8)), (4, 4), CPU))
    board = found["checker 4 x 4"].shift[0, 0, 2:6, 2:6]
    assert torch.equal(board, ((torch.arange(4)[:, None] + torch.arange(4)) % 2 == 0).float())
    grey = torch.full((1, 3, 8, 8), 0.5)
    assert found["yellow 1 x 1"](grey)[0, :, 4, 4].tolist() == [1, 1, 0] and found["black 1 x 1"](grey)[0, :, 4, 4].tolist() == [0, 0, 0]
    assert not [name for name, _ in squares(torch.Size((1, 8, 8)), (4, 4), CPU) if "red" in name]


@pytest.mark.parametrize(("dy", "dx"), [(2, 0), (-2, 0), (0, 2), (0, -2), (2, -2)])
@pytest.mark.parametrize(("top", "left"), [(0, 0), (6, 6), (0, 6), (3, 3)])
def test_a_patch_that_leaves_the_image_does_not_come_in_again(top: int, left: int, dy: int, dx: int) -> None:
    before = patch(block(8, 8, top, left))
    after = moved(before.change, dy, dx)
    want = torch.zeros(8, 8)
    for row in range(top, top + 2):
        for column in range(left, left + 2):
            if 0 <= row + dy < 8 and 0 <= column + dx < 8:
                want[row + dy, column + dx] = 1
    assert torch.equal(1 - after.keep[0, 0], want) and torch.equal(after.shift[0, 0], want)
    dark = torch.zeros(1, 3, 8, 8)
    assert torch.equal(after(dark)[0, 0], want) and torch.equal(1 - before.change.keep[0, 0], block(8, 8, top, left))  # as it was


def test_the_centre_of_a_patch_is_that_of_what_covers_most() -> None:
    assert centre(patch(block(9, 9, 3, 5, size=3))) == (4, 6)
    faint = torch.full((9, 9), 0.1)
    assert centre(patch(torch.maximum(faint, 0.9 * block(9, 9, 0, 6, size=3)))) == (1, 7)
    assert centre(patch(torch.zeros(9, 9))) == (0, 0)  # none at all is no defect


def test_what_is_known_of_the_label_is_tried_as_it_is_and_moved(case: Case) -> None:
    mine, other = patch(block(8, 8, 3, 3)), patch(block(8, 8, 3, 3), label=2)
    names = [probe.name for probe in probes(case, 1, [mine, other])]
    assert names.count("found patch") == 1 and names.count("found patch, moved") == 8
    assert sum("at centre of the patch" in name for name in names) == 6 * len(SIZES)
    alone = [probe.name for probe in probes(case, 0, [mine, other])]
    assert not [name for name in alone if "patch" in name] and len(alone) == len(whole_image(case)) + 4 * 6 * len(SIZES)


def test_warps_have_the_size_that_they_say(case: Case) -> None:
    for probe in whole_image(case):
        if probe.change.places is None:
            continue
        plain = torch.nn.functional.affine_grid(torch.eye(2, 3)[None], [1, 3, 8, 8], align_corners=True)
        pixels = (probe.change.places - plain) * 7 / 2
        assert float(pixels.square().sum(-1).mean().sqrt()) == pytest.approx(float(probe.name.split()[2]), rel=1e-3)


def test_a_seed_gives_the_same_probes(case: Case) -> None:
    first, same, other = (whole_image(replace(case, seed=seed))[0].change.shift for seed in (0, 0, 1))
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_other_members_are_of_the_families_that_are_drawn_and_worked(case: Case) -> None:
    worked = [probe for probe in whole_image(case) if probe.name in ("blend of 20% noise", "sinusoid of 6%")]
    found = others(case, worked, (1, 2))
    assert [(probe.name, probe.another) for probe in found] == [("blend of 20% noise", True)] * 2
    assert len({float(probe.change.shift.sum()) for probe in [*found, worked[0]]}) == 3 and others(case, [], (1,)) == []


def test_families_grow_with_the_image() -> None:
    """At 160 pixels a checker of single pixels was no trigger that a network had learnt, and ASR 100 % was called clean."""
    assert [unit_of(n, n) for n in (8, 28, 32, 160, 224)] == [1, 1, 1, 5, 7]
    named = dict(squares(torch.Size((3, 160, 160)), (149, 149), CPU))
    change = named["checker 15 x 15"]
    block = change.shift[0, 0, 142:157, 142:157]
    assert torch.equal(block[::5, ::5], torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]]))
    assert torch.equal(block[4::5, 4::5], block[::5, ::5])
    assert corners(torch.Size((3, 160, 160)))[-1] == (149, 149)


def test_louder_triggers_change_as_many_times_as_much() -> None:
    quiet = Inverted(1, "additive", 0.3, Change(torch.ones(1, 1, 4, 4), torch.full((1, 3, 4, 4), 0.1)))
    found = louder(quiet, (2, 3))
    grey = torch.full((2, 3, 4, 4), 0.2)
    assert [round(float(probe.change(grey).mean()), 4) for probe in found] == [0.4, 0.5]
    assert all(probe.louder and not probe.another for probe in found) and found[0].name.endswith("2 times as strong")
    assert float(found[1].change(torch.full((1, 3, 4, 4), 0.9)).max()) == 1.0  # still an image
