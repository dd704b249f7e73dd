"""Fit the simulator's small tables from public label maps and shape tables; nobody needs this at run time.

``python -m bids_app.simulate.fit LABELMAPS SHAPE`` rewrites ``tables/``. Sources are named in
``tables/README.md``.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

TABLES = Path(__file__).parent / "tables"
#: Grey-matter slices kept, top (C1) to bottom (C7), and samples across the cord's bounding box.
SLICES, SAMPLES = 14, 40


def grey_matter(labelmaps: Path) -> NDArray[np.uint8]:
    """Return grey-matter probability by cord position, shape (14, 40, 40), uint8 0..255.

    Axes: C1 to C7, then left to right and posterior to anterior over the cord's bounding box.
    """
    folder = labelmaps / "AMU7T" / "template"
    grey = nib.load(folder / "AMU7T_gm.nii.gz").get_fdata()
    cord = nib.load(folder / "AMU7T_sc.nii.gz").get_fdata()
    heights = np.linspace(cord.shape[2] - 4, 3, SLICES)
    table = np.zeros((SLICES, SAMPLES, SAMPLES), np.uint8)
    for row, height in enumerate(heights):
        k = round(height)
        inside = np.argwhere(cord[:, :, k] > 0.5)
        low, high = inside.min(axis=0) - 0.5, inside.max(axis=0) + 0.5
        # The map runs to the left (LAS); the table runs to the right.
        i = np.linspace(high[0], low[0], SAMPLES)
        j = np.linspace(low[1], high[1], SAMPLES)
        smooth = ndimage.gaussian_filter(grey[:, :, k], 1.0)
        values = ndimage.map_coordinates(smooth, np.meshgrid(i, j, indexing="ij"), order=1)
        table[row] = np.round(255 * np.clip((values + values[::-1]) / 2, 0, 1))
    return table


def diameters(shape: Path) -> list[dict[str, str]]:
    """Return cord and canal diameters by level: healthy cords, whole-spine cords below, and canals."""
    with (shape / "cord_canal_by_level.tsv").open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    chosen: dict[tuple[str, int], dict[str, str]] = {}
    for row in rows:
        structure = "canal" if row["structure"].startswith("canal") else "cord"
        key = (structure, int(row["VertLevel"]))
        if row["structure"] != "cord_vuiis_ms" and int(row["people"]) >= int(
            chosen.get(key, {"people": "0"})["people"]
        ):
            chosen[key] = row
    keep = ("ap_mean", "ap_sd", "rl_mean", "rl_sd", "pam50_length_mm", "people")
    return [
        {
            "structure": structure,
            "level": str(level),
            **{name: chosen[structure, level][name] for name in keep},
        }
        for structure, level in sorted(chosen)
    ]


def main() -> None:
    """Rewrite the tables."""
    labelmaps, shape = map(Path, sys.argv[1:3])
    np.save(TABLES / "grey_matter.npy", grey_matter(labelmaps))
    rows = diameters(shape)
    with (TABLES / "diameters.tsv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
