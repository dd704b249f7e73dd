"""Find predicted and reference masks of the same image by their BIDS names."""

from __future__ import annotations

import re
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


def masks_in(folder: Path) -> tuple[dict[Key, Path], list[str]]:
    """Return the lesion masks in a folder tree, by what identifies their image, and a sentence on each image that has several.

    Where no name says that it is one, every image counts: other tools name a mask as they named its image. Of several
    masks of one image (of two raters, say) none is taken.
    """
    paths = sorted(folder.rglob("sub-*.nii*"))
    named = [path for path in paths if _MASK.search(path.name)]
    found: dict[Key, list[Path]] = {}
    for path in named or paths:
        found.setdefault(key_of(path), []).append(path)
    problems = [
        f"{' and '.join(map(str, several))} are masks of one image: keep one of them in {folder}."
        for several in found.values()
        if len(several) > 1
    ]
    return {key: several[0] for key, several in found.items() if len(several) == 1}, problems


def pair(predictions: Path, references: Path) -> tuple[list[Pair], list[str]]:
    """Pair the masks of two folders; the second result has a sentence on each that has no partner, or is one of several."""
    (left, several), (right, more) = masks_in(predictions), masks_in(references)
    pairs = []
    for key in sorted(left.keys() & right.keys()):
        entities = dict(part.split("-", 1) for part in key if "-" in part)
        pairs.append(
            Pair(entities.get("sub", ""), entities.get("ses", ""), "_".join(key), left[key], right[key])
        )
    alone = [f"{left[key]} has no reference mask." for key in sorted(left.keys() - right.keys())]
    alone += [f"{right[key]} has no predicted mask." for key in sorted(right.keys() - left.keys())]
    return pairs, several + more + alone


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
