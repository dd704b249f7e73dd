"""Which image leads a unit, and which of several images of one sequence the network reads, with the reason in words.

Decided from headers and names alone. Discovery asks first; where an image turns out to be of no use, preprocessing asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .images import extent_si_mm
from .records import Image, Unit
from .sequences import SEQUENCES, slot_of
from .space import Grid

#: Two images share a unit where they overlap by this much along the cord,
OVERLAP_MM = 20.0
#: or by this share of the shorter one if that is less,
OVERLAP_SHARE = 0.8
#: and never under this. Shorter images are not used.
LEAST_MM = 10.0
#: A stack of fewer slices shows no more than a piece of the cord's width, or of its length: a localiser.
FEW_SLICES = 6
#: Voxels larger than this (1.4 mm x 1.4 mm x 5 mm) show little of a cord that is 10 mm wide: such an image does not lead where
#: there is a finer one of at least this share of its length.
COARSE_MM3, COARSE_LENGTH_SHARE = 10.0, 0.5
#: Images whose length is at least this share of the longest are near-ties for the reference.
NEAR_TIE = 0.8
#: Lengths that differ by less are equal: headers are rounded.
SAME_LENGTH_MM = 1.0
#: Voxels whose volumes differ by less than this factor are of one size.
SAME_VOXELS = 1.05
#: Entities in which the stations and repetitions of one acquisition may differ.
_NOT_OF_FAMILY = frozenset({"chunk", "run", "echo"})

_RANK = {name: rank for rank, name in reversed(list(enumerate(row.name for row in SEQUENCES)))}


def length_mm(image: Image) -> float:
    """Extent of an image along its superior-inferior axis."""
    low, high = extent_si_mm(image.grid)
    return high - low


def overlap_mm(image: Image, other: Image) -> float:
    """Length along S that two images share; never negative."""
    low, high = extent_si_mm(image.grid)
    other_low, other_high = extent_si_mm(other.grid)
    return max(0.0, min(high, other_high) - max(low, other_low))


def share_unit(image: Image, other: Image) -> bool:
    """Tell whether two images overlap enough to be of one unit."""
    shorter = min(length_mm(image), length_mm(other))
    needed = max(LEAST_MM, min(OVERLAP_MM, OVERLAP_SHARE * shorter))
    # Headers are rounded: what is as long as is needed, is enough.
    return overlap_mm(image, other) > needed - 0.01


def slice_count(grid: Grid) -> int:
    """Return the number of slices: along the largest spacing, and of an isotropic image along its shortest side."""
    spacing = grid.spacing_mm
    thick = spacing > 0.99 * spacing.max()
    return int(np.array(grid.shape)[thick].min())


def has_few_slices(image: Image) -> bool:
    """Tell whether an image is a stack of a few slices."""
    return slice_count(image.grid) < FEW_SLICES


def best_reference(images: Sequence[Image]) -> Image:
    """Return the image that can show most of the cord; there must be one.

    Stacks of a few slices, then images of coarse voxels, only where there is nothing else; then the longest, near-ties by the
    order of the table of sequences; images of one sequence as `choose` has it.
    """
    lowest = min(_tier(image, images) for image in images)
    able = [image for image in images if _tier(image, images) == lowest]
    longest = max(length_mm(image) for image in able)
    near = [image for image in able if length_mm(image) >= NEAR_TIE * longest]
    first = min(_RANK[image.sequence] for image in near)
    return choose([image for image in near if _RANK[image.sequence] == first], length_mm)[0]


def _tier(image: Image, images: Iterable[Image]) -> int:
    """Return 0 for an image that may lead, more the less it should."""
    if has_few_slices(image):
        return 2
    if image.grid.voxel_volume_mm3 <= COARSE_MM3:
        return 0
    needed = COARSE_LENGTH_SHARE * length_mm(image)
    return int(
        any(
            other.grid.voxel_volume_mm3 <= COARSE_MM3
            and not has_few_slices(other)
            and length_mm(other) >= needed
            for other in images
        )
    )


@dataclass(frozen=True)
class _Rule:
    """One criterion among images of one sequence: the highest value wins, values nearer than ``tolerance`` are equal."""

    value: Callable[[Image], float]
    words: Callable[[Image], str]
    tolerance: float = 0.5


def _rules(shown_mm: Callable[[Image], float]) -> tuple[_Rule, ...]:
    """Return the criteria, the first one first; the words say what the winner has."""
    return (
        _Rule(lambda image: not has_few_slices(image), lambda _: "has more than a few slices"),
        _Rule(
            lambda image: "ceagent" not in image.entities,
            lambda _: "was made without a contrast agent (no ce-)",
        ),
        _Rule(shown_mm, lambda _: "shows more of the cord", SAME_LENGTH_MM),
        _Rule(
            lambda image: -float(np.log(image.grid.voxel_volume_mm3)),
            lambda _: "has smaller voxels",
            float(np.log(SAME_VOXELS)),
        ),
        _Rule(
            lambda image: -_number(image, "echo"),
            lambda image: (
                f"is the first echo (echo-{image.entities['echo']})"
                if "echo" in image.entities
                else "has no echo- in its name, which is taken for the combination of the echoes"
            ),
        ),
        _Rule(lambda image: _number(image, "run"), lambda _: "is the last run"),
    )


def choose(images: Sequence[Image], shown_mm: Callable[[Image], float]) -> tuple[Image, dict[Path, str]]:
    """Choose among images of one sequence; there must be one.

    Parameters
    ----------
    images : sequence of Image
    shown_mm : callable
        How much an image shows of what matters here, mm.

    Returns
    -------
    Image
        The chosen one.
    dict of Path to str
        Of each other image, what the chosen one has and it has not: words that follow on a name.
    """
    left = list(images)
    lost: dict[Path, _Rule] = {}
    for rule in _rules(shown_mm):
        values = {image.path: rule.value(image) for image in left}
        best = max(values.values())
        lost |= {path: rule for path, value in values.items() if value <= best - rule.tolerance}
        left = [image for image in left if image.path not in lost]
    chosen = min(left, key=lambda image: image.path.name)
    reasons = {image.path: "comes first by name" for image in left if image is not chosen}
    return chosen, reasons | {path: rule.words(chosen) for path, rule in lost.items()}


def make_unit(reference: Image, members: Iterable[Image]) -> Unit:
    """Make the unit of a reference: what feeds the network, and what gets masks only, with the reason.

    Parameters
    ----------
    reference : Image
    members : iterable of Image
        Further images that share the unit. Those of the reference's sequence feed nothing: its place is taken.
    """
    members = list(members)
    inputs = [reference]
    reasons = _beside_reference(reference, [one for one in members if one.sequence == reference.sequence])
    for name in sorted({image.sequence for image in members} - {reference.sequence}, key=slot_of):
        fed, lost = _feed([image for image in members if image.sequence == name], reference)
        inputs += fed
        reasons |= lost
    rest = sorted((image for image in members if image not in inputs), key=lambda image: image.path)
    return Unit(reference, tuple(inputs), tuple(rest), reasons)


def _beside_reference(reference: Image, images: Sequence[Image]) -> dict[Path, str]:
    """Say of images of the reference's sequence why they only get masks."""
    chosen, reasons = choose([reference, *images], lambda image: overlap_mm(image, reference))
    if chosen is not reference:
        # By the other criteria another one is better, and it is too short to lead.
        reasons = {image.path: "leads the unit: it shows more of the cord" for image in images}
    return {path: f"{reference.path.name} is read instead, which {words}" for path, words in reasons.items()}


def _feed(images: Sequence[Image], reference: Image) -> tuple[list[Image], dict[Path, str]]:
    """Choose what feeds one encoder: an image, and the further stations of its acquisition; and why the others do not."""
    fed: list[Image] = []
    reasons: dict[Path, str] = {}
    while pool := [image for image in images if image not in fed and all(_apart(image, one) for one in fed)]:
        chosen, lost = choose(pool, lambda image: overlap_mm(image, reference))
        fed.append(chosen)
        for path, words in lost.items():
            reasons.setdefault(path, f"{chosen.path.name} is read instead, which {words}")
    return fed, {path: words for path, words in reasons.items() if all(path != one.path for one in fed)}


def _apart(image: Image, other: Image) -> bool:
    """Tell whether two images of one sequence are stations: they do not compete but complete each other."""
    if ("ceagent" in image.entities) != ("ceagent" in other.entities):
        return False
    chunks = image.entities.get("chunk"), other.entities.get("chunk")
    if None not in chunks and chunks[0] != chunks[1] and _family(image) == _family(other):
        return True
    return not share_unit(image, other)


def _family(image: Image) -> dict[str, str]:
    return {entity: value for entity, value in image.entities.items() if entity not in _NOT_OF_FAMILY}


def without(unit: Unit, failed: Collection[Path], taken: Collection[Path] = ()) -> Unit | None:
    """Return a unit as it is made where some of its images turned out to be of no use.

    Parameters
    ----------
    unit : Unit
    failed : collection of Path
        Images that can neither lead nor feed the network. They stay among ``others``; a member that shares nothing with a new
        reference leaves the unit.
    taken : collection of Path
        Images that lead another unit of the session already.

    Returns
    -------
    Unit or None
        None where no image is left to lead it. ``instead_of`` names the references that had to give way.
    """
    able = [image for image in unit.images if image.path not in failed]
    leading = [image for image in able if image.path not in taken]
    if not leading:
        return None
    keeps = any(image is unit.reference for image in leading)
    reference = unit.reference if keeps else best_reference(leading)
    members = [image for image in able if image is not reference and share_unit(image, reference)]
    made = make_unit(reference, members)
    useless = tuple(image for image in unit.images if image.path in failed)
    gave_way = () if keeps else (unit.reference,)
    return replace(made, others=made.others + useless, instead_of=unit.instead_of + gave_way)


def _number(image: Image, entity: str) -> float:
    """Return the number of an entity; 0 where the name has none."""
    value = image.entities.get(entity, "")
    return float(value) if value.isdecimal() else 0.0
