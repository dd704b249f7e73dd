from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app import cli, multispine, tables
from bids_app.cli import parser as app_parser

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("patient7_T2.nii.gz", "T2w"),
        ("sub-1_T2w.nii.gz", "T2w"),
        ("p1_STIR_raw.nii.gz", "acq-stir_T2w"),
        ("t2_stir.nii", "acq-stir_T2w"),
        ("p1_MP2RAGE.nii.gz", "UNIT1"),
        ("p1_UNIT1.nii.gz", "UNIT1"),
        ("p1_PSIR.nii.gz", "acq-psir_T1w"),
        ("p1_T2_lesions-mask.nii.gz", None),
        ("p1_T2_seg.nii.gz", None),
        ("p1_localiser.nii.gz", None),
    ],
)
def test_names_of_images(name, kind):
    assert multispine.kind_of(name) == kind


@pytest.fixture
def case(tmp_path):
    folder = tmp_path / "p07"
    folder.mkdir()
    for name in ("p07_T2", "p07_STIR", "p07_PSIR", "p07_FLAIR"):
        nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)), folder / f"{name}.nii.gz")
    return folder


@pytest.fixture
def app(monkeypatch):
    """Stand in for mscord: note the call and leave two lesions, one of which reaches no voxel of the T2."""
    calls = []

    def run(arguments):
        calls.append(arguments)
        dataset, derivatives = Path(arguments[0]), Path(arguments[1])
        assert sorted(path.name for path in dataset.rglob("*.nii.gz")) == [
            "sub-case_T2w.nii.gz", "sub-case_acq-psir_T1w.nii.gz", "sub-case_acq-stir_T2w.nii.gz",
        ]  # fmt: skip
        anat = derivatives / "sub-case" / "anat"
        anat.mkdir(parents=True)
        for name, labels in (("", (1, 0)), ("_acq-stir", (1, 2))):
            values = np.zeros((4, 4, 4), np.uint8)
            values[1, 1, 1], values[2, 2, 2] = labels
            stem = f"sub-case{name}_space-orig_seg-lesions_desc-T2w_dseg"
            nib.save(nib.Nifti1Image(values, np.eye(4)), anat / f"{stem}.nii.gz")
            columns = [tables.Column("index", ""), tables.Column("probability", "")]
            rows = [{"index": 1, "probability": 0.9}, {"index": 2, "probability": 0.8}]
            tables.write_table(anat / f"{stem}.tsv", columns, rows)
        return 0

    monkeypatch.setattr(cli, "main", run)
    return calls


def test_case_to_instances_and_table(case, app, tmp_path, caplog):
    assert multispine.main([str(case), str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert (tmp_path / "out/p07.csv").read_text() == "label,p\n1,0.9\n"
    image = nib.load(tmp_path / "out/p07.nii.gz")
    assert set(np.unique(image.get_fdata())) == {0, 1}
    assert app[0][3:] == ["--device", "cpu"]
    assert "p07_FLAIR.nii.gz is not used" in caplog.text


def test_zip_in_archive_out(case, app, tmp_path):
    with zipfile.ZipFile(tmp_path / "p07.zip", "w") as archive:
        for path in case.iterdir():
            archive.write(path, f"p07/{path.name}")
    assert multispine.main([str(tmp_path / "p07.zip"), str(tmp_path / "out.tar.gz"), "--column", "id"]) == 0
    with tarfile.open(tmp_path / "out.tar.gz") as archive:
        assert archive.getnames() == ["p07.csv", "p07.nii.gz"]
        assert archive.extractfile("p07.csv").read() == b"id,p\n1,0.9\n"
    assert not list(tmp_path.glob("*.part"))


def test_what_is_no_case_is_said_so(case, app, tmp_path, caplog):
    assert multispine.main([str(tmp_path / "nowhere"), str(tmp_path / "out")]) == 2
    assert "neither a folder nor a zip" in caplog.text
    shutil.copy(case / "p07_T2.nii.gz", case / "again_T2.nii.gz")
    assert multispine.main([str(case), str(tmp_path / "out")]) == 3
    assert "would both be the T2w image" in caplog.text
    for path in case.glob("*_T2*"):
        path.unlink()
    assert multispine.main([str(case), str(tmp_path / "out")]) == 4
    assert not app


def test_failure_of_the_app_is_passed_on(case, monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "main", lambda arguments: 3)
    assert multispine.main([str(case), str(tmp_path / "out")]) == 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["mscord", "mscord-multispine"])
def test_descriptors_are_valid_and_know_the_options(name):
    path = ROOT / "boutiques" / f"{name}.json"
    bosh = Path(sys.executable).with_name("bosh")
    done = subprocess.run([bosh, "validate", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    flags = {
        entry["command-line-flag"]
        for entry in json.loads(path.read_text())["inputs"]
        if "command-line-flag" in entry
    }
    lines = (app_parser(), multispine.parser())
    known = {flag for line in lines for action in line._actions for flag in action.option_strings}
    assert flags <= known


def test_descriptors_carry_the_version():
    from bids_app import __version__

    for path in (ROOT / "boutiques").glob("*.json"):
        assert json.loads(path.read_text())["tool-version"] == __version__
