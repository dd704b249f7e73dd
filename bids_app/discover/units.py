"""Units of work: one reference image each, and what goes with it. Decided from headers alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from ..images import extent_si_mm
from ..records import Image, Unit, Unused
from ..sequences import SEQUENCES, slot_of

#: Along the cord, an image takes part in a unit whose reference it overlaps by this much.
OVERLAP_MM = 20.0
#: An image shorter than that takes part when this share of it overlaps.
OVERLAP_SHARE = 0.5
#: Images whose length is at least this share of the longest are near-ties for the reference.
NEAR_TIE = 0.8
#: Lengths that differ by less are equal: headers are rounded.
SAME_LENGTH_MM = 1.0

_RANK = {name: rank for rank, name in reversed(list(enumerate(row.name for row in SEQUENCES)))}


def make_units(images: Iterable[Image]) -> tuple[list[Unit], list[Unused]]:
    """Group images into units; those that fit none are returned as unused.

    Sessions are never mixed. Units come sorted by participant, session, and the superior station first.
    """
    units: list[Unit] = []
    unused: list[Unused] = []
    by_session = sorted(images, key=_session)
    for _, session in groupby(by_session, key=_session):
        members = list(session)
        references = sorted(_references(members), key=_position)
        units += [_unit(reference, members, references) for reference in references]
        for image in members:
            if image not in references and not any(_joins(image, other) for other in references):
                length = f"{length_mm(image):.0f} mm"
                reason = f"it covers only {length} along the cord and lies outside every reference"
                unused.append(Unused(image.path, image.participant, reason))
    return units, unused


def length_mm(image: Image) -> float:
    """Extent of an image along its superior-inferior axis."""
    low, high = extent_si_mm(image.grid)
    return high - low


def overlap_mm(image: Image, reference: Image) -> float:
    """Length along S that two images share; never negative."""
    low, high = extent_si_mm(image.grid)
    other_low, other_high = extent_si_mm(reference.grid)
    return max(0.0, min(high, other_high) - max(low, other_low))


def _references(images: Sequence[Image]) -> list[Image]:
    """Choose the references of one session: one for every station."""
    long_enough = [image for image in images if length_mm(image) >= OVERLAP_MM]
    references: list[Image] = []
    while True:
        left = [
            image
            for image in long_enough
            if image not in references and not any(_joins(image, other) for other in references)
        ]
        left += _other_chunks(long_enough, references)
        if not left:
            return references
        # Further stations have the sequence of the first where there is one.
        alike = [image for image in left if references and image.sequence == references[0].sequence]
        references.append(_best_reference(alike or left))


def _other_chunks(images: Iterable[Image], references: Sequence[Image]) -> list[Image]:
    """Return images of further stations by name: of a reference's sequence, in a chunk without one yet."""
    taken = {(image.sequence, image.entities.get("chunk")) for image in references}
    sequences = {sequence for sequence, chunk in taken if chunk is not None}
    return [
        image
        for image in images
        if image.sequence in sequences
        and "chunk" in image.entities
        and (image.sequence, image.entities["chunk"]) not in taken
        and image not in references
    ]


def _best_reference(images: Sequence[Image]) -> Image:
    longest = max(length_mm(image) for image in images)
    near = [image for image in images if length_mm(image) >= NEAR_TIE * longest]
    first = min(_RANK[image.sequence] for image in near)
    same = [image for image in near if _RANK[image.sequence] == first]
    return _first(same, [length_mm(image) for image in same])


def _first(images: Sequence[Image], lengths_mm: Sequence[float]) -> Image:
    """Return the longest image; of equal ones the last run, then the first by name."""
    longest = max(lengths_mm)
    equal = [i for i, length in zip(images, lengths_mm, strict=True) if length > longest - SAME_LENGTH_MM]
    return min(equal, key=lambda image: (-_run(image), image.path.name))


def _joins(image: Image, reference: Image) -> bool:
    needed = (
        min(OVERLAP_MM, OVERLAP_SHARE * length_mm(image)) if length_mm(image) < OVERLAP_MM else OVERLAP_MM
    )
    return overlap_mm(image, reference) >= needed


def _unit(reference: Image, images: Iterable[Image], references: Iterable[Image]) -> Unit:
    """Give every slot the image that covers most of the reference; what else fits gets masks only."""
    others = set(references)
    members = [image for image in images if image not in others and _joins(image, reference)]
    inputs = [reference]
    for name in sorted({image.sequence for image in members} - {reference.sequence}, key=slot_of):
        same = [image for image in members if image.sequence == name]
        inputs.append(_first(same, [overlap_mm(image, reference) for image in same]))
    rest = sorted((image for image in members if image not in inputs), key=lambda image: image.path)
    return Unit(reference, tuple(inputs), tuple(rest))


def _session(image: Image) -> tuple[str, str]:
    return image.participant, image.session or ""


def _position(reference: Image) -> tuple[float, str]:
    """Superior first; by the middle, because a long image may reach higher than the station above it."""
    low, high = extent_si_mm(reference.grid)
    return -(low + high) / 2, reference.path.name


def _run(image: Image) -> int:
    run = image.entities.get("run", "")
    return int(run) if run.isdecimal() else 0
