"""The spinal cord as a mask: tidy it, refuse what cannot be a cord, and find its centreline.

Orientation, tilt and slice thickness of the grid do not matter: see `centreline`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .centreline import Levels, distances_mm, end_slope, fine, levels_at, levels_of, smooth
from .errors import CordError
from .images import canonical
from .space import CONNECTED, FloatArray, Grid

#: Plausible cross-section of a cord, square to its own direction.
MIN_AREA_MM2, MAX_AREA_MM2 = 8.0, 200.0
#: No cord fills more than this share of its image.
MAX_SHARE = 0.25
#: No level may be this many times larger than the median of its neighbourhood.
MAX_AREA_RATIO = 4.0
#: The neighbourhood: this far along the cord, on both sides.
AREA_NEIGHBOURHOOD_MM = 20.0
#: From level to level the centre may move by this much, plus as much as the distance between the levels.
MAX_STEP_MM = 2.5
#: The centre keeps this distance from the edge of the image, at most of its levels.
MIN_MARGIN_MM = 3.0
#: Shortest cord; an image with less extent must show the cord over this fraction of it.
MIN_LENGTH_MM, MIN_LENGTH_FRACTION = 20.0, 0.6
#: A cord at least this long tells up from down, by how much wider its lower third is than its upper one.
LEAST_FOR_DOUBT_MM, MOST_WIDER_BELOW = 100.0, 1.5
#: Beyond its ends the centreline keeps its direction for this long, then runs on along the slice axis.
EXTRAPOLATE_MM = 10.0
#: What is lost this near to the cord's centre, also beyond its ends, is lost from the cord.
NEAR_MM, BEYOND_ENDS_MM = 6.0, 10.0
#: A piece of the mask belongs to the cord if it lies this near to where the cord should pass, plus half of
#: the gap.
PIECE_TOLERANCE_MM, PIECE_GAP_MM = 3.0, 40.0
_MAX_PIECES = 64


def clean_mask(mask: NDArray[np.generic], grid: Grid) -> NDArray[np.bool_]:
    """Keep the cord and drop what lies beside it.

    The largest piece along the cord is kept, and every further piece that lies where its continuation should
    pass: in a stack of thick or spaced slices the cord may fall into pieces.

    Parameters
    ----------
    mask : array, shape grid.shape
        Voxels above 0 are cord.
    grid : Grid

    Returns
    -------
    array, shape grid.shape, bool
        Empty where the mask is empty.
    """
    order, grid = canonical(grid)
    filled = order.apply(np.asarray(mask) > 0)
    labels, count = ndimage.label(filled, CONNECTED)
    if count <= 1:
        return np.asarray(mask) > 0
    where = np.argwhere(filled)
    number = labels[filled]
    sizes = np.bincount(number)
    pieces = {}
    for label in np.argsort(-sizes[1:], kind="stable")[:_MAX_PIECES] + 1:
        levels = levels_at(where[number == label], grid)
        area = float(
            sizes[label] * grid.voxel_volume_mm3 / (levels.along_mm[-1] - levels.along_mm[0] + levels.step_mm)
        )
        pieces[int(label)] = (levels, area)
    # The longest piece counts, but a thin thread beside the cord is not longer for being thin.
    first = max(pieces, key=lambda label: len(pieces[label][0].index) * min(pieces[label][1], 60.0))
    kept = [first]
    rest = [label for label in pieces if label != first and pieces[label][1] >= MIN_AREA_MM2 / 2]
    here = pieces[first][0]
    while True:
        near = sorted(rest, key=lambda label: _gap_mm(here, pieces[label][0]))
        added = next((label for label in near if _lines_up(here, pieces[label][0])), None)
        if added is None:
            return order.undo(np.isin(labels, kept))
        kept.append(added)
        rest.remove(added)
        here = levels_at(where[np.isin(number, kept)], grid)


def check_cord(mask: NDArray[np.generic], grid: Grid, name: str = "the image") -> None:
    """Refuse a mask that cannot be a spinal cord.

    Parameters
    ----------
    mask : array, shape grid.shape
        As `clean_mask` leaves it.
    grid : Grid
    name : str
        What the sentence calls the image.

    Raises
    ------
    CordError
        Names the check that failed and its figure: empty, share of the image, length, area, area jump, centreline step or field
        of view.
    """
    step = "Check that the image shows the spinal cord; if it does, look at the cord mask in the work folder."
    filled = np.asarray(mask) > 0
    if not filled.any():
        raise CordError(f"No spinal cord was found in {name}: the cord mask is empty.", step)
    levels = levels_of(filled, grid)
    for check in (_check_length, _check_area, _check_step, _check_margin):
        fault = check(levels, grid)
        if fault:
            raise CordError(f"No plausible spinal cord was found in {name}: {fault}.", step)
    share = float(filled.mean())
    if share > MAX_SHARE:
        raise CordError(
            f"No plausible spinal cord was found in {name}: it would fill {share:.0%} of the image"
            f" (share check: at most {MAX_SHARE:.0%}).",
            step,
        )


def doubt(mask: NDArray[np.generic], grid: Grid) -> str:
    """Say why the header of an image may be wrong about what is up; empty where nothing speaks for that.

    The cord is widest in the neck. The lumbar enlargement is wider than the chest's cord, but not by far: a long cord that is
    much wider at its lower end than at its upper one is stored upside down, or labelled so.

    Parameters
    ----------
    mask : array, shape grid.shape
        As `check_cord` let it pass.
    grid : Grid
    """
    levels = levels_of(np.asarray(mask) > 0, grid)
    length = float(levels.along_mm[-1] - levels.along_mm[0])
    if length < LEAST_FOR_DOUBT_MM:
        return ""
    part = (levels.along_mm - levels.along_mm[0]) / length
    low, high = (float(np.median(levels.area_mm2[end])) for end in (part < 1 / 3, part > 2 / 3))
    if grid.affine[2, levels.axis] < 0:
        low, high = high, low
    if low <= MOST_WIDER_BELOW * high:
        return ""
    return (
        f"The header may be wrong about what is up: the cord's cross-section would be {low:.0f} mm2 in its lower third and"
        f" {high:.0f} mm2 in its upper third (up to {MOST_WIDER_BELOW:g} times are known)."
    )


def lost_share(mask: NDArray[np.generic], grid: Grid, lost: NDArray[np.bool_]) -> float:
    """Return the share of the cord's surroundings (`NEAR_MM` around its course, and beyond its ends) that is lost.

    Parameters
    ----------
    mask, lost : array, shape grid.shape
        Cord, and voxels that show nothing.
    grid : Grid
    """
    line = centreline_mm(mask, grid)
    if not len(line) or not lost.any():
        return 0.0
    slopes = [
        end_slope(line[:, 2], line[:, :2], last) if len(line) > 2 else np.zeros(2) for last in (False, True)
    ]
    low, high = (BEYOND_ENDS_MM * np.append(slope, 1.0) for slope in slopes)
    line = fine(np.vstack([line[:1] - low, line, line[-1:] + high]))
    position = grid.to_index(line)
    reach = NEAR_MM / grid.spacing_mm
    first = np.maximum(np.floor(position.min(axis=0) - reach), 0).astype(int)
    last = np.minimum(np.ceil(position.max(axis=0) + reach).astype(int) + 1, grid.shape)
    index = np.stack(np.meshgrid(*map(np.arange, first, last), indexing="ij"), axis=-1).reshape(-1, 3)
    near = index[distances_mm(grid.to_mm(index.astype(float)), line) <= NEAR_MM]
    return float(lost[tuple(near.T)].mean()) if len(near) else 0.0


def centreline_mm(mask: NDArray[np.generic], grid: Grid) -> FloatArray:
    """Return the smooth centreline of a cord mask.

    Returns
    -------
    array, shape (M, 3)
        RAS+ mm, one point per level that holds cord, from inferior to superior. Shape (0, 3) where the mask
        is empty.
    """
    filled = np.asarray(mask) > 0
    if not filled.any():
        return np.zeros((0, 3))
    levels = levels_of(filled, grid)
    index = np.empty((len(levels.index), 3))
    index[:, levels.axis] = levels.index
    index[:, levels.in_plane] = smooth(levels) / grid.spacing_mm[levels.in_plane]
    points = grid.to_mm(index)
    return points if points[0, 2] <= points[-1, 2] else points[::-1]


def crop_centres(mask: NDArray[np.generic], grid: Grid, common: Grid) -> FloatArray:
    """Return the cord centre in every slice of the common grid.

    Between levels the centre is interpolated; beyond the ends of the mask it keeps the cord's direction for
    at most 10 mm and then stays where it is.

    Parameters
    ----------
    mask : array, shape grid.shape
    grid : Grid
        Any grid in the same space.
    common : Grid
        The uncropped common grid, its third axis along the cord.

    Returns
    -------
    array, shape (common.shape[2], 2)
        Continuous in-plane voxel indices of ``common``.

    Raises
    ------
    CordError
        The mask is empty.
    """
    points = centreline_mm(mask, grid)
    if not len(points):
        raise CordError("The cord mask is empty.")
    spacing = common.spacing_mm
    line = common.to_index(points) * spacing
    line = line[np.argsort(line[:, 2], kind="stable")]
    along = np.arange(common.shape[2]) * spacing[2]
    inside = np.clip(along, line[0, 2], line[-1, 2])
    centres = np.stack([np.interp(inside, line[:, 2], line[:, a]) for a in (0, 1)], axis=-1)
    below = np.clip(line[0, 2] - along, 0, EXTRAPOLATE_MM)[:, None]
    above = np.clip(along - line[-1, 2], 0, EXTRAPOLATE_MM)[:, None]
    centres += above * end_slope(line[:, 2], line[:, :2], last=True)
    centres -= below * end_slope(line[:, 2], line[:, :2], last=False)
    return np.asarray(centres / spacing[:2])


def _gap_mm(kept: Levels, piece: Levels) -> float:
    """Distance along the cord between a piece and the kept levels; 0 where the piece lies among them."""
    gap = max(piece.along_mm[0] - kept.along_mm[-1], kept.along_mm[0] - piece.along_mm[-1])
    return max(float(gap), 0.0)


def _lines_up(kept: Levels, piece: Levels) -> bool:
    """Tell whether a piece lies where the kept cord should go on, or fills a gap in it."""
    if np.isin(piece.index, kept.index).mean() > 0.5 or _gap_mm(kept, piece) > PIECE_GAP_MM:
        return False
    distance = np.abs(piece.along_mm[:, None] - kept.along_mm[None, :]).min(axis=1)
    nearest = int(distance.argmin())
    at, gap = piece.along_mm[nearest], distance[nearest]
    expected = np.array([np.interp(at, kept.along_mm, kept.centre_mm[:, a]) for a in (0, 1)])
    reach = min(float(gap), EXTRAPOLATE_MM)
    if at > kept.along_mm[-1]:
        expected += reach * end_slope(kept.along_mm, kept.centre_mm, last=True)
    elif at < kept.along_mm[0]:
        expected -= reach * end_slope(kept.along_mm, kept.centre_mm, last=False)
    away = float(np.linalg.norm(piece.centre_mm[nearest] - expected))
    return away <= PIECE_TOLERANCE_MM + 0.5 * float(gap)


def _check_length(levels: Levels, grid: Grid) -> str | None:
    length = len(levels.index) * levels.step_mm
    extent = grid.shape[levels.axis] * levels.step_mm
    needed = min(MIN_LENGTH_MM, MIN_LENGTH_FRACTION * extent)
    if length < needed:
        return f"it would be {length:.0f} mm long (length check: at least {needed:.0f} mm of {extent:.0f} mm)"
    return None


def _check_area(levels: Levels, grid: Grid) -> str | None:
    area = levels.area_mm2
    median, largest = float(np.median(area)), float(area.max())
    limits = f"{MIN_AREA_MM2:.0f} to {MAX_AREA_MM2:.0f} mm2"
    if not MIN_AREA_MM2 <= median <= MAX_AREA_MM2:
        return f"its median cross-section would be {median:.0f} mm2 (area check: {limits})"
    if largest > MAX_AREA_MM2:
        return f"its largest cross-section would be {largest:.0f} mm2 (area check: {limits})"
    for position, value in zip(levels.along_mm, area, strict=True):
        near = np.abs(levels.along_mm - position) <= AREA_NEIGHBOURHOOD_MM
        ratio = float(value / np.median(area[near]))
        if ratio > MAX_AREA_RATIO:
            limit = f"at most {MAX_AREA_RATIO:.0f} times"
            return f"its cross-section would grow {ratio:.1f} times at once (area jump check: {limit})"
    return None


def _check_step(levels: Levels, grid: Grid) -> str | None:
    # Ragged ends with a few voxels have no centre worth the name.
    solid = levels.area_mm2 >= 0.25 * np.median(levels.area_mm2)
    along, centre = levels.along_mm[solid], levels.centre_mm[solid]
    if len(along) < 2:
        return None
    step = np.linalg.norm(np.diff(centre, axis=0), axis=1)
    apart = np.diff(along)
    worst = int((step - apart).argmax())
    if step[worst] > MAX_STEP_MM + apart[worst]:
        return (
            f"its centre would jump by {step[worst]:.1f} mm over {apart[worst]:.1f} mm along the cord "
            f"(centreline check: at most {MAX_STEP_MM + apart[worst]:.1f} mm)"
        )
    return None


def _check_margin(levels: Levels, grid: Grid) -> str | None:
    in_plane = levels.in_plane
    size = (np.array(grid.shape)[in_plane] - 1) * grid.spacing_mm[in_plane]
    edge = 0.5 * grid.spacing_mm[in_plane]
    margin = float(np.median(np.minimum(levels.centre_mm + edge, size - levels.centre_mm + edge).min(axis=1)))
    if margin < MIN_MARGIN_MM:
        limit = f"at least {MIN_MARGIN_MM:.0f} mm"
        return (
            f"its centre would lie {margin:.1f} mm from the edge of the image (field of view check: {limit})"
        )
    return None
