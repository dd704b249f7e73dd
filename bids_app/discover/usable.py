"""What each image is: a sequence of the table, or not used and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadImageError
from ..images import name_doubt, plane_of, read_grid, unit_doubt
from ..leading import slice_count
from ..records import Image, Problem, Unused
from ..sequences import AXIAL, ISOTROPIC, PLANES, SAGITTAL, by_inversion, classify
from .index import Index, known_to_bids
from .names import DERIVED, SUFFIXES, Name, localiser_word, meant_suffix, misspelt_ending, parse

#: Inversion times (s) that null fat between 0.5 and 7 T; FLAIR and T1 preparations are far longer.
STIR_INVERSION_S = (0.08, 0.35)
#: Inversion times (s) of STIR at 1 to 3 T: a T2w image that has one is taken for STIR, whatever its name.
TAKEN_FOR_STIR_S = (0.13, 0.26)
#: An image that is named as a localiser is one if it has fewer slices.
LOCALISER_SLICES = 12
#: How ``acq`` labels name a plane.
_PLANE_NAMES = {SAGITTAL: re.compile(r"sag", re.IGNORECASE), AXIAL: re.compile(r"^ax|A[xX]|axial")}
_INVERSION_STEP = (
    "Check it: STIR is named acq-STIR, and InversionTime is in seconds, for scans with inversion alone."
)
_DERIVED_SUFFIXES = frozenset({"mask", "dseg", "probseg", "seg", "dlabel", "defacemask"})


@dataclass(frozen=True)
class Seen:
    """An image (usable or not) and what the user should know about it."""

    image: Image | None
    unused: Unused | None
    problems: tuple[Problem, ...] = ()


def look_at(path: Path, root: Path, index: Index) -> Seen:
    """Find out what one NIfTI file is, from its name, its header and its sidecar."""
    folders = path.relative_to(root).parts[:-1]
    label = folders[0].removeprefix("sub-")
    if folders[-1] != "anat":
        return _unused(path, label, f"it lies in the folder {folders[-1]}; only images in anat are used")
    ending = misspelt_ending(path)
    if ending:
        return _unused(path, label, ending, _rename(path, label, ending))
    name = parse(path.name)
    reason = _misnamed(name, folders)
    if reason or name is None:
        # A name that is no BIDS name at all may be meant for other tools; one that contradicts its folder is wrong.
        wrong = name is not None
        problem = Problem(f"{path.name} is not used: {reason}.", "Rename it.", label, path, fatal=wrong)
        return _unused(path, label, reason, problem)
    reason = _unsuited(name)
    if reason:
        meant = name.suffix not in SUFFIXES and meant_suffix(name.suffix)
        return _unused(path, label, reason, *([_rename(path, label, reason)] if meant else ()))
    try:
        grid = read_grid(path)
    except BadImageError as error:
        problem = Problem(error.message, error.next_step, label, path, fatal=True)
        return _unused(path, label, error.message.rstrip("."), problem)
    plane = plane_of(grid)
    row = classify(name.suffix, name.entities, plane)
    if row is None:
        return _unused(path, label, _wrong_plane(name, plane))
    word, slices = localiser_word(name), slice_count(grid)
    if word and slices < LOCALISER_SLICES:
        return _unused(path, label, f"it is a localiser by its name ({word}) and its {slices} slices")
    stir = by_inversion(row, name.suffix, plane)
    found, is_stir = _look_for_inversion(index.metadata(path)) if stir else ("", False)
    row = stir if stir and is_stir else row
    image = Image(path, label, name.session, name.entities, name.suffix, row.name, plane, grid)
    said = [_warning(image, f"{path.name} {found}", _INVERSION_STEP)] if found else []
    return Seen(image, None, (*said, *_doubts(image, index, by_name=not found)))


def _rename(path: Path, label: str, reason: str) -> Problem:
    return Problem(f"{path.name} is not used: {reason}.", "Rename it, and its sidecar.", label, path)


def _look_for_inversion(metadata: Mapping[str, Any]) -> tuple[str, bool]:
    """Say what the sidecar of a T2w image tells of an inversion, if anything, and whether that makes it a STIR."""
    value = metadata.get("InversionTime")
    if not value:
        return "", False
    low, high = TAKEN_FOR_STIR_S
    if _is_number(value) and low <= value <= high:
        return f"is taken for STIR: its sidecar gives an InversionTime of {value:g} s.", True
    return f"is taken for T2w without inversion, and its sidecar gives an InversionTime of {value} s.", False


def _is_number(value: object) -> bool:
    # bool is an int to Python, not to the user.
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unused(path: Path, label: str, reason: str, *problems: Problem) -> Seen:
    return Seen(None, Unused(path, label, reason), problems)


def _misnamed(name: Name | None, folders: tuple[str, ...]) -> str:
    """Say where a name contradicts BIDS or its folder: outputs could not be named after it."""
    if name is None:
        return "its name is not built as BIDS names are"
    if f"sub-{name.participant}" != folders[0]:
        return f"its name does not say {folders[0]}, in whose folder it lies"
    session = folders[1] if len(folders) > 2 else None
    written = None if name.session is None else f"ses-{name.session}"
    if written != session:
        return f"its name says {written or 'no session'}, its folder {session or 'no session'}"
    return ""


def _unsuited(name: Name) -> str:
    """Say why the name alone rules an image out."""
    derived = sorted(DERIVED & set(name.entities))
    if derived or name.suffix in _DERIVED_SUFFIXES:
        what = ", ".join(f"{entity} {name.entities[entity]}" for entity in derived) or name.suffix
        return f"it is a derived image ({what}), not a scan"
    part = name.entities.get("part", "mag")
    if part != "mag":
        return f"it holds the {part} part of the signal; only magnitude is used"
    meant = meant_suffix(name.suffix)
    if meant and meant != name.suffix:
        return f"{name.suffix} is not a suffix of BIDS; is it {meant}?"
    if name.suffix not in SUFFIXES:
        return f"{name.suffix} is not a sequence that mscord uses"
    return ""


def _wrong_plane(name: Name, plane: str) -> str:
    planes = [other for other in PLANES if classify(name.suffix, name.entities, other)]
    if not planes:
        return f"{name.suffix} with these entities is not a sequence that mscord uses"
    return f"{name.suffix}, {plane} plane: mscord uses {name.suffix} images that are {' or '.join(planes)}"


def _doubts(image: Image, index: Index, *, by_name: bool) -> Iterator[Problem]:
    """Yield warnings about a usable image; ``by_name``: its name alone says which sequence it is."""
    for message in (name_doubt(image.path), unit_doubt(image.path)):
        if message:
            yield _warning(image, f"{message}.", "It is read all the same.")
    acquisition = image.entities.get("acquisition", "")
    for plane, pattern in _PLANE_NAMES.items():
        if pattern.search(acquisition) and image.plane not in (plane, ISOTROPIC):
            message = (
                f"{image.path.name} is named {plane} (acq-{acquisition}) but is {image.plane} by its header."
            )
            yield _warning(image, message, "The header decides; check that the file is the right one.")
    if image.sequence == "STIR" and by_name:
        message = _inversion_doubt(index.metadata(image.path))
        if message:
            step = f"Put the InversionTime of the scan, in seconds, into {image.stem}.json."
            yield _warning(image, f"{image.path.name} is taken for STIR by its name alone: {message}.", step)
    if not known_to_bids(image.suffix, image.path.name):
        message = f"{image.path.name}: the BIDS validator does not know the suffix {image.suffix}."
        yield _warning(image, message, "mscord reads it all the same.")


def _inversion_doubt(metadata: Mapping[str, Any]) -> str:
    value = metadata.get("InversionTime")
    if value is None:
        return "its sidecar gives no InversionTime"
    low, high = STIR_INVERSION_S
    if not _is_number(value) or not low <= value <= high:
        return f"its sidecar gives an InversionTime of {value} s, and STIR has {low:g} to {high:g} s"
    return ""


def _warning(image: Image, message: str, step: str) -> Problem:
    return Problem(message, step, participant=image.participant, path=image.path)
