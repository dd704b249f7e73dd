"""Units of work: one reference image each, and what goes with it. Decided from headers alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from ..images import extent_si_mm
from ..leading import LEAST_MM, best_reference, length_mm, make_unit, share_unit
from ..records import Image, Unit, Unused


def make_units(images: Iterable[Image]) -> tuple[list[Unit], list[Unused]]:
    """Group images into units; those that are too short for any are returned as unused.

    Sessions are never mixed. Units come sorted by participant, session, and the superior station first.
    """
    units: list[Unit] = []
    short: list[Image] = []
    by_session = sorted(images, key=_session)
    for _, session in groupby(by_session, key=_session):
        members: list[Image] = []
        for image in session:
            (short if length_mm(image) < LEAST_MM else members).append(image)
        references = sorted(_references(members), key=_position)
        for reference in references:
            joining = [one for one in members if one not in references and share_unit(one, reference)]
            units.append(make_unit(reference, joining))
    return units, [_too_short(image) for image in short]


def _too_short(image: Image) -> Unused:
    reason = f"it covers only {length_mm(image):.0f} mm along the cord; {LEAST_MM:.0f} mm are needed"
    return Unused(image.path, image.participant, reason)


def _references(images: Sequence[Image]) -> list[Image]:
    """Choose the references of one session: one for every station."""
    references: list[Image] = []
    while True:
        left = [
            image
            for image in images
            if image not in references and not any(share_unit(image, other) for other in references)
        ]
        left += _other_chunks(images, references)
        if not left:
            return references
        # Further stations have the sequence of the first where there is one.
        alike = [image for image in left if references and image.sequence == references[0].sequence]
        references.append(best_reference(alike or left))


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


def _session(image: Image) -> tuple[str, str]:
    return image.participant, image.session or ""


def _position(reference: Image) -> tuple[float, str]:
    """Superior first; by the middle, because a long image may reach higher than the station above it."""
    low, high = extent_si_mm(reference.grid)
    return -(low + high) / 2, reference.path.name
