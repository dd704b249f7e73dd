"""The derivatives of one session: every image of every unit gets its masks on exactly its own grid."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import write_json, write_text, writing
from ..images import read_labels, write_like
from ..options import Options
from ..records import Image, Lesion, Segmented
from ..tables import LESION_COLUMNS, Cell, write_table
from . import sidecars
from .maps import Layer, NativeMaps, covers, native_maps
from .names import (
    CORD_MASK,
    LESION_INSTANCES,
    LESION_MASK,
    LESION_PROBABILITY,
    Output,
    output_path,
    transform_path,
)
from .transforms import itk_text

#: Names of what this room writes for an image.
_OURS = re.compile(r"_(label-lesion|label-SC|seg-lesions)_|_xfm\.(txt|json)$")


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A unit with its arrays: read once, used for every image."""

    record: Segmented
    probability: NDArray[np.float32]
    instances: NDArray[np.int32]
    starts: NDArray[np.int64]

    def layer(self, image: Image) -> Layer:
        prepared = self.record.prepared
        return Layer(
            self.probability,
            self.instances,
            self.starts,
            prepared.grid,
            np.asarray(prepared.alignments[image.path].transform, float),
            self.record.operating.threshold,
            self.record.lesions,
        )


def clear(label: str, options: Options, unwanted: Callable[[str | None], bool]) -> None:
    """Remove what an earlier run wrote of a participant in the sessions that are ``unwanted``, and what it left half-written.

    A mask of a unit that fails this time, or of an image that is not used any more, would pass for a result. Sessions that
    the run does not work on are left alone.

    Raises
    ------
    EnvironmentFault
        Something cannot be removed.
    """
    folder = options.output_dir / f"sub-{label}"
    for path in sorted(folder.rglob(f"*sub-{label}_*")):
        session = next((part[4:] for part in path.relative_to(folder).parts if part.startswith("ses-")), None)
        chosen = not options.session_label or session in options.session_label
        ours = _OURS.search(path.name) or (path.name.startswith(".sub-") and path.name.endswith(".part"))
        if chosen and unwanted(session) and ours:
            with writing(path):
                path.unlink(missing_ok=True)


def write_session(segmented: Sequence[Segmented], options: Options) -> list[Path]:
    """Write all derivatives of one session of one participant.

    An image may take part in several units: its probability is then the highest of any, and its masks hold
    the lesions of all. Sidecars come before their image, so that an image that is there is described.

    Parameters
    ----------
    segmented : sequence of Segmented
        All finished units of one participant and session; lesion numbers are unique within it.
    options : Options

    Returns
    -------
    list of Path
        Everything written.

    Raises
    ------
    EnvironmentFault
        The output cannot be written: read-only, full disk.
    ValueError
        The units are of several sessions.
    """
    if len({(record.prepared.unit.participant, record.prepared.unit.session) for record in segmented}) > 1:
        raise ValueError("all units must be of one participant and session")
    units = [_load(record) for record in segmented]
    images = {image.path: image for record in segmented for image in record.prepared.images}
    paths: list[Path] = []
    for image in images.values():
        paths += _write_image(
            image, [unit for unit in units if image.path in unit.record.prepared.alignments], options
        )
    return paths


def lesion_rows(
    image: Image, units: Sequence[Segmented], instances: NDArray[np.int32]
) -> list[dict[str, Cell]]:
    """Return the table of lesions of one image.

    Listed are the lesions whose centre of mass the image covers or that have voxels in it.
    """
    counts = np.bincount(instances.ravel())
    rows = []
    for unit in units:
        transform = unit.prepared.alignments[image.path].transform
        for lesion in unit.lesions:
            voxels = int(counts[lesion.index]) if lesion.index < len(counts) else 0
            if voxels or covers(image.grid, lesion, transform):
                rows.append(_row(lesion, unit, voxels, image.grid.voxel_volume_mm3))
    return sorted(rows, key=lambda row: int(row["index"] or 0))


def _load(record: Segmented) -> _Loaded:
    with np.load(record.maps) as maps, np.load(record.prepared.crop) as crop:
        return _Loaded(
            record,
            np.asarray(maps["probability"], np.float32),
            np.asarray(maps["instances"], np.int32),
            np.asarray(crop["starts"], np.int64),
        )


def _write_image(image: Image, units: Sequence[_Loaded], options: Options) -> list[Path]:
    maps = native_maps([unit.layer(image) for unit in units], image.grid)
    records = [unit.record for unit in units]
    own = next((unit for unit in records if unit.prepared.unit.reference.path == image.path), records[0])
    cord, _ = read_labels(own.prepared.cord_masks[image.path])
    paths = _write_lesions(image, records, maps, options)
    paths += _write_map(
        image, CORD_MASK, (cord >= 0.5).astype(np.uint8), sidecars.cord_mask(image, own, options), options
    )
    for unit in records:
        if image.path != unit.prepared.unit.reference.path:
            paths += _write_transform(image, unit, options)
    return paths


def _write_lesions(
    image: Image, units: Sequence[Segmented], maps: NativeMaps, options: Options
) -> list[Path]:
    instances = maps.instances
    table = options.output_dir / output_path(image, LESION_INSTANCES, ".tsv")
    paths = _write_map(
        image,
        LESION_MASK,
        (instances > 0).astype(np.uint8),
        sidecars.lesion_mask(image, units, options),
        options,
    )
    paths += _write_map(
        image,
        LESION_PROBABILITY,
        maps.probability,
        sidecars.lesion_probability(image, units, options),
        options,
    )
    write_table(table, LESION_COLUMNS, lesion_rows(image, units, instances))
    small = instances.max(initial=0) <= np.iinfo(np.uint16).max
    paths += _write_map(
        image,
        LESION_INSTANCES,
        instances.astype(np.uint16) if small else instances,
        sidecars.lesion_instances(image, units, options),
        options,
    )
    return [*paths, table]


def _write_map(
    image: Image, output: Output, array: NDArray[Any], sidecar: dict[str, object], options: Options
) -> list[Path]:
    path, described = (options.output_dir / output_path(image, output, end) for end in (".nii.gz", ".json"))
    write_json(described, sidecar)
    with writing(path):
        write_like(path, array, image.path)
    return [path, described]


def _write_transform(image: Image, unit: Segmented, options: Options) -> list[Path]:
    reference = unit.prepared.unit.reference
    path, described = (
        options.output_dir / transform_path(image, reference, end) for end in (".txt", ".json")
    )
    write_json(described, sidecars.transform(image, unit, options))
    write_text(path, itk_text(unit.prepared.alignments[image.path].transform))
    return [path, described]


def _row(lesion: Lesion, unit: Segmented, voxels: int, voxel_volume_mm3: float) -> dict[str, Cell]:
    x_mm, y_mm, z_mm = lesion.position_mm
    return {
        "index": lesion.index,
        "name": f"lesion-{lesion.index:03d}",
        "volume_mm3": float(lesion.volume_mm3),
        "length_mm": float(lesion.length_mm),
        "x_mm": float(x_mm),
        "y_mm": float(y_mm),
        "z_mm": float(z_mm),
        "vertebral_level": lesion.vertebral_level or None,
        "side": lesion.side or None,
        "column": lesion.column or None,
        "from_top_mm": lesion.from_top_mm,
        "probability": float(lesion.probability),
        "mean_probability": float(lesion.mean_probability),
        "calibrated_probability": lesion.calibrated,
        "noise_sd": lesion.noise_sd,
        "support": ",".join(f"{name}:{value:.4f}" for name, value in lesion.support.items()) or None,
        "sequences": ",".join(lesion.sequences),
        "reference": unit.prepared.unit.name,
        "voxels": voxels,
        "volume_image_mm3": voxels * voxel_volume_mm3,
    }
