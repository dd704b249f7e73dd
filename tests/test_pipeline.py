"""The whole way, on simulated participants in several orientations and with missing sequences."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import ORIENTATIONS

from bids_app import cli
from bids_app.simulate.participant import SimulatedImage, simulate_participant

VALIDATOR = Path(sys.executable).parent / "bids-validator-deno"


def turned(image: nib.Nifti1Image, codes: str) -> nib.Nifti1Image:
    """Store an image in another order; ``oblique`` also tilts its affine by 20 degrees about the left-right axis."""
    wanted = nib.orientations.axcodes2ornt(tuple("RAS" if codes == "oblique" else codes))
    now = nib.orientations.io_orientation(image.affine)
    result = image.as_reoriented(nib.orientations.ornt_transform(now, wanted))
    affine = result.affine
    if codes == "oblique":
        angle = np.deg2rad(20)
        turn = np.eye(4)
        turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        affine = turn @ affine
    result = nib.Nifti1Image(np.asarray(result.dataobj), affine)
    result.set_qform(affine, 1)
    result.set_sform(affine, 1)
    return result


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything in a folder with size and time of change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def scans() -> list[SimulatedImage]:
    return simulate_participant(31, ("T2Sag", "T2starAx"), half_mm=42)


@pytest.fixture(scope="module")
def dataset(scans, tmp_path_factory) -> Path:
    """One person in five orientations; the first has axial T2*w too, and there is a participant with nothing to use."""
    root = tmp_path_factory.mktemp("data set") / "bids"
    for number, codes in enumerate((*ORIENTATIONS, "oblique"), start=1):
        anat = root / f"sub-{number:02d}" / "anat"
        anat.mkdir(parents=True)
        nib.save(turned(scans[0].image, codes), anat / f"sub-{number:02d}_T2w.nii.gz")
    nib.save(turned(scans[1].image, "LPS"), root / "sub-01/anat/sub-01_acq-ax_T2starw.nii.gz")
    (root / "sub-06" / "anat").mkdir(parents=True)
    nib.save(scans[0].image, root / "sub-06/anat/sub-06_FLAIR.nii.gz")
    (root / "sub-07" / "anat").mkdir(parents=True)
    noise = np.random.default_rng(0).normal(300, 50, (40, 60, 60)).astype(np.int16)
    nib.save(nib.Nifti1Image(noise, np.diag([3.0, 1.5, 1.5, 1])), root / "sub-07/anat/sub-07_T2w.nii.gz")
    (root / "dataset_description.json").write_text(json.dumps({"Name": "test", "BIDSVersion": "1.10.0"}))
    return root


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory) -> tuple[Path, int, Path]:
    before = tree(dataset)
    out = tmp_path_factory.mktemp("out")
    work = tmp_path_factory.mktemp("work")
    line = [
        str(dataset),
        str(out),
        "participant",
        "--cord",
        "builtin",
        "--device",
        "cpu",
        "-w",
        str(work),
        "--nprocs",
        "2",
    ]
    code = cli.main(line)
    assert tree(dataset) == before, "the input was written to"
    return out, code, work


@pytest.fixture
def output(run) -> Callable[..., Path]:
    def find(participant: str, ending: str) -> Path:
        found = sorted((run[0] / f"sub-{participant}" / "anat").glob(f"*{ending}"))
        assert len(found) == 1, f"{ending}: {found}"
        return found[0]

    return find


def test_some_participants_failed_and_the_others_went_on(run):
    assert run[1] == 3
    status = {path.name: json.loads(path.read_text()) for path in (run[0] / "logs").glob("sub-*_status.json")}
    states = {name[4:6]: record["Units"][0]["Status"] for name, record in status.items()}
    assert states == {
        "01": "done",
        "02": "done",
        "03": "done",
        "04": "done",
        "05": "done",
        "06": "failed",
        "07": "failed",
    }
    assert "FLAIR" in str(status["sub-06_status.json"]["Units"])
    assert "cord" in str(status["sub-07_status.json"]["Units"]).lower()


@pytest.mark.parametrize("participant", ["01", "02", "03", "04", "05"])
@pytest.mark.parametrize(
    "ending",
    [
        "label-lesion_desc-T2w_mask.nii.gz",
        "label-SC_desc-T2w_mask.nii.gz",
        "label-lesion_desc-T2w_probseg.nii.gz",
        "dseg.nii.gz",
    ],
)
def test_every_output_has_exactly_the_grid_of_its_image(dataset, output, participant, ending):
    source = nib.load(dataset / f"sub-{participant}/anat/sub-{participant}_T2w.nii.gz")
    if ending == "dseg.nii.gz":
        ending = "desc-T2w_dseg.nii.gz"
    made = nib.load(output(participant, ending))
    assert made.shape == source.shape
    np.testing.assert_array_equal(made.affine, source.affine)
    for name in ("qform_code", "sform_code"):
        assert int(made.header[name]) == int(source.header[name])
    np.testing.assert_allclose(made.get_qform(), source.get_qform(), atol=1e-5)


def test_the_second_sequence_gets_masks_on_its_grid_and_a_transform(dataset, output, run):
    source = nib.load(dataset / "sub-01/anat/sub-01_acq-ax_T2starw.nii.gz")
    made = sorted((run[0] / "sub-01" / "anat").glob("*desc-T2starw*.nii.gz"))
    assert len(made) == 4
    for path in made:
        image = nib.load(path)
        assert image.shape == source.shape
        np.testing.assert_array_equal(image.affine, source.affine)
        assert int(image.header["sform_code"]) == int(source.header["sform_code"])
    assert output("01", "xfm.txt").read_text().startswith("#Insight Transform File")
    sidecar = json.loads(output("01", "label-lesion_desc-T2w_mask.json").read_text())
    assert sidecar["Type"] == "Lesion"
    assert len(sidecar["Sources"]) == 2


def canonical(image: nib.Nifti1Image) -> np.ndarray:
    return np.asarray(nib.as_closest_canonical(image).dataobj) > 0


@pytest.mark.parametrize("participant", ["01", "02", "03", "04", "05"])
def test_the_cord_is_where_it_was_simulated(scans, output, participant):
    found = canonical(nib.load(output(participant, "label-SC_desc-T2w_mask.nii.gz")))
    truth = canonical(scans[0].cord)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.7


def test_orientations_agree_on_the_probabilities(scans, output):
    # The person has no lesion: what is compared is faint, and half a voxel between two crops changes it. Turned wrongly, nothing
    # of it agrees.
    found = [nib.as_closest_canonical(nib.load(output(p, "probseg.nii.gz"))) for p in ("02", "03", "04")]
    cord = canonical(scans[0].cord)
    first, *others = [np.asarray(one.dataobj, np.float64) for one in found]
    assert first[cord].std() > 0
    for other in others:
        assert np.corrcoef(first[cord], other[cord])[0, 1] > 0.6
        for axis in range(3):
            assert abs(np.corrcoef(first[cord], np.flip(other, axis)[cord])[0, 1]) < 0.3


def test_masks_and_instances_agree(output):
    for participant in ("01", "02", "03", "04", "05"):
        mask = np.asarray(nib.load(output(participant, "label-lesion_desc-T2w_mask.nii.gz")).dataobj)
        instances = np.asarray(nib.load(output(participant, "desc-T2w_dseg.nii.gz")).dataobj)
        np.testing.assert_array_equal(mask > 0, instances > 0)
        rows = output(participant, "desc-T2w_dseg.tsv").read_text().splitlines()
        assert len(rows) - 1 >= len(set(np.unique(instances)) - {0})


def test_every_participant_has_a_page_also_the_failed_ones(run):
    pages = sorted(path.name for path in run[0].glob("sub-*.html"))
    assert pages == [f"sub-0{n}.html" for n in range(1, 8)]
    assert "no image that can be used" in (run[0] / "sub-06.html").read_text()


def test_the_output_is_valid_bids(run, tmp_path):
    if not VALIDATOR.exists():
        pytest.skip("bids-validator-deno is not installed")
    report = tmp_path / "report.json"
    subprocess.run([VALIDATOR, run[0], "--format", "json", "-o", report], check=False, capture_output=True)
    issues = json.loads(report.read_text())["issues"]["issues"]
    assert issues == []


def test_group_level_lists_all_units(run, dataset):
    assert cli.main([str(dataset), str(run[0]), "group"]) == 0
    rows = (run[0] / "group_units.tsv").read_text().splitlines()
    assert len(rows) == 8
    assert sum("\tfailed\t" in row for row in rows) == 2


def test_a_second_run_uses_the_work_folder_and_repeats_to_the_byte(run, dataset):
    out, _, work = run
    mask = next((out / "sub-02" / "anat").glob("*label-lesion_desc-T2w_mask.nii.gz"))
    before = mask.read_bytes()
    times = {path: path.stat().st_mtime_ns for path in work.rglob("*_cord.nii.gz")}
    assert times
    line = [
        str(dataset),
        str(out),
        "participant",
        "--participant-label",
        "02",
        "--cord",
        "builtin",
        "-w",
        str(work),
        "--force",
    ]
    assert cli.main(line) == 0
    assert mask.read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*_cord.nii.gz")} == times


def test_given_cord_masks_are_taken_as_they_are(run, dataset, tmp_path):
    """A mask of the user's own decides where the cord is; another mask is another result."""
    given = tmp_path / "manual/sub-02/anat"
    given.mkdir(parents=True)
    source = nib.load(next((run[0] / "sub-02/anat").glob("*label-SC*_mask.nii.gz")))
    half = np.asarray(source.dataobj).copy()
    along = int(nib.orientations.io_orientation(source.affine)[:, 0].tolist().index(2))
    half[tuple(slice(half.shape[along] // 2) if axis == along else slice(None) for axis in range(3))] = 0
    nib.save(nib.Nifti1Image(half, source.affine, source.header), given / "sub-02_T2w_seg-manual.nii.gz")
    out = tmp_path / "out"
    line = [str(dataset), str(out), "participant", "--participant-label", "02", "--cord", "builtin"]
    assert cli.main([*line, "--derivatives", str(tmp_path / "manual")]) == 0
    path = next((out / "sub-02/anat").glob("*label-SC*_mask.nii.gz"))
    found = np.asarray(nib.load(path).dataobj)
    assert 2 * (found & half).sum() / (found.sum() + half.sum()) > 0.98
    sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["CordMethod"].startswith("given masks for 1 of 1 images")
    before = path.stat().st_mtime_ns
    assert cli.main(line) == 0
    assert path.stat().st_mtime_ns != before


def test_dry_run_writes_nothing(dataset, tmp_path, capsys):
    assert cli.main([str(dataset), str(tmp_path / "out"), "participant", "--dry-run"]) == 3
    text = capsys.readouterr().out
    assert "sub-01/anat/sub-01_acq-ax_T2starw.nii.gz" in text
    assert "sub-01_space-orig_label-lesion_desc-T2w_mask.nii.gz" in text
    assert not (tmp_path / "out").exists()


def test_unknown_participant_is_a_usage_error_that_lists_the_known(dataset, tmp_path, caplog):
    assert cli.main([str(dataset), str(tmp_path / "out"), "participant", "--participant-label", "99"]) == 2
    assert "01" in caplog.text
    assert "99" in caplog.text


def test_a_gpu_or_sct_that_is_not_there_is_an_environment_fault(dataset, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    line = [str(dataset), str(tmp_path / "out"), "participant", "--participant-label", "01"]
    assert cli.main([*line, "--device", "cuda"]) == 5
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main([*line, "--cord", "sct"]) == 5
    # That is known before anything is written.
    assert not (tmp_path / "out").exists()


def test_what_an_earlier_run_left_does_not_pass_for_a_result(dataset, run, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(run[0], out)
    stale = out / "sub-06/anat/sub-06_space-orig_label-lesion_desc-T2w_mask.nii.gz"
    stale.parent.mkdir(parents=True)
    shutil.copyfile(next((out / "sub-02/anat").glob("*label-lesion*mask.nii.gz")), stale)
    assert (
        cli.main([str(dataset), str(out), "participant", "--participant-label", "06", "--cord", "builtin"])
        == 3
    )
    assert not stale.exists()
    assert next((out / "sub-02/anat").glob("*label-lesion*mask.nii.gz")).exists()


def test_one_defect_costs_one_unit(dataset, tmp_path, monkeypatch):
    from bids_app import participants

    def broken(*_):
        raise ValueError("on purpose")

    monkeypatch.setattr(participants, "write_session", broken)
    out = tmp_path / "out"
    line = [str(dataset), str(out), "participant", "--participant-label", "02", "06", "--cord", "builtin"]
    assert cli.main(line) == 1
    assert "on purpose" in (out / "sub-02.html").read_text()
    report = (out / "logs/sub-02_T2w_crash.txt").read_text()
    assert "sub-02_T2w.nii.gz (T2Sag)" in report
    assert "Next step:" in report
    assert 'raise ValueError("on purpose")' in report.split("For those who look after the program:")[1]
    monkeypatch.undo()
    assert cli.main(line) == 3
    assert not (out / "logs/sub-02_T2w_crash.txt").exists()
    assert (out / "sub-06.html").exists()


def test_the_first_failure_can_end_the_run(dataset, tmp_path, caplog):
    out = tmp_path / "out"
    line = [str(dataset), str(out), "participant", "--cord", "builtin", "--stop-on-first-crash"]
    assert cli.main([*line, "--participant-label", "06", "07"]) == 3
    assert "the run ends at the first failure" in caplog.text.lower()
    assert (
        "no cord" in (out / "logs/sub-07_T2w_crash.txt").read_text().lower()
        or "spinal cord" in (out / "logs/sub-07_T2w_crash.txt").read_text()
    )
    (manifest,) = (out / "logs").glob("run-*_manifest.json")
    record = json.loads(manifest.read_text())
    assert record["ExitCode"] == 3
    assert [unit["Participant"] for unit in record["Units"]] == ["07"]
    assert not (out / "sub-06.html").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_told_to_end_ends_in_order(dataset, tmp_path, number, code):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "bids_app", str(dataset), str(out), "participant", "--cord", "builtin"]
    # What a shell starts in the background ignores SIGINT, and so would what these tests start there.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "looking for the cord" in line:
                break
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == code
    (manifest,) = (out / "logs").glob("run-*_manifest.json")
    record = json.loads(manifest.read_text())
    assert record["ExitCode"] == code
    assert record["Status"] == "finished"
    assert not list(out.rglob("*.part"))


@pytest.mark.real
def test_a_brain_named_t2w_gets_no_mask(real_data, tmp_path):
    anat = tmp_path / "bids/sub-brain/anat"
    anat.mkdir(parents=True)
    shutil.copyfile(
        real_data / "sub-dev11/anat/sub-dev11_acq-brain_FLAIR.nii.gz", anat / "sub-brain_acq-ax_T2w.nii.gz"
    )
    out = tmp_path / "out"
    assert cli.main([str(tmp_path / "bids"), str(out), "participant", "--cord", "builtin"]) == 3
    assert not list(out.rglob("*mask.nii.gz"))
    assert "cord" in (out / "sub-brain.html").read_text()
