"""Everything that is wrong is said at once, before any work; and how much disk the work may need."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import nibabel as nib
import pytest
from fakes_discover import dataset, options, scan

from bids_app import cli, preflight
from bids_app.errors import EnvironmentFault, UnitError, UsageError, check_all
from bids_app.preflight import disk_needs
from bids_app.simulate.participant import simulate_participant

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def root(tmp_path) -> Path:
    root = dataset(tmp_path / "bids")
    for label in ("01", "02"):
        scan(root, f"sub-{label}_acq-sag_T2w")
        scan(root, f"sub-{label}_acq-ax_T2starw", "axial", 50, 120)
    return root


def raises(error: Exception):
    def check() -> None:
        raise error

    return check


def test_one_problem_stays_what_it_is():
    with pytest.raises(UnitError, match=r"^It broke\. Mend it\.$"):
        check_all([lambda: None, raises(UnitError("It broke.", "Mend it."))])


def test_several_problems_are_told_together_once_each_with_the_status_of_the_first():
    errors = [UsageError("A.", "Do a."), EnvironmentFault("B."), UsageError("A.", "Do a.")]
    with pytest.raises(UsageError) as caught:
        check_all([raises(error) for error in errors])
    assert str(caught.value) == "2 things are in the way:\n  1. A. Do a.\n  2. B."
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("dry", [True, False])
def test_all_that_is_wrong_with_a_command_line_is_said_at_once(root, tmp_path, caplog, dry):
    (tmp_path / "file").write_text("")
    line = [
        str(root), str(tmp_path / "file"), "participant", "--derivatives", str(tmp_path / "none"),
        "--weights", str(tmp_path / "none.safetensors"), "--cord", "sct", "--device", "cuda:77",
        "--participant-label", "03",
    ]  # fmt: skip
    assert cli.main([*line, *(["--dry-run"] if dry else [])]) == 2
    said = caplog.text
    words = (
        "6 things are in the way",
        "file is a file",
        "no folder",
        "weights none",
        "SCT",
        "cuda:77",
        "called 03",
    )
    assert all(word in said for word in words), said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bids", "file"]


def test_derivatives_without_any_match_are_said(root, tmp_path):
    for name in ("one/sub-01/anat/sub-01_acq-sag_T2w_seg.nii.gz", "two/sub-01/anat/sub-01_T2w_seg.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    problems = preflight.preflight(options(root, derivatives=(tmp_path / "one", tmp_path / "two"))).problems
    (problem,) = (problem for problem in problems if "--derivatives" in problem.message)
    assert not problem.fatal
    assert str(tmp_path / "two") in problem.message
    assert "label-SC_seg" in problem.next_step
    # Of another participant's run the masks of the first are none.
    other = options(root, derivatives=(tmp_path / "one",), participant_label=("02",))
    assert "--derivatives" in " ".join(problem.message for problem in preflight.preflight(other).problems)


def test_a_missing_input_is_said_once(tmp_path, caplog):
    assert cli.main([str(tmp_path / "none"), str(tmp_path / "out"), "participant"]) == 2
    assert caplog.text.count("does not exist") == 1


def test_a_dry_run_says_how_much_disk_is_needed(root, tmp_path, capsys):
    assert cli.main([str(root), str(tmp_path / "out"), "participant", "--dry-run"]) == 0
    assert "Disk, output and work: up to" in capsys.readouterr().out


def test_a_small_disk_is_a_warning_that_names_both_figures(root, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 1_000_000))
    problems = preflight.preflight(options(root, work_dir=root.parent / "work")).problems
    (problem,) = (problem for problem in problems if "disk" in problem.message)
    assert not problem.fatal
    assert "1 MB free" in problem.message


def test_two_disks_are_told_apart_and_without_a_work_folder_fewer_units_lie_there_at_once(root, monkeypatch):
    found = preflight.preflight(options(root)).units
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == root.stat().st_dev:
        pytest.skip("this machine has no second file system in memory")
    output, work = disk_needs(found, options(root, work_dir=other / "mscord"))
    assert (output.what, work.what) == ("output", "work")
    monkeypatch.setenv("TMPDIR", str(other))
    monkeypatch.setattr("tempfile.tempdir", None)
    _, kept = disk_needs(found * 20, options(root, work_dir=other / "mscord"))
    _, passing = disk_needs(found * 20, options(root))
    assert kept.needed == 20 * work.needed
    assert passing.needed < kept.needed / 5


def test_what_a_run_leaves_is_within_the_estimate(tmp_path):
    root, out, work = dataset(tmp_path / "bids"), tmp_path / "out", tmp_path / "work"
    (root / "sub-01/anat").mkdir(parents=True)
    for scanned in simulate_participant(3, ("T2Sag", "T2starAx"), half_mm=25):
        suffix = "T2w" if scanned.sequence == "T2Sag" else "T2starw"
        nib.save(scanned.image, root / f"sub-01/anat/sub-01_{suffix}.nii.gz")
    line = [str(root), str(out), "participant", "--cord", "builtin", "--device", "cpu", "--nprocs", "2"]
    assert cli.main([*line, "-w", str(work)]) == 0
    chosen = options(root, work_dir=work)
    (need,) = disk_needs(preflight.preflight(chosen).units, chosen)
    used = sum(path.stat().st_size for top in (out, work) for path in top.rglob("*") if path.is_file())
    assert used < need.needed
    (manifest,) = (out / "logs").glob("run-*_manifest.json")
    record = json.loads(manifest.read_text())
    assert record["Seeds"]["alignment"] == 1
    assert record["Commit"]
