"""A run keeps what is finished and still stands, and redoes what is not."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_app import cli
from bids_app.simulate.participant import simulate_participant

SESSIONS = ("A", "B")
#: SIGKILL at so many random moments.
KILLS = 20


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Two participants; the first has two sessions."""
    root = tmp_path_factory.mktemp("resume") / "bids"
    for seed, stem in (
        (41, "sub-01/ses-A/anat/sub-01_ses-A"),
        (42, "sub-01/ses-B/anat/sub-01_ses-B"),
        (43, "sub-02/anat/sub-02"),
    ):
        (scan,) = simulate_participant(seed, ("T2starAx",), half_mm=30)
        path = root / f"{stem}_T2starw.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(scan.image, path)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "test", "BIDSVersion": "1.10.0"}))
    return root


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory) -> Path:
    """What one run leaves; its work folder is gone."""
    out = tmp_path_factory.mktemp("finished") / "out"
    assert run(dataset, out) == 0
    return out


@pytest.fixture
def out(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


def command(dataset: Path, out: Path, *more: str) -> list[str]:
    return [
        str(dataset),
        str(out),
        "participant",
        "--cord",
        "builtin",
        "--device",
        "cpu",
        "--nprocs",
        "2",
        *more,
    ]


def run(dataset: Path, out: Path, *more: str) -> int:
    return cli.main(command(dataset, out, *more))


def results(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("sub-*/**/anat/*"))}


def written(out: Path) -> dict[str, int]:
    return {path: (out / path).stat().st_mtime_ns for path in results(out)}


def redone(before: dict[str, int], out: Path) -> set[str]:
    """First words of the names of the results that were written anew."""
    now = written(out)
    return {
        Path(path).name.split("_acq")[0].split("_space")[0].split("_from")[0]
        for path in now
        if now[path] != before.get(path)
    }


def test_what_is_finished_is_kept_also_without_a_work_folder(dataset, out):
    before, page = written(out), (out / "sub-01.html").read_bytes()
    began = time.monotonic()
    program = [sys.executable, "-X", "importtime", "-m", "bids_app", *command(dataset, out)]
    done = subprocess.run(program, check=True, capture_output=True, text=True)
    assert time.monotonic() - began < 30
    assert redone(before, out) == set()
    assert (out / "sub-01.html").read_bytes() == page
    assert "sub-01_ses-A_T2starw is finished already" in done.stderr
    assert "3 kept" in done.stderr
    assert "| torch" not in done.stderr
    (manifest,) = sorted((out / "logs").glob("run-*_manifest.json"))[-1:]
    assert [unit["Status"] for unit in json.loads(manifest.read_text())["Units"]] == ["done"] * 3


def test_a_changed_image_redoes_its_session_alone(dataset, out, tmp_path):
    changed = Path(shutil.copytree(dataset, tmp_path / "bids"))
    path = changed / "sub-01/ses-B/anat/sub-01_ses-B_T2starw.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * 2, image.affine, image.header), path)
    before, parts = written(out), sections(out / "sub-01.html")
    assert run(changed, out) == 0
    assert redone(before, out) == {"sub-01_ses-B"}
    now = sections(out / "sub-01.html")
    assert now.keys() == parts.keys()
    assert now["sub-01_ses-A_T2starw"] == parts["sub-01_ses-A_T2starw"]
    assert run(changed, out) == 0


def test_a_session_that_is_gone_from_the_input_goes_from_the_output(dataset, out, tmp_path):
    smaller = Path(shutil.copytree(dataset, tmp_path / "bids"))
    shutil.rmtree(smaller / "sub-01/ses-B")
    before = written(out)
    assert run(smaller, out) == 0
    assert redone(before, out) == set()
    assert not list(out.rglob("sub-01_ses-B_*"))
    assert "sub-01_ses-B" not in (out / "sub-01.html").read_text()
    assert 'data-unit="sub-01_ses-A_T2starw"' in (out / "sub-01.html").read_text()
    assert cli.main([str(smaller), str(out), "group"]) == 0
    assert len((out / "group_units.tsv").read_text().splitlines()) == 3


def sections(page: Path) -> dict[str, str]:
    from bids_app.pages import sections_of

    found = sections_of(page)
    assert len(found) == 2
    return found


def test_another_setting_or_force_redoes_everything(dataset, out):
    everything = {"sub-01_ses-A", "sub-01_ses-B", "sub-02"}
    before = written(out)
    assert run(dataset, out, "--threshold", "0.7") == 0
    assert redone(before, out) == everything
    before = written(out)
    assert run(dataset, out, "--threshold", "0.7") == 0
    assert redone(before, out) == set()
    assert run(dataset, out, "--threshold", "0.7", "--force") == 0
    assert redone(before, out) == everything


def test_units_that_go_through_the_network_together_end_the_same(dataset, finished, tmp_path, monkeypatch):
    """What is done on a GPU, here on the CPU."""
    from bids_app.segment import Segmenter

    seen = []
    whole = Segmenter.look_ahead
    monkeypatch.setattr(Segmenter, "takes_many", True)
    monkeypatch.setattr(
        Segmenter, "look_ahead", lambda own, units: seen.append(len(units)) or whole(own, units)
    )
    assert run(dataset, tmp_path / "out") == 0
    assert results(tmp_path / "out") == results(finished)
    assert len(seen) == 3


@pytest.mark.parametrize("damage", ["gone", "changed", "page", "record"])
def test_what_was_damaged_is_made_again_as_it_was(dataset, finished, out, damage):
    mask = next((out / "sub-02/anat").glob("*label-lesion*mask.nii.gz"))
    page, record = out / "sub-02.html", out / "logs/sub-02_status.json"
    if damage == "gone":
        mask.unlink()
    elif damage == "changed":
        mask.write_bytes(b"nothing")
    elif damage == "page":
        page.write_text("nothing")
    else:
        record.write_text("{")
    before = written(out)
    assert run(dataset, out) == 0
    assert redone(before, out) == {"sub-02"}
    assert results(out) == results(finished)
    assert 'data-unit="sub-02_T2starw"' in page.read_text()


def test_a_failure_is_tried_again_and_what_lies_beside_it_is_kept(dataset, out, tmp_path):
    changed = Path(shutil.copytree(dataset, tmp_path / "bids"))
    broken = changed / "sub-02/anat/sub-02_run-2_T2starw.nii.gz"
    broken.write_bytes(b"no image")
    before = written(out)
    for _ in range(2):
        assert run(changed, out) == 3
        assert redone(before, out) == set()
        assert broken.name in (out / "sub-02.html").read_text()


def test_a_broken_image_is_told_in_its_session_until_it_is_mended(dataset, out, tmp_path, caplog):
    """Everything is kept all the while: only what is said of the session changes."""
    changed = Path(shutil.copytree(dataset, tmp_path / "bids"))
    images = [changed / f"sub-01/ses-B/anat/sub-01_ses-B_run-{n}_T1w.nii.gz" for n in (1, 2)]
    status = out / "logs/sub-01_ses-B_status.json"
    before = json.loads(status.read_text())
    for image in images:
        image.write_bytes(b"no image")
    for _ in range(2):
        caplog.clear()
        assert run(changed, out) == 3
        record = json.loads(status.read_text())
        assert [unit.get("Image") for unit in record["Units"]] == [None, *(image.name for image in images)]
        assert record["Outputs"] == before["Outputs"]
        assert not (out / "logs/sub-01_status.json").exists()
        assert (
            "participants: 2, 1 with failures; units: 0 done, 3 kept, 0 failed; images that cannot be used: 2;"
            in (caplog.text)
        )
        # Once as a problem of the input, and once as what the image is.
        assert caplog.text.count(f"{images[0].name} is not a readable NIfTI file") == 1
    images[0].unlink()
    images[1].unlink()
    assert run(changed, out) == 0
    assert json.loads(status.read_text())["Units"] == before["Units"]


def test_a_time_of_acquisition_that_comes_later_redoes_nothing_and_is_recorded(dataset, out, tmp_path):
    changed = Path(shutil.copytree(dataset, tmp_path / "bids"))
    times = "session_id\tacq_time\nses-A\t2021-01-01\nses-B\t2020-01-01\n"
    (changed / "sub-01/sub-01_sessions.tsv").write_text(times)
    before = written(out)
    assert run(changed, out) == 0
    assert redone(before, out) == set()
    assert cli.main([str(changed), str(out), "group"]) == 0
    table = (out / "group_longitudinal.tsv").read_text().splitlines()[1:]
    assert {tuple(row.split("\t")[1:4]) for row in table} == {("ses-B", "ses-A", "sessions.tsv")}


def test_killed_at_random_a_run_goes_on_and_ends_the_same(dataset, finished, tmp_path):
    """The mask of a killed run is never half a mask, and what it had finished is not done again."""
    out, work, chance = tmp_path / "out", tmp_path / "work", random.Random(0)
    program = [sys.executable, "-m", "bids_app", *command(dataset, out, "-w", str(work))]
    expected, whole_runs, killed = results(finished), 0, 0
    while killed < KILLS:
        before, recorded = written(out), records(out)
        with subprocess.Popen(program, stderr=subprocess.DEVNULL) as process:
            try:
                code = process.wait(chance.uniform(1, 9))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                code = process.wait()
        killed += code == -signal.SIGKILL
        whole = {path: data for path, data in results(out).items() if not path.endswith(".part")}
        assert all(expected[path] == data for path, data in whole.items())
        assert not recorded & redone(before, out)
        if code == 0:
            # It was quicker than the signal: from the start again.
            whole_runs += 1
            assert results(out) == expected
            shutil.rmtree(out)
            shutil.rmtree(work)
        else:
            assert code == -signal.SIGKILL
    before, recorded = written(out), records(out)
    assert run(dataset, out, "-w", str(work)) == 0
    assert not recorded & redone(before, out)
    # What was half-written is gone, too.
    assert results(out) == expected


def test_what_a_killed_run_left_half_written_goes(dataset, finished, out):
    left = next((out / "sub-02/anat").glob("*label-lesion*mask.nii.gz"))
    half = left.with_name(f".{left.name}.123.part")
    half.write_bytes(b"half")
    left.unlink()
    assert run(dataset, out) == 0
    assert results(out) == results(finished)


def records(out: Path) -> set[str]:
    """Return the sessions that are recorded as finished."""
    return {path.name.removesuffix("_status.json") for path in (out / "logs").glob("sub-*_status.json")}
