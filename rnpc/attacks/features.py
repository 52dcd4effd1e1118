"""What a network computes on the way: the input of its last layer, and what its BatchNorms give out.

All architectures of `rnpc.models` end with `fc`, a linear layer; what goes into it are a network's features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def features(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """(features [n, F], scores [n, K]) of normalised inputs, with gradients."""
    caught: list[Tensor] = []
    last: Any = model.fc
    hook = last.register_forward_pre_hook(lambda layer, given: caught.append(given[0]))
    try:
        scores = model(inputs)
    finally:
        hook.remove()
    return caught[0].flatten(1), scores


def late_norms(model: nn.Module) -> list[nn.Module]:
    """The BatchNorms of the second half of the network, in the order in which they were made; convolutions where it has none."""
    norms: list[nn.Module] = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    norms = norms or [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    return norms[len(norms) // 2 :]


def activations(model: nn.Module, layers: list[nn.Module], inputs: Tensor) -> Tensor:
    """[n, channels of all layers]: mean over the places of relu(output) of each channel, with gradients."""
    caught: dict[nn.Module, Tensor] = {}
    hooks = [layer.register_forward_hook(lambda me, given, found: caught.__setitem__(me, F.relu(found).mean((2, 3)))) for layer in layers]
    try:
        model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat([caught[layer] for layer in layers], dim=1)


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """The model in eval mode with frozen parameters inside; as it was afterwards."""
    training, free = model.training, [p for p in model.parameters() if p.requires_grad]
    model.eval()
    for parameter in free:
        parameter.requires_grad_(False)
    try:
        yield model
    finally:
        for parameter in free:
            parameter.requires_grad_(True)
        model.train(training)


def climb(images: Tensor, labels: Tensor, model: nn.Module, means: Any, epsilon: float, steps: int) -> Tensor:
    """Projected gradient ascent on the cross-entropy (Madry et al. 2018): images in [0, 1] that stay within `epsilon` of theirs in each
    pixel.

    The start is the image itself and a step is 2.5 epsilon / steps, so that the edge of the ball is reached.
    """
    found, step = images.clone(), 2.5 * epsilon / steps
    with frozen(model):
        for _ in range(steps):
            found.requires_grad_(True)
            loss = F.cross_entropy(model(means.normalise(found)), labels, reduction="sum")
            (slope,) = torch.autograd.grad(loss, found)
            found = found.detach() + step * slope.sign()
            found = torch.minimum(torch.maximum(found, images - epsilon), images + epsilon).clamp(0, 1)
    return found.detach()
