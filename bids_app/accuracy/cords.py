"""How well the built-in localiser agrees with manual cord masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from .. import images
from ..errors import UnitError
from ..evaluate.scores import dice
from ..localise import Localiser
from ..space import Grid
from .scans import find

#: The mask of dev04 stops short of the cord's ends, and the target leaves it out.
NOT_COUNTED = ("dev04",)


def cord_agreement(data: Path) -> Iterator[str]:
    """Yield Dice and centreline error for each scan with a manual mask, from the whole scan, and whether the brain is refused."""
    localiser = Localiser(torch.device("cpu"))
    yield "cord against manual masks: Dice, mean distance of the centres slice by slice, slices with cord (ours, manual)"
    values: dict[str, float] = {}
    for manual in sorted((data / "derivatives" / "labels").rglob("*_label-SC_seg.nii.gz")):
        reference, _ = images.read_mask(manual)
        stem = manual.name.removesuffix("_label-SC_seg.nii.gz")
        try:
            volume, grid = images.read_volume(find(data, stem))
            mask = localiser(volume, grid) > 0
        except UnitError as error:
            yield f"  {stem}\tno cord: {error}"
            values[stem] = 0.0
            continue
        values[stem] = dice(mask, reference)
        distance, ours, theirs = centre_distance(mask, reference, grid)
        yield f"  {stem}\t{values[stem]:.3f}\t{distance:.2f} mm\t{ours}, {theirs}"
    counted = [value for stem, value in values.items() if not any(name in stem for name in NOT_COUNTED)]
    yield f"  mean\t{np.mean(counted):.3f}\tleast {min(counted):.3f}\twithout {', '.join(NOT_COUNTED)}"
    try:
        localiser(*images.read_volume(find(data, "sub-dev11_acq-brain_FLAIR")))
        yield "  sub-dev11 (a brain)\tNOT refused"
    except UnitError as error:
        yield f"  sub-dev11 (a brain)\trefused: {error}"


def centre_distance(
    mask: NDArray[np.bool_], reference: NDArray[np.bool_], grid: Grid
) -> tuple[float, int, int]:
    """Return the mean distance (mm) between the centres of two masks in slices that both have, and the slices of each.

    Slices run along the array axis nearest to superior-inferior.
    """
    axis = int(np.argmax(np.abs(grid.affine[2, :3])))
    distances, counts = [], [0, 0]
    for k in range(grid.shape[axis]):
        centres = []
        for n, one in enumerate((mask, reference)):
            points = np.argwhere(np.take(one, k, axis=axis))
            if len(points):
                counts[n] += 1
                centres.append(grid.to_mm(np.insert(points.mean(axis=0), axis, k)))
        if len(centres) == 2:
            distances.append(float(np.linalg.norm(centres[0] - centres[1])))
    return (float(np.mean(distances)) if distances else float("nan")), counts[0], counts[1]
