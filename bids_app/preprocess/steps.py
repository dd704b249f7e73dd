"""The three steps of the graph as plain functions, and the outcome files in which they report.

A step does not raise what the app foresees: Nipype would wrap it into a traceback. It writes an *outcome*, a
small JSON file, with either its result or the error in full. File names in an outcome are relative to its
folder.
"""

from __future__ import annotations

import hashlib
import json
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import cord, signal, vertebrae
from ..errors import BadImageError, CordError, EnvironmentFault, MscordError, UnitError
from ..images import on_grid, read_grid, read_labels, read_volume, write_like
from ..records import Alignment
from ..space import FloatArray, Grid
from . import align, crop, sct

OUTCOME = "outcome.json"
#: What a step took. Not in the outcome: that decides what has to be redone.
COST = "cost.json"
_ERRORS: dict[str, type[MscordError]] = {
    kind.__name__: kind for kind in (UnitError, BadImageError, CordError, EnvironmentFault)
}
#: An image is refused where more of the cord's surroundings than this are no numbers.
MOST_LOST = 0.01
#: Errors that lie in the image: another try ends the same way. All others may pass.
LASTING = (BadImageError, CordError)


def record(folder: Path, step: Callable[[], dict[str, Any]]) -> Path:
    """Run a step and write its outcome, and what it cost, into a folder; returns the file of the outcome."""
    began = time.perf_counter()
    try:
        outcome = {"ok": True, **step()}
    except MemoryError:
        outcome = _failure(
            UnitError("There was not enough memory.", "Use fewer --nprocs or give more memory.")
        )
    except MscordError as error:
        outcome = _failure(error)
    path = folder / OUTCOME
    path.write_text(json.dumps(outcome, indent=1, sort_keys=True))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cost = {"seconds": time.perf_counter() - began, "peak_mb": peak_mb}
    (folder / COST).write_text(json.dumps(cost))
    return path


def cost_of(outcome_path: Path) -> tuple[float, float]:
    """Return seconds and MiB of a step."""
    try:
        cost = json.loads(outcome_path.with_name(COST).read_text())
        return float(cost["seconds"]), float(cost["peak_mb"])
    except (OSError, ValueError, KeyError):
        return 0.0, 0.0


def _failure(error: MscordError) -> dict[str, Any]:
    kind = next(name for name, known in _ERRORS.items() if type(error) is known or known is EnvironmentFault)
    return {
        "ok": False,
        "kind": kind,
        "message": error.message,
        "next_step": error.next_step,
        "retry": not isinstance(error, LASTING),
    }


def read_outcome(path: Path) -> dict[str, Any]:
    """Read an outcome file as it is."""
    outcome: dict[str, Any] = json.loads(path.read_text())
    return outcome


def error_of(outcome: dict[str, Any]) -> MscordError | None:
    """Return the error that an outcome holds, or None."""
    if outcome["ok"]:
        return None
    return _ERRORS[outcome["kind"]](outcome["message"], outcome["next_step"])


def mask_of(outcome_path: Path) -> Path:
    """Return the cord mask of a cord step; raises the error that the step met."""
    outcome = read_outcome(outcome_path)
    error = error_of(outcome)
    if error is not None:
        raise error
    return outcome_path.parent / str(outcome["mask"])


def alignment_of(outcome: dict[str, Any], image: Path) -> Alignment | MscordError:
    """Return what an align step found, or the error that it met."""
    error = error_of(outcome)
    if error is not None:
        return error
    return Alignment(image, np.array(outcome["transform"]), outcome["method"], outcome["reason"])


def find_cord(
    image: Path,
    folder: Path,
    ready: Path | None,
    missing: str,
    use_sct: bool,
    device: str,
    sequence: str = "",
) -> dict[str, Any]:
    """Get the cord mask of one image, tidy it and check it, and see what is odd about the image.

    Parameters
    ----------
    image : Path
    folder : Path
        Where the mask goes.
    ready : Path or None
        Mask of the built-in localiser.
    missing : str
        Why there is none.
    use_sct : bool
        Segment with SCT instead.
    device : str
        Where SCT runs.
    sequence : str
        Name in the table of sequences.

    Returns
    -------
    dict
        ``mask`` (file name), ``sha256`` of its voxels, ``version`` of SCT (empty for the localiser), and ``doubt`` (what is odd
        about the image or its header, as sentences, or empty).

    Raises
    ------
    BadImageError
        The image cannot be read, or voxels of its cord are no numbers.
    CordError
        There is no cord that passes the checks.
    """
    volume, grid = read_volume(image)
    version = ""
    source = ready
    if use_sct:
        source = folder / "sct_mask.nii.gz"
        version = sct.segment_cord(image, source, folder / "sct", device=device)
    if source is None:
        raise CordError(missing or f"No spinal cord was found in {image.name}.")
    raw, own = _read_mask(source, image)
    # A mask that was drawn in another program may be stored in another order of axes.
    placed = on_grid(raw, own, grid, sct.GRID_TOLERANCE_MM)
    if placed is None:
        raise UnitError(f"The cord mask of {image.name} is not on the image's grid.")
    mask = cord.clean_mask(placed > 0.5, grid).astype(np.uint8)
    cord.check_cord(mask, grid, image.name)
    write_like(folder / "cord.nii.gz", mask, image)
    return {
        "mask": "cord.nii.gz",
        "sha256": hashlib.sha256(mask.tobytes()).hexdigest(),
        "version": version,
        "doubt": ". ".join(_doubts(volume, mask, grid, image.name, sequence)),
    }


def _doubts(volume: FloatArray, mask: NDArray[np.uint8], grid: Grid, name: str, sequence: str) -> list[str]:
    """Return what is odd about an image, as sentences without full stops; refuse it where its cord is not there."""
    lost = cord.lost_share(mask, grid, ~np.isfinite(volume))
    if lost > MOST_LOST:
        raise BadImageError(
            f"{name} cannot be used: {100 * lost:.2g} % of the voxels around its cord are no numbers (NaN or infinite).",
            "Convert it again, or look for the step that wrote them.",
        )
    found = signal.find_signal(volume, sequence)
    said = [*found.notes, cord.doubt(mask, grid)]
    return [text.rstrip(".") for text in said if text]


def _read_mask(source: Path, image: Path) -> Any:
    try:
        return read_labels(source)
    except BadImageError as error:
        raise UnitError(f"The cord mask of {image.name} cannot be used: {error.message}") from error


def label_levels(image: Path, image_cord: Path, folder: Path, contrast: str) -> dict[str, Any]:
    """Label the vertebral levels of a cord with SCT, and see whether that can be believed.

    Nothing that goes wrong here fails a unit: lesions are found without it.

    Parameters
    ----------
    image : Path
    image_cord : Path
        Outcome of its cord step.
    folder : Path
        Where the labels go.
    contrast : str
        ``t1`` or ``t2``.

    Returns
    -------
    dict
        ``levels`` (file name, or empty), ``reason`` (why there are none), and ``retry`` (SCT failed, which may pass).
    """
    mask = mask_of(image_cord)
    grid = read_grid(image)
    try:
        labels = sct.label_vertebrae(image, mask, folder / "sct", contrast=contrast)
    except UnitError as error:
        return {"levels": "", "reason": error.message, "retry": True}
    fault = vertebrae.fault_of(labels, read_labels(mask)[0] > 0.5, grid)
    if fault:
        return {"levels": "", "reason": f"The vertebral labels of SCT were refused: {fault}."}
    write_like(folder / "levels.nii.gz", labels.astype(np.uint8), image)
    return {"levels": "levels.nii.gz", "reason": ""}


def align_image(image: Path, image_cord: Path, reference: Path, reference_cord: Path) -> dict[str, Any]:
    """Align one image; the cords are outcome files. Returns ``transform``, ``method`` and ``reason``."""
    found = align.align(image, mask_of(image_cord), reference, mask_of(reference_cord))
    return {"transform": found.transform.tolist(), "method": found.method, "reason": found.reason}


def _labels_of(outcome_path: Path | None) -> Path | None:
    """Return the vertebral labels that a step left, if any."""
    if outcome_path is None:
        return None
    outcome = read_outcome(outcome_path)
    return outcome_path.parent / outcome["levels"] if outcome["ok"] and outcome["levels"] else None


def crop_unit(
    reference: Path,
    reference_cord: Path,
    images: list[Path],
    alignments: list[Path],
    folder: Path,
    levels: Path | None = None,
    sequences: Sequence[str] = (),
) -> dict[str, Any]:
    """Crop the reference and every aligned image.

    The cord, the alignments and the levels are outcome files; ``folder`` gets ``crop.npz``. ``sequences`` names that of the
    reference and of each of ``images``, where they are known.

    Returns
    -------
    dict
        ``crop`` (file name), ``kept`` (positions in ``images`` of those that are in the rows after the reference's) and
        ``dropped`` (position to reason).
    """
    mask = mask_of(reference_cord)
    names = sequences or [""] * (1 + len(images))
    inputs = [crop.CropInput(reference, np.eye(4), names[0])]
    for image, outcome, name in zip(images, alignments, names[1:], strict=True):
        found = alignment_of(read_outcome(outcome), image)
        if isinstance(found, Alignment):
            inputs.append(crop.CropInput(image, found.transform, name))
    reasons = crop.make_crop(mask, tuple(inputs), folder / "crop.npz", _labels_of(levels))
    cropped = [item.path for item in inputs[1:] if item.path not in reasons]
    return {
        "crop": "crop.npz",
        "kept": [images.index(path) for path in cropped],
        "dropped": {str(images.index(path)): reason for path, reason in reasons.items()},
    }
