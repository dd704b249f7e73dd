"""An index that the user keeps: the same answer as without it, or none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fakes_discover import dataset, found, scan

from bids_app.discover import database


@pytest.fixture
def root(tmp_path) -> Path:
    root = dataset(tmp_path / "bids")
    for label in ("01", "011", "02"):
        scan(root, f"sub-{label}_acq-sag_T2w", FlipAngle=160)
        scan(root, f"sub-{label}_ses-A_T2starw", "axial", 50, 120)
    (root / "T2w.json").write_text(json.dumps({"EchoTime": 0.1}))
    before_now(root)
    return root


def before_now(root: Path) -> None:
    """Make the files older than an index that is written next: file systems round times."""
    for path in root.rglob("*"):
        os.utime(path, (path.stat().st_mtime - 100,) * 2)


def summary(discovery) -> list:
    units = [(unit.name, [(image.path, image.sequence) for image in unit.images]) for unit in discovery.units]
    return [discovery.participants, units, discovery.unused]


@pytest.mark.parametrize("labels", [(), ("01",), ("01", "02")])
def test_the_same_is_found_with_and_without_it(root, tmp_path, labels):
    kept = tmp_path / "db"
    found(root, bids_database_dir=kept)
    written = (kept / database.FILE).read_bytes()
    with_it = found(root, bids_database_dir=kept, participant_label=labels)
    assert summary(with_it) == summary(found(root, participant_label=labels))
    assert not with_it.problems
    assert [path.name for path in kept.iterdir()] == [database.FILE]
    assert (kept / database.FILE).read_bytes() == written


def new_image(root: Path) -> None:
    scan(root, "sub-01_acq-ax_T2w", "axial", 0, 100)


def no_image(root: Path) -> None:
    (root / "sub-01/anat/sub-01_acq-sag_T2w.nii.gz").unlink()


def changed_sidecar(root: Path) -> None:
    (root / "sub-01/anat/sub-01_acq-sag_T2w.json").write_text("{}")
    os.utime(root / "sub-01/anat/sub-01_acq-sag_T2w.json", (2**32, 2**32))


def changed_inherited_sidecar(root: Path) -> None:
    os.utime(root / "T2w.json", (2**32, 2**32))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (new_image, "sub-01_acq-ax_T2w.nii.gz is new"),
        (no_image, "sub-01_acq-sag_T2w.nii.gz is gone"),
        (changed_sidecar, "sub-01_acq-sag_T2w.json has changed"),
        (changed_inherited_sidecar, "T2w.json has changed"),
    ],
)
def test_one_that_is_out_of_date_is_named_and_not_used(root, tmp_path, change, words):
    kept = tmp_path / "db"
    found(root, bids_database_dir=kept)
    change(root)
    answer = found(root, bids_database_dir=kept, participant_label=("01",))
    assert summary(answer) == summary(found(root, participant_label=("01",)))
    (problem,) = answer.problems
    assert words in problem.message
    assert "Remove it" in problem.next_step


def test_one_of_another_dataset_or_a_damaged_one_is_not_used(root, tmp_path):
    kept, other = tmp_path / "db", dataset(tmp_path / "other")
    scan(other, "sub-01_acq-sag_T2w")
    found(root, bids_database_dir=kept)
    answer = found(other, bids_database_dir=kept)
    assert summary(answer) == summary(found(other))
    assert "of another dataset" in answer.problems[0].message
    (kept / database.FILE).write_bytes(b"no database")
    answer = found(root, bids_database_dir=kept)
    assert summary(answer) == summary(found(root))
    assert "is not used" in answer.problems[0].message


def test_a_sidecar_that_cannot_be_read_is_left_out_of_it(root, tmp_path):
    (root / "sub-02/anat/sub-02_acq-sag_T2w.json").write_text("{")
    before_now(root)
    answer = found(root, bids_database_dir=tmp_path / "db")
    assert len(answer.units) == len(found(root).units)
    (problem,) = answer.problems
    assert "is not valid JSON" in problem.message
