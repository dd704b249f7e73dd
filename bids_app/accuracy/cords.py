"""How well the built-in localiser finds cords, agrees with manual masks, and refuses what is no cord."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import images
from ..errors import UnitError
from ..evaluate.scores import dice
from ..localise import Localiser
from ..simulate.tubes import make_tubes
from ..space import Grid
from . import lines
from .elsewhere import PARTS
from .lines import Line
from .scans import BRAIN, CHOICE, SEEN, TEST, Found, group_of, person_of, raw_scans

#: The mask of dev04 stops short of the cord's ends, and the mean leaves it out.
NOT_COUNTED = ("dev04",)
#: Dice that must be reached.
MUST = {"dev15": "0.94", "dev06": "0.96"}
#: Simulated scans of tubes, and the seed of the first.
TUBES, FIRST_SEED = 20, 7_000_000_000


def finding(founds: Mapping[str, Found]) -> Iterator[str | Line]:
    """Yield which scans have no cord, and in how many of each group one is found; the brain must be refused."""
    yield "the cord in every scan"
    for found in founds.values():
        if found.mask is None and found.stem != BRAIN:
            yield f"\t{found.stem}\t{group_of(found.stem)}\tno cord: {found.reason}"
    stems = [stem for stem in founds if stem != BRAIN]
    for group in (TEST, CHOICE, SEEN):
        some = [stem for stem in stems if group_of(stem) == group]
        if some:
            yield _found("cord found", group, founds, some)
    yield _found("cord found", "everybody", founds, stems)
    if BRAIN in founds:
        brain = founds[BRAIN]
        yield f"\t{BRAIN}\t{'NOT refused' if brain.mask is not None else f'refused: {brain.reason}'}"
        yield lines.share("the brain is refused", person_of(BRAIN), [brain.mask is None], [BRAIN], "1")


def _found(what: str, group: str, founds: Mapping[str, Found], stems: list[str]) -> Line:
    return lines.share(what, group, [founds[stem].mask is not None for stem in stems], stems, "all")


def agreement(data: Path, founds: Mapping[str, Found]) -> Iterator[str | Line]:
    """Yield Dice and distance of the centres for each scan with a manual mask, and means by group; no cord counts as 0."""
    yield "cord against manual masks: Dice, mean distance of the centres slice by slice, slices with cord (ours, manual)"
    values: dict[str, float] = {}
    for manual in sorted(data.rglob("*_label-SC_seg.nii.gz")):
        stem = manual.name.removesuffix("_label-SC_seg.nii.gz")
        mask = founds[stem].mask if stem in founds else None
        if mask is None:
            values[stem] = 0.0
            yield f"\t{stem}\t{group_of(stem)}\tno cord"
            continue
        reference, grid = images.read_mask(manual)
        values[stem] = dice(mask > 0, reference)
        distance, ours, theirs = centre_distance(mask > 0, reference, grid)
        yield f"\t{stem}\t{group_of(stem)}\t{values[stem]:.3f}\t{distance:.2f} mm\t{ours}, {theirs}"
    counted = [stem for stem in values if person_of(stem) not in NOT_COUNTED]
    for person, must in MUST.items():
        some = [stem for stem in counted if person_of(stem) == person]
        if some:
            yield lines.mean(f"cord Dice of {person}", TEST, [values[stem] for stem in some], some, must)
    for group in (CHOICE, SEEN):
        some = [stem for stem in counted if group_of(stem) == group]
        if some:
            yield lines.mean("cord Dice, mean", group, [values[stem] for stem in some], some)
            yield lines.mean("cord Dice, least", group, [min(values[stem] for stem in some)], some)


def refusals(data: Path, localiser: Localiser) -> Iterator[str | Line]:
    """Yield what the localiser makes of parts of scans away from the cord, and of simulated tubes."""
    yield "parts of scans that show no cord"
    there = raw_scans(data)
    refused: list[tuple[str, bool]] = []
    for part in PARTS:
        if part.stem not in there:
            continue
        reason = refusal(localiser, *part.cut(*images.read_volume(there[part.stem])))
        refused.append((part.stem, bool(reason)))
        yield f"\t{part.stem}, {part.shows}\t{group_of(part.stem)}\t{_verdict(reason)}"
    for group in (TEST, CHOICE, SEEN):
        some = [one for one in refused if group_of(one[0]) == group]
        if some:
            yield _refused("parts without a cord are refused", group, some)
    yield _refused("parts without a cord are refused", "everybody", refused)
    yield "simulated scans of tubes like vessels and bones"
    hits = []
    for number in range(TUBES):
        reason = refusal(localiser, *make_tubes(FIRST_SEED + number))
        hits.append(bool(reason))
        yield f"\ttubes {number}\t\t{_verdict(reason)}"
    yield lines.share("simulated tubes are refused", "simulated", hits, (), "all")


def _refused(what: str, group: str, some: Iterable[tuple[str, bool]]) -> Line:
    some = list(some)
    return lines.share(what, group, [hit for _, hit in some], [stem for stem, _ in some], "all")


def refusal(localiser: Localiser, volume: NDArray[np.float32], grid: Grid) -> str:
    """Return why no cord is found in an image; empty where one is."""
    try:
        localiser(volume, grid)
    except UnitError as error:
        return str(error).split("\n", maxsplit=1)[0]
    return ""


def _verdict(reason: str) -> str:
    return f"refused: {reason}" if reason else "NOT refused"


def centre_distance(
    mask: NDArray[np.bool_], reference: NDArray[np.bool_], grid: Grid
) -> tuple[float, int, int]:
    """Return the mean distance (mm) between the centres of two masks in slices that both have, and the slices of each.

    Slices run along the array axis nearest to superior-inferior.
    """
    axis = int(np.argmax(np.abs(grid.affine[2, :3])))
    distances, counts = [], [0, 0]
    for k in range(grid.shape[axis]):
        centres = []
        for n, one in enumerate((mask, reference)):
            points = np.argwhere(np.take(one, k, axis=axis))
            if len(points):
                counts[n] += 1
                centres.append(grid.to_mm(np.insert(points.mean(axis=0), axis, k)))
        if len(centres) == 2:
            distances.append(float(np.linalg.norm(centres[0] - centres[1])))
    return (float(np.mean(distances)) if distances else float("nan")), counts[0], counts[1]
