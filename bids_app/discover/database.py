"""A saved index of pybids: kept whole, used only while it still describes the dataset.

pybids itself neither notices that files have come, gone or changed since, nor that a saved index is of another dataset.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from bids import BIDSLayout
from bids.layout.models import BIDSFile
from sqlalchemy.exc import SQLAlchemyError

from ..files import writing
from .names import is_nifti

#: What pybids calls the file in the folder.
FILE = "layout_index.sqlite"
#: Of a `BIDSLayout` that reads a saved index.
READ_ERRORS = (SQLAlchemyError, OSError, ValueError, TypeError, AttributeError, KeyError)


def save(folder: Path, make: Callable[[Path], BIDSLayout]) -> None:
    """Make the index of a whole dataset and put it into a folder, all at once: others may read or write the same.

    Parameters
    ----------
    folder : Path
    make : callable
        Makes a layout that keeps its database in the folder that it is given.

    Raises
    ------
    EnvironmentFault
        It cannot be written there.
    """
    part = folder / f"{uuid.uuid4().hex}.part"
    with writing(folder):
        part.mkdir(parents=True)
    try:
        make(part).connection_manager.engine.dispose()
        with writing(folder):
            (part / FILE).replace(folder / FILE)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def read(folder: Path, root: Path, labels: Iterable[str], bad: Collection[Path]) -> BIDSLayout:
    """Open a saved index.

    Parameters
    ----------
    folder : Path
    root : Path
        The dataset.
    labels : iterable of str
        Participants whose files must be as they were.
    bad : collection of Path
        Files, relative to the dataset, that no index holds.

    Raises
    ------
    ValueError
        It does not describe the dataset as it is; the text says why.
    """
    try:
        layout = BIDSLayout(database_path=folder)
        of = Path(layout.root)
        if of.resolve() != root.resolve():
            raise ValueError(f"it is of another dataset, {of}")
        indexed = {path for label in labels for path in files_of(layout, root, label)}
    except READ_ERRORS as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error
    _compare(root, labels, indexed | set(bad), (folder / FILE).stat().st_mtime)
    return layout


def files_of(layout: BIDSLayout, root: Path, label: str) -> list[Path]:
    """Return the files of a participant, relative to the dataset, without reading those of all others."""
    start = f"{Path(layout.root) / f'sub-{label}'}{os.sep}"
    rows = layout.session.query(BIDSFile.path).filter(BIDSFile.path.startswith(start, autoescape=True))
    return [Path(path).relative_to(layout.root) for (path,) in rows]


def _compare(root: Path, labels: Iterable[str], indexed: set[Path], written: float) -> None:
    """Raise ValueError where images or sidecars have come, gone or changed since the index was written."""
    present = [path for path in root.iterdir() if path.suffix == ".json"]
    for label in labels:
        for place, folders, files in os.walk(root / f"sub-{label}", followlinks=True):
            folders[:] = [name for name in folders if not name.startswith(".")]
            present += [Path(place, name) for name in files if _matters(name)]
    changed = [path for path in present if path.lstat().st_mtime > written]
    of_people = {path.relative_to(root) for path in present if path.parent != root}
    new = of_people - indexed
    gone = {path for path in indexed if path.parent.parts and _matters(path.name)} - of_people
    for what, paths in (("is new", new), ("is gone", gone), ("has changed", changed)):
        if paths:
            first = min(paths).name
            raise ValueError(f"{first} {what}" + (f", and {len(paths) - 1} more" if len(paths) > 1 else ""))


def _matters(name: str) -> bool:
    return not name.startswith(".") and (name.endswith(".json") or is_nifti(Path(name)))
