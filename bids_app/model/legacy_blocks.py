"""Building blocks of the networks: convolutions that see only real data, with either of two kinds of normalisation.

``instance`` normalises the activations of each sample over its covered positions; it hides how bright something is
in absolute terms. ``weight`` standardises the weights instead (Qiao et al. 2019, arXiv 1903.10520; with a gain, Brock et
al. 2021, arXiv 2101.08692) and leaves the activations alone: a result then depends on nothing but what lies in its
field of view.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORMS = ("instance", "weight")
SLOPE = 0.01
#: Keeps the spread of activations through a standardised convolution and a LeakyReLU.
GAIN = 1.4
ONE_DNN = hasattr(torch, "mkldnn_convolution") and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Return the 3 x 3 x 3 convolution of ``x``, shape (B, C, X, Y, Z), padded with zeros.

    For a single sample on a CPU torch chooses its own slow path; oneDNN, asked for by name, gives the same numbers 5 to 12 times
    as fast.
    """
    single = len(x) == 1 and x.device.type == "cpu" and x.dtype == torch.float32
    if single and ONE_DNN and not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu"):
        steps = (stride, stride, stride)
        return torch.as_tensor(torch.mkldnn_convolution(x, weight, bias, (1, 1, 1), steps, (1, 1, 1), 1))
    return F.conv3d(x, weight, bias, stride, 1)


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


class StandardisedConv(nn.Conv3d):
    """3 x 3 x 3 convolution whose kernels have mean 0 and a fixed spread, times a learned gain for each output."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 3, stride=stride, padding=1)
        self.gain = nn.Parameter(torch.ones(outputs))

    def standardised(self) -> Tensor:
        """Return the kernels as they are applied, shape of ``weight``."""
        rows = self.weight.flatten(1)
        centred = rows - rows.mean(dim=1, keepdim=True)
        # The sum of squares is what torch.var_mean would give times the fan-in, at a tenth of the time on a CPU.
        scale = GAIN * torch.rsqrt(centred.square().sum(dim=1, keepdim=True) + 1e-4) * self.gain[:, None]
        return (centred * scale).view_as(self.weight)

    def forward(self, x: Tensor, coverage: Tensor | None = None) -> Tensor:
        """Convolve; positions without data stay 0."""
        out = convolve(x, self.standardised(), self.bias, self.stride[0])
        return out if coverage is None else out * (coverage > 0)


class InstanceNormConv(nn.Module):
    """3 x 3 x 3 convolution and instance normalisation."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm = CoveredInstanceNorm(outputs)

    def forward(self, x: Tensor, coverage: Tensor | None) -> Tensor:
        """Map (B, inputs, X, Y, Z) to (B, outputs, X/stride, Y/stride, Z/stride)."""
        out = convolve(x, self.conv.weight, None, self.conv.stride[0])
        return torch.as_tensor(self.norm(out, coverage))


def convolution(norm: str, inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    """Return a convolution with its normalisation; called with features and coverage (or None) of the output's level."""
    if norm == "instance":
        return InstanceNormConv(inputs, outputs, stride)
    if norm == "weight":
        return StandardisedConv(inputs, outputs, stride)
    raise ValueError(f"{norm!r} is no normalisation; there are {', '.join(NORMS)}.")


class ConvUnit(nn.Module):
    """Convolution with normalisation, then LeakyReLU."""

    def __init__(self, norm: str, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = convolution(norm, inputs, outputs, stride)

    def forward(self, x: Tensor, coverage: Tensor | None) -> Tensor:
        """Map (B, inputs, X, Y, Z) to (B, outputs, X/stride, Y/stride, Z/stride)."""
        return F.leaky_relu(self.conv(x, coverage), SLOPE)


class Residual(nn.Module):
    """Two convolutions beside an identity."""

    def __init__(self, norm: str, channels: int) -> None:
        super().__init__()
        self.first = ConvUnit(norm, channels, channels)
        self.second = convolution(norm, channels, channels)
        if isinstance(self.second, StandardisedConv):
            # Nothing else would keep the sum of many branches from growing.
            nn.init.constant_(self.second.gain, 0.2)

    def forward(self, x: Tensor, coverage: Tensor | None) -> Tensor:
        """Keep the shape (B, channels, X, Y, Z)."""
        return F.leaky_relu(x + self.second(self.first(x, coverage), coverage), SLOPE)
