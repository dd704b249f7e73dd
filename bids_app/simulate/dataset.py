"""Simulated participants as a BIDS dataset, with the true masks under derivatives."""

from __future__ import annotations

from pathlib import Path

import torch

from .. import __version__
from ..files import write_json, write_text
from ..images import write_image
from ..sequences import AXIAL
from .participant import SimulatedImage, simulate_participant

#: BIDS name of each simulated sequence: entities and suffix.
NAMES = {
    "T2Sag": ("acq-sag", "T2w"),
    "STIR": ("acq-sagSTIR", "T2w"),
    "T2starAx": ("acq-ax", "T2starw"),
    "T1": ("acq-sag", "T1w"),
    "T2Ax": ("acq-ax", "T2w"),
    "MP2RAGE": ("", "UNIT1"),
}
_README = """Simulated spinal cord MRI of people with and without multiple sclerosis lesions.

Made by mscord-simulate {version}. No image shows a person. Lesion (label-lesion) and cord (label-SC) masks on
the grid of every image lie in derivatives/truth; a lesion counts where at least one of the participant's
sequences shows it. Scores on these data are scores on simulated data and say nothing of real scans.
"""


def start_dataset(folder: Path) -> None:
    """Write what a dataset has at its top."""
    truth = folder / "derivatives" / "truth"
    generated = [{"Name": "mscord-simulate", "Version": __version__}]
    common = {
        "BIDSVersion": "1.10.0",
        "Authors": ["mscord-simulate", "The developers of mscord"],
        "License": "CC0",
        "GeneratedBy": generated,
    }
    write_json(
        folder / "dataset_description.json",
        {"Name": "Simulated spinal cords", "DatasetType": "raw", **common},
    )
    write_json(
        truth / "dataset_description.json",
        {
            "Name": "Lesions and cords of the simulated spinal cords",
            "DatasetType": "derivative",
            **common,
            "DatasetLinks": {"raw": "../.."},
        },
    )
    write_text(folder / "README", _README.format(version=__version__))
    write_text(truth / "README", _README.format(version=__version__))


def write_participants(folder: Path, labels: list[str], cohorts: list[str]) -> None:
    """Write the table of participants; ``cohorts`` holds a letter for each, or nothing."""
    if not cohorts:
        rows = ["participant_id", *(f"sub-{label}" for label in labels)]
    else:
        rows = ["participant_id\tcohort"]
        rows += [f"sub-{label}\t{cohort}" for label, cohort in zip(labels, cohorts, strict=True)]
        about = "A and C are the cohorts that Walsh et al. 2024 test on; B is for training alone."
        write_json(folder / "participants.json", {"cohort": {"Description": about}})
    write_text(folder / "participants.tsv", "\n".join(rows) + "\n")


def write_participant(
    folder: Path,
    label: str,
    seed: int,
    sequences: tuple[str, ...],
    device: torch.device,
    half_mm: float | None = None,
) -> list[SimulatedImage]:
    """Simulate one participant and write scans and masks; returns them. Without ``sequences`` they are drawn.

    ``half_mm`` is half the length of the sagittal field of view, drawn as well where it is None.
    """
    images = simulate_participant(seed, sequences, half_mm, device)
    for one in images:
        entities, suffix = NAMES[one.sequence]
        if one.sequence == "T1" and one.plane == AXIAL:
            entities = "acq-ax"
        stem = "_".join(part for part in (f"sub-{label}", entities) if part)
        anat = folder / f"sub-{label}" / "anat"
        write_image(anat / f"{stem}_{suffix}.nii.gz", one.image)
        write_json(anat / f"{stem}_{suffix}.json", _sidecar(one))
        truth = folder / "derivatives" / "truth" / f"sub-{label}" / "anat"
        for mask, name, kind in ((one.lesion, "lesion", "Lesion"), (one.cord, "SC", "ROI")):
            path = truth / f"{stem}_space-orig_label-{name}_desc-{suffix}_mask.nii.gz"
            write_image(path, mask)
            write_json(
                path.with_name(path.name.replace(".nii.gz", ".json")),
                {
                    "Type": kind,
                    "SpatialReference": "orig",
                    "Description": f"Simulated {'lesions' if name == 'lesion' else 'spinal cord'}.",
                    "Sources": [f"bids:raw:sub-{label}/anat/{stem}_{suffix}.nii.gz"],
                },
            )
    return images


def _sidecar(one: SimulatedImage) -> dict[str, object]:
    record: dict[str, object] = {
        "Modality": "MR",
        "Manufacturer": "mscord-simulate",
        "MagneticFieldStrength": 3,
        "SeriesDescription": f"simulated {one.sequence} {one.plane}",
    }
    if one.sequence == "STIR":
        record["InversionTime"] = 0.2
    return record
