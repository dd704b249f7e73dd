"""A made-up neck that any grid can look at: one cord in any orientation, slice thickness and contrast."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from conftest import oriented_affine

from bids_app.space import Grid

#: Size of the images, R-L, A-P and S-I, centred on the origin.
EXTENT_MM = (44.0, 50.0, 96.0)
GRIDS = [
    ("RAS", (1.0, 1.0, 1.0), 0.0),
    ("LAS", (0.6, 0.6, 3.0), 15.0),
    ("LPS", (0.8, 0.8, 5.0), -20.0),
    ("PSR", (0.9, 0.9, 3.0), 0.0),
    ("PSR", (1.0, 1.0, 2.5), 12.0),
    ("SRA", (1.0, 1.0, 1.0), 8.0),
]


def make_grid(
    codes="RAS", spacing=(1.0, 1.0, 1.0), tilt=0.0, extent=EXTENT_MM, centre=(0.0, 0.0, 0.0)
) -> Grid:
    """Grid with these axis codes and spacings per array axis, centred on a point."""
    affine = oriented_affine(codes, spacing, tilt)
    axes = nib.orientations.axcodes2ornt(tuple(codes))[:, 0].astype(int)
    shape = tuple(round(extent[ras] / step) for ras, step in zip(axes, spacing, strict=True))
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def centre_at(z):
    """Course of the cord: x and y by z, all in mm."""
    z = np.asarray(z, float)
    return np.stack([1.5 * np.sin(z / 30), 4 * np.cos(z / 40) - 2], axis=-1)


def points_of(grid: Grid, sub: int = 1) -> np.ndarray:
    """Voxel positions in mm; ``sub`` per voxel along the thickest axis (last but one axis of the result)."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1).astype(float)
    offsets = np.zeros((sub, 3))
    offsets[:, int(grid.spacing_mm.argmax())] = (np.arange(sub) + 0.5) / sub - 0.5
    return grid.to_mm(index[..., None, :] + offsets)


def cord_mask(grid: Grid, radii=(6.0, 4.5)) -> np.ndarray:
    """Elliptic cord, bool."""
    points = points_of(grid)[..., 0, :]
    away = (points[..., :2] - centre_at(points[..., 2])) / np.array(radii)
    return (away**2).sum(axis=-1) <= 1


def scan(grid: Grid, contrast: str = "T2", seed: int = 0, move: np.ndarray | None = None) -> np.ndarray:
    """Intensities of the neck; ``move`` (4 x 4) takes points of the image to points of the neck."""
    points = points_of(grid, sub=4 if grid.spacing_mm.max() > 2 else 1)
    if move is not None:
        points = points @ move[:3, :3].T + move[:3, 3]
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    middle = centre_at(z)
    dx, dy = x - middle[..., 0], y - middle[..., 1]
    cord = (dx / 6) ** 2 + (dy / 4.5) ** 2 <= 1
    grey = (np.abs(np.abs(dx) - 1.8) < 0.9) & (np.abs(dy) < 2.2)
    canal = (dx / 9) ** 2 + (dy / 7) ** 2 <= 1
    disc = np.mod(z + 0.1 * dx, 18) < 5
    bone = (dy > 8) & (np.abs(dx) < 13)
    spine = (dy < -8) & (np.abs(dx) < 3) & (np.mod(z + 4, 18) < 10)
    levels = {
        "T2": {"rest": 30, "bone": 45, "disc": 70, "spine": 60, "canal": 120, "cord": 60, "grey": 68},
        "T1": {"rest": 60, "bone": 75, "disc": 45, "spine": 90, "canal": 15, "cord": 65, "grey": 55},
    }[contrast]
    tissue = 10 * np.sin(x / 5) * np.sin(y / 6 + 1) * np.sin(z / 7)
    image = levels["rest"] + tissue
    for name, where in (("bone", bone), ("disc", bone & disc), ("spine", spine), ("canal", canal)):
        image = np.where(where, levels[name], image)
    image = np.where(cord, np.where(grey, levels["grey"], levels["cord"]), image).mean(axis=-1)
    return (image + np.random.default_rng(seed).normal(0, 2, image.shape)).astype(np.float32)


def rigid(degrees: float, axis, shift, centre=(0.0, 0.0, 0.0)) -> np.ndarray:
    """4 x 4 rotation about a point, then a shift."""
    axis = np.asarray(axis, float) / np.linalg.norm(axis)
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
    centre = np.asarray(centre, float)
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + np.asarray(shift, float)
    return matrix


def save(path: Path, array: np.ndarray, grid: Grid) -> Path:
    """Write an image with both forms set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = array.astype(np.uint8) if array.dtype == bool else array
    image = nib.Nifti1Image(data, grid.affine)
    image.set_sform(grid.affine, 1)
    image.set_qform(grid.affine, 1)
    nib.save(image, path)
    return path
