"""Evaluate one pair of masks from its files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import images
from ..errors import BadImageError
from ..space import Grid
from ..tables import MISSING, read_table
from .lesionwise import LesionRow, lesion_rows
from .measures import voxelwise
from .pairs import Pair
from .scores import RULES, Mask

#: Endings of vertebral level maps beside a reference mask; the values are SCT's.
LEVELS = ("_seg-vertebrae_dseg", "_label-vertebrae_dseg", "_seg_labeled")
#: The corners of two grids may differ by this much, mm.
MOST_APART_MM = 0.1


@dataclass(frozen=True, eq=False)
class Assessed:
    """What became of a pair: a row of ``metrics.tsv`` and those of its lesions, or a sentence on what is wrong."""

    pair: Pair
    metrics: dict[str, float]
    lesions: tuple[LesionRow, ...]
    centres_mm: NDArray[np.float64]
    problem: str = ""


def assess(pair: Pair) -> Assessed:
    """Evaluate a pair; a problem with its files comes back as a sentence."""
    try:
        return _assess(pair)
    except BadImageError as error:
        return Assessed(pair, {}, (), np.zeros((0, 3)), str(error))


def _assess(pair: Pair) -> Assessed:
    prediction, grid = _read(pair.prediction)
    read, other = _read(pair.reference)
    reference = images.on_grid(read, other, grid, MOST_APART_MM)
    if reference is None and sorted(grid.shape) != sorted(other.shape):
        raise BadImageError(
            f"{pair.prediction} has {_times(grid.shape)} voxels, its reference {pair.reference} {_times(other.shape)}."
        )
    if reference is None:
        raise BadImageError(f"{pair.prediction} and its reference {pair.reference} lie in different places.")
    probability, levels = _probability(pair.prediction, grid), _levels(pair.reference, grid)
    box, corner = _box(prediction | reference)
    predicted, truth = prediction[box], reference[box]
    spacing = (float(grid.spacing_mm[0]), float(grid.spacing_mm[1]), float(grid.spacing_mm[2]))
    metrics = voxelwise(predicted, truth, spacing)
    for name, rule in RULES.items():
        counts = rule(predicted, truth, grid.voxel_volume_mm3)
        metrics |= {
            f"lesion_f1_{name}": counts.f1,
            f"lesion_sensitivity_{name}": counts.recall,
            f"lesion_precision_{name}": counts.precision,
            **{f"lesions_{field}_{name}": value for field, value in counts._asdict().items()},
        }
    rows = lesion_rows(
        predicted,
        truth,
        grid.voxel_volume_mm3,
        None if probability is None else probability[box],
        None if levels is None else levels[box],
    )
    centres: NDArray[np.float64] = np.array([row.centre for row in rows], np.float64).reshape(-1, 3) + corner
    return Assessed(pair, metrics, tuple(rows), np.asarray(grid.to_mm(centres), np.float64))


def _read(path: Path) -> tuple[Mask, Grid]:
    """Read a mask, or a label map where the name says so.

    Raises
    ------
    BadImageError
        As for `images.read_mask`; also more than one value beside 0 in what should be a mask.
    """
    values, grid = images.read_labels(path)
    inside = values != 0
    # Of a whole image, np.unique would sort all the background.
    found = np.unique(values[inside])
    if len(found) and found[0] < 0:
        raise BadImageError(f"{path} is no mask: it holds negative values.")
    if "dseg" not in path.name and len(found) > 1:
        some = ", ".join(f"{value:g}" for value in found[:3])
        raise BadImageError(f"{path} is no binary mask: it holds {len(found)} values beside 0 ({some}...).")
    return inside, grid


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _box(mask: Mask) -> tuple[tuple[slice, ...], NDArray[np.int64]]:
    """Return the box that holds a mask with a voxel to spare, and its first corner; everything else is background in both."""
    slices = []
    for axis in range(3):
        inside = np.flatnonzero(mask.any(axis=tuple(n for n in range(3) if n != axis)))
        low, high = (int(inside[0]), int(inside[-1])) if len(inside) else (0, 0)
        slices.append(slice(max(0, low - 1), min(mask.shape[axis], high + 2)))
    return tuple(slices), np.array([one.start for one in slices])


def _probability(mask: Path, grid: Grid) -> NDArray[np.float32] | None:
    """Return each voxel's highest lesion probability, from the instances beside a mask; None where there are none."""
    instances = mask.with_name(re.sub(r"label-lesion_(.*)mask", r"seg-lesions_\1dseg", mask.name))
    table = instances.with_name(instances.name.split(".nii")[0] + ".tsv")
    if instances == mask or not instances.exists() or not table.exists():
        return None
    labels = images.on_grid(*images.read_labels(instances), grid, MOST_APART_MM)
    if labels is None:
        return None
    values = np.zeros(int(labels.max()) + 1, np.float32)
    for row in read_table(table):
        if row["probability"] != MISSING and int(row["index"]) < len(values):
            values[int(row["index"])] = float(row["probability"])
    return np.asarray(values[labels.astype(np.int64)])


def _levels(reference: Path, grid: Grid) -> NDArray[np.int32] | None:
    """Return vertebral levels from a map beside a reference mask, or None."""
    image = re.sub(r"(_label-lesion|_lesion-manual|-lesion_seg).*", "", reference.name.split(".nii")[0])
    for ending in LEVELS:
        for path in reference.parent.glob(f"{image}*{ending}.nii*"):
            labels = images.on_grid(*images.read_labels(path), grid, MOST_APART_MM)
            if labels is not None:
                return labels.astype(np.int32)
    return None
