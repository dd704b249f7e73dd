"""Write the page of the dataset: who failed, who should be looked at, what was found, and a form for decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from .. import __version__, files
from ..options import Options
from ..pages import overview_of, page_of
from ..qc import EXCLUDE
from ..tables import MISSING, read_table
from ..vertebrae import NAMES
from .bundle import script_hash
from .distributions import draw_counts
from .draw import Picture
from .page import RESEARCH_USE, environment, printable, script_of

#: Without vertebral levels, places along the cord are told in steps of this many mm from its upper end.
STEP_MM = 20.0
#: Columns of the heat map: where in the cross-section.
PARTS = ("left lateral", "right lateral", "posterior", "central", "anterior")
#: A session whose volume or number of lesions is this many times the spread of the others away from their median.
FAR_OUT = 5.0
#: Fewer sessions than this have no spread to speak of.
LEAST_SESSIONS = 8
_SHADES = 8
#: Said of a session whose folder is not in the input any more.
GONE = "No longer in the input."
Line = dict[str, str]


@dataclass(frozen=True)
class SessionRow:
    """One session in the table.

    Attributes
    ----------
    participant, session : str
        With ``sub-`` and ``ses-``; session empty where there is none.
    page : str
        Address of the page of the participant, relative; empty where there is none.
    thumbnails : sequence of (str, str)
        Picture (``data:`` URI) and its alternative text.
    remarks : sequence of str
        What should be looked at.
    failures : sequence of str
        Why units failed, and what can be done.
    """

    participant: str
    session: str
    page: str
    thumbnails: Sequence[tuple[str, str]]
    sequences: str
    lesions: int | None
    volume_mm3: float | None
    remarks: Sequence[str]
    failures: Sequence[str]
    decision: str
    comment: str


@dataclass(frozen=True)
class Frequencies:
    """Lesion frequency along the cord.

    Attributes
    ----------
    what : str
        What the rows are.
    rows : sequence of (str, sequence of (int, float, int))
        Name of the place, and for each of `PARTS` the number of sessions with a lesion there, their share, and a shade.
    unplaced : int
        Lesions whose place is not known.
    """

    what: str
    rows: Sequence[tuple[str, Sequence[tuple[int, float, int]]]]
    unplaced: int


def write_dataset_page(options: Options) -> Path:
    """Write ``group.html`` from the tables of the group and from what the pages of participants say of themselves.

    Raises
    ------
    EnvironmentFault
        The page cannot be written.
    OSError, ValueError
        The tables of the group are not there.
    """
    folder = options.output_dir
    units, lesions = (read_table(folder / f"group_{name}.tsv") for name in ("units", "lesions"))
    rows = _rows(units, folder)
    counted = [row for row in rows if row.decision != EXCLUDE and row.lesions is not None]
    lesions = [line for line in lesions if line["same_as"] == MISSING]
    script = script_of("tables.js", "dataset.js")
    text = environment().get_template("dataset.html").render(
        rows=rows,
        failed=[row for row in rows if row.failures],
        summary=_summary(rows, counted),
        excluded=sum(row.decision == EXCLUDE for row in rows),
        distributions=_distributions(counted),
        heat=frequencies_of(lesions, len(counted)),
        parts=PARTS,
        notice=RESEARCH_USE,
        version=__version__,
        script=Markup(script),
        script_hash=Markup(script_hash(script)),
    )  # fmt: skip
    path = folder / "group.html"
    files.write_text(path, printable(text))
    return path


def _rows(units: Sequence[Line], folder: Path) -> list[SessionRow]:
    keys = dict.fromkeys((unit["participant_id"], unit["session_id"]) for unit in units)
    own = {
        key: [unit for unit in units if (unit["participant_id"], unit["session_id"]) == key] for key in keys
    }
    pages = {participant: overview_of(page_of(participant[4:], folder)) for participant, _ in keys}
    rows = [_row(key, own[key], pages[key[0]], folder) for key in keys]
    far = _far_out(rows)
    rows = [_with_remark(row, far.get(number)) for number, row in enumerate(rows)]
    # What failed comes first, then what should be looked at.
    return sorted(rows, key=lambda row: (not row.failures, not row.remarks))


def _row(
    key: tuple[str, str], units: Sequence[Line], overview: Mapping[str, Mapping[str, object]], folder: Path
) -> SessionRow:
    participant, session = key
    done = [unit for unit in units if unit["lesions"] != MISSING]
    shown = [overview[unit["unit"]] for unit in done if unit["unit"] in overview]
    page = page_of(participant[4:], folder)
    return SessionRow(
        participant=participant,
        session=_known(session),
        page=quote(page.name) if page.exists() else "",
        thumbnails=[(str(one["thumbnail"]), str(one["alt"])) for one in shown if _is_picture(one)],
        sequences=", ".join(dict.fromkeys(name for unit in done for name in _known(unit["sequences"]).split(",") if name)),
        lesions=sum(int(unit["lesions"]) for unit in done) if done else None,
        volume_mm3=sum(float(unit["volume_mm3"]) for unit in done) if done else None,
        remarks=[
            *([GONE] if units[0]["in_input"] == "no" else []),
            *(str(remark) for one in shown for remark in _listed(one.get("remarks"))),
        ],
        failures=[_failure(unit) for unit in units if unit["lesions"] == MISSING],
        decision=_known(units[0]["decision"]),
        comment=_known(units[0]["comment"]),
    )  # fmt: skip


def _failure(unit: Line) -> str:
    return " ".join(words for name in ("unit", "reason", "next_step") if (words := _known(unit[name])))


def _known(cell: str) -> str:
    return "" if cell == MISSING else cell


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _is_picture(entry: Mapping[str, object]) -> bool:
    # A page is only a file: what it says becomes part of this one.
    return str(entry.get("thumbnail", "")).startswith("data:image/jpeg;base64,") and "alt" in entry


def _far_out(rows: Sequence[SessionRow]) -> dict[int, str]:
    """Return a remark for each session that lies far from the others, by its place among the rows."""
    found: dict[int, str] = {}
    for what, values in (
        ("number of lesions", [row.lesions for row in rows]),
        ("volume of lesions", [row.volume_mm3 for row in rows]),
    ):
        known = np.array([value for value in values if value is not None], float)
        if len(known) < LEAST_SESSIONS:
            continue
        middle = float(np.median(known))
        spread = 1.4826 * float(np.median(np.abs(known - middle)))
        for number, value in enumerate(values):
            if value is not None and spread > 0 and value > middle + FAR_OUT * spread:
                found[number] = f"The {what} is far above that of the others (their median is {middle:.0f})."
    return found


def _with_remark(row: SessionRow, remark: str | None) -> SessionRow:
    return row if remark is None else SessionRow(**{**vars(row), "remarks": [*row.remarks, remark]})


def _summary(rows: Sequence[SessionRow], counted: Sequence[SessionRow]) -> str:
    people = _count(len({row.participant for row in rows}), "participant")
    failed = sum(bool(row.failures) for row in rows)
    ill = sum(bool(row.lesions) for row in counted)
    lesions, volume = sum(row.lesions or 0 for row in counted), sum(row.volume_mm3 or 0.0 for row in counted)
    return (
        f"{people}, {_count(len(rows), 'session')}; {failed} with failures. Of the {len(counted)} that count, "
        f"{ill} have lesions: {lesions} in all, {volume:.0f} mm³."
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _distributions(counted: Sequence[SessionRow]) -> list[Picture]:
    if not counted:
        return []
    return [
        draw_counts([row.lesions or 0 for row in counted], "lesions in a session", "sessions", whole=True),
        draw_counts(
            [row.volume_mm3 or 0.0 for row in counted], "volume of lesions in a session (mm³)", "sessions"
        ),
    ]


def frequencies_of(lesions: Sequence[Line], sessions: int) -> Frequencies:
    """Return how many sessions have a lesion at each place along the cord and in its cross-section.

    Parameters
    ----------
    lesions : sequence of mapping
        Lines of the table of lesions of the group.
    sessions : int
        How many sessions count.
    """
    by_level = any(_known(line["vertebral_level"]) for line in lesions)
    seen: Counter[tuple[str, str]] = Counter()
    places = {
        (line["participant_id"], line["session_id"], *place)
        for line in lesions
        if (place := _place(line, by_level))
    }
    seen.update((where, part) for _, _, where, part in places)
    unplaced = sum(_place(line, by_level) is None for line in lesions)
    names = [name for name in _names(by_level, [where for where, _ in seen])]
    rows = [(name, [_cell(seen[name, part], sessions) for part in PARTS]) for name in names]
    what = "Vertebral level" if by_level else "Below the upper end of the cord that was found"
    return Frequencies(what, rows, unplaced)


def _cell(number: int, sessions: int) -> tuple[int, float, int]:
    share = number / sessions if sessions else 0.0
    # The lightest shade is for none.
    return number, share, min(int(np.ceil(share * (_SHADES - 1))), _SHADES - 1)


def _place(line: Line, by_level: bool) -> tuple[str, str] | None:
    """Return the row and the column of a lesion in the heat map; None where either is not known."""
    side, column, depth = (_known(line[name]) for name in ("side", "column", "from_top_mm"))
    part = f"{side} {column}" if column == "lateral" else column
    if part not in PARTS:
        return None
    where = _known(line["vertebral_level"]) if by_level else _step(float(depth)) if depth else ""
    return (where, part) if where else None


def _step(depth_mm: float) -> str:
    first = int(depth_mm // STEP_MM * STEP_MM)
    return f"{first} to {first + STEP_MM:.0f} mm"


def _names(by_level: bool, present: Sequence[str]) -> list[str]:
    """Return all places from the first to the last one that is present."""
    if not present:
        return []
    names = list(NAMES) if by_level else [_step(STEP_MM * step) for step in range(100)]
    found = [names.index(name) for name in present if name in names]
    return names[min(found) : max(found) + 1] if found else []
