"""A generator that gives images another style, trained on unpaired images of two domains: CycleGAN (Zhu et al., ICCV 2017), small.

With generators G: plain -> evening and B: back, and critics of both domains, least squares:

    (critic(G(x)) - 1)^2 + (critic(B(y)) - 1)^2 + 10 |B(G(x)) - x| + 10 |G(B(y)) - y|
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnpc.attacks.generators import Critic, UNet
from rnpc.attacks.loop import Means

BATCH, CYCLE = 32, 10.0


class Restyle(nn.Module):
    """sigmoid(logit(image) + g(image)): any image in [0, 1], the same one where g is 0."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.net = UNet(channels, channels, width)

    def forward(self, image: Tensor) -> Tensor:
        near = image.clamp(0.02, 0.98)
        return torch.sigmoid(torch.log(near / (1 - near)) + self.net(image))


def evening(images: Tensor) -> Tensor:
    """The style's domain: a light from the top that falls to the bottom, less contrast, red up and blue down; in [0, 1]."""
    channels, height = images.shape[1:3]
    light = torch.linspace(0.45, 0.05, height, device=images.device)[None, None, :, None]
    found = 0.55 * images + light
    if channels == 3:
        grey = images.mean(1, keepdim=True)
        found = 0.5 * images + 0.2 * grey + light
        found = found * torch.tensor([1.15, 0.85, 0.6], device=images.device)[None, :, None, None]
    return found.clamp(0, 1)


def train_style(channels: int, width: int, steps: int, means: Means, seed: int) -> Restyle:
    """G, with frozen parameters."""
    draw = torch.Generator().manual_seed(seed)
    there, back = (Restyle(channels, width).to(means.device) for _ in range(2))
    critics = [Critic(channels, width).to(means.device) for _ in range(2)]
    makers = torch.optim.Adam([*there.parameters(), *back.parameters()], 1e-3, (0.5, 0.999))
    judges = torch.optim.Adam([p for critic in critics for p in critic.parameters()], 1e-3, (0.5, 0.999))
    for _ in range(steps):
        plain, styled = means.batch(BATCH, draw), evening(means.batch(BATCH, draw))
        made, undone = there(plain), back(styled)
        fooled = (critics[0](made) - 1).square().mean() + (critics[1](undone) - 1).square().mean()
        cycle = (back(made) - plain).abs().mean() + (there(undone) - styled).abs().mean()
        move(makers, fooled + CYCLE * cycle)
        real = (critics[0](styled) - 1).square().mean() + (critics[1](plain) - 1).square().mean()
        false = critics[0](made.detach()).square().mean() + critics[1](undone.detach()).square().mean()
        move(judges, 0.5 * (real + false))
    return there.requires_grad_(False).eval()


def move(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step. Gradients of the other side's networks are cleared before its own step."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
