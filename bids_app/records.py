"""What the rooms hand to each other: frozen records that hold paths, not arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .operating import Operating
from .space import FloatArray, Grid


@dataclass(frozen=True, eq=False)
class Image:
    """One image of the input that the table of sequences knows.

    Attributes
    ----------
    path : Path
        The file in the input folder.
    participant : str
        Label without ``sub-``.
    session : str or None
        Label without ``ses-``.
    entities : mapping of str to str
        BIDS entities by their long pybids names (``acquisition``, ``run``, ``chunk``, ``mt``...), as written.
    suffix : str
    sequence : str
        Name in the table of sequences.
    plane : str
        From the header.
    grid : Grid
    acquired : mapping of str to str
        When it was acquired (ISO 8601), by where that is said (`discover.times`); empty where nothing says it, or no session.
    """

    path: Path
    participant: str
    session: str | None
    entities: Mapping[str, str]
    suffix: str
    sequence: str
    plane: str
    grid: Grid
    acquired: Mapping[str, str] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """File name without extensions: unique within the dataset."""
        return self.path.name.split(".nii")[0]

    @property
    def label(self) -> str:
        """Its sequence, with the station where the name has one."""
        chunk = self.entities.get("chunk")
        return self.sequence if chunk is None else f"{self.sequence}, chunk-{chunk}"


@dataclass(frozen=True, eq=False)
class Unit:
    """One reference image and what goes with it.

    Attributes
    ----------
    inputs : tuple of Image
        These feed the network, the reference first: one for each encoder, or several stations of one sequence.
    others : tuple of Image
        Further images: they only get their masks.
    reasons : mapping of Path to str
        Why another image of its sequence feeds the network, for each of ``others``, in words.
    instead_of : tuple of Image
        References that turned out to be of no use, the first choice first; they are among ``others``.
    """

    reference: Image
    inputs: tuple[Image, ...]
    others: tuple[Image, ...] = ()
    reasons: Mapping[Path, str] = field(default_factory=dict)
    instead_of: tuple[Image, ...] = ()

    @property
    def name(self) -> str:
        """Stem of the reference: unique, and fit for a folder name."""
        return self.reference.stem

    @property
    def planned(self) -> str:
        """Name of the unit as discovery made it: that of its first choice of a reference."""
        return self.instead_of[0].stem if self.instead_of else self.name

    @property
    def sequences(self) -> tuple[str, ...]:
        """Sequences that are to feed the network, each once, the reference's first."""
        return tuple(dict.fromkeys(image.sequence for image in self.inputs))

    @property
    def participant(self) -> str:
        """Label without ``sub-``."""
        return self.reference.participant

    @property
    def session(self) -> str | None:
        """Label without ``ses-``."""
        return self.reference.session

    @property
    def images(self) -> tuple[Image, ...]:
        """Every image that gets masks, the reference first."""
        return self.inputs + self.others


@dataclass(frozen=True)
class Unused:
    """An image that was seen and is not used."""

    path: Path
    participant: str
    reason: str


@dataclass(frozen=True)
class Problem:
    """Something about the input that the user should know before work starts.

    ``fatal`` problems keep their image (or participant) from being used; the others are warnings.
    """

    message: str
    next_step: str = ""
    participant: str | None = None
    path: Path | None = None
    fatal: bool = False


@dataclass(frozen=True, eq=False)
class Discovery:
    """All that discovery says of the chosen participants."""

    participants: tuple[str, ...]
    units: tuple[Unit, ...]
    unused: tuple[Unused, ...]
    problems: tuple[Problem, ...]

    def participants_without_units(self) -> tuple[str, ...]:
        """Chosen participants of whom nothing can be used."""
        served = {unit.participant for unit in self.units}
        return tuple(label for label in self.participants if label not in served)


@dataclass(frozen=True, eq=False)
class Alignment:
    """How one image lies on the reference.

    Attributes
    ----------
    image : Path
    transform : array, shape (4, 4)
        Maps points of the reference (RAS+ mm) to points of the image (RAS+ mm): the direction of resampling.
    method : str
        ``identity`` for the reference, ``rigid`` where the rigid result was kept, else ``header``.
    reason : str
        Why that method.
    """

    image: Path
    transform: FloatArray
    method: str
    reason: str


@dataclass(frozen=True, eq=False)
class Prepared:
    """A unit in the common space.

    Attributes
    ----------
    crop : Path
        ``.npz`` with ``images`` (S, 48, 48, N) float32, signal whose zero means no signal, ``coverage`` (S, 48, 48, N) bool,
        ``cord`` (48, 48, N) float32 probability or mask, ``starts`` (N, 2) int, and ``levels`` (N,) uint8, the vertebral level of
        each slice or 0; S runs over ``sequences``.
    sequences : tuple of str
        Sequence of each row of ``images``, the reference's first.
    grid : Grid
        The uncropped common grid.
    cord_masks : mapping of Path to Path
        Cord mask of each image on its own grid.
    alignments : mapping of Path to Alignment
        One for every image that stayed in the unit.
    dropped : mapping of Path to str
        Images that left the unit, with the reason.
    doubts : mapping of Path to str
        Images that stayed, though something is odd about them or their header, with what that is.
    cord_method : str
        ``sct`` or ``builtin``, with the version.
    no_levels : str
        Why no lesion of the unit gets a vertebral level, as a sentence; empty where levels are known.
    seconds : mapping of str to float
        What each step took when it was done; steps that an earlier run had done are counted as they were then.
    peak_mb : float
        The most memory that any of these processes held, MiB.
    """

    unit: Unit
    crop: Path
    sequences: tuple[str, ...]
    grid: Grid
    cord_masks: Mapping[Path, Path]
    alignments: Mapping[Path, Alignment]
    dropped: Mapping[Path, str] = field(default_factory=dict)
    doubts: Mapping[Path, str] = field(default_factory=dict)
    cord_method: str = ""
    no_levels: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_mb: float = 0.0

    @property
    def images(self) -> tuple[Image, ...]:
        """The unit's images less the dropped ones."""
        return tuple(image for image in self.unit.images if image.path in self.alignments)


@dataclass(frozen=True)
class Lesion:
    """One lesion, measured in the common space.

    Attributes
    ----------
    index : int
        Its number in every output of the session, from 1.
    volume_mm3 : float
    length_mm : float
        Extent along the cord (S-I).
    position_mm : tuple of float
        Centre of mass, RAS+ mm of the reference.
    probability : float
        Highest probability inside the lesion.
    mean_probability : float
    sequences : tuple of str
        Sequences that cover the centre of the lesion.
    vertebral_level : str
        Name of the vertebra beside which most of the lesion lies; empty where that is not known.
    side, column : str
        ``left``, ``right`` or ``midline``; ``posterior``, ``lateral``, ``anterior`` or ``central``: where most of the lesion
        lies in the cross-section of the cord, by the cord mask alone.
    from_top_mm : float or None
        From the upper end of the cord mask to the lesion's centre, along the cord.
    support : mapping of str to float
        Mean probability inside the lesion when the network sees less: ``without STIR``, ``T2Sag alone``...; empty where there
        was one sequence.
    calibrated : float or None
        How often such a lesion was a true one in simulated participants; None where the weights say nothing of it.
    noise_sd : float or None
        Standard deviation of the mean probability under noise at the bottleneck of the network.
    """

    index: int
    volume_mm3: float
    length_mm: float
    position_mm: tuple[float, float, float]
    probability: float
    mean_probability: float
    sequences: tuple[str, ...] = ()
    vertebral_level: str = ""
    side: str = ""
    column: str = ""
    from_top_mm: float | None = None
    support: Mapping[str, float] = field(default_factory=dict)
    calibrated: float | None = None
    noise_sd: float | None = None


@dataclass(frozen=True, eq=False)
class Segmented:
    """A unit with its lesions.

    Attributes
    ----------
    maps : Path
        ``.npz`` with ``probability`` (48, 48, N) float32 and ``instances`` (48, 48, N) int32 in the crop; lesion numbers
        are those of ``lesions``.
    operating : Operating
        What passed for a lesion.
    cord_mm, image_mm : float
        How far the cord was seen, and how far the reference has data, along the cord.
    """

    prepared: Prepared
    maps: Path
    lesions: tuple[Lesion, ...]
    operating: Operating
    weights: Mapping[str, str]
    seconds: Mapping[str, float] = field(default_factory=dict)
    cord_mm: float = 0.0
    image_mm: float = 0.0

    @property
    def unit(self) -> Unit:
        """What was worked on."""
        return self.prepared.unit

    @property
    def participant(self) -> str:
        """Label without ``sub-``."""
        return self.unit.participant

    @property
    def lesion_count(self) -> int:
        """Number of lesions."""
        return len(self.lesions)

    @property
    def volume_mm3(self) -> float:
        """Total lesion volume."""
        return float(np.sum([lesion.volume_mm3 for lesion in self.lesions])) if self.lesions else 0.0

    @property
    def sequences(self) -> tuple[str, ...]:
        """Sequences that fed the network."""
        return self.prepared.sequences


@dataclass(frozen=True, eq=False)
class Kept:
    """A unit that is finished: its results lie in the output folder and still stand.

    Attributes
    ----------
    record : mapping
        What the status record says of it.
    """

    unit: Unit
    record: Mapping[str, object]

    @property
    def participant(self) -> str:
        """Label without ``sub-``."""
        return self.unit.participant

    @property
    def lesion_count(self) -> int:
        """Number of lesions."""
        return int(str(self.record["Lesions"]))

    @property
    def volume_mm3(self) -> float:
        """Total lesion volume."""
        return float(str(self.record["Volume_mm3"]))

    @property
    def sequences(self) -> tuple[str, ...]:
        """Sequences that fed the network."""
        named = self.record["Sequences"]
        return tuple(map(str, named)) if isinstance(named, list) else ()


@dataclass(frozen=True, eq=False)
class Failed:
    """A unit, an image that could not get into one, or a participant without any, that could not be done.

    Attributes
    ----------
    image : Path or None
        The image, or the folder, that could not be used; only where there is no unit.
    session : str or None
        Its session, label without ``ses-``.
    details : str
        The traceback, for those who look after the program.
    """

    participant: str
    message: str
    next_step: str = ""
    unit: Unit | None = None
    details: str = ""
    image: Path | None = None
    session: str | None = None


#: What the corridor knows of one unit at the end.
Outcome = Segmented | Kept | Failed


def session_of(outcome: Outcome) -> str | None:
    """Return the session of an outcome, label without ``ses-``; None where it has none, or is of a participant as a whole."""
    if isinstance(outcome, Failed) and outcome.unit is None:
        return outcome.session
    return outcome.unit.session if outcome.unit else None
