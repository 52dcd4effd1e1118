"""Small image-to-image networks that learned triggers are made of, and how they are kept.

The shape is a U (Ronneberger et al. 2015): two halvings, two doublings by nearest neighbours, the finer features beside the coarser ones.
There is no BatchNorm, so that a trigger does on one image what it does on a batch, and exports as plain convolutions.
"""

from __future__ import annotations

from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn
from torch.nn import functional as F

from rnpc.errors import UsageError

FILE = "generator.safetensors"


class UNet(nn.Module):
    """float [n, before, H, W] -> [n, after, H, W], unbounded; any H and W from 4. `width`: channels at full size."""

    def __init__(self, before: int, after: int, width: int) -> None:
        super().__init__()
        self.fine = nn.Conv2d(before, width, 3, 1, 1)
        self.middle = nn.Conv2d(width, 2 * width, 3, 1, 1)
        self.coarse = nn.Conv2d(2 * width, 4 * width, 3, 1, 1)
        self.up_middle = nn.Conv2d(6 * width, 2 * width, 3, 1, 1)
        self.up_fine = nn.Conv2d(3 * width, width, 3, 1, 1)
        self.last = nn.Conv2d(width, after, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = F.relu(self.fine(x))
        middle = F.relu(self.middle(F.avg_pool2d(fine, 2)))
        coarse = F.relu(self.coarse(F.avg_pool2d(middle, 2)))
        up = F.relu(self.up_middle(torch.cat([F.interpolate(coarse, size=middle.shape[2:]), middle], dim=1)))
        up = F.relu(self.up_fine(torch.cat([F.interpolate(up, size=fine.shape[2:]), fine], dim=1)))
        found: Tensor = self.last(up)
        return found


class Critic(nn.Module):
    """Which patches of an image look like the domain's: float [n, C, H, W] -> scores [n, 1, h, w], three convolutions (PatchGAN)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        sizes = ((channels, width, 2), (width, 2 * width, 2), (2 * width, 1, 1))
        self.layers = nn.ModuleList(nn.Conv2d(before, after, 3, stride, 1) for before, after, stride in sizes)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), 0.2)
        found: Tensor = self.layers[-1](x)
        return found


def packed(module: nn.Module) -> bytes:
    """A generator's weights as safetensors."""
    return save_safetensors({key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()})


def unpack(module: nn.Module, folder: str, name: str) -> None:
    """Load the generator that a victim's folder holds. Raises UsageError where it is missing or of another shape."""
    place = Path(folder) / FILE
    todo = f"give the folder of a victim of {name}, or leave generator out to learn one"
    try:
        module.load_state_dict(load_file(place))
    except (OSError, safetensors.SafetensorError) as error:
        raise UsageError(f"no generator there ({FILE})", where=folder, todo=todo) from error
    except RuntimeError as error:
        raise UsageError("the generator has other layers or sizes than this victim's", where=str(place), todo=todo) from error
