"""Write the page of a participant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from .. import files
from ..records import Discovery, Failed, Outcome, Segmented
from .draw import CORD_COLOUR, LESION_COLOUR, NO_DATA_COLOUR
from .pictures import pictures_per_unit
from .unit import count_words, view_unit

#: Stands on every page.
RESEARCH_USE = "Research use only, not for diagnosis."
#: Said of the weights unless their own notice says something else.
SIMULATED = "The weights were trained on simulated spinal cords."
_TEMPLATES = Path(__file__).with_name("templates")
#: Control characters that HTML does not allow, and halves of characters that cannot be encoded.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class ReportRun:
    """What the page says of the run as a whole.

    Attributes
    ----------
    output_dir : Path
        Where the page goes.
    command : str
        The command line as it was given.
    version : str
        Of mscord.
    started : str
        Date and time for people.
    cord_method : str
        How the cord was looked for; a unit's own record says how it was found.
    device : str
        Where the network ran.
    weights : mapping of str to str
        ``name``, ``sha256`` and ``notice`` (what the weights were trained on).
    links : mapping of str to str
        Names of linked datasets and where they lie; shown as text.
    """

    output_dir: Path
    command: str
    version: str
    started: str
    cord_method: str
    device: str
    weights: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


def write_report(participant: str, outcomes: Sequence[Outcome], discovery: Discovery, run: ReportRun) -> Path:
    """Write ``sub-<participant>.html``, also where every unit failed or there was none.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    outcomes : sequence of Outcome
        Those of other participants are passed over.
    discovery : Discovery
        Its images without use, its problems and its units without outcome are listed.
    run : ReportRun

    Returns
    -------
    Path
        The page. It appears under its name only when it is complete.

    Raises
    ------
    EnvironmentFault
        The output folder cannot be written to.
    """
    text = _render(participant, [o for o in outcomes if _participant(o) == participant], discovery, run)
    # A label is letters and digits; whatever else a name holds must not lead out of the output folder.
    path = run.output_dir / f"sub-{re.sub(r'[^0-9A-Za-z+_-]', '_', participant)}.html"
    files.write_text(path, text)
    return path


def _participant(outcome: Outcome) -> str:
    return outcome.participant if isinstance(outcome, Failed) else outcome.prepared.unit.participant


def _render(participant: str, outcomes: Sequence[Outcome], discovery: Discovery, run: ReportRun) -> str:
    outcomes = [*outcomes, *_untold(participant, outcomes, discovery)]
    done = [outcome for outcome in outcomes if isinstance(outcome, Segmented)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    limit = pictures_per_unit(len(done))
    views = [view for outcome in outcomes if (view := view_unit(outcome, limit)) is not None]
    told = {failure.message for failure in failures}
    problems = [
        problem
        for problem in discovery.problems
        if problem.participant in (None, participant) and problem.message not in told
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("participant.html").render(
        participant=participant,
        summary=_summary(done, failures),
        notices=_notices(run.weights),
        failures=failures,
        fatal=[problem for problem in problems if problem.fatal],
        warnings=[problem for problem in problems if not problem.fatal],
        units=views,
        several=len(done) > 1,
        unused=[image for image in discovery.unused if image.participant == participant],
        run=run,
        colours={"lesion": LESION_COLOUR, "cord": CORD_COLOUR, "no_data": NO_DATA_COLOUR},
    )
    return _UNPRINTABLE.sub("\ufffd", text)


def _untold(participant: str, outcomes: Sequence[Outcome], discovery: Discovery) -> list[Failed]:
    """Return a failure for each unit, or for a participant without units, of which no outcome tells."""
    told = {
        unit.name
        for outcome in outcomes
        if (unit := outcome.unit if isinstance(outcome, Failed) else outcome.prepared.unit) is not None
    }
    missing = [
        Failed(
            participant,
            "This unit was not done: the run ended before it.",
            "Run the same command again.",
            unit,
        )
        for unit in discovery.units
        if unit.participant == participant and unit.name not in told
    ]
    if not outcomes and not missing:
        seen = any(image.participant == participant for image in discovery.unused)
        reasons = "The images that were seen are listed below with the reasons." if seen else ""
        missing.append(Failed(participant, f"Nothing of sub-{participant} can be used.", reasons))
    return missing


def _summary(done: Sequence[Segmented], failures: Sequence[Failed]) -> str:
    failed = sum(failure.unit is not None for failure in failures)
    total = len(done) + failed
    if not done:
        return (
            f"No result: {count_words(failed, 'unit')} failed."
            if total
            else "No result: there was no unit to work on."
        )
    lesions = sum(len(outcome.lesions) for outcome in done)
    volume = sum(outcome.volume_mm3 for outcome in done)
    names = list(dict.fromkeys(name for outcome in done for name in outcome.prepared.sequences))
    found = f"{count_words(lesions, 'lesion').capitalize()}" + (
        f", {volume:.1f} mm³ in all" if lesions else ""
    )
    units = f"{len(done)} of {count_words(total, 'unit')} done" + (f", {failed} failed" if failed else "")
    return f"{found}. {units}. Sequences used: {', '.join(names)}."


def _notices(weights: Mapping[str, str]) -> list[str]:
    notice = weights.get("notice") or SIMULATED
    return [notice] if RESEARCH_USE in notice else [RESEARCH_USE, notice]
