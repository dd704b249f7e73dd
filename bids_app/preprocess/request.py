"""What `prepare` is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..records import Unit


@dataclass(frozen=True, eq=False)
class PrepareRequest:
    """One unit, its work folder, and where its cords come from. Can be pickled.

    Attributes
    ----------
    unit : Unit
    folder : Path
        Work folder of this unit alone; kept between runs, it is the memory of what is done.
    cord : str
        ``sct``: each cord is segmented here with SCT. ``builtin``: the masks are ready.
    cord_masks : dict of Path to Path
        Cord mask of each image (by the image's path) that has one already, on the image's own grid; for ``builtin`` of all.
    cord_missing : dict of Path to str
        For ``builtin``: why an image has no mask, as a sentence.
    cord_method : str
        What the outputs say of the method, with its version; for ``sct`` it may be empty: the version is
        asked.
    sct_device : str
        Where SCT runs: ``cpu``, ``cuda`` or ``cuda:N``.
    nprocs : int
        Processes for this unit.
    cord_seconds : float
        For ``builtin``: what finding the cords took.
    taken : tuple of Path
        Images that lead another unit of the session and so may not lead this one.
    """

    unit: Unit
    folder: Path
    cord: Literal["sct", "builtin"]
    cord_masks: dict[Path, Path] = field(default_factory=dict)
    cord_missing: dict[Path, str] = field(default_factory=dict)
    cord_method: str = ""
    sct_device: str = "cpu"
    nprocs: int = 1
    cord_seconds: float = 0.0
    taken: tuple[Path, ...] = ()
