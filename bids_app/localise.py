"""The built-in cord localiser: finds the cord in a whole image of any sequence, without Spinal Cord Toolbox.

Two small networks. The first sees the whole field of view at 2 mm; a smooth path through its map is the centreline. The second
draws the cord at 0.5 mm in a 24 mm crop around that line. What comes out passes the same checks as a mask of SCT's.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from . import cord, images, resample, space
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
#: The path may move this many overview voxels in plane from slice to slice (63 degrees).
REACH = 2
#: Probability along the path from which the cord is taken to be there.
PRESENT = 0.5
#: Mean probability along the path from which it is taken to be a cord. Brains and noise stay well below it.
CONFIDENT = 0.6
#: Pieces of cord closer than this along the cord are one.
GAP_MM = 12.0
MINIMUM_LENGTH_MM = 20.0
#: The crop is laid anew where the second network finds the cord further than this from the first one's line.
RECENTRE_MM = 3.0


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
        path_mm, score = self._centreline(volume, valid, grid)
        log.debug("centreline of %d points, mean probability %.2f", len(path_mm), score)
        common = images.common_grid(grid)
        probability, starts = self._draw(volume, valid, grid, common, path_mm)
        centre = _centroids(probability, starts)
        if (
            np.nanmax(np.abs(centre - (starts + (space.CROP_VOXELS - 1) / 2)), initial=0) * space.SPACING_MM
            > RECENTRE_MM
        ):
            moved = _fill(centre)
            points = common.to_mm(np.column_stack([moved, np.arange(len(moved))]))
            first, last = _span(path_mm, common)
            probability, starts = self._draw(volume, valid, grid, common, points[first : last + 1])
        native = resample.from_crop(probability, starts, common, grid, np.eye(4))
        mask = cord.clean_mask(native >= 0.5, grid).astype(np.uint8)
        cord.check_cord(mask, grid)
        return mask

    def _centreline(
        self, volume: NDArray[np.float32], valid: NDArray[np.bool_], grid: Grid
    ) -> tuple[FloatArray, float]:
        """Return points of the centreline, shape (M, 3) RAS+ mm, bottom to top, and the mean probability along it."""
        coarse = images.common_grid(grid, OVERVIEW_MM)
        values, covered = _to_overview(volume, valid, grid, coarse)
        probability = self._overview_map(values, covered)
        path, along = best_path(probability)
        run = _longest_run(along >= PRESENT, round(GAP_MM / OVERVIEW_MM))
        length = (run.stop - run.start) * OVERVIEW_MM
        if length < min(MINIMUM_LENGTH_MM, 0.8 * len(along) * OVERVIEW_MM) or length == 0:
            raise CordError(
                f"No spinal cord was found: the best candidate is {length:.0f} mm long"
                f" (at least {MINIMUM_LENGTH_MM:.0f} mm are needed), with a peak probability of {along.max():.2f}."
            )
        if along[run].mean() < CONFIDENT:
            raise CordError(
                f"No spinal cord was found: the best candidate, {length:.0f} mm long, has a mean probability of"
                f" {along[run].mean():.2f} (at least {CONFIDENT:.2f} is needed)."
            )
        index = np.column_stack(
            [
                ndimage.gaussian_filter1d(path[run], 2.0, axis=0, mode="nearest"),
                np.arange(run.start, run.stop),
            ]
        )
        return coarse.to_mm(index), float(along[run].mean())

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

    def _draw(
        self,
        volume: NDArray[np.float32],
        valid: NDArray[np.bool_],
        grid: Grid,
        common: Grid,
        path_mm: FloatArray,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return cord probability in the crop around a path, shape (48, 48, N), and the crop's starts."""
        slices = np.arange(common.shape[2])
        centre = _follow(common.to_index(path_mm), slices)
        starts = space.crop_starts(centre)
        first, last = _span(path_mm, common)
        image, covered = resample.to_crop(volume, grid, starts, common, np.eye(4), valid=valid)
        part = slice(first, last + 1)
        image, covered = space.normalise(image[..., part], covered[..., part]), covered[..., part]
        padded, inner = _pad(image, CORD_WINDOW)
        cover, _ = _pad(covered.astype(np.float32), CORD_WINDOW)

        def predict(window: tuple[slice, ...]) -> FloatArray | None:
            return (
                _run(self.cord, padded[window], cover[window], self.device) if cover[window].any() else None
            )

        result = np.zeros((space.CROP_VOXELS, space.CROP_VOXELS, len(slices)), np.float32)
        result[..., part] = tiled(padded.shape, CORD_WINDOW, predict, CORD_OVERLAP)[inner] * covered
        return result, starts


def best_path(probability: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the most probable path through a map, one point a slice along the last axis.

    Dynamic programming over slices: the path gains the probability under it and pays for every sideways step.

    Parameters
    ----------
    probability : array, shape (X, Y, N)

    Returns
    -------
    path : array, shape (N, 2)
        In-plane position in voxels, refined to the local centre of mass.
    along : array, shape (N,)
        Highest probability next to the path in each slice.
    """
    smooth = ndimage.uniform_filter(probability, (3, 3, 3), mode="constant")
    gain = smooth[..., 0].astype(np.float64)
    steps: list[NDArray[np.int64]] = []
    offsets = [(a, b) for a in range(-REACH, REACH + 1) for b in range(-REACH, REACH + 1)]
    for k in range(1, probability.shape[2]):
        padded = np.pad(gain, REACH, constant_values=-np.inf)
        moved = np.stack(
            [
                padded[REACH + a : REACH + a + gain.shape[0], REACH + b : REACH + b + gain.shape[1]]
                - 0.02 * (a * a + b * b)
                for a, b in offsets
            ]
        )
        choice = moved.argmax(axis=0)
        steps.append(choice)
        gain = np.take_along_axis(moved, choice[None], 0)[0] + smooth[..., k]
    at = np.array(np.unravel_index(int(gain.argmax()), gain.shape))
    path = [at]
    for choice in reversed(steps):
        at = at + np.array(offsets[int(choice[tuple(at)])])
        path.append(at)
    track = np.array(path[::-1])
    refined, along = track.astype(float), np.zeros(len(track))
    for k, (i, j) in enumerate(track):
        low = np.maximum((i - 3, j - 3), 0)
        block = probability[low[0] : i + 4, low[1] : j + 4, k]
        along[k] = block.max()
        if block.sum() > 0.5:
            refined[k] = np.array(ndimage.center_of_mass(block)) + low
    return refined, along


def _ready(weights: Weights, device: torch.device) -> Weights:
    weights.network.to(device)
    return weights


def _run(weights: Weights, image: FloatArray, cover: FloatArray, device: torch.device) -> FloatArray:
    """Return the probability of one window."""
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
    """Average an image down to the overview grid and normalise it; outliers are clipped first. Both grids are canonical."""
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
    return space.normalise(values, covered), covered


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


def _longest_run(present: NDArray[np.bool_], gap: int) -> slice:
    """Return the longest run of True, gaps of up to ``gap`` bridged."""
    bridged = (
        ndimage.binary_closing(np.pad(present, gap + 1), np.ones(2 * (gap // 2) + 1))[gap + 1 : -(gap + 1)]
        | present
    )
    labels, count = ndimage.label(bridged)
    if not count:
        return slice(0, 0)
    runs = ndimage.find_objects(labels)
    best = max((run[0] for run in runs), key=lambda run: int(present[run].sum()))
    return slice(best.start, best.stop)


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
