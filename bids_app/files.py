"""Write files so that they appear whole or not at all, and say in words why one cannot be written."""

from __future__ import annotations

import errno
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .errors import EnvironmentFault

#: Folder of run manifests and status records in an output dataset.
LOGS = "logs"
#: End of the name of a status record: what the last run made of one session.
STATUS_ENDING = "_status.json"

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError met while writing ``path`` into an `EnvironmentFault` with a sentence.

    Wrap only what writes: an OSError of a read would be blamed on the output.
    """
    try:
        yield
    except OSError as error:
        raise _fault(path, error) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically; parallel writers of one path never meet.

    Raises
    ------
    EnvironmentFault
        The file cannot be written: read-only, full disk.
    """
    # Not the process id: in containers on several nodes it is often the same.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically as UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, record: Mapping[str, object]) -> None:
    """Write a JSON object atomically, keys in the given order; see `write_bytes`."""
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON object.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is not JSON, or not an object.
    """
    record = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(record, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return record


def _fault(path: Path, error: OSError) -> EnvironmentFault:
    if error.errno in _FULL:
        return EnvironmentFault(
            f"The disk (or the quota) is full: {path.name} could not be written to {path.parent}.",
            "Free some space and run the same command again: finished work is kept.",
        )
    if error.errno in _CLOSED:
        return EnvironmentFault(
            f"{path.name} could not be written: the output folder {path.parent} is not writable.",
            "Choose another output folder or change its permissions.",
        )
    return EnvironmentFault(
        f"{path.name} could not be written to {path.parent} ({error.strerror or error}).",
        "Check the output folder.",
    )


def nearest(path: Path) -> Path:
    """Return what exists of a path: itself, or the nearest of the folders above it, with links resolved."""
    resolved = path.resolve()
    return next(place for place in (resolved, *resolved.parents) if place.exists())
