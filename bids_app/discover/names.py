"""BIDS file names, taken apart as they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..sequences import SEQUENCES

#: Long name of each entity that is short in file names; other entities go by the name that they have there.
LONG_NAMES: Mapping[str, str] = {
    "acq": "acquisition",
    "ce": "ceagent",
    "rec": "reconstruction",
    "dir": "direction",
    "mod": "modality",
    "inv": "inversion",
    "proc": "processing",
    "hemi": "hemisphere",
    "res": "resolution",
    "den": "density",
    "seg": "segmentation",
    "desc": "description",
}
#: Entities that a filter file may name, next to the short forms above.
ENTITIES: tuple[str, ...] = (
    *LONG_NAMES.values(),
    *("run", "echo", "flip", "mt", "part", "chunk", "space", "label", "split", "recording", "atlas", "task"),
)
#: Entities that only derived images have.
DERIVED: frozenset[str] = frozenset(
    {"space", "description", "label", "segmentation", "resolution", "density", "atlas", "hemisphere"}
)
#: Suffixes that the table of sequences knows.
SUFFIXES: tuple[str, ...] = tuple(sorted({suffix for row in SEQUENCES for suffix in row.suffixes}))

_SHORT = {long: short for short, long in LONG_NAMES.items()}
#: Words for the quick survey before the scans.
_LOCALISER = re.compile("(?i:locali[sz]er|scout|survey|pilot|(?:three|3)plane)|(?:^loc|Loc)(?![a-z])")
_LABEL = r"[A-Za-z0-9+]+"
_NAME = re.compile(rf"((?:[a-z]+-{_LABEL}_)+)({_LABEL})")


@dataclass(frozen=True)
class Name:
    """The parts of a BIDS file name.

    Attributes
    ----------
    participant, session : str or None
        Labels; None where the name has none.
    entities : mapping of str to str
        The other entities by their long names, values as written (``run`` may be ``01``).
    suffix : str
    """

    participant: str | None
    session: str | None
    entities: Mapping[str, str]
    suffix: str


def is_nifti(path: Path) -> bool:
    """Tell whether a file is a NIfTI image by its name."""
    return path.name.endswith((".nii", ".nii.gz"))


def meant_as_nifti(path: Path) -> bool:
    """Tell whether a file is a NIfTI image by its name, however the ending is spelt (``.NII.GZ``)."""
    return is_nifti(path.with_name(path.name.lower()))


def misspelt_ending(path: Path) -> str:
    """Say how the ending of an image is misspelt; empty where it is not."""
    if is_nifti(path):
        return ""
    right = ".nii.gz" if path.name.lower().endswith(".gz") else ".nii"
    return f"its name ends in {path.name[-len(right) :]}, which is to be spelt {right}"


def meant_suffix(suffix: str) -> str:
    """Return the suffix of the table that another spelling of it may stand for (``t2w``, ``T2``); empty where none does."""
    spelt = suffix.lower()
    return next(
        (known for known in SUFFIXES if spelt in (known.lower(), known.lower().removesuffix("w"))), ""
    )


def localiser_word(name: Name) -> str:
    """Return the part of a name that says localiser; empty where none does."""
    parts = {
        **{f"{_SHORT.get(key, key)}-{value}": value for key, value in name.entities.items()},
        name.suffix: name.suffix,
    }
    return next((part for part, value in parts.items() if _LOCALISER.search(value)), "")


def parse(filename: str) -> Name | None:
    """Take the name of a NIfTI file apart; None where it is not built as BIDS names are."""
    match = _NAME.fullmatch(filename.removesuffix(".gz").removesuffix(".nii"))
    if match is None:
        return None
    pairs = [part.split("-", 1) for part in match[1].rstrip("_").split("_")]
    entities = {LONG_NAMES.get(key, key): value for key, value in pairs}
    if len(entities) < len(pairs):
        return None
    return Name(entities.pop("sub", None), entities.pop("ses", None), entities, match[2])


def same_label(asked: str, written: str) -> bool:
    """Compare two labels; numbers are compared as numbers, so that run 1 finds ``run-01``."""
    if asked.isdecimal() and written.isdecimal():
        return int(asked) == int(written)
    return asked == written
