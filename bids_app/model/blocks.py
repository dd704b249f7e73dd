"""Building blocks of the networks: normalisation that sees only real data, and residual convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CoveredInstanceNorm(nn.Module):
    """Instance normalisation whose statistics come from covered positions only.

    Outside the field of view there is nothing but padding; letting it into the mean would make a result
    depend on how far the crop reaches beyond the scan.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor, coverage: Tensor | None) -> Tensor:
        """Normalise.

        Parameters
        ----------
        x : tensor, shape (B, C, X, Y, Z)
        coverage : tensor or None, shape (B, 1, X, Y, Z)
            Weight of each position, 0..1; None where everything is covered.
        """
        if coverage is None:
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        # The sums run as matrix products: many times faster on a CPU than a masked mean.
        weight = coverage.flatten(2).transpose(1, 2).float()
        values = x.flatten(2).float()
        total = weight.sum(dim=1, keepdim=True).clamp(min=1e-3)
        mean = values @ weight / total
        variance = (values.square() @ weight / total - mean.square()).clamp(min=0)
        scale = self.weight[:, None] * torch.rsqrt(variance + self.eps)
        shift = self.bias[:, None] - mean * scale
        result = values * scale + shift
        return (result * (weight > 0).transpose(1, 2)).reshape(x.shape).to(x.dtype)


class ConvNorm(nn.Module):
    """3 x 3 x 3 convolution, normalisation, LeakyReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm = CoveredInstanceNorm(outputs)

    def forward(self, x: Tensor, coverage: Tensor | None) -> Tensor:
        """Map (B, inputs, X, Y, Z) to (B, outputs, X/stride, Y/stride, Z/stride)."""
        return F.leaky_relu(self.norm(self.conv(x), coverage), 0.01)


class Residual(nn.Module):
    """Two convolutions beside an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.conv = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.norm = CoveredInstanceNorm(channels)

    def forward(self, x: Tensor, coverage: Tensor | None) -> Tensor:
        """Keep the shape (B, channels, X, Y, Z)."""
        return F.leaky_relu(x + self.norm(self.conv(self.first(x, coverage)), coverage), 0.01)
