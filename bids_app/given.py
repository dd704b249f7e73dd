"""Cord masks that the user brings along: derivatives of another tool, corrected by hand or not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import UsageError
from .evaluate.pairs import key_of
from .records import Image, Problem

#: The usual names of a mask of the cord: of BIDS, of the Spinal Cord Toolbox, of manual segmentations beside it.
_CORD = re.compile(r"(_label-(SC|cord)(_.*)?_(mask|seg|dseg)|(?<!lesion)_seg(-manual)?)\.nii(\.gz)?$")
_OTHER = re.compile(r"lesion|_(label|seg)-(?!SC|cord|manual)")


def check_derivatives(folders: Iterable[Path]) -> None:
    """Raise a UsageError where a folder is not there."""
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(
                f"There is no folder {folder}.", "Name a folder of derivatives with --derivatives."
            )


def given_cords(folders: Sequence[Path], images: Iterable[Image]) -> dict[Path, Path]:
    """Find the cord mask of each image by its BIDS name.

    Parameters
    ----------
    folders : sequence of Path
        Derivative datasets; the first one with a mask counts.
    images : iterable of Image

    Returns
    -------
    dict of Path to Path
        By image; images without a mask are absent. Whether a mask lies on its image's grid and shows a cord is asked later.
    """
    found: dict[Path, Path] = {}
    for image in images:
        for folder in folders:
            masks = sorted((folder / f"sub-{image.participant}").rglob(f"sub-{image.participant}_*.nii*"))
            own = [path for path in masks if is_cord_mask(path.name) and key_of(path) == key_of(image.path)]
            if own:
                found[image.path] = own[0]
                break
    return found


def without_match(folders: Iterable[Path], images: Sequence[Image]) -> list[Problem]:
    """Return a warning for each folder in which no image has its cord mask: a slip in a path or a name would change results."""
    step = "Masks are named after their image, such as sub-01/anat/sub-01_T2w_label-SC_seg.nii.gz."
    return [
        Problem(
            f"--derivatives {folder}: no file there is named as the cord mask of an image of this run.", step
        )
        for folder in folders
        if images and not given_cords([folder], images)
    ]


def is_cord_mask(name: str) -> bool:
    """Tell whether a file is named as a mask of the spinal cord."""
    return bool(_CORD.search(name)) and not _OTHER.search(name)
