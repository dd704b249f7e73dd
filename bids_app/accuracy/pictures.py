"""``python -m bids_app.accuracy.pictures DATA OUT``: development scans with their cords, aligned pairs as checkerboards."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .. import cord, images, resample, space
from ..errors import UnitError
from ..localise import Localiser
from ..preprocess.align import align
from ..space import FloatArray
from .alignment import REAL, Side, read_side, write_side

#: Field of a checkerboard, voxels of 0.5 mm.
FIELD = 8
CORD_COLOUR = "#00b7ff"
Straight = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]


def main(argv: list[str] | None = None) -> int:
    """Write ``cords.jpg`` and ``pairs.jpg``."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.accuracy.pictures", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(argv)
    import torch

    options.out.mkdir(parents=True, exist_ok=True)
    localiser = Localiser(torch.device("cpu"))
    for name, figure in (
        ("cords", cords(options.data, localiser)),
        ("pairs", pairs(options.data, localiser)),
    ):
        path = options.out / f"{name}.jpg"
        figure.savefig(path, dpi=110, pil_kwargs={"quality": 80})
        sys.stdout.write(f"{path}\n")
    return 0


def cords(data: Path, localiser: Localiser) -> Figure:
    """Draw every scan along its cord and across it, with the outline of the cord that the localiser found."""
    found: list[tuple[str, Side]] = []
    for path in sorted(data.rglob("sub-*.nii.gz")):
        if "derivatives" in path.relative_to(data).parts:
            continue
        volume, grid = images.read_volume(path)
        try:
            found.append((path.name.split(".nii")[0][4:], Side(volume, localiser(volume, grid) > 0, grid)))
        except UnitError:
            continue
    figure, axes = _sheet(len(found), 4)
    for pair, (name, side) in zip(axes, found, strict=True):
        values, inside, _ = _straight(side, side, np.eye(4))
        for axis, (picture, outline) in zip(pair, _views(values, inside), strict=True):
            _show(axis, picture, *_window(values, inside))
            axis.contour(outline, [0.5], colors=CORD_COLOUR, linewidths=0.8)
        pair[0].set_title(name, fontsize=7, loc="left")
    return figure


def pairs(data: Path, localiser: Localiser) -> Figure:
    """Draw the real pairs as checkerboards, by header in the upper row of each two and aligned in the lower."""
    figure, axes = _sheet(2 * len(REAL), 2)
    cells = iter(axes)
    with tempfile.TemporaryDirectory() as name:
        for number, (first, second) in enumerate(REAL):
            reference = read_side(data, first, localiser)
            moving = read_side(data, second, localiser, reference)
            folder = Path(name) / str(number)
            folder.mkdir()
            found = align(
                *write_side(folder / "moving", moving), *write_side(folder / "reference", reference)
            )
            fixed, inside, _ = _straight(reference, reference, np.eye(4))
            for title, transform in (("header", np.eye(4)), (found.method, found.transform)):
                other, _, covered = _straight(reference, moving, transform)
                pair = next(cells)
                both = covered[covered.shape[0] // 2, covered.shape[1] // 2]
                _checkerboards(
                    pair, fixed[..., both], other[..., both], inside[..., both], covered[..., both]
                )
                pair[0].set_title(f"{first[4:]}\nand {second[4:]}: {title}", fontsize=6, loc="left")
    return figure


def _sheet(count: int, columns: int) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Return a figure with two axes for each of some scans: along the cord and across it."""
    rows = -(-count // columns)
    figure = Figure(figsize=(13, 4.4 / columns * rows), layout="constrained")
    grid = figure.add_gridspec(rows, 2 * columns, width_ratios=[2.2, 1] * columns)
    result = []
    for number in range(count):
        row, column = divmod(number, columns)
        one = figure.add_subplot(grid[row, 2 * column]), figure.add_subplot(grid[row, 2 * column + 1])
        for axis in one:
            axis.axis("off")
        result.append(one)
    return figure, result


def _straight(reference: Side, side: Side, transform: FloatArray) -> Straight:
    """Return an image, its cord, and what it covers, in the common space where the reference has cord, shape (48, 48, N)."""
    common = images.common_grid(reference.grid)
    starts = space.crop_starts(cord.crop_centres(reference.cord, reference.grid, common))
    own, _ = resample.to_crop(reference.cord.astype(np.float32), reference.grid, starts, common, np.eye(4))
    length = np.flatnonzero((own >= 0.5).any(axis=(0, 1)))
    part = slice(length[0], length[-1] + 1)
    values, covered = resample.to_crop(side.volume, side.grid, starts, common, transform)
    filled, _ = resample.to_crop(side.cord.astype(np.float32), side.grid, starts, common, transform)
    return values[..., part], filled[..., part] >= 0.5, covered[..., part]


def _views(
    values: NDArray[np.generic], inside: NDArray[np.bool_]
) -> tuple[tuple[FloatArray, FloatArray], ...]:
    """Return picture and outline from the side (head to the left) and from below, through the middle."""
    half, middle = values.shape[0] // 2, values.shape[2] // 2
    return (
        (np.asarray(values[half][:, ::-1], float), inside[half][:, ::-1].astype(float)),
        (np.asarray(values[:, :, middle].T, float), inside[:, :, middle].T.astype(float)),
    )


def _checkerboards(
    pair: tuple[Axes, Axes],
    fixed: NDArray[np.float32],
    other: NDArray[np.float32],
    inside: NDArray[np.bool_],
    covered: NDArray[np.bool_],
) -> None:
    ranks = [_scaled(values, inside & covered) for values in (fixed, other)]
    for axis, (one, _), (two, _), (there, _) in zip(
        pair, _views(ranks[0], inside), _views(ranks[1], inside), _views(covered, inside), strict=True
    ):
        fields = np.add.outer(np.arange(one.shape[0]) // FIELD, np.arange(one.shape[1]) // FIELD) % 2 == 1
        _show(axis, np.where(fields & (there > 0), two, one), 0, 1)


def _scaled(values: NDArray[np.float32], where: NDArray[np.bool_]) -> NDArray[np.float32]:
    low, high = _window(values, where)
    return np.asarray(np.clip((values - low) / max(high - low, 1e-6), 0, 1), np.float32)


def _window(values: NDArray[np.float32], inside: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the grey values that are black and white: so that the cord and its surroundings both show."""
    chosen = values[inside] if inside.any() else values
    level = float(np.median(chosen))
    return 0.0, 2.2 * level if level > 0 else float(values.max())


def _show(axis: Axes, picture: FloatArray, low: float, high: float) -> None:
    axis.imshow(
        picture, origin="lower", cmap="gray", vmin=low, vmax=high, aspect="equal", interpolation="nearest"
    )


if __name__ == "__main__":
    sys.exit(main())
