"""Losses: cross-entropy and soft Dice on what the sequences cover."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .samples import Example

#: Weight of each output in the sum.
WEIGHTS = {"lesion": 1.0, "cord": 0.3}


def loss_of(logits: Tensor, example: Example, outputs: tuple[str, ...]) -> Tensor:
    """Return the loss of a batch, a scalar.

    Parameters
    ----------
    logits : tensor, shape (B, outputs, X, Y, Z)
    example : Example
    outputs : tuple of str
        Names of the output channels.
    """
    total = logits.new_zeros((), dtype=torch.float32)
    for channel, name in enumerate(outputs):
        one, target = logits[:, channel].float(), example.target[:, channel]
        total = total + WEIGHTS[name] * (
            cross_entropy(one, target, example.seen[:, 0]) + dice(one, target, example.seen[:, 0])
        )
    return total


def cross_entropy(logits: Tensor, target: Tensor, seen: Tensor) -> Tensor:
    """Return 3 times the mean cross-entropy over covered voxels: lesions fill few of them."""
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return 3 * (each * seen).sum() / seen.sum().clamp(min=1)


def dice(logits: Tensor, target: Tensor, seen: Tensor) -> Tensor:
    """Return 1 - soft Dice over the whole batch, so that samples without a lesion count too."""
    probability = torch.sigmoid(logits) * seen
    target = target * seen
    overlap = (probability * target).sum()
    return 1 - (2 * overlap + 1) / (probability.sum() + target.sum() + 1)
