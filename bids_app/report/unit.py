"""What the page says of one unit, in words and rows of tables."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import MscordError
from ..records import Failed, Image, Kept, Lesion, Outcome, Segmented, Unit
from ..vertebrae import NAMES
from .arrays import read_crop
from .pictures import Pictures, and_words, draw_unit, height_words, pictures_per_unit
from .remarks import cord_seen, remarks_of, verdict
from .viewer import Viewer, view_of

_LOG = logging.getLogger(__name__)

_ALIGNMENTS = {
    "identity": "none needed: this is the reference",
    "rigid": "rigid (moved onto the reference)",
    "header": "by the scanner's coordinates alone",
}


#: Headings of the table of lesions, with the class of their cells.
LESION_HEADINGS = (
    ("Lesion", ""),
    ("Vertebral level", ""),
    ("Side", ""),
    ("Part of the cord", ""),
    ("Volume (mm³)", "number"),
    ("Length (mm)", "number"),
    ("Highest probability", "number"),
    ("Mean probability", "number"),
    ("Spread under noise", "number"),
    ("Calibrated probability", "number"),
    ("Rests on", ""),
    ("Sequences that cover it", ""),
    ("Centre (mm, scanner coordinates)", ""),
)
#: Shades of the heat row, from the lowest probability up: one hue, so that it is read by lightness alone.
_SHADES = 8


@dataclass(frozen=True)
class ImageRow:
    """One image of a unit in the table."""

    name: str
    sequence: str
    plane: str
    size: str
    use: str
    alignment: str
    reason: str


@dataclass(frozen=True)
class Heat:
    """One cell of a heat row: the mean probability of a lesion when the network sees less.

    Attributes
    ----------
    name : str
        What it sees: ``all``, ``without STIR``...
    value : float
    shade : int
        0 (lowest) to 7.
    kept : bool
        Whether the value is enough for a lesion.
    """

    name: str
    value: float
    shade: int
    kept: bool


@dataclass(frozen=True)
class LesionRow:
    """One lesion in the table; ``level`` is the number of the picture that shows it, from 1, or None."""

    number: int
    volume_mm3: float
    length_mm: float
    position: str
    height_mm: float
    vertebral_level: str
    level_order: int | str
    probability: float
    mean_probability: float
    sequences: str
    level: int | None
    side: str
    column: str
    noise_sd: float | None
    calibrated: float | None
    heat: Sequence[Heat]
    rests_on: str


@dataclass(frozen=True)
class UnitView:
    """One unit on the page.

    Attributes
    ----------
    failure : Failed or None
    pictures : Pictures or None
        None for a failed unit, and where ``no_pictures`` says why they could not be drawn.
    viewer : Viewer or None
        None where there are no pictures.
    least_mean : str
        Lowest mean probability of a lesion.
    remarks : sequence of str
        What should be looked at, see `remarks`.
    made : sequence of (str, str)
        How its result was made: name and value.
    """

    title: str
    images: Sequence[ImageRow]
    failure: Failed | None = None
    summary: str = ""
    lesions: Sequence[LesionRow] = ()
    pictures: Pictures | None = None
    no_pictures: str = ""
    viewer: Viewer | None = None
    least_mean: str = ""
    remarks: Sequence[str] = ()
    made: Sequence[tuple[str, str]] = field(default_factory=tuple)


def view_unit(outcome: Outcome, units: int) -> UnitView:
    """Return what the page shows of an outcome with a unit; ``units`` share the page.

    A unit whose pictures cannot be drawn keeps its tables, and the page says why.
    """
    unit = outcome.unit
    assert unit is not None
    if isinstance(outcome, Failed):
        return UnitView(_title(unit), [_found_row(unit, i, "the unit failed") for i in unit.images], outcome)
    if isinstance(outcome, Kept):
        rows = [_found_row(unit, i, "see the sidecars of the results") for i in unit.images]
        lost = "they were on a page of an earlier run that is gone; --force makes them anew"
        return UnitView(_title(unit), rows, summary=_summary(outcome), no_pictures=lost)
    shown_of, problem = _shown(outcome, units)
    pictures, viewer, noticed = shown_of or (None, None, ())
    shown: dict[int, int] = {}
    for position, figure in enumerate(pictures.levels if pictures else (), start=1):
        for number in figure.lesions:
            shown.setdefault(number, position)
    return UnitView(
        title=_title(unit),
        images=[_used_row(outcome, image) for image in unit.images],
        summary=f"{_summary(outcome)} {verdict(noticed)}" if shown_of else _summary(outcome),
        remarks=noticed,
        lesions=[_lesion_row(lesion, shown, outcome) for lesion in outcome.lesions],
        pictures=pictures,
        no_pictures=problem,
        viewer=viewer,
        least_mean=outcome.operating.words(),
        made=_made(outcome),
    )


def overview(view: UnitView) -> dict[str, object]:
    """Return what lists of participants show of a unit, see `pages.overview_of`."""
    if view.pictures is None:
        return {}
    thumbnail = view.pictures.thumbnail
    return {"thumbnail": thumbnail.uri, "alt": thumbnail.alt, "remarks": list(view.remarks)}


def count_words(number: int, word: str) -> str:
    """Return ``no lesion``, ``1 lesion`` or ``2 lesions``."""
    if number == 0:
        return f"no {word}"
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _shown(outcome: Segmented, units: int) -> tuple[tuple[Pictures, Viewer, Sequence[str]] | None, str]:
    """Return pictures, viewer and remarks; None, and why, where the files of the unit are lost."""
    # A picture that fails must not take the page along, and with it the failures that the page lists.
    try:
        crop = read_crop(outcome)
        pictures = draw_unit(outcome, crop, pictures_per_unit(units))
        return (pictures, view_of(outcome, crop, units), remarks_of(outcome, crop)), ""
    except MscordError as error:
        reason = str(error)
    except OSError as error:
        reason = f"{Path(str(error.filename)).name}: {error.strerror}" if error.filename else str(error)
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = f"{type(error).__name__}: {error}"
    _LOG.warning("No pictures of %s: %s", outcome.prepared.unit.name, reason)
    return None, reason


def _title(unit: Unit) -> str:
    return unit.name if unit.session is None else f"Session {unit.session}: {unit.name}"


def _summary(outcome: Segmented | Kept) -> str:
    used = ", ".join(outcome.sequences)
    if isinstance(outcome, Segmented) and not outcome.lesions:
        least = outcome.operating
        return (
            f"No lesion was found in {outcome.cord_mm:.0f} mm of cord (nothing reached a probability of"
            f" {least.threshold:g}, {least.words()} on average, and a volume of {least.minimum_volume_mm3:g} mm³)."
            f" Sequences used: {used}."
        )
    found = count_words(outcome.lesion_count, "lesion").capitalize()
    where = f" Cord seen over {cord_seen(outcome)}." if isinstance(outcome, Segmented) else ""
    return f"{found}, {outcome.volume_mm3:.1f} mm³ in all.{where} Sequences used: {used}."


def _found_row(unit: Unit, image: Image, reason: str) -> ImageRow:
    return ImageRow(
        name=image.path.name,
        sequence=image.sequence,
        plane=image.plane,
        size=_size(image),
        use=f"{_use(unit, image)} (planned)",
        alignment="",
        reason=reason,
    )


def _used_row(outcome: Segmented, image: Image) -> ImageRow:
    prepared = outcome.prepared
    alignment = prepared.alignments.get(image.path)
    dropped = prepared.dropped.get(image.path)
    return ImageRow(
        name=image.path.name,
        sequence=image.sequence,
        plane=image.plane,
        size=_size(image),
        use=_use(prepared.unit, image) if dropped is None else "left out",
        alignment="" if alignment is None else _ALIGNMENTS.get(alignment.method, alignment.method),
        reason=dropped if dropped is not None else _remark(outcome, image),
    )


def _remark(outcome: Segmented, image: Image) -> str:
    alignment = outcome.prepared.alignments.get(image.path)
    choice = outcome.prepared.unit.reasons.get(image.path, "")
    said = [choice, alignment.reason if alignment else "", outcome.prepared.doubts.get(image.path, "")]
    return ". ".join(text.rstrip(".") for text in said if text)


def _use(unit: Unit, image: Image) -> str:
    if image.path == unit.reference.path:
        return "reference, read by the network"
    if any(image.path == other.path for other in unit.inputs):
        return "read by the network"
    return "masks only (its sequence is read from another image)"


def _size(image: Image) -> str:
    shape = " × ".join(str(n) for n in image.grid.shape)
    spacing = " × ".join(f"{size:.3g}" for size in image.grid.spacing_mm)
    return f"{shape} voxels of {spacing} mm"


def heat_of(lesion: Lesion, outcome: Segmented) -> list[Heat]:
    """Return the heat row of a lesion; none where nothing could be left out."""
    if not lesion.support:
        return []
    values = {"all": lesion.mean_probability, **lesion.support}
    return [
        Heat(
            name, value, min(int(value * _SHADES), _SHADES - 1),
            value >= outcome.operating.least(_covering(lesion, name)),
        )
        for name, value in values.items()
    ]  # fmt: skip


def _covering(lesion: Lesion, variant: str) -> int:
    """Return how many sequences cover a lesion in a column of the heat row."""
    if variant.endswith(" alone"):
        return 1
    return sum(name != variant.removeprefix("without ") for name in lesion.sequences)


def rests_on(lesion: Lesion, heat: Sequence[Heat]) -> str:
    """Return in words without which sequences a lesion would be missed."""
    if not heat:
        return "one sequence only"
    needed = [
        cell.name.removeprefix("without ")
        for cell in heat
        if cell.name.startswith("without ") and not cell.kept
    ]
    left_out = sum(cell.name.startswith("without ") for cell in heat)
    if not needed:
        return "no single sequence"
    return "all together" if len(needed) == left_out else and_words(needed)


def _lesion_row(lesion: Lesion, shown: Mapping[int, int], outcome: Segmented) -> LesionRow:
    heat = heat_of(lesion, outcome)
    x, y, z = lesion.position_mm
    across, ahead = "R" if x >= 0 else "L", "A" if y >= 0 else "P"
    return LesionRow(
        number=lesion.index,
        volume_mm3=lesion.volume_mm3,
        length_mm=lesion.length_mm,
        position=f"{across} {abs(x):.1f}, {ahead} {abs(y):.1f}, {height_words(z)}",
        height_mm=z,
        vertebral_level=lesion.vertebral_level or "unknown",
        level_order=NAMES.index(lesion.vertebral_level) if lesion.vertebral_level in NAMES else "",
        probability=lesion.probability,
        mean_probability=lesion.mean_probability,
        sequences=", ".join(lesion.sequences),
        level=shown.get(lesion.index),
        side=lesion.side or "unknown",
        column=lesion.column or "unknown",
        noise_sd=lesion.noise_sd,
        calibrated=lesion.calibrated,
        heat=heat,
        rests_on=rests_on(lesion, heat),
    )


def _made(outcome: Segmented) -> list[tuple[str, str]]:
    rows = [
        ("Cord found by", outcome.prepared.cord_method),
        ("Vertebral levels", outcome.prepared.no_levels or "labelled by the Spinal Cord Toolbox"),
        ("Threshold of probability", f"{outcome.operating.threshold:g}"),
        ("Least mean probability of a lesion", outcome.operating.words()),
        ("Smallest lesion", f"{outcome.operating.minimum_volume_mm3:g} mm³"),
        ("Weights", outcome.weights.get("name", "")),
        ("SHA-256 of the weights", outcome.weights.get("sha256", "")),
    ]
    rows += [(f"Time for {name}", f"{seconds:.1f} s") for name, seconds in outcome.seconds.items()]
    return [(name, value) for name, value in rows if value]
