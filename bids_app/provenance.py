"""Which code this is, and which container it runs in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

#: Set when an image is built, or by who starts it: an image cannot know its own digest.
COMMIT, TAG, DIGEST = "MSCORD_COMMIT", "MSCORD_CONTAINER_TAG", "MSCORD_CONTAINER_DIGEST"
#: Wherever chance is used, it starts here: results repeat to the byte.
SEEDS = {"alignment": 1, "noise": 0}
UNKNOWN = "unknown"
_PACKAGE = Path(__file__).parent


def commit() -> str:
    """Return the Git commit of the code, with ``-dirty`` where files differ from it; ``unknown`` where nobody recorded it."""
    built = os.environ.get(COMMIT)
    if built:
        return built
    if not (_PACKAGE.parent / ".git").exists():
        # Installed: a repository somewhere above, such as a user's own, is not ours.
        return UNKNOWN
    command = ["git", "-C", str(_PACKAGE), "describe", "--always", "--abbrev=40", "--dirty", "--exclude", "*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return done.stdout.strip() or UNKNOWN


def container() -> dict[str, str] | None:
    """Return what GeneratedBy says of the container that this runs in; None outside.

    Returns
    -------
    dict of str to str or None
        Type and Tag as BIDS has them, and Digest where it is known.
    """
    tag, digest = os.environ.get(TAG), os.environ.get(DIGEST)
    if not tag and not digest:
        return None
    inside = any(os.environ.get(name) for name in ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"))
    found = {"Type": "apptainer" if inside else "docker", "Tag": tag, "Digest": digest}
    return {name: value for name, value in found.items() if value}
