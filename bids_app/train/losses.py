"""Losses: cross-entropy and soft Dice, where they count."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .samples import Example

#: Weight of each output in the sum, and of cross-entropy beside Dice.
WEIGHTS = {"lesion": (1.0, 1.0), "cord": (0.3, 3.0), "grey": (0.2, 1.0)}


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
        one, target, counts = (x[:, channel].float() for x in (logits, example.target, example.weight))
        weight, entropy = WEIGHTS[name]
        total = total + weight * (entropy * cross_entropy(one, target, counts) + dice(one, target, counts))
    return total


def cross_entropy(logits: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """Return the mean cross-entropy where it counts."""
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * counts).sum() / counts.sum().clamp(min=1)


def dice(logits: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """Return 1 - soft Dice over the whole batch, so that samples without a lesion count too."""
    probability = torch.sigmoid(logits) * counts
    target = target * counts
    overlap = (probability * target).sum()
    return 1 - (2 * overlap + 1) / (probability.sum() + target.sum() + 1)
