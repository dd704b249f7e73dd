"""The group level: one table of all lesions and one of all units, rebuilt from what is on disk."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from .errors import NothingToDoError
from .files import LOGS, STATUS_ENDING, read_json, write_json
from .options import Options
from .qc import EXCLUDE, Decision, read_decisions, unknown
from .stations import Place, same_lesions
from .tables import LESION_COLUMNS, MISSING, Cell, Column, read_table, write_table

log = logging.getLogger(__name__)

DONE, FAILED = "done", "failed"
#: Begins the names of cells that hold when a unit's reference was acquired; what follows is where that stands.
ACQUIRED = "acquired in "
_KEYS = (
    Column("participant_id", "Participant"),
    Column("session_id", "Session; n/a where the dataset has none"),
    Column("unit", "Unit of work, by the name of its reference image; n/a where there was none"),
)
_IN_INPUT = Column(
    "in_input", "yes, or no where the input has no folder of the participant or the session any more"
)
#: The voxels of one image say nothing of the group.
_OF_LESION = tuple(
    column for column in LESION_COLUMNS if column.name not in ("reference", "voxels", "volume_image_mm3")
)
LESIONS = (
    *_KEYS,
    *_OF_LESION,
    _IN_INPUT,
    Column(
        "same_as",
        "Unit and index, as UNIT:INDEX, of the lesion above that is this one, seen by another unit (station) of the session",
    ),
)
UNITS = (
    *_KEYS,
    Column("image", "Image or folder that could not get into a unit; n/a elsewhere"),
    Column("status", "done, or failed"),
    Column("sequences", "Sequences that fed the network, separated by commas"),
    Column("cord_mm", "Length over which the cord was seen; lesions were looked for there alone", "mm"),
    Column("image_mm", "Length over which the reference image has data along the cord", "mm"),
    Column("lesions", "Number of lesions"),
    Column("volume_mm3", "Total volume of the lesions in the common space of the unit", "mm^3"),
    Column("reason", "Why the unit failed"),
    Column("next_step", "What can be done about it"),
    _IN_INPUT,
    Column("decision", "What a person decided on the session: keep or exclude; from the file of --qc"),
    Column("comment", "What that person said"),
)
SESSIONS = (
    *_KEYS[:2],
    Column("units", "Number of units of work that are done"),
    Column("failed", "Number of units, or of images without one, that failed"),
    Column("lesions", "Number of lesions; one that two units (stations) show counts once"),
    Column("volume_mm3", "Their total volume; of one that two units show, the larger", "mm^3"),
    _IN_INPUT,
)
Row = dict[str, Cell]


def write_group(options: Options) -> tuple[Path, Path, Path]:
    """Write the tables of all lesions, of all units and of all sessions.

    Read are the status records of the participants' last runs and the tables of lesions; a unit whose status
    record is gone is found by the sidecar of its reference. Labels in ``options`` restrict the tables. Sessions that the
    file of ``--qc`` excludes stay in the table of units alone, which says so.

    Returns
    -------
    lesions, units, sessions : Path
        ``group_lesions.tsv``, ``group_units.tsv`` and ``group_sessions.tsv`` in the output folder.

    Raises
    ------
    NothingToDoError
        There is no result in the output folder.
    UsageError
        The file of ``--qc`` cannot be used.
    EnvironmentFault
        The tables cannot be written.
    """
    rows = unit_rows(options)
    _say_gone(rows)
    lesions: list[Row] = []
    for row in rows:
        found = _lesions(row, options.output_dir)
        lesions += found if included(row) else []
    counted = [row for row in rows if included(row)]
    sessions = [_session(key, rows, lesions) for key in dict.fromkeys(_key(row)[:2] for row in counted)]
    return (
        _write(options.output_dir / "group_lesions.tsv", LESIONS, lesions),
        _write(options.output_dir / "group_units.tsv", UNITS, rows),
        _write(options.output_dir / "group_sessions.tsv", SESSIONS, sessions),
    )


def unit_rows(options: Options) -> list[Row]:
    """Return a row for every unit that the output folder tells of, sorted by participant and session.

    A finished one names its ``table`` of lesions, relative to the output folder.

    Raises
    ------
    NothingToDoError
        There is none.
    """
    units = {_key(row): row for row in _from_sidecars(options.output_dir)}
    recorded = _from_status(options.output_dir)
    # A record tells all units of its session: what the sidecars of older runs say of that session is out of
    # date.
    told = {_key(row)[:2] for row in recorded if row["unit"]}
    units = {key: row for key, row in units.items() if key[:2] not in told}
    for row in recorded:
        known = units.get(_key(row))
        if known is not None and not row["unit"] and not row["image"]:
            # Several reasons that concern a session as a whole: one row that gives them all.
            row = {**row, "reason": f"{known['reason']} {row['reason']}"}
        units[_key(row)] = row
    decisions = read_decisions(options.qc)
    for name in unknown(decisions, (key[:2] for key in units)):
        log.warning("--qc decides on %s, of which there is no result.", name)
    for key, row in units.items():
        decision = decisions.get(key[:2], Decision())
        row |= {"decision": decision.verdict or None, "comment": decision.comment or None}
        row["in_input"] = "yes" if options.bids_dir.joinpath(*filter(None, key[:2])).is_dir() else "no"
    rows = [row for key, row in sorted(units.items()) if _chosen(row, options)]
    if not rows:
        raise NothingToDoError(
            f"There are no results of participants in {options.output_dir}.",
            "Run the participant level into this folder first.",
        )
    return rows


def _say_gone(rows: list[Row]) -> None:
    """Say who is in the results and no longer in the input."""
    gone = dict.fromkeys(" ".join(filter(None, _key(row)[:2])) for row in rows if row["in_input"] == "no")
    if gone:
        log.warning("No longer in the input, and marked so in the tables: %s.", ", ".join(gone))


def included(row: Row) -> bool:
    """Tell whether a unit counts: not where a person excluded its session."""
    return row.get("decision") != EXCLUDE


def _session(key: tuple[str, str], units: list[Row], lesions: list[Row]) -> Row:
    """Return a session's row, and mark its lesions that another of its units shows already."""
    own = [row for row in units if _key(row)[:2] == key]
    found = [row for row in lesions if _key(row)[:2] == key]
    same = same_lesions([_place(row) for row in found])
    volumes = [float(str(row["volume_mm3"])) for row in found]
    for number, first in same.items():
        found[number]["same_as"] = f"{found[first]['unit']}:{found[first]['index']}"
        volumes[first] = max(volumes[first], volumes[number])
    return {
        **{column.name: own[0][column.name] for column in _KEYS[:2]},
        "units": sum(row["status"] == DONE for row in own),
        "failed": sum(row["status"] != DONE for row in own),
        "lesions": len(found) - len(same),
        "volume_mm3": float(sum(volume for number, volume in enumerate(volumes) if number not in same)),
        "in_input": own[0]["in_input"],
    }


def _place(row: Row) -> Place:
    x, y, z, length, volume = (
        float(str(row[name])) for name in ("x_mm", "y_mm", "z_mm", "length_mm", "volume_mm3")
    )
    return Place(str(row["unit"]), (x, y, z), length, volume)


def _write(path: Path, columns: tuple[Column, ...], rows: list[Row]) -> Path:
    write_json(path.with_suffix(".json"), {column.name: column.definition() for column in columns})
    write_table(path, columns, rows)
    return path


def _key(row: Row) -> tuple[str, str, str]:
    what = row["unit"] or row.get("image") or ""
    return (str(row["participant_id"]), str(row["session_id"] or ""), str(what))


def _chosen(row: Row, options: Options) -> bool:
    """Apply the labels of the command line, with or without ``sub-`` and ``ses-``."""
    participants = {f"sub-{label.removeprefix('sub-')}" for label in options.participant_label}
    sessions = {f"ses-{label.removeprefix('ses-')}" for label in options.session_label}
    excluded = {f"sub-{label.removeprefix('sub-')}" for label in options.exclude_participant_label}
    return (
        (not participants or row["participant_id"] in participants)
        and row["participant_id"] not in excluded
        and (not sessions or row["session_id"] in sessions)
    )


def _from_status(folder: Path) -> list[Row]:
    rows: list[Row] = []
    for path in sorted((folder / LOGS).glob(f"sub-*{STATUS_ENDING}")):
        try:
            units = read_json(path)["Units"]
            if not isinstance(units, list):
                raise ValueError("Units is no list")
            rows += [_recorded(unit) for unit in units]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s cannot be read (%s).", path.name, error)
            rows.append(_unreadable(path))
    return rows


def _recorded(unit: Mapping[str, object]) -> Row:
    session = unit.get("Session")
    sequences = unit.get("Sequences")
    row: Row = {
        "participant_id": f"sub-{unit['Participant']}",
        "session_id": f"ses-{session}" if session else None,
        "unit": _string(unit.get("Unit")),
        "image": _string(unit.get("Image")),
        "status": _string(unit["Status"]),
        "sequences": ",".join(map(str, sequences)) if isinstance(sequences, list) else None,
        "cord_mm": _string(unit.get("CordSeen_mm")),
        "image_mm": _string(unit.get("ImageAlongCord_mm")),
        "reason": _string(unit.get("Reason")),
        "next_step": _string(unit.get("NextStep")),
        "table": _string(unit.get("Table")),
    }
    times = unit.get("Acquired")
    if isinstance(times, Mapping):
        row |= {f"{ACQUIRED}{place}": _string(time) for place, time in times.items()}
    return row


def _unreadable(path: Path) -> Row:
    labels = path.name.removesuffix(STATUS_ENDING).split("_")
    return {
        "participant_id": labels[0],
        "session_id": labels[1] if len(labels) > 1 else None,
        "unit": None,
        "image": None,
        "status": FAILED,
        "reason": f"The status record {path.name} cannot be read.",
        "next_step": "Run this participant again.",
    }


def _from_sidecars(folder: Path) -> list[Row]:
    """Find units by the sidecars of their references: for results that came without the folder of logs."""
    rows: list[Row] = []
    for path in sorted(folder.glob("sub-*/**/anat/*_seg-lesions_*_dseg.json")):
        try:
            record = read_json(path)
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read (%s).", path.name, error)
            continue
        sequences = record.get("Sequences")
        if "Unit" in record:
            head = path.relative_to(folder).parts
            rows.append(
                {
                    "participant_id": head[0],
                    "session_id": head[1] if head[1].startswith("ses-") else None,
                    "unit": _string(record["Unit"]),
                    "image": None,
                    "status": DONE,
                    "sequences": ",".join(map(str, sequences)) if isinstance(sequences, list) else None,
                    "table": path.with_suffix(".tsv").relative_to(folder).as_posix(),
                }
            )
    return rows


def _lesions(row: Row, folder: Path) -> list[Row]:
    """Return a unit's lesions, and complete its row with their number and volume."""
    if row["status"] != DONE:
        return []
    table = folder / str(row.get("table"))
    try:
        found = [line for line in read_table(table) if line["reference"] == row["unit"]]
        volumes = [float(line["volume_mm3"]) for line in found]
    except (OSError, ValueError, KeyError) as error:
        log.warning("%s cannot be read (%s).", table.name, error)
        row |= {
            "status": FAILED,
            "reason": f"The unit was finished, but its table {table.name} cannot be read.",
            "next_step": "Run this participant again.",
        }
        return []
    row |= {"lesions": len(found), "volume_mm3": float(sum(volumes))}
    names = [column.name for column in _OF_LESION]
    keys = {column.name: row[column.name] for column in (*_KEYS, _IN_INPUT)}
    return [
        keys | {name: None if line.get(name, MISSING) == MISSING else line[name] for name in names}
        for line in found
    ]


def _string(value: object) -> str | None:
    return None if value is None else str(value)
