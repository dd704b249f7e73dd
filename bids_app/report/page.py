"""Write the page of a participant."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
from markupsafe import Markup

from .. import files
from ..pages import overview_of, page_of, sections_of
from ..records import Discovery, Failed, Kept, Outcome, Segmented
from .bundle import packed_program, script_hash, version
from .draw import CORD_COLOUR, LESION_COLOUR, NO_DATA_COLOUR
from .remarks import verdict
from .unit import LESION_HEADINGS, count_words, overview, view_unit

#: Stands on every page.
RESEARCH_USE = "Research use only, not for diagnosis."
#: Said of the weights unless their own notice says something else.
UNKNOWN_ORIGIN = "What the weights were trained on is not said by their card."
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
    versions : mapping of str to str
        Of what shapes results.
    checksums : mapping of str to str
        SHA-256 of input images by their file names.
    methods : callable
        Gives the methods text of a unit, as paragraphs.
    """

    output_dir: Path
    command: str
    version: str
    started: str
    cord_method: str
    device: str
    weights: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    methods: Callable[[Segmented], Sequence[str]] = lambda _: ()


@dataclass(frozen=True)
class _Before:
    """What the page held before: sections and overview, by the names of units."""

    sections: Mapping[str, str]
    overview: Mapping[str, Mapping[str, object]]


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
    path = page_of(participant, run.output_dir)
    own = [outcome for outcome in outcomes if outcome.participant == participant]
    some_kept = any(isinstance(outcome, Kept) for outcome in own)
    kept = _Before(sections_of(path), overview_of(path)) if some_kept else _Before({}, {})
    files.write_text(path, _render(participant, own, discovery, run, kept))
    return path


def _render(
    participant: str,
    outcomes: Sequence[Outcome],
    discovery: Discovery,
    run: ReportRun,
    kept: _Before,
) -> str:
    outcomes = [*outcomes, *_untold(participant, outcomes, discovery)]
    done = [outcome for outcome in outcomes if not isinstance(outcome, Failed)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    told = {failure.message for failure in failures}
    problems = [
        problem
        for problem in discovery.problems
        if problem.participant in (None, participant) and problem.message not in told
    ]
    units = sum(unit.participant == participant for unit in discovery.units)
    units = max(units, len(done))
    shown = [_section(outcome, units, kept, run) for outcome in outcomes if outcome.unit is not None]
    sections = [one.html for one in shown]
    remarks = [str(remark) for one in shown for remark in _listed(one.overview.get("remarks"))]
    script = script_of("tables.js", "viewer.js")
    text = (
        environment()
        .get_template("participant.html")
        .render(
            participant=participant,
            summary=f"{_summary(done, failures)} {verdict(remarks)}" if done else _summary(done, failures),
            notices=_notices(run.weights),
            failures=failures,
            fatal=[problem for problem in problems if problem.fatal],
            warnings=[problem for problem in problems if not problem.fatal],
            sections=sections,
            several=len(done) > 1,
            unused=[image for image in discovery.unused if image.participant == participant],
            run=run,
            viewer_version=version(),
            overview={one.name: one.overview for one in shown if one.overview},
            script=Markup(script),
            script_hash=Markup(script_hash(script)),
            program=packed_program() if any('class="viewer"' in section for section in sections) else "",
            colours={"lesion": LESION_COLOUR, "cord": CORD_COLOUR, "no_data": NO_DATA_COLOUR},
        )
    )
    return printable(text)


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def environment() -> jinja2.Environment:
    """Return what renders the templates: everything is escaped unless it is marked."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def script_of(*names: str) -> str:
    """Return some files of the templates as one script."""
    return "".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in names)


def printable(text: str) -> str:
    """Return a page without characters that HTML does not allow."""
    return _UNPRINTABLE.sub("\ufffd", text)


@dataclass(frozen=True)
class _Section:
    """What the page shows of a unit, and what lists of participants show of it."""

    name: str
    html: Markup
    overview: Mapping[str, object]


def _section(outcome: Outcome, units: int, kept: _Before, run: ReportRun) -> _Section:
    """Return what the page shows of a unit: drawn now, or as it stood on the page before."""
    assert outcome.unit is not None
    name = outcome.unit.name
    if isinstance(outcome, Kept) and name in kept.sections:
        return _Section(name, Markup(kept.sections[name]), kept.overview.get(name, {}))
    anchor = f"unit-{re.sub(r'[^0-9A-Za-z_-]', '_', name)}"
    view = view_unit(outcome, units)
    template = environment().get_template("unit.html")
    text = template.render(
        name=name,
        unit=view,
        anchor=anchor,
        headings=LESION_HEADINGS,
        methods=run.methods(outcome) if isinstance(outcome, Segmented) else (),
        checksums={row.name: run.checksums[row.name] for row in view.images if row.name in run.checksums},
    )
    return _Section(name, Markup(text), overview(view))


def _untold(participant: str, outcomes: Sequence[Outcome], discovery: Discovery) -> list[Failed]:
    """Return a failure for each unit, or for a participant without units, of which no outcome tells."""
    told = {outcome.unit.planned for outcome in outcomes if outcome.unit is not None}
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


def _summary(done: Sequence[Segmented | Kept], failures: Sequence[Failed]) -> str:
    failed = sum(failure.unit is not None for failure in failures)
    total = len(done) + failed
    if not done:
        return (
            f"No result: {count_words(failed, 'unit')} failed."
            if total
            else "No result: there was no unit to work on."
        )
    lesions = sum(outcome.lesion_count for outcome in done)
    volume = sum(outcome.volume_mm3 for outcome in done)
    names = list(dict.fromkeys(name for outcome in done for name in outcome.sequences))
    found = f"{count_words(lesions, 'lesion').capitalize()}" + (
        f", {volume:.1f} mm³ in all" if lesions else ""
    )
    units = f"{len(done)} of {count_words(total, 'unit')} done" + (f", {failed} failed" if failed else "")
    return f"{found}. {units}. Sequences used: {', '.join(names)}."


def _notices(weights: Mapping[str, str]) -> list[str]:
    notice = weights.get("notice") or UNKNOWN_ORIGIN
    return [notice] if RESEARCH_USE in notice else [RESEARCH_USE, notice]
