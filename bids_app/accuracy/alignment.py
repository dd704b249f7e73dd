"""``python -m bids_app.accuracy.alignment DATA``: how well rigid alignment undoes known perturbations, beside the header alone.

Every pair is aligned as it is, which gives its reference position, and then again after the moving image was shifted
and turned by known amounts. For what was resampled or simulated, the true position is known, and is the reference position.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from .. import cord, images
from ..centreline import fine
from ..errors import CordError
from ..localise import Localiser
from ..preprocess.align import align
from ..resample import sub_voxels
from ..simulate.participant import simulate_participant
from ..space import FloatArray, Grid
from .scans import find

DRAWS = 30
#: Largest perturbations: in plane, along the cord (mm), and about a random axis (degrees).
IN_PLANE_MM, ALONG_MM, DEGREES = 10.0, 4.0, 10.0
#: Success: every point of the cord within this in plane, and along the cord.
CLOSE_MM, CLOSE_ALONG_MM = 1.5, 2.0
#: Real pairs, reference first; dev01, dev02 and dev03 very likely show one person.
REAL = (
    ("sub-dev05_acq-ax_run-1_T2starw", "sub-dev05_acq-ax_run-2_T2starw"),
    ("sub-dev08_acq-ax_flip-1_mt-on_MTS", "sub-dev08_acq-ax_flip-1_mt-off_MTS"),
    ("sub-dev01_acq-sag_T2w", "sub-dev02_acq-sagcrop_T1w"),
    ("sub-dev01_acq-sag_T2w", "sub-dev03_acq-ax_T2starw"),
)
RESAMPLED = "sub-dev01_acq-sag_T2w"
#: Seeds of simulated participants, and the sequences of each.
SIMULATED = (
    (70_001, ("T2Sag", "STIR")),
    (70_002, ("T2Sag", "T2starAx")),
    (70_003, ("T2Sag", "T1")),
    (70_004, ("T2Sag", "T2Ax")),
)


HEADINGS = (
    *(
        "pair",
        "success",
        "header alone",
        "largest distance in plane, along (median, mm)",
        "by header (median, mm)",
    ),
    *("worst loss against the header (mm)", "CPU-s (median, most)"),
)


@dataclass(frozen=True, eq=False)
class Side:
    """One image of a pair with its cord."""

    volume: NDArray[np.float32]
    cord: NDArray[np.bool_]
    grid: Grid


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images of one cord.

    Attributes
    ----------
    truth : array, shape (4, 4), or None
        Maps points of the reference to points of the moving image (RAS+ mm); None where it is not known.
    """

    name: str
    reference: Side
    moving: Side
    truth: FloatArray | None


@dataclass(frozen=True)
class Outcome:
    """What became of one perturbed pair; distances are the largest over the cord that both images show, mm."""

    in_plane_mm: float
    along_mm: float
    header_in_plane_mm: float
    header_along_mm: float
    seconds: float
    method: str

    @property
    def success(self) -> bool:
        """Whether the cord lies where it should."""
        return self.in_plane_mm <= CLOSE_MM and self.along_mm <= CLOSE_ALONG_MM

    @property
    def loss_mm(self) -> float:
        """How much further from the truth than by header alone."""
        ours, header = (np.hypot(a, b) for a, b in (
            (self.in_plane_mm, self.along_mm), (self.header_in_plane_mm, self.header_along_mm)
        ))  # fmt: skip
        return float(ours - header)


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.accuracy.alignment", description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", help="BIDS folder of the public development scans")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--only", default="", help="pairs whose name holds this")
    options = parser.parse_args(argv)
    sys.stdout.write(
        f"{options.draws} perturbations a pair: up to {IN_PLANE_MM:g} mm in plane, {ALONG_MM:g} mm along, {DEGREES:g} degrees\n"
    )
    sys.stdout.write("\t".join(HEADINGS) + "\n")
    everything: list[Outcome] = []
    for pair in _pairs(options.data):
        if options.only in pair.name:
            outcomes = list(perturbed(pair, options.draws))
            everything += outcomes
            sys.stdout.write(row(pair.name, outcomes) + "\n")
            sys.stdout.flush()
    sys.stdout.write(row("all", everything) + "\n")
    return 0


def row(name: str, outcomes: Sequence[Outcome]) -> str:
    """Return a line of the table."""
    if not outcomes:
        return f"{name}\tnothing was aligned"
    header = [o.header_in_plane_mm <= CLOSE_MM and o.header_along_mm <= CLOSE_ALONG_MM for o in outcomes]
    cells = [f"{sum(o.success for o in outcomes)} of {len(outcomes)}", f"{sum(header)} of {len(outcomes)}"]
    for first, second in (("in_plane_mm", "along_mm"), ("header_in_plane_mm", "header_along_mm")):
        cells.append(
            ", ".join(f"{np.median([getattr(o, part) for o in outcomes]):.2f}" for part in (first, second))
        )
    seconds = [o.seconds for o in outcomes]
    cells += [f"{max(o.loss_mm for o in outcomes):+.2f}", f"{np.median(seconds):.1f}, {max(seconds):.1f}"]
    return "\t".join([name, *cells])


def perturbed(pair: Pair, draws: int, seed: int = 0) -> Iterator[Outcome]:
    """Perturb the moving image, align it, and compare with the truth."""
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fixed = write_side(folder / "reference", pair.reference)
        line = fine(cord.centreline_mm(pair.reference.cord, pair.reference.grid))
        truth = pair.truth
        if truth is None:
            truth = align(*write_side(folder / "moving", pair.moving), *fixed).transform
        there = pair.moving.grid.to_index(_moved(line, truth))
        line = line[np.all((there >= -0.5) & (there <= np.array(pair.moving.grid.shape) - 0.5), axis=1)]
        for number in range(draws):
            # The first is no perturbation: what stands right must be left so.
            change = _draw(random, line.mean(axis=0)) if number else np.eye(4)
            moving = write_side(folder / "moving", pair.moving, change)
            began = time.process_time()
            found = align(*moving, *fixed)
            seconds = time.process_time() - began
            expected = change @ truth
            ours, header = (_apart(line, expected, one) for one in (found.transform, np.eye(4)))
            yield Outcome(*ours, *header, seconds, found.method)


def _draw(random: np.random.Generator, centre: FloatArray) -> FloatArray:
    """Draw a rigid change of position about a centre, RAS+ mm, shape (4, 4)."""
    axis = random.normal(size=3)
    axis /= np.linalg.norm(axis)
    angle = np.radians(random.uniform(0, DEGREES))
    cross = np.cross(np.eye(3), axis)
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    direction, along = random.uniform(0, 2 * np.pi), random.uniform(-ALONG_MM, ALONG_MM)
    shift = np.append(
        random.uniform(0, IN_PLANE_MM) * np.array([np.cos(direction), np.sin(direction)]), along
    )
    change = np.eye(4)
    change[:3, :3] = turn
    change[:3, 3] = centre + shift - turn @ centre
    return change


def _apart(line: FloatArray, expected: FloatArray, found: FloatArray) -> tuple[float, float]:
    """Return the largest distance square to the cord and along it between where two transforms put the cord's points."""
    gap = _moved(line, found) - _moved(line, expected)
    direction = np.gradient(_moved(line, expected), axis=0)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    along = (gap * direction).sum(axis=1)
    square = np.linalg.norm(gap - along[:, None] * direction, axis=1)
    return float(square.max()), float(np.abs(along).max())


def _moved(points: FloatArray, transform: FloatArray) -> FloatArray:
    return np.asarray(points @ transform[:3, :3].T + transform[:3, 3])


def write_side(stem: Path, side: Side, change: FloatArray | None = None) -> tuple[Path, Path]:
    """Write an image and its cord where a change of position puts them."""
    paths = stem.with_name(stem.name + "_T2w.nii.gz"), stem.with_name(stem.name + "_cord.nii.gz")
    for path, array in zip(paths, (side.volume, side.cord.astype(np.uint8)), strict=True):
        nib.save(
            nib.Nifti1Image(array, side.grid.affine if change is None else change @ side.grid.affine), path
        )
    return paths


def _pairs(data: Path | None) -> Iterator[Pair]:
    """Yield the real pairs, resamplings of a real scan, and simulated pairs."""
    localiser = Localiser(torch.device("cpu"))
    if data is not None:
        for first, second in REAL:
            reference = read_side(data, first, localiser)
            yield Pair(
                f"{first[4:]} with {second[4:]}",
                reference,
                read_side(data, second, localiser, reference),
                None,
            )
        whole = read_side(data, RESAMPLED, localiser)
        for name, spacing in (("sagittal 4 mm", (4.0, 0.7, 0.7)), ("axial 5 mm", (0.7, 0.7, 5.0))):
            yield Pair(
                f"dev01 with itself, other contrast, {name}", whole, _resampled(whole, spacing), np.eye(4)
            )
    for seed, names in SIMULATED:
        found = simulate_participant(seed, names)
        sides = [
            Side(_array(one.image), _array(one.cord) > 0, Grid(one.image.shape, one.image.affine))
            for one in found
        ]
        title = f"simulated {' with '.join(names)}"
        yield Pair(title, sides[0], sides[1], np.linalg.inv(found[1].motion))


def _array(image: nib.Nifti1Image) -> NDArray[np.float32]:
    return np.asarray(image.dataobj, np.float32)


def read_side(data: Path, stem: str, localiser: Localiser, other: Side | None = None) -> Side:
    """Read a scan with its manual cord mask, else with what the localiser finds, else with that of a scan on the same grid."""
    volume, grid = images.read_volume(find(data, stem))
    manual = next((data / "derivatives" / "labels").rglob(f"{stem}_label-SC_seg.nii.gz"), None)
    if manual:
        return Side(volume, images.read_mask(manual)[0], grid)
    try:
        return Side(volume, localiser(volume, grid) > 0, grid)
    except CordError:
        if other is None or other.grid.shape != grid.shape or not np.allclose(other.grid.affine, grid.affine):
            raise
        return Side(volume, other.cord, grid)


def _resampled(side: Side, spacing_mm: tuple[float, float, float]) -> Side:
    """Return a scan as thick slices of another contrast would show it: fluid dark, tissue differently ordered."""
    source = side.grid
    corner = source.to_mm(np.array([[0, 0, 0], np.array(source.shape) - 1], float))
    low, high = corner.min(axis=0), corner.max(axis=0)
    shape = np.maximum(2, np.floor((high - low) / spacing_mm)).astype(int)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = low
    grid = Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)
    top = float(np.percentile(side.volume, 99))
    other = np.clip(side.volume / top, 0, 1)
    other = np.where(other > 0.5, 1 - other, other) ** 0.7
    volume, filled = (_averaged(array, source, grid) for array in (other, side.cord))
    return Side((1000 * volume).astype(np.float32), filled >= 0.5, grid)


def _averaged(array: NDArray[np.generic], source: Grid, grid: Grid) -> NDArray[np.float32]:
    """Return the mean of an array over each voxel of another grid, shape grid.shape."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    offsets = sub_voxels(grid.spacing_mm)
    total = np.zeros(grid.shape, np.float32)
    for offset in offsets:
        at = source.to_index(grid.to_mm(index + offset))
        total += ndimage.map_coordinates(array.astype(np.float32), np.moveaxis(at, -1, 0), order=1)
    return np.asarray(total / len(offsets), np.float32)


if __name__ == "__main__":
    sys.exit(main())
