"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ORIENTATIONS = ("RAS", "LAS", "LPS", "PSR")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the public development scans; the test is skipped where it is absent."""
    named = os.environ.get("MSCORD_REAL_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data" / "real"
    if not folder.is_dir():
        pytest.skip(f"no development scans at {folder}")
    return folder


def oriented_affine(codes: str, spacing_mm=(1.0, 1.0, 1.0), tilt_degrees: float = 0.0) -> np.ndarray:
    """Affine with the given nibabel axis codes, spacing per array axis, and a tilt about the left-right axis."""
    base = np.eye(4)
    target = nib.orientations.axcodes2ornt(tuple(codes))
    for array_axis, (ras_axis, flip) in enumerate(target):
        column = np.zeros(3)
        column[int(ras_axis)] = flip * spacing_mm[array_axis]
        base[:3, array_axis] = column
    angle = np.deg2rad(tilt_degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    base[:3, :3] = turn @ base[:3, :3]
    return base
