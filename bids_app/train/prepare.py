"""From a labelled BIDS dataset to a folder of crops, through the app's own rooms."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import discover, images, resample, space
from ..cards import localiser_version
from ..cords import find_cords
from ..errors import NothingToDoError, UnitError, UsageError
from ..evaluate.pairs import key_of, masks_in, several
from ..files import write_json
from ..localise import Localiser
from ..options import Options
from ..preprocess import PrepareRequest, prepare
from ..records import Prepared, Unit

log = logging.getLogger("bids_app")
#: The corners of a mask lie this near to those of its image.
SAME_GRID_MM = 0.5


def prepare_dataset(bids: Path, labels: Path | None, crops: Path) -> int:
    """Write one ``.npz`` and one ``.json`` for each unit that has a lesion mask; units that are there already are kept.

    Parameters
    ----------
    bids : Path
    labels : Path or None
        Folder with lesion masks in any of the usual names; None takes the dataset's derivatives. A mask without any
        voxel says that its image shows no lesion.
    crops : Path

    Returns
    -------
    int
        Number of units in the folder.

    Raises
    ------
    UsageError
        A folder is not there, or an image has several masks.
    NothingToDoError
        No unit has a mask.
    """
    labels = labels or bids / "derivatives"
    for folder in (bids, labels):
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder.")
    masks = masks_in(labels)
    if problems := several(masks, labels):
        raise UsageError(" ".join(problems), "Name a folder with one mask for each image with --labels.")
    found = discover.discover(Options(bids_dir=bids, output_dir=crops))
    crops.mkdir(parents=True, exist_ok=True)
    localiser: list[Localiser] = []
    done = 0
    for number, unit in enumerate(found.units, start=1):
        keys = {image.path: key_of(image.path) for image in unit.images}
        own = {path: masks[key][0] for path, key in keys.items() if key in masks}
        if not own:
            log.warning("%s: no lesion mask, left out", unit.name)
            continue
        log.info("%s (%d of %d)", unit.name, number, len(found.units))
        try:
            _prepare(unit, own, crops, localiser)
            done += 1
        except UnitError as error:
            log.error("%s: left out: %s", unit.name, error)
    if not done:
        raise NothingToDoError(
            f"No image of {bids} has a lesion mask in {labels}.",
            "Masks are found by their image's name, as in sub-01_T2w_label-lesion_mask.nii.gz.",
        )
    return done


def _prepare(unit: Unit, masks: dict[Path, Path], crops: Path, localiser: list[Localiser]) -> None:
    target = crops / f"{unit.name}.npz"
    if target.exists() and target.with_suffix(".json").exists():
        return
    work = crops / f".{unit.name}"

    def load() -> Localiser:
        if not localiser:
            import torch

            localiser.append(Localiser(torch.device("cpu")))
        return localiser[0]

    cords = find_cords(unit, work / "cords", load, localiser_version())
    request = PrepareRequest(unit, work, "builtin", cords.masks, cords.missing, localiser_version())
    prepared = prepare(request)
    with np.load(prepared.crop) as arrays:
        crop = {name: arrays[name] for name in arrays.files}
    lesion = np.zeros(crop["cord"].shape, bool)
    for image, mask in masks.items():
        if image in prepared.alignments:
            lesion |= _in_crop(mask, image, prepared, crop["starts"])
    part = crops / f".{unit.name}.{os.getpid()}.npz"
    np.savez_compressed(
        part,
        images=relative(crop["images"], crop["coverage"], crop["cord"]).astype(np.float16),
        coverage=crop["coverage"],
        cord=crop["cord"].astype(np.float16),
        lesion=lesion,
    )
    fed = {
        image.sequence: image for image in reversed(prepared.unit.inputs) if image.path in prepared.alignments
    }
    write_json(
        target.with_suffix(".json"),
        {
            "participant": unit.participant,
            "sequences": list(prepared.sequences),
            "slices": [sliced(fed[name].grid) for name in prepared.sequences],
            "images": [fed[name].path.name for name in prepared.sequences],
            "masks": [mask.name for mask in masks.values()],
        },
    )
    part.replace(target)
    shutil.rmtree(work, ignore_errors=True)


def _in_crop(mask: Path, image: Path, prepared: Prepared, starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Bring a mask on an image's grid into the crop, as its image was brought there."""
    array, grid = images.read_mask(mask)
    scan = images.read_grid(image)
    if grid.shape != scan.shape or np.abs(grid.corners_mm() - scan.corners_mm()).max() > SAME_GRID_MM:
        raise UnitError(
            f"the lesion mask {mask.name} is not on the grid of {image.name}.",
            "Resample it to its image, with nearest neighbour.",
        )
    sampled, _ = resample.to_crop(
        array.astype(np.float32), grid, starts, prepared.grid, prepared.alignments[image].transform
    )
    return np.asarray(sampled >= 0.5)


def relative(
    crop: NDArray[np.float32], coverage: NDArray[np.bool_], cord: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Scale each image so that the cord's median is 1: half precision then holds it."""
    result = np.zeros_like(crop)
    for row, (image, covered) in enumerate(zip(crop, coverage, strict=True)):
        relative = space.relative_to_cord(image, covered, cord)
        if relative is not None:
            result[row] = (relative + 1) * covered
    return result


def sliced(grid: space.Grid) -> tuple[int, float, float]:
    """Return the axis of the common space across which an image's slices lie, its slice distance and its pixel size, mm."""
    spacing = grid.spacing_mm
    thick = int(np.argmax(spacing))
    axis = int(np.argmax(np.abs(grid.affine[:3, thick])))
    return axis, float(spacing[thick]), float(np.median(spacing))
