"""Cord masks by the built-in localiser for the images of a unit, remembered in the work folder."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import __version__, images
from .errors import BadImageError, CordError
from .files import write_json, writing
from .localise import Localiser
from .records import Image, Unit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cords:
    """Masks by image path, why an image has none, and the seconds that finding each took when it was done."""

    masks: dict[Path, Path] = field(default_factory=dict)
    missing: dict[Path, str] = field(default_factory=dict)
    seconds: dict[Path, float] = field(default_factory=dict)


def find_cords(
    unit: Unit,
    folder: Path,
    localiser: Callable[[], Localiser],
    version: str,
    given: Mapping[Path, Path] | None = None,
) -> Cords:
    """Find the cord in every image of a unit.

    Parameters
    ----------
    folder : Path
        Where masks are kept between runs.
    localiser : callable
        Loads the localiser; called only where a mask is not there yet.
    version : str
        Of the localiser: masks of another one are made anew.
    given : mapping of Path to Path, optional
        Masks of images that need not be looked at.
    """
    found = Cords(masks=dict(given or {}))
    for image in unit.images:
        if image.path in found.masks:
            continue
        mask, note = folder / f"{image.stem}_cord.nii.gz", folder / f"{image.stem}_cord.json"
        try:
            state = image.path.stat()
        except OSError as error:
            raise BadImageError(f"{image.path.name} cannot be read any more ({error.strerror}).") from error
        key = {
            "size": state.st_size,
            "mtime_ns": state.st_mtime_ns,
            "path": str(image.path),
            "version": version,
            "app": __version__,
        }
        known = _recall(note, mask, key)
        if known is None:
            began = time.perf_counter()
            reason = _find(image, mask, localiser())
            known = reason, time.perf_counter() - began
            write_json(note, {**key, "reason": reason, "seconds": known[1]})  # lasting: no cord stays no cord
        reason, found.seconds[image.path] = known
        if reason:
            found.missing[image.path] = reason
        else:
            found.masks[image.path] = mask
    return found


def _find(image: Image, mask: Path, localiser: Localiser) -> str:
    """Write the mask of one image; returns why there is none, or an empty string."""
    log.info("%s: looking for the cord", image.stem)
    mask.unlink(missing_ok=True)
    try:
        volume, grid = images.read_volume(image.path)
        array = localiser(volume, grid)
    except BadImageError as error:
        return str(error)
    except CordError as error:
        return f"{image.path.name}: {error}"
    with writing(mask):
        images.write_like(mask, array, image.path)
    return ""


def _recall(note: Path, mask: Path, key: dict[str, object]) -> tuple[str, float] | None:
    """Return what a former run found for this very image (why there is no mask) and its seconds, or None."""
    try:
        record = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or any(record.get(name) != value for name, value in key.items()):
        return None
    reason = record.get("reason")
    if not isinstance(reason, str) or (not reason and not mask.exists()):
        return None
    seconds = record.get("seconds")
    return reason, float(seconds) if isinstance(seconds, int | float) else 0.0
