"""Decisions of people on sessions: keep, exclude, and a comment, as the page of the dataset saves them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import UsageError
from .tables import MISSING, Column, read_sheet

KEEP, EXCLUDE = "keep", "exclude"
COLUMNS = (
    Column("participant_id", "Participant"),
    Column("session_id", "Session; n/a where the dataset has none"),
    Column("decision", "keep or exclude; n/a where nobody has decided"),
    Column("comment", "What the person said"),
)


@dataclass(frozen=True)
class Decision:
    """What a person decided on a session; ``verdict`` is `KEEP`, `EXCLUDE` or empty."""

    verdict: str = ""
    comment: str = ""


#: By participant and session (empty where there is none), with ``sub-`` and ``ses-``.
Decisions = Mapping[tuple[str, str], Decision]


def read_decisions(path: Path | None) -> dict[tuple[str, str], Decision]:
    """Read a table of decisions, also one that a spreadsheet program saved (see `read_sheet`); none where no file is named.

    Raises
    ------
    UsageError
        The file cannot be read, lacks a column, decides twice on a session, or holds another word than keep or exclude.
    """
    if path is None:
        return {}
    try:
        rows = read_sheet(path)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--qc {path}: the table cannot be read ({error}).", "Save it as text with tabs, in UTF-8."
        ) from error
    names = {column.name for column in COLUMNS}
    found: dict[tuple[str, str], Decision] = {}
    for number, row in rows:
        if lacking := sorted(names - row.keys()):
            raise UsageError(f"--qc {path}: the table has no column {', '.join(lacking)}.")
        participant, session, verdict, comment = (
            "" if row[one.name] == MISSING else row[one.name] for one in COLUMNS
        )
        verdict = verdict.lower()
        if verdict not in (KEEP, EXCLUDE, ""):
            raise UsageError(f"--qc {path}, line {number}: {verdict!r} is neither {KEEP} nor {EXCLUDE}.")
        if (participant, session) in found:
            raise UsageError(
                f"--qc {path}, line {number}: {participant} {session} stands there twice.".replace("  ", " ")
            )
        found[participant, session] = Decision(verdict, comment)
    return found


def unknown(decisions: Decisions, sessions: Iterable[tuple[str, str]]) -> list[str]:
    """Return what was decided on but is not among some sessions, as words."""
    known = set(sessions)
    return [" ".join(part for part in key if part) for key in decisions if key not in known]
