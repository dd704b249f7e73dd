"""The files of the chosen participants. The only module that knows pybids.

pybids gives up the whole index for one JSON file that it cannot read, and takes its time over large datasets.
So the index is restricted to the chosen participants, and bad JSON files are named and left out before.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bids import BIDSLayout, BIDSLayoutIndexer, BIDSValidator
from bids.exceptions import BIDSConflictingValuesError

from ..errors import NothingToDoError, UsageError
from ..options import Options
from ..records import Problem
from . import database
from .names import SUFFIXES, meant_as_nifti
from .places import check_input
from .sidecars import bad_json_files

_LOG = logging.getLogger(__name__)
_LABEL = r"[A-Za-z0-9+]+"
#: So many labels are listed where one was wrong.
_LISTED = 30
_PYBIDS_ERRORS = (
    *(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError),
    BIDSConflictingValuesError,
)


@dataclass(frozen=True)
class Index:
    """What was found of the chosen participants and sessions.

    Attributes
    ----------
    participants : tuple of str
        Chosen labels, sorted.
    images : tuple of Path
        Their NIfTI files, sorted; broken links and misspelt endings are among them.
    problems : tuple of Problem
    metadata : callable
        Sidecar fields of an image, inherited ones included; only for suffixes of the table of sequences.
    """

    participants: tuple[str, ...]
    images: tuple[Path, ...]
    problems: tuple[Problem, ...]
    metadata: Callable[[Path], Mapping[str, Any]]


def index(options: Options) -> Index:
    """List the files of the chosen participants.

    Raises
    ------
    UsageError
        No such input folder, participant or session; a dataset that pybids refuses.
    NothingToDoError
        The input has no participants.
    """
    root = options.bids_dir
    check_input(root)
    known, odd = _participant_folders(root)
    labels = _choose_participants(options, known)
    sessions = _choose_sessions(options, labels)

    def chosen(path: Path) -> bool:
        folder = path.parts[1] if len(path.parts) > 2 else ""
        return not sessions or not folder.startswith("ses-") or folder[4:] in sessions

    bad, problems = bad_json_files(root, labels, chosen)
    if not options.participant_label and not options.exclude_participant_label:
        problems += [_odd_folder(name) for name in odd]
    base = root.absolute()
    layout = _saved(options, labels, known, bad, problems)
    if layout is None:
        layout = _layout(root, ignore_patterns(labels, len(labels) == len(known), sessions, bad), problems)
        found = [Path(path).relative_to(base) for path in layout.get_files()]
    else:
        found = [path for label in labels for path in database.files_of(layout, root, label)]
    images = [path for path in found if meant_as_nifti(path)]
    if sessions:
        images = [path for path in images if path.parts[1].startswith("ses-") and chosen(path)]
    problems += _without_images(labels, images, sessions, {p.participant for p in problems if p.fatal})
    problems += _empty_sessions(root, labels, images, sessions, set(bad))

    def metadata(path: Path) -> Mapping[str, Any]:
        return dict(layout.get_metadata(str(base / path.relative_to(root))))

    return Index(labels, tuple(root / path for path in sorted(images)), tuple(problems), metadata)


def choose(asked: Iterable[str], known: Iterable[str], prefix: str, what: str) -> tuple[str, ...]:
    """Return the labels that were asked for, sorted; all where none were.

    Parameters
    ----------
    asked, known : iterable of str
        Labels; the asked ones with or without ``prefix``.
    prefix : str
        Such as ``sub-``.
    what : str
        What they are, for the message of the UsageError where one is not known.
    """
    known = sorted(known)
    wanted = {label.removeprefix(prefix) for label in asked}
    unknown = sorted(wanted - set(known))
    if unknown:
        listed = ", ".join(known[:_LISTED]) or "none"
        if len(known) > _LISTED:
            listed += f" and {len(known) - _LISTED} more"
        raise UsageError(f"There is no {what} called {', '.join(unknown)}.", f"Known: {listed}.")
    return tuple(label for label in known if not wanted or label in wanted)


def ignore_patterns(
    labels: Iterable[str], everyone: bool, sessions: Iterable[str], bad: Iterable[Path]
) -> list[re.Pattern[str]]:
    """Return patterns of what pybids shall not look at.

    It searches them in the path below the dataset, with ``/`` before it. Of the top level only the chosen
    participants and JSON files (which images inherit) remain: derivatives, sourcedata, code and the like are
    never entered. pybids itself adds names that start with a dot.
    """
    wanted = _LABEL if everyone else "|".join(map(re.escape, labels))
    patterns = [rf"^/(?!sub-(?:{wanted})(?:/|$))(?![^/]+\.json$)"]
    other = "|".join(map(re.escape, sessions))
    if other:
        patterns.append(rf"^/[^/]+/ses-(?!(?:{other})(?:/|$))")
    patterns += [f"^/{re.escape(path.as_posix())}(?:/|$)" for path in bad]
    return [re.compile(pattern) for pattern in patterns]


@lru_cache
def known_to_bids(suffix: str, filename: str) -> bool:
    """Tell whether the BIDS validator accepts a suffix, with the entities of this file or with none."""
    validator = BIDSValidator()
    return any(validator.is_bids(f"/sub-01/anat/{name}") for name in (f"sub-01_{suffix}.nii.gz", filename))


def _participant_folders(root: Path) -> tuple[list[str], list[str]]:
    """Return the labels of the participants' folders, and folders that only look like one."""
    known: list[str] = []
    odd: list[str] = []
    try:
        for name in _folders(root, "sub-"):
            (known if re.fullmatch(_LABEL, name[4:]) else odd).append(name[4:])
    except OSError as error:
        raise UsageError(
            f"The input folder {root} cannot be read ({error.strerror}).", "Check its permissions."
        ) from error
    if not known:
        raise NothingToDoError(
            f"{root} holds no participants: it has no folder called sub-<label>.",
            "Give the top folder of a BIDS dataset.",
        )
    return known, sorted(odd)


def _folders(place: Path, prefix: str) -> list[str]:
    """Return the names of the folders in a place that begin with a prefix, sorted."""
    with os.scandir(place) as entries:
        return sorted(entry.name for entry in entries if entry.name.startswith(prefix) and entry.is_dir())


def _session_labels(participant: Path) -> list[str]:
    """Return the sessions of a participant's folder; none where it cannot be read, which is said elsewhere."""
    try:
        return [name[4:] for name in _folders(participant, "ses-")]
    except OSError:
        return []


def _choose_participants(options: Options, known: list[str]) -> tuple[str, ...]:
    what = f"participant in {options.bids_dir}"
    labels = choose(options.participant_label, known, "sub-", what)
    if not options.exclude_participant_label:
        return labels
    left_out = choose(options.exclude_participant_label, known, "sub-", what)
    chosen = tuple(label for label in labels if label not in left_out)
    if not chosen:
        raise UsageError("All chosen participants are excluded.", "Exclude fewer.")
    return chosen


def _odd_folder(label: str) -> Problem:
    message = f"The folder sub-{label} is left out: a BIDS label holds only letters and digits."
    return Problem(message, "Rename the folder and its files.")


def _choose_sessions(options: Options, labels: Iterable[str]) -> tuple[str, ...]:
    """Return the chosen sessions; empty: all, and participants without sessions too."""
    if not options.session_label:
        return ()
    known = set()
    for label in labels:
        known |= set(_session_labels(options.bids_dir / f"sub-{label}"))
    return choose(options.session_label, known, "ses-", "session of the chosen participants")


def _without_images(
    labels: Iterable[str], images: Iterable[Path], sessions: tuple[str, ...], told: Collection[str | None]
) -> Iterator[Problem]:
    """Yield those without images, but for ``told``, of whom it is known already why there are none."""
    served = {path.parts[0] for path in images}
    where = f" in session {' or '.join(sessions)}" if sessions else ""
    for label in labels:
        if f"sub-{label}" not in served and label not in told:
            yield Problem(f"sub-{label} has no NIfTI images{where}.", participant=label, fatal=True)


def _empty_sessions(
    root: Path,
    labels: Iterable[str],
    images: Iterable[Path],
    chosen: tuple[str, ...],
    unreadable: Collection[Path],
) -> Iterator[Problem]:
    """Yield sessions without images of participants who have images in others."""
    served = {path.parts[:2] for path in images}
    people = {path[0] for path in served}
    for label in labels:
        for session in _session_labels(root / f"sub-{label}"):
            folder = Path(f"sub-{label}", f"ses-{session}")
            known = any(path == folder or folder in path.parents for path in unreadable)
            wanted = not chosen or session in chosen
            if f"sub-{label}" in people and folder.parts not in served and wanted and not known:
                message = f"sub-{label}: the session ses-{session} holds no NIfTI images."
                yield Problem(message, "Check whether something is missing.", participant=label)


def _saved(
    options: Options, labels: Iterable[str], known: list[str], bad: list[Path], problems: list[Problem]
) -> BIDSLayout | None:
    """Return the index that the user keeps, made where there is none yet; None where it does not describe the dataset."""
    root, folder = options.bids_dir, options.bids_database_dir
    if folder is None:
        return None
    try:
        if not (folder / database.FILE).exists():
            _LOG.info("indexing all participants into %s", folder)
            ignore = ignore_patterns(known, True, (), bad_json_files(root, known, lambda _: True)[0])
            database.save(folder, lambda part: _pybids(root, ignore, metadata=True, kept_in=part))
        return database.read(folder, root, labels, bad)
    except (*_PYBIDS_ERRORS, *database.READ_ERRORS) as error:
        message = f"The index in {folder} is not used: {' '.join(str(error).split())[:200]}."
        problems.append(Problem(message, "Remove it, and the next run makes it anew."))
        return None


def _layout(root: Path, ignore: list[re.Pattern[str]], problems: list[Problem]) -> BIDSLayout:
    try:
        return _pybids(root, ignore, metadata=True)
    except _PYBIDS_ERRORS as error:
        _LOG.debug("pybids failed with metadata", exc_info=True)
        message = f"The JSON sidecars cannot be combined ({error}); all images are read without them."
    try:
        layout = _pybids(root, ignore, metadata=False)
    except _PYBIDS_ERRORS as error:
        raise UsageError(
            f"{root} cannot be read as a BIDS dataset ({error}).", "Check its dataset_description.json."
        ) from error
    problems.append(Problem(message, "Correct the sidecar that is at fault."))
    return layout


def _pybids(
    root: Path, ignore: list[re.Pattern[str]], *, metadata: bool, kept_in: Path | None = None
) -> BIDSLayout:
    # Only images that the table of sequences may select need their sidecars.
    only = {"suffix": list(SUFFIXES)} if metadata else {}
    indexer = BIDSLayoutIndexer(validate=False, ignore=ignore, index_metadata=metadata, **only)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        layout = BIDSLayout(root, validate=False, indexer=indexer, database_path=kept_in)
    for warning in caught:
        _LOG.debug("pybids: %s", warning.message)
    return layout
