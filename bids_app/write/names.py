"""Names of everything that is written, by our own patterns.

A BIDS mask keeps few entities of its image and loses the suffix, so two inputs could meet in one name. What
is lost goes into ``desc``: ``sub-01_acq-ax_T2starw`` becomes
``sub-01_acq-ax_space-orig_label-lesion_desc-T2starw_mask``. Where the folded text could be read in two ways,
a short hash of the input's name is added: names stay unique.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..records import Image, Problem, Unit

_LABEL = r"[0-9A-Za-z+]+"
_INDEX = r"[0-9]+"
#: Entities of the input that a mask keeps, in BIDS order, with the values that BIDS allows.
_KEPT = {
    "task": _LABEL,
    "acq": _LABEL,
    "ce": _LABEL,
    "rec": _LABEL,
    "run": _INDEX,
    "echo": _INDEX,
    "part": "mag|phase|real|imag",
    "chunk": _INDEX,
}
#: Entities that a mask loses and that can be read back from ``desc``, in BIDS order.
_FOLDED = {"flip": _INDEX, "inv": _INDEX, "mt": "on|off"}
#: BIDS order of all entities of an anatomical image.
_ORDER = ("task", "acq", "ce", "rec", "run", "echo", "flip", "inv", "mt", "part", "chunk")
_HASHED = re.compile(r"x[0-9a-f]{8}$")


def _reader(entities: Mapping[str, str]) -> re.Pattern[str]:
    """Return the pattern that reads a folded word back into suffix and entities."""
    word = "[0-9A-Za-z]+?"
    values = {key: word if value == _LABEL else value for key, value in entities.items()}
    return re.compile(
        f"(?P<suffix>{word})" + "".join(f"(?:{key}(?P<{key}>{value}))?" for key, value in values.items())
    )


_READ_FOLDED = _reader(_FOLDED)
_READ_ALL = _reader({key: (_KEPT | _FOLDED)[key] for key in _ORDER})


@dataclass(frozen=True)
class Output:
    """One kind of output of every image: how its name ends.

    ``role`` is the entity that says what it is, ``label-...`` or ``seg-...``.
    """

    role: str
    suffix: str
    extensions: tuple[str, ...]


LESION_MASK = Output("label-lesion", "mask", (".nii.gz", ".json"))
LESION_PROBABILITY = Output("label-lesion", "probseg", (".nii.gz", ".json"))
LESION_INSTANCES = Output("seg-lesions", "dseg", (".nii.gz", ".tsv", ".json"))
CORD_MASK = Output("label-SC", "mask", (".nii.gz", ".json"))
#: Everything that is made for every image of a unit.
OUTPUTS = (LESION_MASK, LESION_PROBABILITY, LESION_INSTANCES, CORD_MASK)


def output_path(image: Image, output: Output, extension: str = ".nii.gz") -> str:
    """Return the path of one output of an image, relative to the output folder, with forward slashes."""
    kept, folded = _split(image)
    before = [f"{key}-{value}" for key, value in kept if key != "chunk"]
    after = [f"{key}-{value}" for key, value in kept if key == "chunk"]
    parts = [*before, "space-orig", *after, output.role, f"desc-{_description(image, folded)}"]
    return _path(image, [*parts, output.suffix + extension])


def transform_path(image: Image, reference: Image, extension: str = ".txt") -> str:
    """Return the path of the transform that resamples an image onto a reference.

    An image may lie on several references: the end of the name holds all entities of the reference.
    """
    kept, folded = _split(image)
    parts = [f"{key}-{value}" for key, value in kept]
    ends = [f"from-{_description(image, folded)}", f"to-{description_of_all(reference)}"]
    return _path(image, [*parts, *ends, "mode-image", f"xfm{extension}"])


def description(image: Image) -> str:
    """Return the ``desc`` value of an image's outputs: its suffix and the entities that a mask loses."""
    return _description(image, _split(image)[1])


def description_of_all(image: Image) -> str:
    """Return a word for an image within its session: its suffix and all its entities."""
    return _fold(image, _parse(image)[0], _READ_ALL)


def outputs_of(unit: Unit) -> list[str]:
    """Return every path that a unit makes, relative to the output folder, in the order of its images."""
    paths = []
    for image in unit.images:
        paths += [output_path(image, output, end) for output in OUTPUTS for end in output.extensions]
        if image.path != unit.reference.path:
            paths += [transform_path(image, unit.reference, end) for end in (".txt", ".json")]
    return paths


def collisions(images: Iterable[Image]) -> tuple[Problem, ...]:
    """Return a fatal problem for every image whose outputs would overwrite those of an earlier one.

    Only files that differ in folder or extension alone can meet (``x_T2w.nii`` beside ``x_T2w.nii.gz``).
    """
    seen: dict[str, Image] = {}
    problems = []
    for image in sorted({image.path: image for image in images}.values(), key=lambda image: str(image.path)):
        first = seen.setdefault(output_path(image, LESION_MASK), image)
        if first is not image:
            problems.append(
                Problem(
                    f"{image.path.name} and {first.path.name} have the same BIDS name: their outputs would"
                    f" overwrite each other, so {image.path.name} is not used.",
                    "Keep one of the two files, or tell them apart by an entity such as acq- or run-.",
                    image.participant,
                    image.path,
                    fatal=True,
                )
            )
    return tuple(problems)


def _path(image: Image, parts: Sequence[str]) -> str:
    head = [f"sub-{image.participant}"] + ([f"ses-{image.session}"] if image.session else [])
    return str(PurePosixPath(*head, "anat", "_".join([*head, *parts])))


def _parse(image: Image) -> tuple[list[tuple[str, str]], str]:
    """Return the entities in the file name, less participant and session, and the suffix.

    Read from the name, not from the record: a name that BIDS does not know holds entities that no index
    lists.
    """
    *words, suffix = image.stem.split("_")
    pairs = [(key, value) for key, _, value in (word.partition("-") for word in words)]
    head = [("sub", image.participant)] + ([("ses", image.session)] if image.session else [])
    if pairs[: len(head)] == head:
        pairs = pairs[len(head) :]
    return pairs, suffix


def _split(image: Image) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Split an image's entities into those that its masks keep, in BIDS order, and the rest."""
    pairs, _ = _parse(image)
    kept: dict[str, str] = {}
    rest = []
    for key, value in pairs:
        if key in _KEPT and key not in kept and re.fullmatch(_KEPT[key], value):
            kept[key] = value
        else:
            rest.append((key, value))
    return [(key, kept[key]) for key in _KEPT if key in kept], rest


def _description(image: Image, folded: list[tuple[str, str]]) -> str:
    return _fold(image, folded, _READ_FOLDED)


def _fold(image: Image, pairs: list[tuple[str, str]], pattern: re.Pattern[str]) -> str:
    """Fold suffix and entities into one word of letters and digits that no other image of the session has.

    The plain word is used where reading it back by ``pattern`` gives exactly this image's name again: then no
    other name folds to it. Otherwise a hash of the name follows.
    """
    everything, suffix = _parse(image)
    order = [key for key in pattern.groupindex if key != "suffix"]
    pairs = sorted(pairs, key=lambda pair: order.index(pair[0]) if pair[0] in order else len(order))
    word = re.sub("[^0-9A-Za-z]", "", suffix + "".join(key + value for key, value in pairs))
    found = pattern.fullmatch(word)
    back = {key: value for key, value in found.groupdict().items() if value is not None} if found else {}
    plain = (
        not _HASHED.search(word)
        and back == {"suffix": suffix} | dict(pairs)
        and len(dict(pairs)) == len(pairs)
        and _in_official_order(everything)
    )
    return word if plain else f"{word}x{hashlib.sha256(image.stem.encode()).hexdigest()[:8]}"


def _in_official_order(pairs: list[tuple[str, str]]) -> bool:
    """Tell whether a name lists its entities in BIDS order: two files may differ in that alone."""
    keys = [key for key, _ in pairs]
    return all(key in _ORDER for key in keys) and keys == sorted(keys, key=_ORDER.index)
