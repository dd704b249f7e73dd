"""The shape of nnU-Net's default network, for timing alone: its weights are random.

Isensee et al. 2021 (doi 10.1038/s41592-020-01008-z): two 3 x 3 x 3 convolutions with instance normalisation and LeakyReLU a
stage, 32 features at full resolution, doubled with every stage up to 320, six stages, strided convolutions down and transposed
ones up.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

FEATURES = (32, 64, 128, 256, 320, 320)
#: Voxels of a stage's axis from which it is halved.
LEAST = 8

Shape = tuple[int, int, int]


class PlainUNet(nn.Module):
    """U-Net for patches of one shape.

    Parameters
    ----------
    inputs : int
        Channels of the image.
    shape : tuple of int
        Of a patch: an axis is halved as long as at least four voxels are left.
    outputs : int
    """

    def __init__(self, inputs: int, shape: Shape, outputs: int = 2) -> None:
        super().__init__()
        strides = _strides(shape)
        widths = (inputs, *FEATURES)
        self.down = nn.ModuleList(
            nn.Sequential(_unit(before, after, stride), _unit(after, after))
            for (before, after), stride in zip(itertools.pairwise(widths), strides, strict=True)
        )
        pairs = list(itertools.pairwise(FEATURES))
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(deep, wide, stride, stride)
            for (wide, deep), stride in zip(pairs, strides[1:], strict=True)
        )
        self.after = nn.ModuleList(
            nn.Sequential(_unit(2 * wide, wide), _unit(wide, wide)) for wide, _ in pairs
        )
        self.head = nn.Conv3d(FEATURES[0], outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, shape (B, outputs, X, Y, Z), of an image, shape (B, inputs, X, Y, Z)."""
        seen = []
        for stage in self.down:
            x = stage(x)
            seen.append(x)
        for level in reversed(range(len(self.up))):
            x = self.after[level](torch.cat([self.up[level](x), seen[level]], dim=1))
        return torch.as_tensor(self.head(x))


def _strides(shape: Shape) -> list[Shape]:
    """Return the stride of each stage."""
    result, size = [(1, 1, 1)], list(shape)
    for _ in FEATURES[1:]:
        stride = [2 if n >= LEAST and n % 2 == 0 else 1 for n in size]
        size = [n // s for n, s in zip(size, stride, strict=True)]
        result.append((stride[0], stride[1], stride[2]))
    return result


def _unit(inputs: int, outputs: int, stride: Shape = (1, 1, 1)) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, stride, 1),
        nn.InstanceNorm3d(outputs, affine=True),
        nn.LeakyReLU(inplace=True),
    )
