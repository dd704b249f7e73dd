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
