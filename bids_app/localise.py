"""The built-in cord localiser: finds the cord in a whole image of any sequence, without Spinal Cord Toolbox.

Two small networks. The first sees the whole field of view at 2 mm; smooth paths through its map are candidates for the
centreline. The second draws the cord at 0.5 mm in a 24 mm crop around each of them: what it confirms wins, however unsure the
first was; what it denies is refused. What comes out passes the same checks as a mask of SCT's.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from . import cord, images, resample, space
from .candidates import Candidate, candidates
from .cards import SHIPPED
from .errors import CordError
from .model import checkpoint
from .model.checkpoint import Weights
from .model.network import Batch
from .signal import block_of, find_signal
from .space import FloatArray, Grid
from .tiling import tiled

log = logging.getLogger(__name__)

OVERVIEW_MM = 2.0
#: Windows of the two networks, in voxels: those that they were trained on.
OVERVIEW_WINDOW, CORD_WINDOW = (48, 56, 64), (48, 48, 64)
#: No window is smaller: the network halves its input three times.
LEAST_WINDOW = 16
#: The second network looks this far beyond the ends that the first one found: it sees them better.
BEYOND_MM = 12.0
#: The cord changes slowly along its length: a quarter of a window is enough to blend.
CORD_OVERLAP = 0.25
#: Mean probability inside the cord from which the second network is taken to confirm it, and probability of both networks from
#: which no other candidate is looked at. Cords of people lie at 0.91 and above, what is no cord at 0.87 and below.
CERTAIN, SURE = 0.88, 0.9
#: The crop is laid anew where the second network finds the cord further than this from the first one's line.
RECENTRE_MM = 3.0


@dataclass(frozen=True, eq=False)
class _Scan:
    """An image in canonical order: signal, where it has data, its grid, and the uncropped common grid."""

    volume: NDArray[np.float32]
    valid: NDArray[np.bool_]
    grid: Grid
    common: Grid


@dataclass(frozen=True, eq=False)
class Drawn:
    """What the second network makes of a candidate.

    Attributes
    ----------
    mask : array, shape grid.shape, or None
        None where it is no cord.
    overview : float
        Mean probability of the first network along the path.
    certainty : float
        Mean probability of the second network inside the cord.
    length_mm : float
        Over which there is a cord.
    reason : str
        Why there is no mask.
    """

    mask: NDArray[np.uint8] | None
    overview: float
    certainty: float
    length_mm: float
    reason: str

    @property
    def score(self) -> float:
        """What decides between candidates: length, as far as both networks believe in it."""
        return self.length_mm * self.certainty * (0.25 + self.overview)

    @property
    def sure(self) -> bool:
        """Whether no other candidate need be looked at."""
        return self.overview >= SURE and self.certainty >= SURE

    def __str__(self) -> str:
        return f"{self.length_mm:.0f} mm, overview {self.overview:.2f}, certainty {self.certainty:.2f}. {self.reason}"


class Localiser:
    """Finds cords; holds the two networks.

    Parameters
    ----------
    device : torch.device
    folder : Path
        With ``overview.safetensors`` and ``cord.safetensors``.
    """

    def __init__(self, device: torch.device, folder: Path = SHIPPED) -> None:
        self.device = device
        self.overview = _ready(checkpoint.load(folder / "overview.safetensors"), device)
        self.cord = _ready(checkpoint.load(folder / "cord.safetensors"), device)

    def __call__(self, volume: NDArray[np.float32], grid: Grid) -> NDArray[np.uint8]:
        """Return the cord mask on the image's own grid.

        Parameters
        ----------
        volume : array, shape grid.shape
            As the file holds it; NaN and infinite values are allowed.
        grid : Grid

        Raises
        ------
        CordError
            No cord, or none that passes the checks; the sentence names the check and the figure.
        """
        order, turned = images.canonical(grid)
        # Scans that are stored in different ways are one array from here on, and padding is gone.
        found = find_signal(np.ascontiguousarray(order.apply(volume)))
        block = block_of(found.valid)
        mask = np.zeros(turned.shape, np.uint8)
        if found.valid.any():
            mask[block] = self._find(found.values[block], found.valid[block], _cut(turned, block))
        if not mask.any():
            raise CordError("No spinal cord was found: the image holds no data.")
        return order.undo(mask)

    def _find(self, volume: NDArray[np.float32], valid: NDArray[np.bool_], grid: Grid) -> NDArray[np.uint8]:
        """Return the cord mask of an image in canonical order."""
        coarse = images.common_grid(grid, OVERVIEW_MM)
        values, covered = _to_overview(volume, valid, grid, coarse)
        scan = _Scan(volume, valid, grid, images.common_grid(grid))
        drawn = []
        for one in candidates(self._overview_map(values, covered)):
            drawn.append(self._confirm(scan, one, coarse))
            log.debug("candidate: %s", drawn[-1])
            if drawn[-1].mask is not None and drawn[-1].sure:
                break
        if not drawn:
            raise CordError("No spinal cord was found: nothing in the image looks like one.")
        best = max(drawn, key=lambda one: (one.mask is not None, one.score))
        if best.mask is None:
            raise CordError(best.reason)
        return best.mask

    def _confirm(self, scan: _Scan, candidate: Candidate, coarse: Grid) -> Drawn:
        """Let the second network draw a candidate, and see whether it takes it for a cord."""
        common = scan.common
        path_mm = coarse.to_mm(candidate.index)
        probability, starts = self._draw(scan, path_mm)
        centre = _centroids(probability, starts)
        off = np.abs(centre - (starts + (space.CROP_VOXELS - 1) / 2)) * space.SPACING_MM
        if np.nanmax(off, initial=0) > RECENTRE_MM:
            moved = _fill(centre)
            points = common.to_mm(np.column_stack([moved, np.arange(len(moved))]))
            first, last = _span(path_mm, common)
            probability, starts = self._draw(scan, points[first : last + 1])
        certainty, length = certainty_of(probability)
        extent = float(scan.valid.any(axis=(0, 1)).sum() * scan.grid.spacing_mm[2])
        needed = min(cord.MIN_LENGTH_MM, cord.MIN_LENGTH_FRACTION * extent)
        drawn = Drawn(None, candidate.mean, certainty, length, "")
        if length < needed or certainty < CERTAIN:
            return replace(
                drawn,
                reason=f"No spinal cord was found: the best candidate is confirmed over {length:.0f} mm (at least"
                f" {needed:.0f} mm are needed), with a probability of {certainty:.2f} (at least {CERTAIN:.2f} is needed).",
            )
        native = resample.from_crop(probability, starts, common, scan.grid, np.eye(4))
        mask = cord.clean_mask(native >= 0.5, scan.grid).astype(np.uint8)
        try:
            cord.check_cord(mask, scan.grid)
        except CordError as error:
            return replace(drawn, reason=str(error))
        return replace(drawn, mask=mask)

    def _overview_map(self, values: FloatArray, covered: NDArray[np.bool_]) -> NDArray[np.float32]:
        # What lies outside the field of view counts for nothing: a window need not reach further than the image does.
        size = tuple(
            min(most, max(LEAST_WINDOW, -(-n // 8) * 8))
            for n, most in zip(values.shape, OVERVIEW_WINDOW, strict=True)
        )
        padded, inner = _pad(values, size)
        cover, _ = _pad(covered.astype(np.float32), size)

        def predict(window: tuple[slice, ...]) -> FloatArray | None:
            if cover[window].mean() < 0.02:
                return None
            return _run(self.overview, padded[window], cover[window], self.device)

        return tiled(padded.shape, size, predict)[inner] * covered

    def _draw(self, scan: _Scan, path_mm: FloatArray) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return cord probability in the crop around a path, shape (48, 48, N), and the crop's starts."""
        common = scan.common
        slices = np.arange(common.shape[2])
        centre = _follow(common.to_index(path_mm), slices)
        starts = space.crop_starts(centre)
        first, last = _span(path_mm, common)
        image, covered = resample.to_crop(scan.volume, scan.grid, starts, common, np.eye(4), valid=scan.valid)
        part = slice(first, last + 1)
        image, covered = image[..., part], covered[..., part]
        padded, inner = _pad(image, CORD_WINDOW)
        cover, _ = _pad(covered.astype(np.float32), CORD_WINDOW)

        def predict(window: tuple[slice, ...]) -> FloatArray | None:
            return (
                _run(self.cord, padded[window], cover[window], self.device) if cover[window].any() else None
            )

        result = np.zeros((space.CROP_VOXELS, space.CROP_VOXELS, len(slices)), np.float32)
        result[..., part] = tiled(padded.shape, CORD_WINDOW, predict, CORD_OVERLAP)[inner] * covered
        return result, starts


def certainty_of(probability: NDArray[np.float32]) -> tuple[float, float]:
    """Return the mean probability inside a cord, and the length over which there is one, mm.

    A slice counts where the inside (from 0.5) has the size of a cord.

    Parameters
    ----------
    probability : array, shape (48, 48, N)
    """
    inside = probability >= 0.5
    area = inside.sum(axis=(0, 1)) * space.SPACING_MM**2
    there = (area >= cord.MIN_AREA_MM2) & (area <= cord.MAX_AREA_MM2)
    if not there.any():
        return 0.0, 0.0
    mass = (probability * inside).sum(axis=(0, 1))[there].sum()
    return float(mass / inside[..., there].sum()), float(there.sum() * space.SPACING_MM)


def _ready(weights: Weights, device: torch.device) -> Weights:
    weights.network.to(device)
    return weights


def _run(weights: Weights, image: FloatArray, cover: FloatArray, device: torch.device) -> FloatArray:
    """Return the probability of one window. As in training its own signal is what it is normalised by."""
    image = space.normalise(image, cover > 0)
    batch = Batch(
        torch.from_numpy(np.ascontiguousarray(image, np.float32))[None, None].to(device),
        torch.from_numpy(np.ascontiguousarray(cover, np.float32))[None, None].to(device),
        (0,),
        (0,),
        1,
    )
    with torch.inference_mode():
        return np.asarray(torch.sigmoid(weights.network(batch))[0, 0].float().cpu().numpy())


def _cut(grid: Grid, block: tuple[slice, ...]) -> Grid:
    """Return the grid of a block of an array."""
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_mm(np.array([part.start for part in block], float))
    i, j, k = (part.stop - part.start for part in block)
    return Grid((i, j, k), affine)


def _to_overview(
    volume: NDArray[np.float32], valid: NDArray[np.bool_], grid: Grid, coarse: Grid
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Average an image down to the overview grid; outliers are clipped first. Both grids are canonical."""
    low, high = np.percentile(volume[valid], [0.5, 99.5])
    clipped = np.clip(volume, low, high) if high > low else volume
    smooth, weight = np.where(valid, clipped, np.float32(0)), valid.astype(np.float32)
    for axis, spacing in enumerate(grid.spacing_mm):
        kernel = averaging(OVERVIEW_MM / float(spacing))
        smooth = ndimage.correlate1d(smooth, kernel, axis, mode="nearest")
        weight = weight if valid.all() else ndimage.correlate1d(weight, kernel, axis, mode="nearest")
    matrix = coarse.index_matrix(grid)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in coarse.shape], indexing="ij"), axis=-1).astype(float)
    position = index @ matrix[:3, :3].T + matrix[:3, 3]
    covered = resample.inside(position, grid.shape)
    values, covered = resample.sample_valid(smooth, weight, position, covered)
    return values, covered


def averaging(voxels: float) -> NDArray[np.float64]:
    """Return the symmetric kernel that blurs as much as a mean over so many voxels, shape (odd,), sum 1.

    For odd numbers it is that mean. An even number of voxels has no middle: there, and in between, the two outermost weights
    are such that the variance, (n^2 - 1) / 12 voxels^2, is right. One voxel or less: no blur.
    """
    voxels = round(voxels, 4)
    variance = max(0.0, (voxels**2 - 1) / 12)
    inner = int(np.floor((np.sqrt(1 + 12 * variance) - 1) / 2 + 1e-6))
    count = 2 * inner + 1
    outer = count * max(0.0, variance - inner * (inner + 1) / 3) / (2 * ((inner + 1) ** 2 - variance))
    kernel = np.ones(count + 2)
    kernel[[0, -1]] = outer
    return np.asarray(kernel / kernel.sum())


def _pad(array: FloatArray, size: tuple[int, ...]) -> tuple[NDArray[np.float32], tuple[slice, ...]]:
    """Pad an array with zeros to at least a window, and say where the array lies in the result."""
    extra = [max(0, m - n) for n, m in zip(array.shape, size, strict=True)]
    widths = [(e // 2, e - e // 2) for e in extra]
    inner = tuple(slice(a, a + n) for (a, _), n in zip(widths, array.shape, strict=True))
    return np.pad(array, widths).astype(np.float32), inner


def _span(path_mm: FloatArray, common: Grid) -> tuple[int, int]:
    """Return the first and last common slice of a path, and what is looked at beyond its ends."""
    along = np.round(common.to_index(path_mm)[:, 2], 3)
    margin = BEYOND_MM / space.SPACING_MM
    return max(0, int(np.floor(along.min() - margin))), min(
        common.shape[2] - 1, int(np.ceil(along.max() + margin))
    )


def _follow(index: FloatArray, slices: NDArray[np.int64]) -> FloatArray:
    """Return the in-plane centre in each slice, shape (N, 2): along the path, and straight on beyond its ends.

    ``index`` holds the path's points in voxels of the common grid, shape (M, 3).
    """
    index = index[np.argsort(index[:, 2])]
    reach = BEYOND_MM / space.SPACING_MM
    ends = []
    for end, step in ((index[0], -1.0), (index[-1], 1.0)):
        near = index[np.abs(index[:, 2] - end[2]) <= 2 * reach]
        length = np.ptp(near[:, 2])
        slope = np.polyfit(near[:, 2], near[:, :2], 1)[0] if length > reach else np.zeros(2)
        ends.append(np.append(end[:2] + step * reach * slope, end[2] + step * reach))
    longer = np.vstack([ends[0], index, ends[1]])
    return np.column_stack([np.interp(slices, longer[:, 2], longer[:, axis]) for axis in (0, 1)])


def _centroids(probability: NDArray[np.float32], starts: NDArray[np.int64]) -> FloatArray:
    """Return the in-plane centre of mass per slice in grid voxels, shape (N, 2); NaN where there is no cord."""
    offsets = np.arange(space.CROP_VOXELS)
    mass = probability.sum(axis=(0, 1))
    safe = np.where(mass > 20, mass, np.nan)
    i = (probability.sum(axis=1) * offsets[:, None]).sum(axis=0) / safe
    j = (probability.sum(axis=0) * offsets[:, None]).sum(axis=0) / safe
    return np.column_stack([i, j]) + starts


def _fill(centre: FloatArray) -> FloatArray:
    """Interpolate missing centres along the cord and smooth them over 4 mm."""
    slices = np.arange(len(centre))
    known = np.isfinite(centre[:, 0])
    filled = np.column_stack([np.interp(slices, slices[known], centre[known, axis]) for axis in (0, 1)])
    return np.asarray(ndimage.gaussian_filter1d(filled, 4 / space.SPACING_MM, axis=0, mode="nearest"))
