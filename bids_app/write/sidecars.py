"""What the JSON file beside each output says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..options import Options
from ..records import Image, Segmented
from ..tables import LESION_COLUMNS
from .dataset import NOTICE, raw_uri

#: What every output on the grid of its image shares.
_IN_PLACE = {"SpatialReference": "orig"}


def lesion_mask(image: Image, units: Sequence[Segmented], options: Options) -> dict[str, object]:
    """Describe a lesion mask; ``units`` are those that the image takes part in."""
    text = (
        "Multiple sclerosis lesions: 1 where the probability reaches the threshold, on the grid of the image."
    )
    return {"Type": "Lesion"} | _lesions(text, image, units, options)


def lesion_probability(image: Image, units: Sequence[Segmented], options: Options) -> dict[str, object]:
    """Describe a map of lesion probability."""
    text = "Probability of multiple sclerosis lesion (0 to 1), averaged over each voxel."
    return _lesions(text, image, units, options)


def lesion_instances(image: Image, units: Sequence[Segmented], options: Options) -> dict[str, object]:
    """Describe an image of numbered lesions and the columns of the table beside it.

    ``Unit`` is there for a reference only: it lets the group level find the table of each unit.
    """
    text = "Lesions, each with its number: the same in every image of the session."
    record = _lesions(text, image, units, options)
    if any(unit.prepared.unit.reference.path == image.path for unit in units):
        record["Unit"] = image.stem
    record["VertebralLevels"] = " ".join(
        dict.fromkeys(unit.prepared.no_levels for unit in units if unit.prepared.no_levels)
    ) or ("Labelled by the Spinal Cord Toolbox.")
    # BIDS itself defines index and name, and takes no other definition.
    extra = [column for column in LESION_COLUMNS if column.name not in ("index", "name")]
    return record | {column.name: column.definition() for column in extra}


def cord_mask(image: Image, unit: Segmented, options: Options) -> dict[str, object]:
    """Describe a cord mask."""
    return {
        "Type": "ROI",
        "Description": "Spinal cord, on the grid of the image.",
        "Sources": [raw_uri(image.path, options.bids_dir)],
        **_IN_PLACE,
        "CordMethod": unit.prepared.cord_method,
        "Notice": NOTICE,
    }


def transform(image: Image, unit: Segmented, options: Options) -> dict[str, object]:
    """Describe the transform from an image to the reference of a unit."""
    reference = unit.prepared.unit.reference
    alignment = unit.prepared.alignments[image.path]
    return {
        "Description": "Rigid transform in ITK's text format that resamples the image onto the reference:"
        " it maps points of the reference to points of the image, in LPS mm.",
        "Sources": [raw_uri(path, options.bids_dir) for path in (image.path, reference.path)],
        "Method": alignment.method,
        "Reason": alignment.reason,
        "Notice": NOTICE,
    }


def sequences_of(units: Sequence[Segmented]) -> list[str]:
    """Return the sequences that fed the network, each once, in order."""
    return list(dict.fromkeys(name for unit in units for name in unit.prepared.sequences))


def _lesions(text: str, image: Image, units: Sequence[Segmented], options: Options) -> dict[str, object]:
    first = units[0]
    return {
        "Description": text,
        "Sources": _sources(image, units, options.bids_dir),
        **_IN_PLACE,
        "Threshold": first.operating.threshold,
        "MinimumVolume": first.operating.minimum_volume_mm3,
        "MinimumVolumeUnits": "mm^3",
        "MinimumMeanProbability": first.operating.least_mean,
        "MinimumMeanProbabilityOfSeveralSequences": first.operating.least_mean_several,
        "Sequences": sequences_of(units),
        "Weights": dict(first.weights),
        "CordMethod": first.prepared.cord_method,
        "Alignment": [_alignment(image, unit, options.bids_dir) for unit in units],
        "Notice": NOTICE,
    }


def _sources(image: Image, units: Sequence[Segmented], bids_dir: Path) -> list[str]:
    """Return the image and every input that fed the network, as BIDS URIs."""
    fed = [
        other.path for unit in units for other in unit.prepared.images if other in unit.prepared.unit.inputs
    ]
    return list(dict.fromkeys(raw_uri(path, bids_dir) for path in [image.path, *fed]))


def _alignment(image: Image, unit: Segmented, bids_dir: Path) -> dict[str, str]:
    alignment = unit.prepared.alignments[image.path]
    return {
        "Reference": raw_uri(unit.prepared.unit.reference.path, bids_dir),
        "Method": alignment.method,
        "Reason": alignment.reason,
    }
