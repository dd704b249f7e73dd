"""The text of a dry run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..options import Options
from ..records import Discovery, Image, Problem, Unit

#: Names, relative to the output folder, of what a unit would yield.
OutputsOf = Callable[[Unit], Iterable[str]]


def describe(discovery: Discovery, options: Options, outputs_of: OutputsOf | None = None) -> str:
    """Return what a run would do, as text.

    Parameters
    ----------
    discovery : Discovery
    options : Options
        Those that the discovery was made with.
    outputs_of : callable, optional
        Names the outputs of a unit; without it they are left out.

    Returns
    -------
    str
        One line per image, then the outputs of each unit, the problems, and the participants of whom nothing
        can be used.
    """
    blocks = [_participant(label, discovery, options.bids_dir) for label in discovery.participants]
    if outputs_of is not None:
        blocks += [_outputs(unit, outputs_of(unit)) for unit in discovery.units]
    problems = sorted(discovery.problems, key=lambda problem: not problem.fatal)
    if problems:
        blocks.append(["Problems", *(f"  {_problem(problem)}" for problem in problems)])
    without = discovery.participants_without_units()
    if without:
        blocks.append(["Nothing can be used of " + ", ".join(f"sub-{label}" for label in without)])
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _participant(label: str, discovery: Discovery, root: Path) -> list[str]:
    units = [unit for unit in discovery.units if unit.participant == label]
    lines = {
        unused.path: f"not used: {unused.reason}"
        for unused in discovery.unused
        if unused.participant == label
    }
    for image in dict.fromkeys(image for unit in units for image in unit.images):
        lines[image.path] = f"{image.sequence}, {image.plane}; " + "; ".join(_parts(image, units))
    count = f"{len(units)} unit{'' if len(units) == 1 else 's'}"
    rows = [f"  {path.relative_to(root).as_posix()}: {lines[path]}" for path in sorted(lines)]
    return [f"sub-{label}: {count}", *(rows or ["  no images"])]


def _parts(image: Image, units: Iterable[Unit]) -> Iterator[str]:
    """Yield the part that an image has in each unit."""
    for unit in units:
        if image is unit.reference:
            yield "reference; network input"
        elif image in unit.images:
            reason = unit.reasons.get(image.path)
            role = (
                "network input"
                if image in unit.inputs
                else f"masks only ({reason})"
                if reason
                else "masks only"
            )
            yield f"unit of {unit.reference.path.name}; {role}"


def _outputs(unit: Unit, names: Iterable[str]) -> list[str]:
    return [f"Outputs of {unit.name}", *(f"  {name}" for name in names)]


def _problem(problem: Problem) -> str:
    kind = "Error" if problem.fatal else "Warning"
    return f"{kind}: {problem.message} {problem.next_step}".rstrip()
