"""Bring a unit into the common space: straight along the reference's cord, 24 mm x 24 mm, 0.5 mm."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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
#: An image in the crop and where it has data, shape (48, 48, N) each.
_Sampled = tuple[NDArray[np.float32], NDArray[np.bool_]]
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
        Inputs that do not overlap the crop, with the reason. S counts the sequences of the others, in the order given:
        inputs of one sequence are stations, and make one image, see `merge_stations`.

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
    rows: dict[str, list[_Sampled]] = {}
    dropped = {}
    for number, item in enumerate(inputs):
        found, own = read_signal(item.path, item.sequence)
        sampled, coverage = resample.to_crop(
            found.values, own, starts, common, item.transform, valid=found.valid
        )
        reason = _too_little(coverage)
        if reason and number > 0:
            dropped[item.path] = reason
            continue
        image = _upright(sampled, coverage, inside) if item.sequence == PSIR else sampled
        rows.setdefault(item.sequence or str(item.path), []).append((image, coverage))
    merged = [merge_stations(stations, inside) for stations in rows.values()]
    levels = np.zeros(len(starts), np.uint8)
    if labels is not None:
        values, own = read_labels(labels)
        levels = vertebrae.at_slices(
            resample.to_crop(values, own, starts, common, np.eye(4), order=0)[0].astype(int)
        )
    _save(
        output,
        {
            "images": np.stack([image for image, _ in merged]),
            "coverage": np.stack([coverage for _, coverage in merged]),
            "cord": inside,
            "starts": starts,
            "levels": levels,
        },
    )
    return dropped


def merge_stations(stations: Sequence[_Sampled], cord: NDArray[np.float32]) -> _Sampled:
    """Make one image of the stations of a sequence: each where it covers, the mean where several do.

    Parameters
    ----------
    stations : sequence of (image, coverage)
        Arrays of shape (48, 48, N), the most important one first.
    cord : array, shape (48, 48, N)

    Returns
    -------
    image, coverage : arrays, shape (48, 48, N)
        On the scale of the first station: scanners scale each series on its own, so the others are brought to the same median
        of the cord.
    """
    if len(stations) == 1:
        return stations[0]
    first = _cord_median(*stations[0], cord)
    total = np.zeros(cord.shape, np.float32)
    count = np.zeros(cord.shape, np.float32)
    for image, coverage in stations:
        own = _cord_median(image, coverage, cord)
        scale = first / own if min(first, own) > 0 else 1.0
        total += np.where(coverage, image * np.float32(scale), 0)
        count += coverage
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0), count > 0


def _cord_median(image: NDArray[np.float32], coverage: NDArray[np.bool_], cord: NDArray[np.float32]) -> float:
    """Return the median of the cord where an image covers it; 0 where it covers none."""
    values = image[coverage & (cord >= 0.5)]
    return float(np.median(values)) if values.size else 0.0


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
