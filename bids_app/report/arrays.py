"""Read the volumes of a unit and cut the slices that are drawn, the right way up."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .. import images, resample, space
from ..records import Image, Segmented
from ..sequences import ISOTROPIC
from ..signal import read_signal
from ..space import CONNECTED, FloatArray, Grid

#: Left, right, bottom and top letter of a slice across each axis of a volume in LAS order: radiological.
LETTERS = (("A", "P", "I", "S"), ("R", "L", "I", "S"), ("R", "L", "P", "A"))
#: Word for a slice across each axis of a volume in LAS order.
PLANE_NAMES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True, eq=False)
class View:
    """One slice as it is drawn: the first row is the bottom of the picture.

    Attributes
    ----------
    image : array, shape (V, H)
        NaN where the sequence has no data.
    lesions : array of int, shape (V, H)
        Lesion numbers, 0 elsewhere.
    cord : array of bool, shape (V, H)
    pixel_mm : tuple of float
        Vertical and horizontal size of a pixel.
    letters : tuple of str
        Direction at the left, right, bottom and top edge.
    """

    image: FloatArray
    lesions: NDArray[np.integer]
    cord: NDArray[np.bool_]
    pixel_mm: tuple[float, float]
    letters: tuple[str, str, str, str]


@dataclass(frozen=True, eq=False)
class Crop:
    """The common-space crop of a unit with its result.

    Shapes are those of `records.Prepared` and `records.Segmented`; cord and coverage are bool.
    """

    images: FloatArray
    coverage: NDArray[np.bool_]
    cord: NDArray[np.bool_]
    probability: NDArray[np.float32]
    instances: NDArray[np.int32]
    starts: NDArray[np.int64]
    grid: Grid
    levels: NDArray[np.uint8] | None = None

    @property
    def length(self) -> int:
        """Number of slices along the cord."""
        return len(self.starts)

    def height_mm(self, level: int) -> float:
        """S coordinate (mm, positive is superior) of the middle of a slice."""
        middle = np.append(self.starts[level] + (space.CROP_VOXELS - 1) / 2, level)
        return float(self.grid.to_mm(middle)[2])

    def covers(self, row: int, level: int) -> bool:
        """Tell whether a sequence has data on at least half of the cord (else of the crop) at this level."""
        cord = self.cord[..., level]
        coverage = self.coverage[row, ..., level]
        return bool((coverage[cord] if cord.any() else coverage).mean() >= 0.5)

    def axial(self, row: int, level: int) -> View:
        """Return the axial slice of one sequence at one level."""
        image = np.where(self.coverage[row, ..., level], self.images[row, ..., level], np.nan)
        return View(
            image=image.T,
            lesions=self.instances[..., level].T,
            cord=self.cord[..., level].T,
            pixel_mm=(space.SPACING_MM, space.SPACING_MM),
            letters=LETTERS[2],
        )

    def sagittal(self, row: int, column: int, low: int, high: int) -> View:
        """Return a sagittal slice of the straightened crop of one sequence, between two slices along the cord."""
        part = (column, slice(None, None, -1), slice(low, high))
        image = np.where(self.coverage[row][part], self.images[row][part], np.nan)
        return View(
            image=image.T,
            lesions=self.instances[part].T,
            cord=self.cord[part].T,
            pixel_mm=(space.SPACING_MM, space.SPACING_MM),
            letters=LETTERS[0],
        )

    def strip(self, low: int, high: int) -> View:
        """Return the straightened cord of the reference between two slices, seen from the side.

        The image is the mean of the two middle sagittal slices; lesions and cord are projected from all of
        them, so that no lesion hides beside the middle.
        """
        middle = slice(space.CROP_VOXELS // 2 - 1, space.CROP_VOXELS // 2 + 1)
        covered = self.coverage[0, middle, :, low:high]
        complete = np.asarray(covered.all(axis=0))
        image = np.where(complete, self.images[0, middle, :, low:high].mean(axis=0), np.nan)
        return View(
            image=image[::-1].T,
            lesions=self.instances[:, ::-1, low:high].max(axis=0).T,
            cord=np.asarray(self.cord[:, ::-1, low:high].any(axis=0)).T,
            pixel_mm=(space.SPACING_MM, space.SPACING_MM),
            letters=LETTERS[0],
        )

    def extents(self, low: int, high: int) -> tuple[tuple[int, int, int], ...]:
        """Return (number, first, last slice) of each lesion between two slices, counted from ``low``."""
        part = self.instances[..., low:high]
        found = []
        for number in np.unique(part[part > 0]):
            levels = np.flatnonzero((part == number).any(axis=(0, 1)))
            found.append((int(number), int(levels[0]), int(levels[-1])))
        return tuple(sorted(found, key=lambda item: (item[1] + item[2], item[0])))

    def limits(self, row: int) -> tuple[float, float]:
        """Return the grey values drawn as black and white for one sequence."""
        return grey_limits(self.images[row][self.coverage[row]])


@dataclass(frozen=True, eq=False)
class Native:
    """An image on its own grid, its axes turned to LAS order.

    Attributes
    ----------
    image, instances, cord : array, shape (I, J, K)
    spacing_mm : array, shape (3,)
    axis : int
        The slice axis.
    numbers : array of int
        Slice number in the file (from 0) of each slice along ``axis``.
    """

    image: FloatArray
    instances: NDArray[np.int32]
    cord: NDArray[np.bool_]
    spacing_mm: FloatArray
    axis: int
    numbers: NDArray[np.int64]

    def window(self, margin_mm: float) -> tuple[slice, slice, slice]:
        """Return the part that is drawn: the lesions and the cord beside them, with a margin in plane."""
        shown = self.instances > 0
        along = np.asarray(shown.any(axis=(0, 1)))
        if not along.any():
            along[:] = True
        cord = self.cord & along[None, None, :]
        index = np.argwhere(shown | cord)
        margin = np.ceil(margin_mm / self.spacing_mm).astype(int)
        low = np.maximum(index.min(axis=0) - margin, 0)
        high = np.minimum(index.max(axis=0) + margin + 1, self.image.shape)
        low[self.axis], high[self.axis] = 0, self.image.shape[self.axis]
        return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])

    def view(self, position: int, window: tuple[slice, slice, slice]) -> View:
        """Return one slice inside the window."""
        across, up = [axis for axis in range(3) if axis != self.axis]

        # Columns of a sagittal slice run from anterior to posterior, so that the face looks to the left.
        turn = (slice(None), slice(None, None, -1 if self.axis == 0 else 1))
        image, lesions, cord = (
            np.moveaxis(volume[window], self.axis, 0)[position].T[turn]
            for volume in (self.image, self.instances, self.cord)
        )
        return View(
            image=image,
            lesions=lesions,
            cord=cord,
            pixel_mm=(float(self.spacing_mm[up]), float(self.spacing_mm[across])),
            letters=LETTERS[self.axis],
        )


def grey_limits(values: FloatArray) -> tuple[float, float]:
    """Return the 1st and 99.5th percentile, a little apart where they are equal; (0, 1) without values."""
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, (1, 99.5)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def read_crop(segmented: Segmented) -> Crop:
    """Read the crop and the result of a unit.

    Raises
    ------
    OSError, KeyError, ValueError, zipfile.BadZipFile
        A file is missing, is damaged, or lacks an array.
    """
    with np.load(segmented.prepared.crop) as crop, np.load(segmented.maps) as maps:
        return Crop(
            images=crop["images"],
            coverage=crop["coverage"].astype(bool),
            cord=crop["cord"] >= 0.5,
            probability=maps["probability"].astype(np.float32),
            instances=maps["instances"].astype(np.int32),
            starts=crop["starts"].astype(np.int64),
            grid=segmented.prepared.grid,
            levels=crop.get("levels"),
        )


def read_native(segmented: Segmented, crop: Crop, scan: Image | None = None) -> Native:
    """Read an image of the unit and bring the lesions onto its grid.

    Parameters
    ----------
    segmented : Segmented
    crop : Crop
    scan : Image, optional
        One that stayed in the unit; default: the reference.

    Raises
    ------
    BadImageError
        The image or its cord mask cannot be read any more.
    """
    scan = scan or segmented.prepared.unit.reference
    found, grid = read_signal(scan.path, scan.sequence)
    image = found.values
    cord, _ = images.read_labels(segmented.prepared.cord_masks[scan.path])
    transform = segmented.prepared.alignments[scan.path].transform
    instances = native_instances(crop, grid, segmented.operating.threshold, transform)
    change = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(grid.affine), nib.orientations.axcodes2ornt(space.AXIS_CODES)
    )
    order = np.argsort(change[:, 0])
    spacing = grid.spacing_mm[order]
    axis = 0 if scan.plane == ISOTROPIC else int(spacing.argmax())
    numbers = np.arange(grid.shape[int(order[axis])])
    if change[order[axis], 1] < 0:
        numbers = numbers[::-1]
    image, instances, cord = (
        nib.orientations.apply_orientation(volume, change) for volume in (image, instances, cord)
    )
    return Native(image, instances, cord >= 0.5, spacing, axis, numbers)


def native_instances(crop: Crop, grid: Grid, threshold: float, transform: FloatArray) -> NDArray[np.int32]:
    """Return lesion numbers on the grid of an image, shape grid.shape, as its lesion mask has them.

    A voxel carries a number where the mean probability over it reaches the threshold; a lesion that does so
    nowhere, because slices are thick, keeps its most probable voxel. Voxels just around a lesion take part
    in the mean, else its edge would be pulled inwards; those above the threshold there belong to no lesion.
    """
    inside = crop.instances > 0
    rim = ndimage.binary_dilation(inside, CONNECTED) & (crop.probability < threshold)
    kept = np.where(inside | rim, crop.probability, np.float32(0))
    probability = resample.from_crop(kept, crop.starts, crop.grid, grid, transform)
    nearest = resample.labels_from_crop(crop.instances, crop.starts, crop.grid, grid, transform)
    result = np.where((probability >= threshold) & (probability > 0), nearest, 0).astype(np.int32)
    for number in np.setdiff1d(crop.instances, result):
        own = np.where(nearest == number, probability, 0)
        if own.any():
            result[np.unravel_index(own.argmax(), own.shape)] = number
    return result
