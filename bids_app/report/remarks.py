"""What somebody should look at before a result is used: the quality verdict of a unit, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..records import Segmented
from .arrays import Crop

#: Less cord than this tells little about a person.
LEAST_CORD_MM = 50.0
#: Less of the image's length than this: part of the cord may have been missed.
LEAST_SEEN = 0.8
#: More of the cord than this is seldom lesion.
MOST_SHARE = 0.1
#: More lesions than this in one unit are seldom all true.
MOST_LESIONS = 20


def remarks_of(segmented: Segmented, crop: Crop) -> list[str]:
    """Return remarks on a unit, as sentences; none where nothing is to be noticed.

    Parameters
    ----------
    segmented : Segmented
    crop : Crop
        What `arrays.read_crop` returns of it.
    """
    prepared = segmented.prepared
    found = [
        f"{prepared.unit.reference.path.name} leads this unit in place of {image.path.name}."
        for image in prepared.unit.instead_of
    ]
    found += [f"{path.name} was left out: {reason.rstrip('.')}." for path, reason in prepared.dropped.items()]
    found += [f"{path.name}: {doubt.rstrip('.')}." for path, doubt in prepared.doubts.items()]
    if segmented.cord_mm < LEAST_CORD_MM:
        found.append(f"Only {segmented.cord_mm:.0f} mm of cord were found.")
    elif segmented.cord_mm < LEAST_SEEN * segmented.image_mm:
        found.append(
            f"The cord was seen over {cord_seen(segmented)}: nothing is known of the rest. Look at the outline of the cord."
        )
    cord = int(crop.cord.sum())
    share = float((crop.instances > 0).sum()) / cord if cord else 0.0
    if share > MOST_SHARE:
        found.append(f"The lesions take up {share:.0%} of the cord: more than is usual.")
    if segmented.lesion_count > MOST_LESIONS:
        found.append(f"{segmented.lesion_count} lesions are more than is usual.")
    cut = _cut_off(crop)
    if cut:
        numbers = ", ".join(map(str, cut))
        found.append(
            f"Lesion {numbers} reaches the end of the cord that was found: its volume and length may be too small."
        )
    return found


def cord_seen(segmented: Segmented) -> str:
    """Return how much of the cord was seen, as it stands in a sentence."""
    return f"{segmented.cord_mm:.0f} of {max(segmented.cord_mm, segmented.image_mm):.0f} mm"


def verdict(remarks: Sequence[str]) -> str:
    """Return the quality verdict of the summary line."""
    if not remarks:
        return "Quality: nothing noticed."
    return f"Quality: {len(remarks)} {'remark' if len(remarks) == 1 else 'remarks'}, see below."


def _cut_off(crop: Crop) -> list[int]:
    """Return the lesions that lie on the first or the last slice of the cord."""
    levels = np.flatnonzero(crop.cord.any(axis=(0, 1)))
    if not len(levels):
        return []
    ends = crop.instances[..., [levels[0], levels[-1]]]
    return [int(number) for number in np.unique(ends[ends > 0])]
