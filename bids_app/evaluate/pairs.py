"""Find predicted and reference masks of the same image by their BIDS names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Entities that tell how a mask came about, not which image it belongs to.
_IGNORED = ("space", "label", "desc", "res", "den", "seg")
_MASK = re.compile(r"(label-lesion.*_(mask|seg|dseg)|_lesion-manual|-lesion_seg)\.nii(\.gz)?$")
Key = tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """Masks of one image."""

    participant: str
    session: str
    image: str
    prediction: Path
    reference: Path


def masks_in(folder: Path) -> dict[Key, list[Path]]:
    """Return the lesion masks in a folder tree, by what identifies their image.

    Where no name says that it is one, every image counts: other tools name a mask as they named its image.
    """
    paths = sorted(folder.rglob("sub-*.nii*"))
    named = [path for path in paths if _MASK.search(path.name)]
    found: dict[Key, list[Path]] = {}
    for path in named or paths:
        found.setdefault(key_of(path), []).append(path)
    return found


def pair(predictions: Path, references: Path) -> tuple[list[Pair], list[str]]:
    """Pair the masks of two folders; the second result has a sentence on each image that is left out.

    Of several masks of one image (of two raters, say) none is taken.
    """
    left, right = masks_in(predictions), masks_in(references)
    pairs, problems = [], several(left, predictions) + several(right, references)
    for key in sorted(left.keys() | right.keys()):
        one, other = left.get(key, []), right.get(key, [])
        if len(one) == len(other) == 1:
            entities = dict(part.split("-", 1) for part in key if "-" in part)
            found = (entities.get("sub", ""), entities.get("ses", ""), "_".join(key), one[0], other[0])
            pairs.append(Pair(*found))
        elif len(one) < 2 and len(other) < 2:
            problems.append(
                f"{one[0]} has no reference mask." if one else f"{other[0]} has no predicted mask."
            )
    return pairs, problems


def several(masks: Mapping[Key, Sequence[Path]], folder: Path) -> list[str]:
    """Return a sentence on each image that has several masks in a folder."""
    return [
        f"{' and '.join(map(str, paths))} are masks of one image: keep one of them in {folder}."
        for paths in masks.values()
        if len(paths) > 1
    ]


def key_of(path: Path) -> Key:
    """Return the entities of the image and its suffix, which derivative names carry in ``desc`` or before ``label``."""
    parts = path.name.split(".nii")[0].split("_")
    entities = [
        part
        for part in parts
        if "-" in part and part.split("-", 1)[0] not in _IGNORED and part != "lesion-manual"
    ]
    words = [part for part in parts if "-" not in part and part not in ("mask", "seg", "dseg")]
    described = [part.split("-", 1)[1] for part in parts if part.startswith("desc-")]
    suffix = words[0] if words else (described[0] if described else "")
    return (*sorted(entities, key=lambda part: (part.split("-")[0] != "sub", part)), suffix)
