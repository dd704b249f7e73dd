"""Seeded draws and smooth random fields: the only sources of chance in the simulator."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class Draw:
    """Random numbers from one seed; on the CPU, so that a seed means the same on every device (but see `noise`)."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        """Return a number between ``low`` and ``high``."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def log_uniform(self, low: float, high: float) -> float:
        """Return a number whose logarithm is uniform."""
        return float(low * (high / low) ** self.uniform(0, 1))

    def normal(self, mean: float = 0.0, spread: float = 1.0) -> float:
        """Return a normal number."""
        return mean + spread * float(torch.randn((), generator=self.generator))

    def integer(self, low: int, high: int) -> int:
        """Return an integer from ``low`` to ``high``, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.uniform(0, 1) < probability

    def gaussian(self, *shape: int) -> Tensor:
        """Return normal numbers of a shape."""
        return torch.randn(shape, generator=self.generator)

    def noise(self, device: torch.device, *shape: int) -> Tensor:
        """Return normal numbers made on a device: many at once, the same from a seed only on the same kind of device."""
        if device.type == "cpu":
            return self.gaussian(*shape)
        generator = torch.Generator(device).manual_seed(self.integer(0, 2**31 - 1))
        return torch.randn(shape, generator=generator, device=device)

    def fork(self) -> Draw:
        """Return an independent source, so that what one part draws does not move the next part's numbers."""
        return Draw(int(torch.randint(0, 2**62, (), generator=self.generator)))


#: Linear interpolation lowers the spread between lattice points: this brings it back to about 1.
WIDER = 1.4


class Field:
    """Smooth random fields with mean 0 and spread 1 near a lattice point, in world mm.

    Parameters
    ----------
    draw : Draw
    channels : int
        Independent fields.
    low, high : tensor, shape (3,)
        Corners of the region in mm; beyond it the fields go on constant.
    scale_mm : tensor or sequence of 3 floats
        Distance of lattice points along x, y, z: the size of the blobs.
    """

    def __init__(
        self, draw: Draw, channels: int, low: Tensor, high: Tensor, scale_mm: tuple[float, float, float]
    ) -> None:
        scale = torch.tensor(scale_mm)
        counts = [max(2, int(n)) for n in torch.ceil((high - low) / scale) + 1]
        self.values = draw.gaussian(1, channels, counts[2], counts[1], counts[0])
        self.low = low
        self.span = scale * (torch.tensor(counts) - 1)

    def __call__(self, points: Tensor) -> Tensor:
        """Evaluate at points, shape (M, 3) in mm; returns (channels, M)."""
        unit = (points - self.low.to(points)) / self.span.to(points) * 2 - 1
        values = self.values.to(points)
        out = F.grid_sample(values, unit[None, None, None], align_corners=True, padding_mode="border")
        return WIDER * out[0, :, 0, 0]

    def on_grid(self, axes: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Evaluate on a rectilinear grid, given by its positions (mm) along x, y and z; returns (channels, X, Y, Z)."""
        values = self.values[0].to(axes[0])
        for axis, positions in enumerate(axes):
            count = values.shape[3 - axis]
            at = ((positions - self.low[axis]) / self.span[axis] * (count - 1)).clamp(0, count - 1)
            # Each row holds the weights of two neighbouring lattice points.
            lattice = torch.arange(count, device=at.device)
            weights = (1 - (at[:, None] - lattice).abs()).clamp(min=0)
            values = torch.movedim(torch.movedim(values, 3 - axis, -1) @ weights.T, -1, 3 - axis)
        return WIDER * values.permute(0, 3, 2, 1)


def smooth_profile(draw: Draw, rows: int, length: int, scale: float) -> Tensor:
    """Return smooth random curves of spread about 1, shape (rows, length), with features of ``scale`` samples."""
    knots = max(4, int(length / scale) + 3)
    coarse = draw.gaussian(rows, 1, knots)
    fine = F.interpolate(coarse, size=int(knots * scale) + 1, mode="linear", align_corners=True)[:, 0]
    kernel = torch.ones(1, 1, max(1, int(scale / 2)) * 2 + 1)
    kernel = kernel / kernel.sum()
    padded = F.pad(fine[:, None], (kernel.shape[-1] // 2,) * 2, mode="replicate")
    return 1.3 * F.conv1d(padded, kernel)[:, 0, :length]
