"""Building blocks of the network: convolutions with standardised weights, and what of them belongs to one sequence.

The weights of a convolution are standardised (Qiao et al. 2019, arXiv 1903.10520; with a gain, Brock et al. 2021, arXiv
2101.08692) and its activations are left alone: what comes out depends on nothing but what lies in the field of view. Encoders of
different sequences may share kernels; gain and bias of every output are each sequence's own.

Activations are kept channels-last: on a CPU that is two to three times as fast as torch's own order where channels are few.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.01
#: Keeps the spread of activations through a standardised convolution and a LeakyReLU.
GAIN = 1.4
#: Gain of the second convolution of a residual block: nothing else keeps the sum of many branches from growing.
BRANCH_GAIN = 0.2
ONE_DNN = hasattr(torch, "mkldnn_convolution") and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def channels_last(x: Tensor) -> Tensor:
    """Return a tensor of five dimensions with its channels last in memory."""
    return x.contiguous(memory_format=torch.channels_last_3d)


def standardised(weight: Tensor) -> Tensor:
    """Return kernels with mean 0 and a fixed spread for each output, shape of ``weight`` (out, in, 3, 3, 3)."""
    rows = weight.flatten(1)
    centred = rows - rows.mean(dim=1, keepdim=True)
    # The sum of squares is what torch.var_mean would give times the fan-in, at a tenth of the time on a CPU.
    return (centred * (GAIN * torch.rsqrt(centred.square().sum(dim=1, keepdim=True) + 1e-4))).view_as(weight)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1) -> Tensor:
    """Return the 3 x 3 x 3 convolution of ``x``, shape (B, C, X, Y, Z), padded with zeros.

    For a single sample on a CPU torch chooses its own slow path; oneDNN, asked for by name, gives the same numbers 5 to 12 times
    as fast.
    """
    weight = channels_last(weight.to(x.dtype))
    bias = None if bias is None else bias.to(x.dtype)
    exact = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if ONE_DNN and len(x) == 1 and exact and not torch.is_grad_enabled():
        steps = (stride, stride, stride)
        return torch.as_tensor(torch.mkldnn_convolution(x, weight, bias, (1, 1, 1), steps, (1, 1, 1), 1))
    return F.conv3d(x, weight, bias, stride, 1)


def new_kernels(*shape: int) -> nn.Parameter:
    """Return kernels to learn from; the last five dimensions are (out, in, 3, 3, 3)."""
    kernels = torch.empty(shape)
    nn.init.kaiming_uniform_(kernels.view(-1, *shape[-4:]), a=5**0.5)
    return nn.Parameter(kernels)


def masked(x: Tensor, coverage: Tensor | None) -> Tensor:
    """Return features that are 0 where there is no data; ``coverage`` is None where all is covered."""
    return x if coverage is None else x * coverage


class SequenceConv(nn.Module):
    """Convolution in the encoders: kernels shared by all sequences or of each its own, gain and bias of each its own.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    slots : int
        Sequences.
    shared : bool
        Whether the kernels are shared.
    stride : int
    gain : float
        To begin with.
    """

    def __init__(
        self, inputs: int, outputs: int, slots: int, shared: bool, stride: int = 1, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.stride = stride
        self.kernels = new_kernels(1 if shared else slots, outputs, inputs, 3, 3, 3)
        self.gain = nn.Parameter(torch.full((slots, outputs), gain))
        self.bias = nn.Parameter(torch.zeros(slots, outputs))

    def forward(self, x: Tensor, slot: Tensor, coverage: Tensor | None) -> Tensor:
        """Convolve.

        Parameters
        ----------
        x : tensor, shape (M, inputs, X, Y, Z)
        slot : tensor of int, shape (M,)
            Sequence of each row.
        coverage : tensor, shape (M, 1, X / stride, ...), or None
        """
        if len(self.kernels) == 1:
            out = convolve(x, standardised(self.kernels[0]), None, self.stride)
        else:
            out = each_slot(
                x, slot, lambda own, n: convolve(own, standardised(self.kernels[n]), None, self.stride)
            )
        gain, bias = (own[slot].to(out.dtype)[:, :, None, None, None] for own in (self.gain, self.bias))
        return masked(torch.addcmul(bias, out, gain), coverage)


class Stem(nn.Module):
    """The first convolution: every sequence has its own.

    All begin alike, but for the sign in sequences whose lesions are dark: kernels that the encoders share then see
    lesions and fluid as they do in T2-weighted images.

    Parameters
    ----------
    outputs : int
        Channels.
    slots : int
        Sequences.
    dark : tuple of int
        Slots whose lesions are darker than the cord.
    """

    #: Relative intensities of lesions are small.
    GAIN = 2.0

    def __init__(self, outputs: int, slots: int, dark: tuple[int, ...]) -> None:
        super().__init__()
        first = new_kernels(outputs, 1, 3, 3, 3).detach().expand(slots, outputs, 1, 3, 3, 3).clone()
        for n in dark:
            first[n] *= -1
        self.kernels = nn.Parameter(first)
        self.gain = nn.Parameter(torch.full((slots, outputs), self.GAIN))
        self.bias = nn.Parameter(torch.zeros(slots, outputs))

    def forward(self, images: Tensor, slot: Tensor, coverage: Tensor | None) -> Tensor:
        """Map (M, 1, X, Y, Z) to (M, outputs, X, Y, Z)."""

        def one(own: Tensor, n: int) -> Tensor:
            kernels = standardised(self.kernels[n]) * self.gain[n][:, None, None, None, None]
            return convolve(own, kernels, self.bias[n])

        return masked(each_slot(images, slot, one), coverage)


class Residual(nn.Module):
    """Two convolutions of an encoder beside an identity."""

    def __init__(self, channels: int, slots: int, shared: bool) -> None:
        super().__init__()
        self.first = SequenceConv(channels, channels, slots, shared)
        self.second = SequenceConv(channels, channels, slots, shared, gain=BRANCH_GAIN)

    def forward(self, x: Tensor, slot: Tensor, coverage: Tensor | None) -> Tensor:
        """Keep the shape (M, channels, X, Y, Z)."""
        inner = F.leaky_relu(self.first(x, slot, coverage), SLOPE)
        return F.leaky_relu(x + self.second(inner, slot, coverage), SLOPE)


class DecoderConv(nn.Module):
    """Convolution of the decoder, then LeakyReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.kernels = new_kernels(outputs, inputs, 3, 3, 3)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, coverage: Tensor | None) -> Tensor:
        """Map (B, inputs, X, Y, Z) to (B, outputs, X, Y, Z)."""
        kernels = standardised(self.kernels) * self.gain[:, None, None, None, None]
        return F.leaky_relu(masked(convolve(channels_last(x), kernels, self.bias), coverage), SLOPE)


def each_slot(x: Tensor, slot: Tensor, work: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Apply a function to the rows of each sequence and return all rows in their order."""
    order = torch.argsort(slot, stable=True)
    numbers, counts = torch.unique_consecutive(slot[order], return_counts=True)
    parts, first = [], 0
    for n, count in zip(numbers.tolist(), counts.tolist(), strict=True):
        parts.append(work(channels_last(x[order[first : first + count]]), n))
        first += count
    return torch.cat(parts)[torch.argsort(order)] if len(parts) > 1 else parts[0]
