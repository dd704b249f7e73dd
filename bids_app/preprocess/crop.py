"""Bring a unit into the common space: straight along the reference's cord, 24 mm x 24 mm, 0.5 mm."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import cord, resample, space, vertebrae
from ..images import common_grid, read_grid, read_labels
from ..psir import PSIR, upright
from ..signal import read_signal
from ..space import FloatArray

#: An input that covers less of the crop than this is of no use to the network.
MIN_COVERED_MM, MIN_COVERED_FRACTION = 10.0, 0.02
#: A slice of the crop counts as covered from this fraction of its voxels.
_SLICE_FRACTION = 0.25


@dataclass(frozen=True, eq=False)
class CropInput:
    """One image for the network: its file, the transform from reference mm to its mm, shape (4, 4), and its sequence."""

    path: Path
    transform: FloatArray
    sequence: str = ""


def make_crop(
    reference_cord: Path, inputs: tuple[CropInput, ...], output: Path, labels: Path | None = None
) -> dict[Path, str]:
    """Write the crop of a unit as ``.npz``; equal input gives equal bytes.

    Parameters
    ----------
    reference_cord : Path
        Cord mask on the reference's grid; sets the course of the crop.
    inputs : tuple of CropInput
        The reference first, with the identity.
    output : Path
        Gets ``images`` (S, 48, 48, N) float32, as `signal.find_signal` returns them and 0 where not covered,
        ``coverage`` (S, 48, 48, N) bool, ``cord`` (48, 48, N) float32 in 0 to 1, ``starts`` (N, 2) int64 and ``levels`` (N,)
        uint8, the vertebral level of each slice or 0.
    labels : Path, optional
        Vertebral labels on the reference's grid.

    Returns
    -------
    dict of Path to str
        Inputs that do not overlap the crop, with the reason; S counts the others, in the order given.

    Raises
    ------
    BadImageError
        An image cannot be read.
    CordError
        The mask is empty.
    """
    mask, grid = read_labels(reference_cord)
    common = common_grid(read_grid(inputs[0].path))
    starts = space.crop_starts(cord.crop_centres(mask, grid, common))
    inside, _ = resample.to_crop((mask > 0).astype(np.float32), grid, starts, common, np.eye(4))
    images, coverages, dropped = [], [], {}
    for number, item in enumerate(inputs):
        found, own = read_signal(item.path, item.sequence)
        sampled, coverage = resample.to_crop(
            found.values, own, starts, common, item.transform, valid=found.valid
        )
        reason = _too_little(coverage)
        if reason and number > 0:
            dropped[item.path] = reason
            continue
        images.append(_upright(sampled, coverage, inside) if item.sequence == PSIR else sampled)
        coverages.append(coverage)
    levels = np.zeros(len(starts), np.uint8)
    if labels is not None:
        values, own = read_labels(labels)
        levels = vertebrae.at_slices(
            resample.to_crop(values, own, starts, common, np.eye(4), order=0)[0].astype(int)
        )
    _save(
        output,
        {
            "images": np.stack(images),
            "coverage": np.stack(coverages),
            "cord": inside,
            "starts": starts,
            "levels": levels,
        },
    )
    return dropped


def _upright(
    image: NDArray[np.float32], coverage: NDArray[np.bool_], inside: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return a PSIR image with fluid dark and at zero; as it is where too little is seen to tell."""
    found = upright(image, coverage, inside)
    return image if found is None else found.image


def _too_little(coverage: NDArray[np.bool_]) -> str | None:
    """Say how little of the crop an image covers, or None where it is enough."""
    length = float((coverage.mean(axis=(0, 1)) >= _SLICE_FRACTION).sum() * space.SPACING_MM)
    fraction = float(coverage.mean())
    if length >= MIN_COVERED_MM and fraction >= MIN_COVERED_FRACTION:
        return None
    covered = f"{length:.0f} mm ({100 * fraction:.1f} %) of the surroundings of the cord"
    return f"it does not overlap the reference enough: it covers {covered}"


def _save(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write an ``.npz`` that appears under its name only when complete. NumPy dates every member 1980."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
