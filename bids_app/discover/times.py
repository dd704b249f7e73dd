"""When images were acquired, by what BIDS has for it: what puts the sessions of a person in order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from ..files import read_json
from ..records import Image, Problem
from ..tables import MISSING, read_sheet
from ..visits import SCANS, SESSIONS, SIDECAR

#: As DICOM writes date and time in one.
_DICOM = re.compile(r"(\d{8})(\d{6})(\.\d+)?")
_STEP = "Write it as 2019-03-04T10:15:00, or n/a where it is not known."


def with_times(images: Iterable[Image], root: Path) -> tuple[list[Image], list[Problem]]:
    """Add to images of sessions when they were acquired.

    Parameters
    ----------
    images : iterable of Image
    root : Path
        The dataset.

    Returns
    -------
    list of Image
        In the same order; ``acquired`` holds a time (ISO 8601) for each of `SCANS`, `SESSIONS` and `SIDECAR` that gives one.
    list of Problem
        A warning for each table that cannot be read, and for each that holds what is no time.
    """
    dated: list[Image] = []
    problems: list[Problem] = []
    for (label, session), group in groupby(images, key=lambda image: (image.participant, image.session)):
        members = list(group)
        if session is None:
            dated += members
            continue
        folder = root / f"sub-{label}"
        of_scans = folder / f"ses-{session}" / f"sub-{label}_ses-{session}_{SCANS}"
        of_sessions = folder / f"sub-{label}_{SESSIONS}"
        scans = _column(of_scans, "filename", label, problems)
        sessions = _column(of_sessions, "session_id", label, problems)
        for image in members:
            times = {
                # The scans of one session are of one day: another's time is better than none.
                SCANS: scans.get(image.stem) or min(scans.values(), default=""),
                SESSIONS: sessions.get(f"ses-{session}", ""),
                SIDECAR: _of_sidecar(image),
            }
            dated.append(replace(image, acquired={name: text for name, text in times.items() if text}))
    # The table of sessions is read once for each of them.
    return dated, list(dict.fromkeys(problems))


def instant(text: str) -> str:
    """Return date and time in one form, ISO 8601 without a zone; empty where a text is no date."""
    text = text.strip()
    if match := _DICOM.fullmatch(text):
        text = f"{match[1]}T{match[2]}{match[3] or ''}"
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return ""
    if found.tzinfo is not None:
        found = found.astimezone(UTC).replace(tzinfo=None)
    return found.isoformat(timespec="seconds")


def _column(path: Path, key: str, label: str, problems: list[Problem]) -> dict[str, str]:
    """Return the times in a table by what its rows are of; images go by their names without folder and extension."""
    if not path.exists():
        return {}
    try:
        rows = read_sheet(path)
    except (OSError, ValueError) as error:
        message = f"{path.name} cannot be read ({error}): no time of acquisition is taken from it."
        problems.append(Problem(message, "Correct it.", label, path))
        return {}
    found = {}
    for number, row in rows:
        text = row.get("acq_time", MISSING)
        if text == MISSING or key not in row:
            continue
        time = instant(text)
        if time:
            found[row[key].rsplit("/", 1)[-1].split(".nii")[0]] = time
        else:
            message = f"{path.name}, line {number}: acq_time {text} is no date with a time."
            problems.append(Problem(message, _STEP, label, path))
    return found


def _of_sidecar(image: Image) -> str:
    """Return what the sidecar beside an image says; a time of day without a date says nothing."""
    try:
        fields: Mapping[str, object] = read_json(image.path.with_name(f"{image.stem}.json"))
    except (OSError, ValueError):
        return ""
    whole, day = (instant(str(fields.get(name, ""))) for name in ("AcquisitionDateTime", "AcquisitionDate"))
    if whole or not day:
        return whole
    time = str(fields.get("AcquisitionTime", ""))
    return instant(f"{day.split('T')[0]}T{time.split('T')[-1]}") or day
