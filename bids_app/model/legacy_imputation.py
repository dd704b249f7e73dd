"""Mean imputation: the features of a missing sequence are the mean of those of the available ones.

Slots are concatenated and fused by a 1 x 1 x 1 convolution W = [W_1 ... W_S]. With availability a_s in 0..1
at every position, slot s receives a_s f_s + (1 - a_s) m, where m = sum a f / sum a. Because the fusion is
linear, ::

    sum_s W_s (a_s f_s + (1 - a_s) m)  =  (sum_s W_s) m + sum over available s of W_s a_s (f_s - m)

so that absent slots cost nothing and are never built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class SlotFeatures:
    """Features of one encoder at one level.

    Attributes
    ----------
    slot : int
    owner : tensor of int, shape (M,)
        Sample of the batch that each row belongs to.
    features : tensor, shape (M, C, X, Y, Z)
    availability : tensor, shape (M, 1, X, Y, Z)
        0..1 per position.
    """

    slot: int
    owner: Tensor
    features: Tensor
    availability: Tensor


class MeanImputation(nn.Module):
    """Fuse the features of all slots, the missing ones filled with the mean.

    Parameters
    ----------
    slots : int
        Number of encoders.
    channels : int
        Features of each, and of the result.
    fill : bool
        False leaves missing features at 0: for comparison.
    """

    def __init__(self, slots: int, channels: int, fill: bool = True) -> None:
        super().__init__()
        self.fill = fill
        self.weight = nn.Parameter(torch.empty(slots, channels, channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.normal_(self.weight, std=(1 / (slots * channels)) ** 0.5)

    def forward(self, available: Sequence[SlotFeatures], batch: int) -> Tensor:
        """Return fused features, shape (batch, C, X, Y, Z); the bias alone where nothing is available."""
        mean = available_mean(available, batch)
        if not self.fill:
            mean = torch.zeros_like(mean)
        fused = _mix(mean, self.weight.sum(dim=0))
        for item in available:
            gap = item.availability * (item.features - mean[item.owner])
            fused = fused.index_add(0, item.owner, _mix(gap, self.weight[item.slot]).to(fused.dtype))
        return fused + self.bias[:, None, None, None].to(fused.dtype)


def available_mean(available: Sequence[SlotFeatures], batch: int) -> Tensor:
    """Return the mean over the available slots, weighted by availability, shape (batch, C, X, Y, Z); 0 where none is."""
    first = available[0].features
    total = first.new_zeros((batch, *first.shape[1:]))
    count = first.new_zeros((batch, 1, *first.shape[2:]))
    for item in available:
        weight = item.availability.to(first.dtype)
        total = total.index_add(0, item.owner, item.features.to(first.dtype) * weight)
        count = count.index_add(0, item.owner, weight)
    return total / count.clamp(min=1e-3)


def _mix(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv3d(x, weight.to(x.dtype)[:, :, None, None, None])
