"""The self-test passes here, and says in words when the answer is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app import cli
from bids_app.selftest import command


@pytest.mark.slow
def test_this_installation_passes_its_self_test(capsys):
    assert cli.main(["--self-test", "--device", "cpu"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len([line for line in said if line.startswith("ok")]) == 4
    assert said[-1].startswith("Self-test passed in")


def _answer(folder: Path) -> Path:
    """Lay the truth where a run would leave its masks: a perfect answer."""
    out = folder / "out"
    shutil.copytree(command.PHANTOM / "derivatives" / "truth", out)
    return out


def _mask(out: Path, label: str) -> Path:
    return next(out.rglob(f"*acq-sag*label-{label}_*_mask.nii.gz"))


def test_the_truth_is_a_right_answer(tmp_path):
    checked = list(command.check(_answer(tmp_path)))
    assert [one.dice for one in checked] == [1.0] * 4
    assert {one.what for one in checked} == {
        f"{what} in sub-phantom_{scan}"
        for what in ("cord", "lesion")
        for scan in ("acq-sag_T2w", "acq-ax_T2starw")
    }


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("absent", "no mask on the grid of the scan"),
        ("empty", "Dice 0.00"),
        ("shifted", "no mask on the grid of the scan"),
        ("garbage", "no mask on the grid of the scan"),
    ],
)
def test_a_wrong_mask_is_named(tmp_path, damage, said):
    out = _answer(tmp_path)
    path = _mask(out, "lesion")
    image = nib.load(path)
    data, affine = np.asarray(image.dataobj).copy(), image.affine.copy()
    if damage == "empty":
        data[:] = 0
    if damage == "shifted":
        affine[0, 3] += 1
    path.unlink()
    if damage == "garbage":
        path.write_bytes(b"no image")
    elif damage != "absent":
        nib.save(nib.Nifti1Image(data, affine), path)
    wrong = [one for one in command.check(out) if not one.good]
    assert [one.what for one in wrong] == ["lesion in sub-phantom_acq-sag_T2w"]
    assert said in str(wrong[0])
    assert str(wrong[0]).startswith("WRONG")


def test_a_wrong_answer_ends_with_5(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("bids_app.pipeline.run", lambda *_: 0)
    monkeypatch.setattr(command, "check", lambda _: [command.Checked("lesion in a scan", 0.1, 0.6)])
    assert cli.main(["--self-test"]) == 5
    assert "wrong answers: do not use it" in caplog.text


def test_a_run_that_fails_ends_with_5(monkeypatch, caplog):
    monkeypatch.setattr("bids_app.pipeline.run", lambda *_: 3)
    assert cli.main(["--self-test"]) == 5
    assert "exit status 3" in caplog.text


def test_it_wants_no_folders_and_knows_no_other_options():
    with pytest.raises(SystemExit) as stop:
        cli.main(["--self-test", "in", "out", "participant"])
    assert stop.value.code == 2


def test_the_phantom_is_small():
    assert sum(path.stat().st_size for path in command.PHANTOM.rglob("*") if path.is_file()) < 7e5
