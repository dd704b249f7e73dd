"""A session whose best image is of no use, from the command line to the page, and again."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app import cli
from bids_app.pages import sections_of
from bids_app.simulate.participant import simulate_participant


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One person: a constant T2w, a good axial T2*w, and a shorter run of that."""
    root = tmp_path_factory.mktemp("leading") / "bids"
    anat = root / "sub-01/anat"
    anat.mkdir(parents=True)
    sagittal, axial = simulate_participant(41, ("T2Sag", "T2starAx"), half_mm=30)
    flat = np.full(sagittal.image.shape, 300, np.int16)
    nib.save(nib.Nifti1Image(flat, sagittal.image.affine), anat / "sub-01_T2w.nii.gz")
    nib.save(axial.image, anat / "sub-01_run-1_T2starw.nii.gz")
    (root / "dataset_description.json").write_text(json.dumps({"Name": "test", "BIDSVersion": "1.10.0"}))
    return root


def run(dataset: Path, out: Path) -> int:
    line = [str(dataset), str(out), "participant", "--cord", "builtin", "--device", "cpu", "--nprocs", "1"]
    return cli.main(line)


def test_the_good_image_beside_a_bad_one_is_not_lost(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    crash = out / "logs/sub-01_T2w_crash.txt"
    crash.parent.mkdir(parents=True)
    crash.write_text("of an earlier run")
    (out / "dataset_description.json").write_text(
        json.dumps({"Name": "mscord", "BIDSVersion": "1.10.0", "GeneratedBy": [{"Name": "mscord"}]})
    )
    assert run(dataset, out) == 0
    (unit,) = json.loads((out / "logs/sub-01_status.json").read_text())["Units"]
    assert (unit["Status"], unit["Unit"], unit["Planned"]) == ("done", "sub-01_run-1_T2starw", "sub-01_T2w")
    assert unit["Sequences"] == ["T2starAx"]
    assert "every voxel has the value 300" in unit["Dropped"]["sub-01_T2w.nii.gz"]
    assert list(out.rglob("sub-01_run-1_*label-lesion_desc-T2starw_mask.nii.gz"))
    assert not list(out.rglob("*desc-T2w_mask.nii.gz"))
    assert not crash.exists()
    page = (out / "sub-01.html").read_text()
    assert list(sections_of(out / "sub-01.html")) == ["sub-01_run-1_T2starw"]
    assert "sub-01_run-1_T2starw.nii.gz leads this unit in place of sub-01_T2w.nii.gz." in page
    assert (
        "sub-01_T2w.nii.gz was left out: sub-01_T2w.nii.gz is empty: every voxel has the value 300." in page
    )
    assert "This unit was not done" not in page

    # The session is finished, and a run knows it.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("anat/*")}
    assert run(dataset, out) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("anat/*")} == before
    assert (out / "sub-01.html").read_text() == page
    assert cli.main([str(dataset), str(out), "group"]) == 0
    (header, row) = (out / "group_units.tsv").read_text().splitlines()
    cells = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    assert cells["unit"] == "sub-01_run-1_T2starw"
    assert cells["status"] == "done"


def test_two_stations_feed_one_encoder_and_both_get_masks(tmp_path: Path) -> None:
    root, out = tmp_path / "bids", tmp_path / "out"
    anat = root / "sub-01/anat"
    anat.mkdir(parents=True)
    sagittal, axial = simulate_participant(41, ("T2Sag", "T2starAx"), half_mm=36)
    nib.save(sagittal.image, anat / "sub-01_T2w.nii.gz")
    whole = nib.as_closest_canonical(axial.image)
    count = whole.shape[2]
    upper, lower = whole.slicer[:, :, count // 2 - 2 :], whole.slicer[:, :, : count // 2 + 2]
    nib.save(upper, anat / "sub-01_chunk-1_T2starw.nii.gz")
    nib.save(lower, anat / "sub-01_chunk-2_T2starw.nii.gz")
    assert run(root, out) == 0
    (unit,) = json.loads((out / "logs/sub-01_status.json").read_text())["Units"]
    assert unit["Unit"] == "sub-01_T2w"
    assert unit["Sequences"] == ["T2Sag", "T2starAx"]
    assert len(unit["Images"]) == 3
    for number, image in ((1, upper), (2, lower)):
        (mask,) = out.rglob(f"*chunk-{number}_label-lesion_desc-T2starw_mask.nii.gz")
        assert nib.load(mask).shape == image.shape
    page = (out / "sub-01.html").read_text()
    assert "T2starAx, chunk-1" in page
    assert "T2starAx, chunk-2" in page
