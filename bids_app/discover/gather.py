"""From the command line to units of work."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from ..options import Options
from ..records import Discovery, Problem, Unused
from .index import index
from .names import parse
from .selection import Selection, apply, read_selection
from .times import with_times
from .units import make_units
from .usable import look_at
from .validation import validate

_LOG = logging.getLogger(__name__)


def discover(options: Options) -> Discovery:
    """Find out what there is to do, and everything that is wrong with the input, before any work starts.

    Nothing is written. One bad file costs only itself.

    Parameters
    ----------
    options : Options
        ``bids_dir``, the labels and the filter file are used.

    Returns
    -------
    Discovery
        Units are sorted by participant and session, the superior station first. There may be none:
        ``participants_without_units`` names those of whom nothing can be used.

    Raises
    ------
    UsageError
        No such input folder; unknown participant, session or run; a filter file that is wrong.
    NothingToDoError
        The input folder holds no participants.
    """
    selection = read_selection(options)
    found = index(options)
    paths, unused = _without_twins(found.images, options.bids_dir)
    seen = [look_at(path, options.bids_dir, found) for path in paths]
    unused += [one.unused for one in seen if one.unused is not None]
    problems = [*validate(options), *found.problems, *(problem for one in seen for problem in one.problems)]
    problems = [problem for problem in problems if _concerns(problem, selection)]
    images, refused, doubts = apply(selection, [one.image for one in seen if one.image is not None])
    images, undated = with_times(images, options.bids_dir)
    units, left_over = make_units(images)
    unused = sorted([*unused, *refused, *left_over], key=lambda one: one.path)
    _LOG.info("found %d units of %d participants", len(units), len(found.participants))
    return Discovery(found.participants, tuple(units), tuple(unused), (*problems, *doubts, *undated))


def _concerns(problem: Problem, selection: Selection) -> bool:
    """Tell whether a problem is one of the chosen images: what is wrong with another run is of no interest."""
    name = parse(problem.path.name) if problem.path is not None else None
    return name is None or all(
        selection.allows(entity, name.entities.get(entity)) for entity in selection.labels
    )


def _without_twins(paths: Iterable[Path], root: Path) -> tuple[list[Path], list[Unused]]:
    """Keep one of ``x.nii.gz`` and ``x.nii``: their outputs would have the same names."""
    kept: dict[Path, Path] = {}
    unused = []
    for path in sorted(paths, key=lambda one: not one.name.endswith(".gz")):
        twin = kept.setdefault(path.with_name(path.name.removesuffix(".gz").removesuffix(".nii")), path)
        if twin is not path:
            label = path.relative_to(root).parts[0].removeprefix("sub-")
            unused.append(Unused(path, label, f"{twin.name} has the same name and is used instead"))
    return sorted(kept.values()), unused
