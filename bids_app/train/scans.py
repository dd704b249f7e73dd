"""Real scans for the cord localiser: windows of whole scans, with their cords, that never look the same twice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..errors import NothingToDoError
from ..sequences import SLOTS
from ..simulate.draw import Draw
from ..simulate.patches import Patch
from ..simulate.recontrast import recontrast

#: Share of the windows that lie anywhere in a scan instead of near its cord, and of those that get another contrast.
ANYWHERE, RECONTRASTED = 0.3, 0.5
#: Share of the windows whose field of view is cut along the cord, and to what length, mm.
SHORT, SHORT_MM = 0.35, (8.0, 40.0)


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan and its cord on one isotropic grid in LAS order.

    Attributes
    ----------
    name : str
    channels : tensor, shape (3, X, Y, Z)
        Signal relative to the median of the cord, cord (0..1), and where there are data (0 or 1).
    spacing_mm : float
    """

    name: str
    channels: Tensor
    spacing_mm: float


@dataclass(frozen=True, eq=False)
class ScanSource:
    """Makes samples for one stage of the localiser, from the simulator and from real scans.

    Attributes
    ----------
    scans : tuple of Scan
    simulate : callable
        Patch from a seed.
    simulated : float
        Share of simulated samples.
    shape : tuple of int
        Of a sample.
    spacing_mm : float
        Of a sample.
    aside_mm : tuple of float
        How far off the middle the cord may lie, from side to side and from back to front.
    """

    scans: tuple[Scan, ...]
    simulate: Callable[[int], Patch]
    simulated: float
    shape: tuple[int, int, int]
    spacing_mm: float
    aside_mm: tuple[float, float]

    def __call__(self, seed: int) -> Patch:
        """Make one sample."""
        draw = Draw(seed)
        if draw.chance(self.simulated):
            return self.simulate(seed)
        scan = self.scans[draw.integer(0, len(self.scans) - 1)]
        middle = self._middle(scan, draw)
        image, cord, covered = self._window(scan, middle, draw)
        covered &= _field_of_view(draw, self.shape, self.spacing_mm)
        if not covered.any():
            covered[:] = True
        if draw.chance(RECONTRASTED):
            image = recontrast(image, covered, cord, draw.integer(0, len(SLOTS) - 1), draw)
        image = _scanned(image, draw) * covered
        return Patch(
            image.astype(np.float16)[None],
            covered[None],
            (0,),
            np.zeros((1, *self.shape), bool),
            (cord * covered).astype(np.float16),
        )

    def _middle(self, scan: Scan, draw: Draw) -> Tensor:
        """Draw the voxel of a scan in the middle of a window, shape (3,)."""
        size = torch.tensor(scan.channels.shape[1:]).float()
        where = torch.nonzero(scan.channels[1] > 0.5)
        if draw.chance(ANYWHERE) or not len(where):
            return size * torch.tensor([draw.uniform(0.1, 0.9) for _ in range(3)])
        at = where[draw.integer(0, len(where) - 1)].float()
        aside = torch.tensor([draw.uniform(-n, n) for n in self.aside_mm] + [0.0])
        return at + aside / scan.spacing_mm

    def _window(
        self, scan: Scan, middle: Tensor, draw: Draw
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Return image, cord and coverage of a window, turned and scaled at random."""
        matrix = _turn(draw) * (self.spacing_mm / scan.spacing_mm)
        axes = [torch.arange(n) - (n - 1) / 2 for n in self.shape]
        points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) @ matrix.T + middle
        size = torch.tensor(scan.channels.shape[1:]).float()
        unit = ((points + 0.5) / size * 2 - 1).flip(-1)
        channels = scan.channels
        # What is finer than the window's voxels is averaged first.
        width = 2 * round(self.spacing_mm / scan.spacing_mm / 2) + 1
        if width > 1:
            channels = F.avg_pool3d(channels[None], width, stride=1, padding=width // 2)[0]
        values = F.grid_sample(channels[None], unit[None], align_corners=False)[0]
        covered = values[2] > 0.5
        image = torch.where(covered, values[0] / values[2].clamp(min=0.5), torch.zeros(()))
        return image.numpy(), (values[1] * covered).numpy(), covered.numpy()


def read_scans(folder: Path) -> tuple[Scan, ...]:
    """Read prepared scans.

    Raises
    ------
    NothingToDoError
        There are none.
    """
    scans = []
    for path in sorted(folder.glob("[!.]*.npz")):
        with np.load(path) as arrays:
            channels = np.stack([arrays[name].astype(np.float32) for name in ("image", "cord", "covered")])
            # Where there is nothing, nothing is averaged in.
            channels[0] *= channels[2]
            scans.append(Scan(path.stem, torch.from_numpy(channels), float(arrays["spacing_mm"])))
    if not scans:
        raise NothingToDoError(f"There are no prepared scans in {folder}.")
    return tuple(scans)


def _turn(draw: Draw) -> Tensor:
    """Draw how a window lies in a scan: a turn about each axis, a mirror from left to right, and sizes; (3, 3)."""
    result = torch.eye(3)
    for axis, most in enumerate((12, 6, 8)):
        angle = math.radians(draw.normal(0, most / 2))
        a, b = [(1, 2), (0, 2), (0, 1)][axis]
        turn = torch.eye(3)
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        result = result @ turn
    both = draw.log_uniform(0.85, 1.18)
    sizes = [both * draw.log_uniform(0.92, 1.08) for _ in range(3)]
    if draw.chance(0.5):
        sizes[0] *= -1
    return result @ torch.diag(torch.tensor(sizes))


def _field_of_view(draw: Draw, shape: Sequence[int], spacing_mm: float) -> NDArray[np.bool_]:
    """Draw where a window has data: often it ends within the window, and some stacks are short along the cord."""
    covered = np.ones(shape, bool)
    for axis, count in enumerate(shape):
        low, high = 0, count
        if axis == 2 and draw.chance(SHORT):
            length = max(3, round(draw.uniform(*SHORT_MM) / spacing_mm))
            low = draw.integer(0, max(0, count - length))
            high = min(count, low + length)
        elif draw.chance(0.35):
            low = draw.integer(0, count // 3)
            high = count - draw.integer(0, count // 3)
        side = np.arange(count)
        inside = (side >= low) & (side < high)
        covered &= inside.reshape([-1 if n == axis else 1 for n in range(3)])
    return covered


def _scanned(image: NDArray[np.float32], draw: Draw) -> NDArray[np.float32]:
    """Return an image with another coil and more noise."""
    knots = draw.gaussian(1, 1, 3, 3, 4)
    field = F.interpolate(knots, size=image.shape, mode="trilinear", align_corners=True)[0, 0].numpy()
    image = np.asarray(image * np.exp(draw.uniform(0, 0.4) * field), np.float32)
    if draw.chance(0.3):
        height = np.linspace(0, 1, image.shape[2])
        fall = 1 / (1 + np.exp((height - draw.uniform(-0.1, 0.5)) / draw.uniform(0.03, 0.15)))
        share = 1 - draw.uniform(0.3, 0.95) * (fall if draw.chance(0.75) else fall[::-1])
        image = np.asarray(image * share, np.float32)
    if draw.chance(0.5):
        noise = draw.uniform(0.01, 0.12)
        real, imaginary = (noise * draw.gaussian(*image.shape).numpy() for _ in range(2))
        return np.asarray(np.hypot(image + real, imaginary), np.float32)
    return np.asarray(image, np.float32)
