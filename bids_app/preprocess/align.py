"""Rigid alignment of an image onto the reference, guided and checked by the two cords.

Points are RAS+ mm outside this module. SimpleITK counts in LPS+ mm: only `_to_sitk` and `_matrix_ras` know
that.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its customary name
from numpy.typing import NDArray
from scipy import ndimage

from .. import cord
from ..centreline import distance_mm, distances_mm, fine, shared_mm, shift_between
from ..images import canonical, read_labels, read_volume
from ..provenance import SEEDS
from ..records import Alignment
from ..signal import find_signal
from ..space import FloatArray, Grid

_log = logging.getLogger(__name__)

#: The metric sees tissue this near to the cord's centre.
RADIUS_MM = 17.0
#: Limits relative to the header: an alignment beyond them has slid along the cord or turned over.
MAX_SHIFT_ALONG_MM, MAX_SHIFT_MM, MAX_ROTATION_DEGREES = 7.0, 15.0, 15.0
#: Less shared cord than this says nothing about the position.
MIN_SHARED_MM = 10.0
#: The image with slices thicker by this factor is the fixed one: its voxels are sampled where they are, not
#: interpolated.
THICKER = 1.5
#: The cords may be this much further apart than by header alone.
CORD_TOLERANCE_MM = 0.3
#: Starts are the header, the shift between the cords, and that shift with this much along the cord, both
#: ways.
START_MM = 3.0
#: Voxels that the metric sees at most while the starts are compared, and in the end.
SAMPLES_FIRST, SAMPLES_LAST = 5000, 20000
#: While the starts are compared, voxels of the fixed image this far apart are enough.
THIN_MM = 2.0
#: The moving image is blurred this much along axes with thinner slices than that: thick slices stay as they
#: are.
BLUR_VOXELS, THICK_MM = 0.7, 1.6
#: Where an image lies counts to this many digits of a mm: headers of one image stored in several ways differ by less.
PLACE_DIGITS = 2
#: A turn by one radian counts as this much shift.
TURN_MM = 30.0
_BINS = 32
_SEED = SEEDS["alignment"]
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class _Scan:
    """An image with its cord."""

    volume: NDArray[np.float32]
    grid: Grid
    line: FloatArray  # smooth centreline, (M, 3) RAS mm
    valid: NDArray[np.bool_]  # where the volume holds data; it is 0 elsewhere


def identity(reference: Path) -> Alignment:
    """Return the alignment of the reference with itself."""
    return Alignment(reference, np.eye(4), "identity", "it is the reference")


def align(image: Path, image_cord: Path, reference: Path, reference_cord: Path) -> Alignment:
    """Find how an image lies on the reference.

    A rigid transform (6 degrees of freedom) is fitted to mutual information near the cord, from several
    starts around the header's own position. It is kept only if near the cord neither the mutual information
    nor the distance between the two centrelines is worse than by header alone, and if it stays within the
    limits above.

    Parameters
    ----------
    image, reference : Path
    image_cord, reference_cord : Path
        Cord masks on the grids of the two images.

    Returns
    -------
    Alignment
        Its transform maps points of the reference to points of the image (RAS+ mm). Equal input gives equal
        numbers.

    Raises
    ------
    BadImageError
        An image cannot be read.
    """
    transform, method, reason = _align(_read(image, image_cord), _read(reference, reference_cord))
    _log.info("%s: %s (%s)", image.name, method, reason)
    return Alignment(image, transform, method, reason)


def _read(path: Path, mask: Path) -> _Scan:
    """Read an image in canonical order, its place rounded: however it is stored, the same numbers go in."""
    filled, grid = read_labels(mask)
    order, grid = canonical(grid)
    affine = np.round(grid.affine, 6)
    affine[:3, 3] = np.round(affine[:3, 3], PLACE_DIGITS)
    grid = Grid(grid.shape, affine)
    found = find_signal(np.ascontiguousarray(order.apply(read_volume(path)[0])))
    return _Scan(found.values, grid, cord.centreline_mm(order.apply(filled), grid), found.valid)


def _align(image: _Scan, reference: _Scan) -> tuple[FloatArray, str, str]:
    """Return transform, method and reason; see `align`."""
    header = np.eye(4)
    shared = shared_mm(image.line, reference.line)
    if shared < MIN_SHARED_MM:
        return header, "header", f"the cords share only {max(shared, 0.0):.0f} mm"
    swapped = image.grid.spacing_mm.max() > THICKER * reference.grid.spacing_mm.max()
    fixed, moving = (image, reference) if swapped else (reference, image)
    problem = _Problem.near_cord(fixed, moving)
    if problem is None:
        return header, "header", "the images share too few voxels near the cord"
    found = problem.solve()
    if found is None:
        return header, "header", f"no rigid fit stayed within {MAX_SHIFT_ALONG_MM:.0f} mm along the cord"
    information = problem.information([header, found])
    apart = [distance_mm(fixed.line, moving.line, t) for t in (header, found)]
    figures = (
        f"mutual information {information[1]:.3f} against {information[0]:.3f}, "
        f"cords {apart[1]:.2f} mm apart against {apart[0]:.2f} mm by header"
    )
    if information[1] < information[0] or apart[1] > apart[0] + CORD_TOLERANCE_MM:
        return header, "header", f"the rigid fit was no better than the header: {figures}"
    return _rounded(np.linalg.inv(found) if swapped else found), "rigid", figures


@dataclass(frozen=True, eq=False)
class _Problem:
    """Two scans cut to the surroundings of their shared cord, and the voxels of the fixed one that count."""

    fixed: _Scan
    moving: _Scan
    index: NDArray[np.int64]  # (P, 3), voxels of fixed, in a seeded random order
    centre: FloatArray  # of rotation, RAS mm

    @classmethod
    def near_cord(cls, fixed: _Scan, moving: _Scan) -> _Problem | None:
        line = fine(fixed.line)
        reach = RADIUS_MM / fixed.grid.spacing_mm + 1
        position = fixed.grid.to_index(line)
        cut = _cut(fixed, position.min(axis=0) - reach, position.max(axis=0) + reach)
        index = np.argwhere(np.ones(cut.grid.shape, bool))
        points = cut.grid.to_mm(index.astype(float))
        near = distances_mm(points, line) <= RADIUS_MM
        there = moving.grid.to_index(points)
        near &= np.all((there >= 0) & (there <= np.array(moving.grid.shape) - 1), axis=1)
        near &= cut.valid.ravel()
        if near.sum() < 500:
            return None
        margin = (MAX_SHIFT_MM + 3) / moving.grid.spacing_mm
        other = _cut(moving, there[near].min(axis=0) - margin, there[near].max(axis=0) + margin)
        # Interpolation halfway between voxels blurs noise, which the metric likes: blurred before, it gains
        # nothing.
        blur = np.where(moving.grid.spacing_mm < THICK_MM, BLUR_VOXELS, 0.0)
        other = replace(other, volume=_blurred(other, blur))
        order = np.random.default_rng(0).permutation(np.flatnonzero(near))
        return cls(cut, other, index[order], points[near].mean(axis=0))

    def solve(self) -> FloatArray | None:
        """Return the best transform within the limits (fixed RAS mm to moving RAS mm), or None."""
        shift = shift_between(self.fixed.line, self.moving.line)
        starts = [np.zeros(3), *(shift + np.array([0.0, 0.0, along]) for along in (0.0, START_MM, -START_MM))]
        thin = self._thinned()
        fits = sorted((thin._fit(_start(start), last=False) for start in starts), key=lambda fit: fit[0])
        good = [fit for fit in fits if self._within_limits(self._matrix(fit[1]))]
        if good:
            last = self._matrix(self._fit(good[0][1], last=True)[1])
            return last if self._within_limits(last) else self._matrix(good[0][1])
        # Everything slid along the cord: forbid that, and look once more.
        held = self._matrix(self._fit(_start(shift), last=True, free_along=False)[1])
        return held if self._within_limits(held) else None

    def information(self, transforms: list[FloatArray]) -> list[float]:
        """Return the mutual information of each transform over the voxels that all of them reach."""
        index = self.index[:SAMPLES_LAST]
        points = self.fixed.grid.to_mm(index.astype(float))
        there = [self.moving.grid.to_index(points @ t[:3, :3].T + t[:3, 3]) for t in transforms]
        upper = np.array(self.moving.grid.shape) - 1
        valid = np.all([np.all((i >= 0) & (i <= upper), axis=1) for i in there], axis=0)
        for i in there:
            valid &= ndimage.map_coordinates(self.moving.valid, i.T, order=0, mode="nearest")
        values = self.fixed.volume[tuple(index[valid].T)]
        return [
            _mutual_information(values, ndimage.map_coordinates(self.moving.volume, i[valid].T, order=1))
            for i in there
        ]

    def _thinned(self) -> _Problem:
        """Return the problem with every second or third voxel of the fixed image; nothing is averaged."""
        step = np.clip(np.floor(THIN_MM / self.fixed.grid.spacing_mm + 1e-3), 1, 3).astype(int)
        volume = np.ascontiguousarray(self.fixed.volume[:: step[0], :: step[1], :: step[2]])
        affine = self.fixed.grid.affine.copy()
        affine[:3, :3] *= step
        grid = Grid((volume.shape[0], volume.shape[1], volume.shape[2]), affine)
        index = self.index[np.all(self.index % step == 0, axis=1)] // step
        # No metric looks at the valid voxels of the fixed image: the index holds no others.
        valid = np.ones(volume.shape, bool)
        return replace(self, fixed=_Scan(volume, grid, self.fixed.line, valid), index=index)

    def _fit(self, start: FloatArray, last: bool, free_along: bool = True) -> tuple[float, FloatArray]:
        """Return the metric (less is better) and the six parameters that one start leads to."""
        mask = np.zeros(self.fixed.grid.shape, np.uint8)
        mask[tuple(self.index[: SAMPLES_LAST if last else SAMPLES_FIRST].T)] = 1
        transform = self._transform(start)
        method = sitk.ImageRegistrationMethod()
        method.SetNumberOfThreads(1)
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetMetricFixedMask(_to_sitk(mask, self.fixed.grid))
        if not self.moving.valid.all():
            method.SetMetricMovingMask(_to_sitk(self.moving.valid.astype(np.uint8), self.moving.grid))
        # Gathers the points within the mask once; without it every evaluation walks over all voxels (3 x the time).
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(1.0, _SEED)
        method.SetInterpolator(sitk.sitkLinear)
        # Line searches: across contrasts the gradient of this metric led into local optima where these did
        # not.
        method.SetOptimizerAsPowell(
            numberOfIterations=3,
            maximumLineIterations=20,
            stepLength=0.5,
            stepTolerance=0.02 if last else 0.05,
            valueTolerance=1e-4 if last else 1e-3,
        )
        along = 1.0 if free_along else 1e9
        method.SetOptimizerScales([TURN_MM] * 3 + [1.0, 1.0, along])
        method.SetInitialTransform(transform, inPlace=True)
        try:
            method.Execute(
                _to_sitk(self.fixed.volume, self.fixed.grid), _to_sitk(self.moving.volume, self.moving.grid)
            )
        except RuntimeError:  # the images came apart on the way: this start leads nowhere
            return np.inf, np.full(6, np.inf)
        return float(method.GetMetricValue()), np.array(transform.GetParameters())

    def _transform(self, parameters: FloatArray) -> sitk.Euler3DTransform:
        transform = sitk.Euler3DTransform()
        transform.SetCenter((_FLIP[:3, :3] @ self.centre).tolist())
        transform.SetParameters(parameters.tolist())
        return transform

    def _matrix(self, parameters: FloatArray) -> FloatArray:
        """Return the 4 x 4 matrix, RAS mm to RAS mm, of Euler parameters (LPS)."""
        if not np.isfinite(parameters).all():
            return np.full((4, 4), np.inf)
        transform = self._transform(parameters)
        matrix = np.eye(4)
        matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
        centre = np.array(transform.GetCenter())
        matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - matrix[:3, :3] @ centre
        return np.asarray(_FLIP @ matrix @ _FLIP)

    def _within_limits(self, matrix: FloatArray) -> bool:
        if not np.isfinite(matrix).all():
            return False
        shift = matrix[:3, :3] @ self.centre + matrix[:3, 3] - self.centre
        angle = np.degrees(np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1)))
        return bool(
            abs(shift[2]) <= MAX_SHIFT_ALONG_MM
            and np.linalg.norm(shift) <= MAX_SHIFT_MM
            and angle <= MAX_ROTATION_DEGREES
        )


def _start(shift_ras: FloatArray) -> FloatArray:
    """Return Euler parameters (LPS) of a pure shift."""
    return np.concatenate([np.zeros(3), _FLIP[:3, :3] @ shift_ras])


def _to_sitk(array: NDArray[np.generic], grid: Grid) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    affine = _FLIP @ grid.affine
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetDirection((affine[:3, :3] / grid.spacing_mm).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def _cut(scan: _Scan, low: FloatArray, high: FloatArray) -> _Scan:
    """Return the block of a scan between two indices, as far as it exists."""
    first = np.maximum(np.floor(low), 0).astype(int)
    last = np.minimum(np.ceil(high).astype(int) + 1, np.array(scan.grid.shape))
    affine = scan.grid.affine.copy()
    affine[:3, 3] = scan.grid.to_mm(first.astype(float))
    part = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    block = scan.volume[part]
    grid = Grid((block.shape[0], block.shape[1], block.shape[2]), affine)
    return _Scan(block, grid, scan.line, scan.valid[part])


def _blurred(scan: _Scan, voxels: FloatArray) -> NDArray[np.float32]:
    """Return a scan after a Gaussian of so many voxels, over voxels with data alone; 0 where there are none."""
    blurred = ndimage.gaussian_filter(scan.volume, voxels)
    if scan.valid.all():
        return np.asarray(blurred)
    weight = ndimage.gaussian_filter(scan.valid.astype(np.float32), voxels)
    return np.asarray(np.divide(blurred, weight, out=np.zeros_like(blurred), where=scan.valid))


def _mutual_information(a: FloatArray, b: FloatArray) -> float:
    """Return the mutual information of two samples in nats, binned from the 1st to the 99th percentile."""
    codes = []
    for values in (a, b):
        low, high = np.percentile(values, (1, 99))
        scaled = (values - low) / max(float(high - low), 1e-9)
        codes.append(np.clip((scaled * _BINS).astype(int), 0, _BINS - 1))
    joint = np.bincount(codes[0] * _BINS + codes[1], minlength=_BINS**2).reshape(_BINS, _BINS) / len(a)
    outer = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    return float((joint[filled] * np.log(joint[filled] / outer[filled])).sum())


def _rounded(transform: FloatArray) -> FloatArray:
    """Drop digits without meaning, in which machines may differ."""
    result = np.round(transform, 9)
    result[:3, 3] = np.round(transform[:3, 3], 6)
    return result + 0.0
