"""Lesions of one participant across sessions: persisting, enlarged, new or gone.

Sessions stand in the order of their acquisition (`visits`). Where that is unknown no lesion is called new, gone or enlarged.

The reference images of two sessions that follow each other are aligned rigidly. Lesions that then lie within `NEAR_MM` of each
other, with at least `SHARE` of one of them, are the same; several that merged or split are compared by their volume together. A
lesion that has no partner is new, or gone, only if the other session covers its place.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .errors import MscordError
from .files import read_json, write_json
from .group import ACQUIRED, DONE, Row
from .images import read_labels
from .options import Options
from .preprocess.align import align
from .records import Alignment
from .space import FloatArray, Grid
from .tables import Cell, Column, read_table, write_table
from .visits import PLACES, UNKNOWN, in_order

log = logging.getLogger(__name__)

NEAR_MM = 2.0
SHARE = 0.1
#: A lesion is enlarged if its volume has grown by this factor and by this much. Painted into two scans of one cord, the same
#: lesions differ by 9 to 12 % (median): less than this is no change.
GROWTH, GROWTH_MM3 = 1.5, 20.0
#: Units of two sessions are compared where their cords share this much.
LEAST_SHARED_MM = 20.0

_ADVICE = "no lesion is called new or gone. Give acq_time in scans.tsv or sessions.tsv, and run the participant level again."

COLUMNS = (
    Column("participant_id", "Participant"),
    Column("session_before", "Earlier session; the first one by name where the order is unknown"),
    Column("session_after", "Later session; the second one by name where the order is unknown"),
    Column(
        "order",
        "What says which session is earlier: times of acquisition in scans.tsv, sessions.tsv or the sidecar, the numbers in the"
        " labels of the sessions (labels), or nothing (unknown)",
    ),
    Column("unit_before", "Unit of work of the earlier session"),
    Column("unit_after", "Unit of work of the later session"),
    Column(
        "state",
        f"persisting, enlarged (grown by a factor of {GROWTH:g} and by {GROWTH_MM3:g} mm3), new, gone,"
        " not covered later or before; where the order is unknown: persisting, of another volume (by as much, either way),"
        " in one session only, or not covered by the other session",
    ),
    Column("lesions_before", "Index of each lesion in the earlier session, separated by commas"),
    Column("lesions_after", "Index of each lesion in the later session, separated by commas"),
    Column("volume_before_mm3", "Their volume in the earlier session", "mm^3"),
    Column("volume_after_mm3", "Their volume in the later session", "mm^3"),
    Column(
        "alignment",
        "How the later reference image lies on the earlier one: rigid, or header where that is no better",
    ),
)


@dataclass(frozen=True, eq=False)
class Visit:
    """One unit of one session.

    Attributes
    ----------
    labels : array of int, shape grid.shape
        Lesions by number, on the grid of the reference image.
    volumes_mm3 : mapping of int to float
    """

    session: str
    unit: str
    image: Path
    cord: Path
    labels: NDArray[np.int64]
    grid: Grid
    volumes_mm3: Mapping[int, float]


@dataclass(frozen=True)
class Change:
    """What became of one lesion, or of several that touch."""

    state: str
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class _Words:
    """What a change is called."""

    grown: str
    gone: str
    new: str
    not_later: str
    not_before: str


_ORDERED = _Words("enlarged", "gone", "new", "not covered later", "not covered before")
_UNORDERED = _Words(
    "of another volume", *["in one session only"] * 2, *["not covered by the other session"] * 2
)


def write_longitudinal(units: Sequence[Row], options: Options) -> Path | None:
    """Write ``group_longitudinal.tsv``.

    Parameters
    ----------
    units : sequence of Row
        Rows of the group's table of units, sorted by participant and session.
    options : Options

    Returns
    -------
    Path or None
        None where nobody has two sessions with results.

    Raises
    ------
    EnvironmentFault
        The table cannot be written.
    """
    rows: list[dict[str, Cell]] = []
    several = False
    done = [row for row in units if row["status"] == DONE and row["session_id"]]
    for participant, own in groupby(done, key=lambda row: str(row["participant_id"])):
        sessions = {label: list(one) for label, one in groupby(own, key=lambda row: str(row["session_id"]))}
        for order in in_order({label: _times(one) for label, one in sessions.items()}):
            several = True
            pair = f"{order.before} and {order.after}"
            if order.by == UNKNOWN:
                log.warning("%s: nothing says which of %s is earlier: %s", participant, pair, _ADVICE)
            try:
                rows += _compare(
                    participant, sessions[order.before], sessions[order.after], order.by, options
                )
            except (MscordError, OSError, ValueError, KeyError) as error:
                log.warning("%s: %s are not compared (%s).", participant, pair, error)
    if not several:
        return None
    path = options.output_dir / "group_longitudinal.tsv"
    write_json(path.with_suffix(".json"), {column.name: column.definition() for column in COLUMNS})
    write_table(path, COLUMNS, rows)
    return path


def _times(units: Sequence[Row]) -> dict[str, str]:
    """Return when a session began, by the place where that stands."""
    told: dict[str, list[str]] = {}
    for row in units:
        for place in PLACES:
            if time := row.get(f"{ACQUIRED}{place}"):
                told.setdefault(place, []).append(str(time))
    return {place: min(times) for place, times in told.items()}


def changes(before: Visit, after: Visit, transform: FloatArray, *, ordered: bool = True) -> list[Change]:
    """Compare the lesions of two visits.

    Parameters
    ----------
    transform : array, shape (4, 4)
        Maps points of the earlier image to points of the later one, RAS+ mm.
    ordered : bool
        Whether it is known that ``before`` is the earlier one: else nothing is called new, gone or enlarged.
    """
    words = _ORDERED if ordered else _UNORDERED
    forth = {n: _points(before, n) @ transform[:3, :3].T + transform[:3, 3] for n in before.volumes_mm3}
    back = np.linalg.inv(transform)
    there = {n: _points(after, n) @ back[:3, :3].T + back[:3, 3] for n in after.volumes_mm3}
    pairs = _touching(forth, after) | {(a, b) for b, a in _touching(there, before)}
    found = []
    for group in _joined(pairs):
        ours = tuple(sorted({a for a, _ in group}))
        theirs = tuple(sorted({b for _, b in group}))
        old, new = sum(before.volumes_mm3[n] for n in ours), sum(after.volumes_mm3[n] for n in theirs)
        grown = _grown(old, new) or (not ordered and _grown(new, old))
        found.append(Change(words.grown if grown else "persisting", ours, theirs))
    matched_before, matched_after = {a for a, _ in pairs}, {b for _, b in pairs}
    for n in sorted(before.volumes_mm3.keys() - matched_before):
        found.append(Change(words.gone if _covers(after.grid, forth[n]) else words.not_later, (n,), ()))
    for n in sorted(after.volumes_mm3.keys() - matched_after):
        found.append(Change(words.new if _covers(before.grid, there[n]) else words.not_before, (), (n,)))
    return found


def _grown(old_mm3: float, new_mm3: float) -> bool:
    return new_mm3 >= GROWTH * old_mm3 and new_mm3 - old_mm3 >= GROWTH_MM3


def _compare(
    participant: str, earlier: Sequence[Row], later: Sequence[Row], by: str, options: Options
) -> Iterator[dict[str, Cell]]:
    old, new = ([_visit(row, options) for row in rows] for rows in (earlier, later))
    for after in new:
        before = max(old, key=lambda one: _shared_mm(one, after))
        if _shared_mm(before, after) < LEAST_SHARED_MM:
            log.warning(
                "%s: no image of %s shows the cord that %s shows.", participant, before.session, after.unit
            )
            continue
        placed: Alignment = align(after.image, after.cord, before.image, before.cord)
        for change in changes(before, after, placed.transform, ordered=by != UNKNOWN):
            yield {
                "participant_id": participant,
                "session_before": before.session,
                "session_after": after.session,
                "order": by,
                "unit_before": before.unit,
                "unit_after": after.unit,
                "state": change.state,
                "lesions_before": ",".join(map(str, change.before)) or None,
                "lesions_after": ",".join(map(str, change.after)) or None,
                "volume_before_mm3": float(sum(before.volumes_mm3[n] for n in change.before))
                if change.before
                else None,
                "volume_after_mm3": float(sum(after.volumes_mm3[n] for n in change.after))
                if change.after
                else None,
                "alignment": placed.method,
            }


def _visit(row: Row, options: Options) -> Visit:
    """Read what a unit left in the output folder."""
    table = options.output_dir / str(row["table"])
    sidecar = read_json(table.with_suffix(".json"))
    sources = sidecar["Sources"]
    if not isinstance(sources, list):
        raise ValueError(f"{table.with_suffix('.json').name} names no sources")
    labels, grid = read_labels(table.with_name(table.name.replace(".tsv", ".nii.gz")))
    lines = [line for line in read_table(table) if line["reference"] == row["unit"]]
    numbers = {int(line["index"]): float(line["volume_mm3"]) for line in lines}
    present = set(np.unique(labels).astype(int))
    return Visit(
        str(row["session_id"]),
        str(row["unit"]),
        options.bids_dir / unquote(str(sources[0]).split(":", 2)[2]),
        table.with_name(
            table.name.replace("_seg-lesions_", "_label-SC_").replace("_dseg.tsv", "_mask.nii.gz")
        ),
        labels.astype(np.int64),
        grid,
        # What is too small for a voxel of the image cannot be compared in it.
        {n: volume for n, volume in numbers.items() if n in present},
    )


def _points(visit: Visit, number: int) -> FloatArray:
    """Return the centres of a lesion's voxels, shape (M, 3) RAS+ mm."""
    return visit.grid.to_mm(np.argwhere(visit.labels == number).astype(float))


def _touching(points: Mapping[int, FloatArray], other: Visit) -> set[tuple[int, int]]:
    """Return pairs (lesion, lesion of the other visit) of which enough of the first lies near the second."""
    if not other.volumes_mm3:
        return set()
    distance, nearest = ndimage.distance_transform_edt(
        other.labels == 0, sampling=other.grid.spacing_mm, return_indices=True
    )
    label = other.labels[tuple(nearest)]
    pairs = set()
    for number, at in points.items():
        index = np.round(other.grid.to_index(at)).astype(int)
        inside = ((index >= 0) & (index < other.grid.shape)).all(axis=1)
        seen = tuple(index[inside].T)
        near = label[seen][distance[seen] <= NEAR_MM]
        pairs |= {(number, int(n)) for n in np.unique(near) if n and (near == n).sum() >= SHARE * len(at)}
    return {(a, b) for a, b in pairs if b in other.volumes_mm3}


def _joined(pairs: set[tuple[int, int]]) -> list[set[tuple[int, int]]]:
    """Group pairs that share a lesion."""
    groups: list[set[tuple[int, int]]] = []
    for pair in sorted(pairs):
        own = [group for group in groups if any(pair[0] == a or pair[1] == b for a, b in group)]
        groups = [group for group in groups if group not in own] + [set().union({pair}, *own)]
    return groups


def _covers(grid: Grid, points: FloatArray) -> bool:
    """Tell whether a grid covers at least half of some points."""
    index = grid.to_index(points)
    return bool(((index >= -0.5) & (index <= np.array(grid.shape) - 0.5)).all(axis=1).mean() >= 0.5)


def _shared_mm(one: Visit, other: Visit) -> float:
    """Return how much two images share along the cord (S-I), by the scanner's coordinates."""
    ends = [
        (visit.grid.corners_mm()[:, 2].min(), visit.grid.corners_mm()[:, 2].max()) for visit in (one, other)
    ]
    return float(min(high for _, high in ends) - max(low for low, _ in ends))
