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

from .blocks import channels_last, each_slot


@dataclass(frozen=True, eq=False)
class SlotFeatures:
    """Features of the available sequences at one level, a row for each image.

    Attributes
    ----------
    slot, owner : tensor of int, shape (M,)
        Encoder, and sample of the batch, of each row.
    features : tensor, shape (M, C, X, Y, Z)
    availability : tensor, shape (M, 1, X, Y, Z)
        0..1 per position.
    """

    slot: Tensor
    owner: Tensor
    features: Tensor
    availability: Tensor

    def only(self, rows: Sequence[int]) -> SlotFeatures:
        """Return some of the rows."""
        kept = list(rows)
        return SlotFeatures(self.slot[kept], self.owner[kept], self.features[kept], self.availability[kept])


class MeanImputation(nn.Module):
    """Fuse the features of all slots, the missing ones filled with the mean. To begin with the result is their mean.

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
        self.weight = nn.Parameter(torch.eye(channels).expand(slots, -1, -1).clone() / slots)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, available: SlotFeatures, batch: int) -> Tensor:
        """Return fused features, shape (batch, C, X, Y, Z); the bias alone where nothing is available."""
        mean = available_mean(available, batch)
        if not self.fill:
            mean = torch.zeros_like(mean)
        fused = _mix(mean, self.weight.sum(dim=0))
        # A sequence that is alone is the mean wherever it is.
        rows = torch.nonzero(
            torch.bincount(available.owner)[available.owner] > (1 if self.fill else 0)
        ).flatten()
        if len(rows):
            own = available.only(rows.tolist())
            gap = own.availability.to(fused.dtype) * (own.features - mean[own.owner])
            mixed = each_slot(gap, own.slot, lambda one, n: _mix(one, self.weight[n]))
            fused = fused.index_add(0, own.owner, mixed.to(fused.dtype))
        return fused + self.bias[:, None, None, None].to(fused.dtype)


def available_mean(available: SlotFeatures, batch: int) -> Tensor:
    """Return the mean over the available slots, weighted by availability, shape (batch, C, X, Y, Z); 0 where none is."""
    features = available.features
    weight = available.availability.to(features.dtype)
    total = features.new_zeros((batch, *features.shape[1:])).index_add(0, available.owner, features * weight)
    count = weight.new_zeros((batch, *weight.shape[1:])).index_add(0, available.owner, weight)
    return total / count.clamp(min=1e-3)


def _mix(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv3d(channels_last(x), channels_last(weight.to(x.dtype)[:, :, None, None, None]))
