"""The table of sequences: the only place that knows which there are.

Adding a sequence is one row here, plus retraining.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

SAGITTAL, AXIAL, CORONAL, ISOTROPIC = "sagittal", "axial", "coronal", "isotropic"
PLANES = (SAGITTAL, AXIAL, CORONAL, ISOTROPIC)


@dataclass(frozen=True)
class Sequence:
    """One row of the table.

    Attributes
    ----------
    name : str
        Name in options, filter files, sidecars and reports.
    description : str
        What it is, for people.
    suffixes : tuple of str
        BIDS suffixes that select it.
    planes : tuple of str
        Planes (by header) that select it.
    acquisition : str
        Regular expression searched in the ``acq`` entity (case is ignored); empty: any.
    not_acquisition : str
        Regular expression that must not be found in ``acq``; empty: none.
    slot : int
        Index of its encoder in the network.
    dark : bool
        Whether lesions are darker than the cord.
    """

    name: str
    description: str
    suffixes: tuple[str, ...]
    planes: tuple[str, ...]
    slot: int
    acquisition: str = ""
    not_acquisition: str = ""
    dark: bool = False

    def selects(self, suffix: str, entities: Mapping[str, str], plane: str) -> bool:
        """Tell whether an image with this suffix, entities and plane is of this row."""
        acq = str(entities.get("acquisition", ""))
        return (
            suffix in self.suffixes
            and plane in self.planes
            and (not self.acquisition or re.search(self.acquisition, acq, re.IGNORECASE) is not None)
            and (not self.not_acquisition or re.search(self.not_acquisition, acq, re.IGNORECASE) is None)
        )


#: Order matters: near-ties for the reference go to the earlier row.
SEQUENCES: tuple[Sequence, ...] = (
    Sequence("T2Sag", "sagittal T2w", ("T2w",), (SAGITTAL, ISOTROPIC), 0, not_acquisition="stir|psir"),
    Sequence("STIR", "sagittal STIR", ("STIR",), (SAGITTAL, ISOTROPIC, CORONAL, AXIAL), 1),
    Sequence("STIR", "sagittal STIR", ("T2w",), PLANES, 1, acquisition="stir", not_acquisition="psir"),
    Sequence("T2starAx", "axial T2*w", ("T2starw", "T2star", "MEGRE"), (AXIAL, ISOTROPIC), 2),
    Sequence("T1", "T1w", ("T1w",), PLANES, 3, not_acquisition="psir", dark=True),
    Sequence("T2Ax", "axial T2w", ("T2w",), (AXIAL,), 4, not_acquisition="stir|psir"),
    Sequence("MP2RAGE", "MP2RAGE UNI image", ("UNIT1",), PLANES, 5, dark=True),
    Sequence("PSIR", "phase-sensitive inversion recovery", ("PSIR",), PLANES, 6, dark=True),
    Sequence(
        "PSIR", "phase-sensitive inversion recovery", ("T1w", "T2w"), PLANES, 6, acquisition="psir", dark=True
    ),
)

#: Names by encoder slot.
SLOTS: tuple[str, ...] = tuple(
    name for _, name in sorted({(sequence.slot, sequence.name) for sequence in SEQUENCES})
)
#: Slots of the sequences in which lesions are darker than the cord.
DARK: tuple[int, ...] = tuple(sorted({sequence.slot for sequence in SEQUENCES if sequence.dark}))


def classify(suffix: str, entities: Mapping[str, str], plane: str) -> Sequence | None:
    """Return the row that selects an image, or None where no row does."""
    return next((row for row in SEQUENCES if row.selects(suffix, entities, plane)), None)


def by_inversion(row: Sequence, suffix: str, plane: str) -> Sequence | None:
    """Return the row of STIR where an image of ``row`` would be one if it nulled fat by inversion; None where it would not."""
    if suffix != "T2w" or row.name not in ("T2Sag", "T2Ax"):
        return None
    return classify(suffix, {"acquisition": "STIR"}, plane)


def slot_of(name: str) -> int:
    """Return the encoder slot of a sequence name; ValueError where the table has no such name."""
    return SLOTS.index(name)
