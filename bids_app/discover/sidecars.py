"""JSON files and folders that cannot be read, found before pybids stumbles over them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..images import missing_content
from ..records import Problem


def bad_json_files(
    root: Path, labels: Iterable[str], chosen: Callable[[Path], bool]
) -> tuple[list[Path], list[Problem]]:
    """Read every JSON file that concerns the chosen participants.

    Parameters
    ----------
    root : Path
        The dataset.
    labels : iterable of str
        Participants.
    chosen : callable
        Tells whether a file of theirs, relative to the dataset, belongs to a chosen session (or to none).

    Returns
    -------
    list of Path
        Files and folders, relative to the dataset, that pybids must not see.
    list of Problem
        A warning for each file, and for a missing description of the dataset; a failure for each folder.
    """
    bad: list[Path] = []
    problems: list[Problem] = []
    if not os.path.lexists(root / "dataset_description.json"):
        step = "A valid BIDS dataset has this file; work goes on without it."
        problems.append(Problem("dataset_description.json is missing.", step))

    def read(path: Path, label: str | None) -> None:
        reason = _fault(path)
        if reason:
            bad.append(path.relative_to(root))
            message = f"{bad[-1]} {reason}; work goes on without it."
            step = f"Fetch it with: datalad get {path}" if "git-annex" in reason else "Correct or remove it."
            problems.append(Problem(message, step, participant=label, path=path))

    for path in sorted(root.glob("*.json")):
        read(path, None)
    for label in labels:
        closed: list[Path] = []
        for path in _walk(root / f"sub-{label}", closed):
            if chosen(path.relative_to(root)):
                read(path, label)
        for folder in closed:
            # pybids must not see it in any case; of a session that was not chosen nothing is said.
            bad.append(folder.relative_to(root))
            if chosen(folder.relative_to(root) / "any"):
                message = f"The folder {folder} cannot be read: what lies in it is not used."
                problems.append(Problem(message, "Check its permissions.", label, folder, fatal=True))
    return bad, problems


def _walk(folder: Path, closed: list[Path]) -> Iterator[Path]:
    """Yield the JSON files below a folder; folders that cannot be read are added to ``closed``."""

    def unreadable(error: OSError) -> None:
        closed.append(Path(error.filename))

    # Links to folders are followed, as pybids does.
    for place, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        try:
            # Where names can be listed and nothing behind them be looked at, this fails, too.
            os.stat(os.path.join(place, "."))  # noqa: PTH116, PTH118 - a Path would drop the dot
        except OSError:
            closed.append(Path(place))
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if name.endswith(".json") and name[0] != ".")


def _fault(path: Path) -> str:
    """Say why pybids would stumble over a JSON file; empty where it would not."""
    missing = missing_content(path)
    if missing:
        return missing.removeprefix(f"{path.name} ")
    try:
        # Not json.loads of bytes: that accepts UTF-16 and byte order marks, on which pybids fails.
        content = json.loads(path.read_bytes().decode())
    except (OSError, ValueError, RecursionError) as error:
        return f"is not valid JSON ({' '.join(str(error).split())[:100]})"
    return "" if isinstance(content, dict) else "holds no JSON object"
