"""Known families of triggers, placed where an inverted one sits: what an attacker may have used, as far as rnpc knows the kinds.

Squares, checkers and single pixels of several sizes and colours at the centre of the inverted patch and in the corners; blends with noise;
sinusoids; smooth warps. They are tried as they are, nothing is fitted, so that they cost forward passes only. They are surrogates of the
study's own: no attack of the bench is imported, and none of the settings here was taken from a victim. Squares of noise (`noisy`) are kept
for what comes back: no repair is shown one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from rnpc.study.case import Case
from rnpc.study.forms import Change
from rnpc.study.forms.warp import still
from rnpc.study.inversion import Inverted, success
from rnpc.study.subject import Split
from rnpc.twin.module import Edit

SIZES, NOISY, SIDE = (1, 2, 3, 4, 5, 7), (3, 5, 7, 9), 32
BLENDS, WAVES, WARPS = (0.1, 0.2, 0.3), (0.06, 0.12), (0.5, 1.0, 1.5)
"""Shares of noise; amplitudes of a sinusoid; root mean squares of a warp in pixels."""
MEMBERS = 9973
"""Between the seeds of a family's members."""
Family = Callable[[torch.Size, tuple[int, int], torch.device], Iterator[tuple[str, Change]]]
"""Changes [1, C, H, W] about a spot (row, column) of images [C, H, W], with their names."""


@dataclass(frozen=True)
class Probe:
    """A change to try, and what it is called. `drawn`: it is one of many of its name, drawn by a seed;
    `another`: not the first of them; `louder`: an inverted trigger made stronger than it has to be."""

    name: str
    change: Change
    drawn: bool = False
    another: bool = False
    louder: bool = False


def probes(case: Case, label: int, known: list[Inverted]) -> list[Probe]:
    """All probes for a label whose triggers are `known`."""
    patches = patches_of(label, known)
    found = [Probe(f"found {trigger.form}", trigger.change) for trigger in known if trigger.label == label]
    for trigger in patches:
        steps = [step * unit_of(*case.learn.shape[1:]) for step in (-2, 0, 2)]
        found += [Probe("found patch, moved", moved(trigger.change, dy, dx)) for dy in steps for dx in steps if dy or dx]
    return [*found, *placed(case, patches, squares), *whole_image(case)]


def families(case: Case, label: int, known: Sequence[Inverted]) -> list[Probe]:
    """Known families, and squares of noise: nothing that was inverted."""
    patches = patches_of(label, known)
    return [*placed(case, patches, squares), *placed(case, patches, partial(noisy, seed=case.seed)), *whole_image(case)]


def patches_of(label: int, known: Sequence[Inverted]) -> list[Inverted]:
    """The label's patches, which say where."""
    return [trigger for trigger in known if trigger.form == "patch" and trigger.label == label]


def placed(case: Case, patches: Sequence[Inverted], family: Family) -> list[Probe]:
    """A family in the corners and at the centres of patches."""
    places = {"corner": corners(case.learn.shape), "centre of the patch": [centre(trigger) for trigger in patches]}
    each = [(where, family(case.learn.shape, spot, case.subject.device)) for where, spots in places.items() for spot in spots]
    return [Probe(f"{name} at {where}", change) for where, members in each for name, change in members]


def louder(trigger: Inverted, times: Iterable[int]) -> list[Probe]:
    """An additive trigger that many times as strong: an attacker's is seldom as weak as one that just works. Where a network only learned
    to resist the weak one, it answers to these."""
    changes = ((k, replace(trigger.change, shift=k * trigger.change.shift)) for k in times)
    return [Probe(f"an inverted {trigger.form} trigger, {k} times as strong", change, louder=True) for k, change in changes]


def others(case: Case, worked: Collection[Probe], members: Iterable[int]) -> list[Probe]:
    """Other members of the families of blends and warps of which one worked: a network learns to resist one noise before it learns to
    resist noise."""
    names = {probe.name for probe in worked if probe.drawn}
    return [replace(probe, another=True) for member in members for probe in whole_image(case, member) if probe.name in names]


def probed(case: Case, label: int, probe: Probe, data: Split, edits: Mapping[str, Edit]) -> float:
    """Success of a probe for the label in the model with `edits`."""
    return success(case.subject, aimed_at(label, probe), data, edits)


def aimed_at(label: int, probe: Probe) -> Inverted:
    """The probe as a trigger for the label."""
    return Inverted(label, "probe", 0.0, probe.change)


def centre(trigger: Inverted) -> tuple[int, int]:
    """Row and column of the middle of a patch's mask."""
    mask = (1 - trigger.change.keep[0, 0]).clamp_min(0)
    mask = mask * (mask >= mask.max() / 2)
    rows, columns = (torch.arange(n, device=mask.device, dtype=mask.dtype) for n in mask.shape)
    total = mask.sum().clamp_min(1e-6)
    return round(float((mask.sum(1) * rows).sum() / total)), round(float((mask.sum(0) * columns).sum() / total))


def corners(shape: torch.Size) -> list[tuple[int, int]]:
    """Spots two units from the edges."""
    _, height, width = shape
    inside = 2 * unit_of(height, width)
    return [(row, column) for row in (inside, height - 1 - inside) for column in (inside, width - 1 - inside)]


def squares(shape: torch.Size, spot: tuple[int, int], device: torch.device) -> Iterator[tuple[str, Change]]:
    """Blocks and checkers of all sizes about a spot."""
    channels, height, width = shape
    cell = unit_of(height, width)
    for size in (cell * part for part in SIZES):
        mask, top, left = square(shape, spot, size, device)
        board = torch.zeros_like(mask)
        board[..., top : top + size, left : left + size] = checkered(size, device, cell)[: height - top, : width - left]
        for name, pattern in (("white", mask), ("black", torch.zeros_like(mask)), ("checker", board)):
            yield f"{name} {size} x {size}", Change(1 - mask, pattern.expand(1, channels, -1, -1))
        if channels == 3:
            for name, colour in (("yellow", (1.0, 1.0, 0.0)), ("red", (1.0, 0.0, 0.0)), ("blue", (0.0, 0.0, 1.0))):
                yield f"{name} {size} x {size}", Change(1 - mask, mask * torch.tensor(colour, device=device).view(1, 3, 1, 1))


def noisy(shape: torch.Size, spot: tuple[int, int], device: torch.device, seed: int) -> Iterator[tuple[str, Change]]:
    """Blocks of noise of all sizes about a spot: a colour a pixel, a colour for two by two, each channel on or off."""
    channels, height, width = shape
    generator, cell = torch.Generator().manual_seed(seed), unit_of(height, width)
    for size in (cell * part for part in NOISY):
        mask, _, _ = square(shape, spot, size, device)
        for name, side in (("noise", cell), ("coarse noise", 2 * cell), ("binary noise", cell)):
            small = torch.rand(1, channels, math.ceil(height / side), math.ceil(width / side), generator=generator)
            pattern = small.repeat_interleave(side, 2).repeat_interleave(side, 3)[..., :height, :width].to(device)
            yield f"{name} {size} x {size}", Change(1 - mask, mask * (pattern.round() if name.startswith("binary") else pattern))


def square(shape: torch.Size, spot: tuple[int, int], size: int, device: torch.device) -> tuple[Tensor, int, int]:
    """A mask [1, 1, H, W], one in a square about a spot or as near to it as it fits, and its first row and column."""
    _, height, width = shape
    top, left = (min(max(place - size // 2, 0), max(side - size, 0)) for place, side in zip(spot, (height, width), strict=True))
    mask = torch.zeros(1, 1, height, width, device=device)
    mask[..., top : top + size, left : left + size] = 1.0
    return mask, top, left


def unit_of(height: int, width: int) -> int:
    """Pixels by which known families are scaled: 1 where the image has 32, as in the data sets of the publications."""
    return max(1, round(min(height, width) / SIDE))


def checkered(size: int, device: torch.device, cell: int = 1) -> Tensor:
    """A checkerboard [size, size] of ones and zeros, a one in the first corner, with squares of `cell` pixels: smaller ones vanish in a
    network that halves a large image twice before it looks."""
    steps = torch.arange(size, device=device) // cell
    return ((steps[:, None] + steps) % 2 == 0).float()


def whole_image(case: Case, member: int = 0) -> list[Probe]:
    """Blends, sinusoids, warps; another `member` has other noise and another field."""
    (channels, height, width), device = case.learn.shape, case.subject.device
    generator = torch.Generator().manual_seed(case.seed + MEMBERS * member)
    noise = torch.rand(1, channels, height, width, generator=generator).to(device)
    one = torch.ones(1, 1, height, width, device=device)
    found = [Probe(f"blend of {share:.0%} noise", Change(one * (1 - share), share * noise), True) for share in BLENDS]
    wave = torch.sin(2 * math.pi * 6 * torch.arange(width, device=device) / width).expand(1, channels, height, width)
    found += [Probe(f"sinusoid of {amplitude:.0%}", Change(one, amplitude * wave)) for amplitude in WAVES]
    coarse = torch.randn(1, 2, 4, 4, generator=generator).to(device)
    field = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    field = field / field.square().sum(-1).mean().sqrt()
    pixel = torch.tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)], device=device)
    start = still(height, width).to(device)
    found += [Probe(f"warp of {size:g} pixels", Change(one, torch.zeros_like(one), start + size * field * pixel), True) for size in WARPS]
    return found


def moved(change: Change, dy: int, dx: int) -> Change:
    """A patch at another place; what leaves the image on one side does not come in on the other."""
    mask, pattern = shifted(1 - change.keep, dy, dx), shifted(change.shift, dy, dx)
    return Change(1 - mask, pattern)


def shifted(value: Tensor, dy: int, dx: int) -> Tensor:
    """Moved down and to the right, zeros coming in."""
    height, width = value.shape[2:]
    padded, top, left = F.pad(value, (abs(dx), abs(dx), abs(dy), abs(dy))), abs(dy) - dy, abs(dx) - dx
    return padded[..., top : top + height, left : left + width]
