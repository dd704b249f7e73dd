"""What the user chose among the images: by label (``--run-label`` and its like), and by ``--bids-filter-file``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..options import Options
from ..records import Image, Problem, Unused
from ..sequences import SLOTS
from .names import ENTITIES, LONG_NAMES, same_label

#: In a filter: the entity must be there, whatever its value.
PRESENT = "*"
_EXAMPLE = 'An example: {"T2Sag": {"acquisition": "sag", "run": 2}}.'
_FIELDS = (*ENTITIES, "session", "suffix")

#: What one entity may be: values as strings; PRESENT among them allows any; None allows its absence.
Allowed = tuple[str | None, ...]


@dataclass(frozen=True)
class Selection:
    """The user's choice.

    Attributes
    ----------
    labels : mapping of str to tuple of str
        Chosen labels by entity (long names): ``run``, ``acquisition``, ``chunk``; only entities of which some were chosen.
    filters : mapping of str to mapping of str to tuple
        Allowed values of each entity (long names), by sequence.
    """

    labels: Mapping[str, tuple[str, ...]]
    filters: Mapping[str, Mapping[str, Allowed]]

    def refusal(self, image: Image) -> str:
        """Say why an image is not chosen; empty where it is.

        Labels of an entity choose among the images that have it; those without it are not concerned.
        """
        for entity, asked in self.labels.items():
            value = image.entities.get(entity)
            if not self.allows(entity, value):
                return f"{entity} {value} is not among those chosen ({', '.join(asked)})"
        for entity, allowed in self.filters.get(image.sequence, {}).items():
            value = _value(image, entity)
            if not _allows(allowed, value):
                wanted = " or ".join(_words(choice) for choice in allowed)
                return f"the filter file wants {image.sequence} with {entity} {wanted}, not {_words(value)}"
        return ""

    def allows(self, entity: str, value: str | None) -> bool:
        """Tell whether the chosen labels of an entity allow a value; its absence they always do."""
        asked = self.labels.get(entity, ())
        return not asked or value is None or any(same_label(one, value) for one in asked)


def read_selection(options: Options) -> Selection:
    """Read the choice from the command line and the filter file; UsageError where that is wrong."""
    asked = {
        "run": [label.removeprefix("run-") for label in options.run_label],
        "acquisition": [label.removeprefix("acq-") for label in options.acquisition_label],
        "chunk": [label.removeprefix("chunk-") for label in options.chunk_label],
    }
    path = options.bids_filter_file
    return Selection(
        {entity: tuple(labels) for entity, labels in asked.items() if labels},
        {} if path is None else _read_filters(path),
    )


def apply(selection: Selection, images: Iterable[Image]) -> tuple[list[Image], list[Unused], list[Problem]]:
    """Part the chosen images from the others.

    Raises
    ------
    UsageError
        No image has a label that was asked for.
    """
    images = list(images)
    for entity, asked in selection.labels.items():
        _check_labels(entity, asked, images)
    kept: list[Image] = []
    unused: list[Unused] = []
    for image in images:
        reason = selection.refusal(image)
        if reason:
            unused.append(Unused(image.path, image.participant, reason))
        else:
            kept.append(image)
    problems = []
    for name in selection.filters:
        count = sum(image.sequence == name for image in images)
        if count and not any(image.sequence == name for image in kept):
            message = f"The filter for {name} leaves none of the {count} images of that sequence."
            problems.append(Problem(message, "Check the filter file."))
    return kept, unused, problems


def _check_labels(entity: str, labels: Iterable[str], images: list[Image]) -> None:
    known = sorted({image.entities[entity] for image in images if entity in image.entities})
    unknown = [asked for asked in labels if not any(same_label(asked, value) for value in known)]
    # Where no image is usable at all, their problems say more than this would.
    if unknown and images:
        raise UsageError(
            f"No usable image of the chosen participants has {entity} {' or '.join(unknown)}.",
            f"Known: {', '.join(known) or 'none'}.",
        )


def _read_filters(path: Path) -> dict[str, dict[str, Allowed]]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"The filter file {path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The filter file {path} is not valid JSON ({error}).", _help()) from error
    if not isinstance(content, dict):
        raise UsageError(f"The filter file {path} holds no JSON object.", _help())
    unknown = sorted(set(content) - set(SLOTS))
    if unknown:
        raise UsageError(f"The filter file {path} names unknown sequences: {', '.join(unknown)}.", _help())
    return {name: _read_row(path, name, row) for name, row in content.items()}


def _read_row(path: Path, name: str, row: Any) -> dict[str, Allowed]:
    if not isinstance(row, dict):
        raise UsageError(f"In the filter file {path}, {name} is not an object of entities.", _help())
    result: dict[str, Allowed] = {}
    for key, value in row.items():
        entity = "session" if key == "ses" else LONG_NAMES.get(key, key)
        if entity not in _FIELDS:
            raise UsageError(
                f"In the filter file {path}, {name} names the unknown entity {key!r}.",
                f"Known: {', '.join(_FIELDS)}.",
            )
        values = value if isinstance(value, list) else [value]
        # bool is an int to Python, not to the user.
        if not values or any(isinstance(v, bool) or not isinstance(v, str | int | None) for v in values):
            raise UsageError(
                f"In the filter file {path}, {name} gives {entity} the value {json.dumps(value)}.",
                'Give a text, a whole number, a list of these, null (absent) or "*" (present).',
            )
        result[entity] = tuple(None if v is None else str(v) for v in values)
    return result


def _value(image: Image, entity: str) -> str | None:
    if entity == "session":
        return image.session
    return image.suffix if entity == "suffix" else image.entities.get(entity)


def _allows(allowed: Allowed, value: str | None) -> bool:
    if value is None:
        return None in allowed
    return any(choice is not None and (choice == PRESENT or same_label(choice, value)) for choice in allowed)


def _words(value: str | None) -> str:
    return {None: "absent", PRESENT: "present"}.get(value, value or "")


def _help() -> str:
    return f"Its keys are the sequences {', '.join(SLOTS)}. {_EXAMPLE}"
