"""What the interactive viewer of a unit needs: its volumes in the straightened crop, small enough to stand in a page."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ..records import Segmented
from ..space import SPACING_MM, FloatArray
from .arrays import Crop

#: What the volumes of all units of a page may take together: the page stays below 15 MB with its pictures and the viewer itself.
PAGE_BYTES = 8_000_000
#: A voxel of the viewer is this many voxels of the common space wide: the first that is small enough is taken.
STEPS = (1, 2, 3, 4)
#: Probabilities are stored as whole numbers, this one for 1.
FULL = 250


@dataclass(frozen=True, eq=False)
class Viewer:
    """A unit for the viewer.

    Attributes
    ----------
    facts : mapping
        What the script of the page needs to know, fit for JSON.
    volumes : mapping of str to str
        Compressed NIfTI files of the crop, base64: ``image-0``, ``image-1``... in the order of the sequences,
        ``probability``, ``lesions`` and ``cord``.
    note : str
        What was given up to save room; empty where nothing was.
    """

    facts: Mapping[str, object]
    volumes: Mapping[str, str]
    note: str


def view_of(segmented: Segmented, crop: Crop, units: int) -> Viewer:
    """Prepare a unit for the viewer.

    Parameters
    ----------
    segmented : Segmented
    crop : Crop
    units : int
        How many units share the page.
    """
    most = PAGE_BYTES // max(units, 1)
    for step in STEPS:
        volumes = {name: _packed(volume, step) for name, volume in _volumes(crop, step).items()}
        if sum(map(len, volumes.values())) <= most:
            break
    size = f"{step * SPACING_MM:g} mm"
    note = "" if step == STEPS[0] else f"Shown in voxels of {size}, to save room; the pictures below are not."
    return Viewer(_facts(segmented, crop, step), volumes, note)


def _facts(segmented: Segmented, crop: Crop, step: int) -> dict[str, object]:
    return {
        "step": step,
        "spacing": SPACING_MM,
        "shape": list(crop.instances.shape),
        "affine": np.asarray(crop.grid.affine, float).round(6).tolist(),
        "starts": crop.starts.tolist(),
        "sequences": list(segmented.prepared.sequences),
        "full": FULL,
        "threshold": segmented.operating.threshold,
        "lesions": [
            {"number": lesion.index, "voxel": _middle(crop.instances == lesion.index)}
            for lesion in segmented.lesions
            if (crop.instances == lesion.index).any()
        ],
        "start": _first_voxel(crop),
    }


def _middle(inside: NDArray[np.bool_]) -> list[int]:
    """Return the voxel of a lesion that lies nearest to its centre."""
    index = np.argwhere(inside)
    nearest = np.square(index - index.mean(axis=0)).sum(axis=1).argmin()
    return [int(n) for n in index[nearest]]


def _first_voxel(crop: Crop) -> list[int]:
    """Return where the viewer begins without lesions: the middle of the cord, else of the crop."""
    return _middle(crop.cord if crop.cord.any() else np.ones(crop.cord.shape, bool))


def _volumes(crop: Crop, step: int) -> dict[str, NDArray[np.uint8]]:
    result = {f"image-{row}": _grey(crop, row, step) for row in range(len(crop.images))}
    probability = np.round(_blocks(crop.probability, step).max(axis=(1, 3, 5)) * FULL)
    result["probability"] = probability.astype(np.uint8)
    # More than 255 lesions of one unit never share a voxel with a small one: the last number stands for the rest.
    result["lesions"] = np.minimum(_blocks(crop.instances, step).max(axis=(1, 3, 5)), 255).astype(np.uint8)
    result["cord"] = (_blocks(crop.cord.astype(np.float32), step).mean(axis=(1, 3, 5)) >= 0.5).astype(
        np.uint8
    )
    return result


def _grey(crop: Crop, row: int, step: int) -> NDArray[np.uint8]:
    """Return a sequence as 1 to 255 between its limits, 0 where it has no data."""
    low, high = crop.limits(row)
    level = np.clip((crop.images[row] - low) / (high - low), 0, 1) * 254 + 1
    covered = crop.coverage[row]
    share = _blocks(covered.astype(np.float32), step).mean(axis=(1, 3, 5))
    mean = _blocks(np.where(covered, level, 0).astype(np.float32), step).mean(axis=(1, 3, 5))
    return np.where(share >= 0.5, np.round(mean / np.maximum(share, 0.5)), 0).astype(np.uint8)


def _blocks(volume: FloatArray | NDArray[np.integer], step: int) -> NDArray[np.generic]:
    """Return a volume cut into blocks, shape (I, step, J, step, K, step); padded with its edge."""
    widths = [(0, -n % step) for n in volume.shape]
    padded = np.pad(volume, widths, mode="edge") if step > 1 else volume
    shape: Sequence[int] = [m for n in padded.shape for m in (n // step, step)]
    return padded.reshape(shape)


def _packed(volume: NDArray[np.uint8], step: int) -> str:
    """Return a compressed NIfTI file, base64; its axes are those of the crop (LAS), its origin the first voxel.

    The scanner's coordinates of a straightened crop change from slice to slice: the script of the page knows them.
    """
    size = step * SPACING_MM
    image = nib.Nifti1Image(volume, np.diag([-size, size, size, 1.0]))
    image.header.set_xyzt_units("mm")
    return base64.b64encode(gzip.compress(image.to_bytes(), 4, mtime=0)).decode("ascii")
