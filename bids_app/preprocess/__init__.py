"""Preprocess: cord, alignment and crop of one unit, as a small Nipype graph.

`prepare` is all that others need. It loads Nipype and SimpleITK only when it is called, and never torch.
"""

from __future__ import annotations

import os

from ..records import Prepared
from .request import PrepareRequest
from .sct import require_sct, sct_version

__all__ = ["PrepareRequest", "prepare", "require_sct", "sct_version"]


def prepare(request: PrepareRequest) -> Prepared:
    """Bring a unit into the common space.

    What a former call with the same folder has finished is taken from there, unless an input, a mask, an
    option or the version of the app has changed. The working directory of the process changes while this
    runs: give each call a process of its own, or run one after the other.

    Parameters
    ----------
    request : PrepareRequest

    Returns
    -------
    Prepared
        Images without a plausible cord, unreadable images and images that do not overlap the reference are in
        ``dropped``. Where the reference is among them, the next image leads: see `leading.without`.

    Raises
    ------
    CordError, BadImageError
        No image can lead: none shows a plausible cord, or can be read.
    UnitError
        A step failed on the reference.
    EnvironmentFault
        SCT was asked for and is not there, or the work folder is full or cannot be written to.
    """
    # Nipype reads these once, when it is imported: no telemetry, and nothing in the home folder.
    for name, value in (
        ("NO_ET", "1"),
        ("NIPYPE_NO_ET", "1"),
        ("NIPYPE_CONFIG_DIR", str(request.folder / "nipype")),
    ):
        os.environ.setdefault(name, value)
    from .workflow import run_unit

    return run_unit(request)
