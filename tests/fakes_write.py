"""Finished units made of nothing but numbers: a straight cord, lesions that are balls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app import images, space
from bids_app.operating import Operating
from bids_app.records import Alignment, Image, Lesion, Prepared, Segmented, Unit

THRESHOLD = 0.4
WEIGHTS = {"name": "test", "sha256": "0" * 64, "trained_on": "simulated cords"}
LONG = {"acq": "acquisition", "ce": "ceagent", "rec": "reconstruction"}


def make_image(
    root: Path,
    name: str,
    affine: np.ndarray,
    shape: Sequence[int],
    sequence: str = "T2Sag",
    codes: tuple[int, int] = (1, 1),
    unit: str = "mm",
) -> Image:
    """Write a scan of noise into a BIDS folder. ``codes``: of qform and sform."""
    *words, suffix = name.split("_")
    entities = dict(word.split("-", 1) for word in words)
    session = entities.get("ses")
    folder = root.joinpath(f"sub-{entities['sub']}", *([f"ses-{session}"] if session else []), "anat")
    folder.mkdir(parents=True, exist_ok=True)
    scan = nib.Nifti1Image(np.random.default_rng(0).normal(size=shape).astype(np.float32), affine)
    scan.set_qform(affine, codes[0])
    scan.set_sform(affine if codes[1] else None, codes[1])
    scan.header.set_xyzt_units(unit, "sec" if unit == "mm" else "unknown")
    path = folder / f"{name}.nii.gz"
    nib.save(scan, path)
    grid = images.read_grid(path)
    long = {LONG.get(key, key): value for key, value in entities.items() if key not in ("sub", "ses")}
    return Image(path, entities["sub"], session, long, suffix, sequence, images.plane_of(grid), grid)


def centred(
    affine: np.ndarray, shape: Sequence[int], centre_mm: Sequence[float] = (3.0, -7.0, 11.0)
) -> np.ndarray:
    """Move an affine so that the middle of the grid lies at a point."""
    result = affine.copy()
    result[:3, 3] = np.asarray(centre_mm) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return result


def make_unit(
    folder: Path,
    unit: Unit,
    balls: Mapping[int, tuple[float, float]],
    transforms: Mapping[Path, np.ndarray] | None = None,
) -> Segmented:
    """Make a finished unit.

    Parameters
    ----------
    balls : mapping of lesion number to (mm along the cord from its middle, radius in mm)
    transforms : mapping of image path to (4, 4) reference mm to image mm; identity where absent
    """
    folder.mkdir(parents=True, exist_ok=True)
    common = images.common_grid(unit.reference.grid)
    middle = (np.array(common.shape) - 1) / 2
    starts = space.crop_starts(np.tile(middle[:2], (common.shape[2], 1)))
    points = common.to_mm(space.crop_index(starts).astype(float))
    probability = np.zeros(points.shape[:3], np.float32)
    instances = np.zeros(points.shape[:3], np.int32)
    lesions = []
    for index, (along_mm, radius_mm) in balls.items():
        centre = common.to_mm(middle + np.array([1.5, 2.0, along_mm / space.SPACING_MM]))
        distance = np.linalg.norm(points - centre, axis=-1)
        own = np.clip(THRESHOLD + (radius_mm - distance) * 0.3, 0, 0.97).astype(np.float32)
        inside = own >= THRESHOLD
        probability = np.maximum(probability, own)
        instances[inside] = index
        lesions.append(
            Lesion(
                index,
                float(inside.sum() * space.SPACING_MM**3),
                2 * radius_mm,
                tuple(float(x) for x in points[inside].mean(axis=0)),
                float(own.max()),
                float(own[inside].mean()),
                ("T2Sag", "T2starAx"),
            )
        )
    np.savez(folder / "maps.npz", probability=probability, instances=instances)
    np.savez(folder / "crop.npz", starts=starts)
    cords, alignments = {}, {}
    for image in unit.images:
        cord = np.zeros(image.grid.shape, np.uint8)
        cord[tuple(n // 2 for n in image.grid.shape)] = 1
        cords[image.path] = folder / f"cord_{image.stem}.nii.gz"
        images.write_like(cords[image.path], cord, image.path)
        own = image.path == unit.reference.path
        alignments[image.path] = Alignment(
            image.path,
            (transforms or {}).get(image.path, np.eye(4)),
            "identity" if own else "rigid",
            "it is the reference" if own else "closer than the header",
        )
    prepared = Prepared(
        unit,
        folder / "crop.npz",
        tuple(image.sequence for image in unit.inputs),
        common,
        cords,
        alignments,
        cord_method="builtin 0.1",
    )
    return Segmented(
        prepared,
        folder / "maps.npz",
        tuple(lesions),
        Operating(THRESHOLD, 1.5),
        WEIGHTS,
        {"segment": 1.25},
        cord_mm=55.0,
        image_mm=60.0,
    )
