"""What a finished session was made from, and whether it still stands: a run keeps what needs no redoing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..files import checksum, read_json
from ..options import Options
from ..records import Kept, Outcome, Unit, session_of
from .dataset import raw_uri
from .manifest import DONE, status_path

Basis = Mapping[str, object]


def basis_of(
    units: Sequence[Unit], method: Mapping[str, object], bids_dir: Path, cords: Mapping[Path, Path]
) -> Basis:
    """Return everything that decides the results of a session, as JSON knows it.

    Parameters
    ----------
    units : sequence of Unit
        All of one session.
    method : mapping
        Version, weights and settings.
    cords : mapping of Path to Path
        Cord masks that were given, by image.

    Raises
    ------
    OSError
        An image cannot be read.
    """

    def name(path: Path) -> str:
        return raw_uri(path, bids_dir)

    images = {image.path: image for unit in units for image in unit.images}
    return {
        "Method": dict(method),
        "Units": [
            {
                "Inputs": [[image.sequence, name(image.path)] for image in unit.inputs],
                "Others": {name(image.path): image.sequence for image in unit.others},
            }
            for unit in units
        ],
        "Images": {name(path): checksum(path) for path in sorted(images)},
        "GivenCords": {name(path): checksum(cords[path]) for path in sorted(images) if path in cords},
    }


def digests(basis: Basis) -> list[tuple[str, str]]:
    """Return the images of a session, as BIDS URIs, with their SHA-256."""
    images = basis["Images"]
    return [(str(name), str(digest)) for name, digest in images.items()] if isinstance(images, dict) else []


def record_of(basis: Basis, outputs: Iterable[Path], output_dir: Path) -> dict[str, object]:
    """Return what the status record of a session keeps of its inputs and outputs."""
    return {
        "Basis": basis,
        "Outputs": {path.relative_to(output_dir).as_posix(): checksum(path) for path in outputs},
    }


def recorded(outcome: Outcome, options: Options) -> dict[str, object]:
    """Return what the status record of an outcome's session says of its inputs and outputs, as `record_of` made it."""
    record = read_json(status_path(options, outcome.participant, session_of(outcome)))
    return {name: record[name] for name in ("Basis", "Outputs")}


def kept(units: Sequence[Unit], basis: Basis, options: Options) -> list[Kept]:
    """Return the units of a session whose results still stand; none where anything is missing, changed or failed."""
    try:
        record = read_json(status_path(options, units[0].participant, units[0].session))
        found = {str(unit["Planned"]): unit for unit in _listed(record["Units"])}
        outputs = record["Outputs"]
        if record["Basis"] != basis or not isinstance(outputs, dict):
            return []
        if any(found[unit.name]["Status"] != DONE for unit in units):
            return []
        if any(checksum(options.output_dir / name) != digest for name, digest in outputs.items()):
            return []
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [Kept(_as_done(unit, found[unit.name]), found[unit.name]) for unit in units]


def _as_done(unit: Unit, record: Mapping[str, object]) -> Unit:
    """Return a unit with the reference that led it in the end, which may be another one than discovery chose."""
    if record["Unit"] == unit.name:
        return unit
    leader = next((image for image in unit.images if image.stem == record["Unit"]), unit.reference)
    rest = tuple(image for image in unit.inputs if image is not leader)
    others = tuple(image for image in unit.others if image is not leader)
    return replace(
        unit, reference=leader, inputs=(leader, *rest), others=others, instead_of=(unit.reference,)
    )


def _listed(units: object) -> list[Mapping[str, object]]:
    if not isinstance(units, list):
        raise TypeError("the units of a status record are no list")
    return units
