"""What is left of a unit that failed: what, where, why and what next in words, and the traceback below."""

from __future__ import annotations

from pathlib import Path

from .. import __version__
from ..files import LOGS, write_text, writing
from ..options import Options
from ..records import Failed, Outcome

ENDING = "_crash.txt"


def write_crash(outcome: Outcome, options: Options) -> Path | None:
    """Write the crash report of a unit that failed; remove that of an earlier run where it did not.

    Returns
    -------
    Path or None
        ``logs/<unit>_crash.txt``; None where there is nothing to report, or no unit.

    Raises
    ------
    EnvironmentFault
        The output folder cannot be written to.
    """
    if outcome.unit is None:
        return None
    path = options.output_dir / LOGS / f"{outcome.unit.planned}{ENDING}"
    if isinstance(outcome, Failed):
        write_text(path, _text(outcome, options))
        return path
    with writing(path):
        path.unlink(missing_ok=True)
    return None


def _text(failed: Failed, options: Options) -> str:
    assert failed.unit is not None
    lines = [
        f"mscord {__version__} could not do {failed.unit.name} of sub-{failed.participant}.",
        "",
        f"Why:        {failed.message}",
        f"Next step:  {failed.next_step or 'Look at the image, and at the page of the participant.'}",
        f"Where:      {options.bids_dir}",
        *(f"            {image.path} ({image.sequence})" for image in failed.unit.images),
    ]
    if failed.details:
        lines += ["", "For those who look after the program:", "", failed.details.rstrip()]
    return "\n".join(lines) + "\n"
