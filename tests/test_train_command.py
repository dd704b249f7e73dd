"""``mscord-train`` as a user calls it: alone, killed and called again, in two processes, on a dataset, with little installed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_app.model import checkpoint
from bids_app.simulate.dataset import start_dataset, write_participants
from bids_app.simulate.implant import Slices
from bids_app.simulate.participant import simulate_participant
from bids_app.simulate.patches import Patch
from bids_app.train import command
from bids_app.train.crops import Crop, CropSource, read_crops, split
from bids_app.train.methods import METHODS
from bids_app.train.options import parser
from bids_app.train.prepare import prepare_dataset

#: A network that learns little, fast.
TINY = ("--channels", "4,8", "--batch", "2", "--keep", "8", "--threads", "1", "--device", "cpu")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def call(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "bids_app.train", *map(str, arguments), *TINY]
    return subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=False, **options)


def losses(folder: Path) -> np.ndarray:
    return np.atleast_1d(np.loadtxt(folder / "log.tsv", skiprows=1, usecols=1))


def test_a_run_leaves_weights_card_log_and_plot(tmp_path):
    done = call(tmp_path, "--steps", 3, "--validation", 2, "--note", "a try")
    assert done.returncode == 0, done.stderr
    weights = checkpoint.load(tmp_path / "lesion.safetensors")
    assert weights.card.record["note"] == "a try"
    assert weights.card.record["training"]["steps_done"] == 3
    assert 0 < weights.card.record["operating_point"]["threshold"] < 1
    assert len(losses(tmp_path)) == 3
    assert (tmp_path / "loss.png").stat().st_size > 1000
    other = call(tmp_path, "--steps", 3, "--method", "pretrained-encoders")
    assert other.returncode == 2
    assert "another network" in other.stderr


def test_help_names_every_method():
    help_of = {action.dest: action.help for action in parser()._actions}
    assert all(name in help_of["method"] for name in METHODS)


def test_wrong_methods_are_refused_in_words(tmp_path, caplog):
    assert command.main([str(tmp_path), "--method", "magic"]) == 2
    assert "mean-imputation" in caplog.text
    assert command.main([str(tmp_path), "--method", "frozen-encoder"]) == 2
    assert "--init" in caplog.text


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    broken = tmp_path / "broken"
    line = [sys.executable, "-m", "bids_app.train", str(broken), "--steps", "9", "--save-every", "5"]
    line += ["--task", "cord", *TINY]
    process = subprocess.Popen(line, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    until = time.time() + 240
    while not (broken / "checkpoint.pt").exists() and time.time() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = call(broken, "--steps", 9, "--save-every", 5, "--task", "cord")
    assert again.returncode == 0
    assert "resumed at step" in again.stderr
    assert len(losses(broken)) == 9
    assert np.isfinite(losses(broken)).all()


def test_two_processes_share_a_batch(tmp_path):
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    line += ["-m", "bids_app.train", str(tmp_path), "--steps", "4", "--validation", "2", *TINY]
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # One process writes; both learned, or the averaging of gradients would have waited for ever.
    assert len(losses(tmp_path)) == 4
    assert np.isfinite(losses(tmp_path)).all()
    assert checkpoint.load(tmp_path / "lesion.safetensors").card.record["training"]["batch"] == 2


def test_training_needs_torch_and_numpy_and_safetensors_alone(tmp_path):
    block = tmp_path / "sitecustomize.py"
    names = ("scipy", "nibabel", "SimpleITK", "nipype", "bids", "matplotlib", "jinja2")
    block.write_text(
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {names!r}:\n"
        "            raise ImportError(name + ' is not installed')\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{tmp_path}:{Path(command.__file__).parents[2]}"}
    line = [sys.executable, "-m", "bids_app.train", str(tmp_path / "run"), "--steps", "2", *TINY]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "No threshold was chosen" in done.stderr
    assert (tmp_path / "run" / "lesion.safetensors").exists()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Two short simulated participants, with masks in a name that other groups use; the second has no lesion."""
    folder = tmp_path_factory.mktemp("data") / "bids"
    start_dataset(folder)
    write_participants(folder, ["01", "02"], [])
    for number, label in enumerate(("01", "02")):
        anat, masks = folder / f"sub-{label}/anat", folder / f"derivatives/labels/sub-{label}/anat"
        anat.mkdir(parents=True)
        masks.mkdir(parents=True)
        for scan in simulate_participant(21 + number, ("T2Sag", "T2starAx"), half_mm=40):
            stem = f"sub-{label}_" + ("acq-sag_T2w" if scan.sequence == "T2Sag" else "acq-ax_T2starw")
            scan.image.to_filename(anat / f"{stem}.nii.gz")
            mask = scan.lesion if number == 0 else scan.lesion.__class__(
                np.zeros(scan.lesion.shape, np.uint8), scan.lesion.affine
            )  # fmt: skip
            mask.to_filename(masks / f"{stem}_label-lesion_seg.nii.gz")
    return folder


@pytest.fixture(scope="module")
def crops(dataset, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("crops")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    assert prepare_dataset(dataset, dataset / "derivatives/labels", folder) == 2
    torch.set_num_threads(before)
    return folder


def test_a_dataset_becomes_crops_with_its_lesions(crops):
    ill, well = read_crops(crops)
    assert (ill.participant, well.participant) == ("01", "02")
    assert ill.whole.lesion.any()
    assert not well.whole.lesion.any()
    assert ill.whole.slots == (0, 2)
    # Lesions lie in the cord, and the cord is about 1.
    assert (ill.whole.cord[ill.whole.lesion] > 0.5).mean() > 0.7
    inside = ill.whole.coverage[0] & (ill.whole.cord > 0.5)
    assert np.median(ill.whole.images[0][inside].astype(float)) == pytest.approx(1, abs=0.02)
    assert json.loads((crops / "sub-01_acq-sag_T2w.json").read_text())["slices"][1][0] == 2


def test_samples_come_from_crops_and_lesions_are_implanted_into_lesion_free_ones(crops):
    learning, held = split(read_crops(crops), 0.5, 0)
    assert {crop.participant for crop in learning}.isdisjoint(crop.participant for crop in held)
    well = [crop for crop in read_crops(crops) if crop.participant == "02"]
    make = CropSource(tuple(well), lambda seed: pytest.fail("nothing is to be simulated"), 0.0)
    patches = [make(seed) for seed in range(12)]
    assert all(patch.cord.shape == (48, 48, 64) for patch in patches)
    shown = [patch.lesion.any() for patch in patches]
    assert any(shown)
    assert not all(shown)
    np.testing.assert_array_equal(make(3).images, patches[3].images)
    # What is being written, or was left when a call was killed, is not a crop.
    (crops / ".sub-03.1234.npz").touch()
    assert len(read_crops(crops)) == 2


def test_half_of_the_samples_lie_on_lesions_and_half_anywhere():
    shape = (8, 8, 1000)
    lesion = np.zeros(shape, bool)
    lesion[4, 4, 500:504] = True
    whole = Patch(
        np.ones((1, *shape), np.float16),
        np.ones((1, *shape), bool),
        (0,),
        lesion[None],
        np.ones(shape, np.float16),
    )
    crop = Crop("01", whole, (Slices(0, 1.0, 1.0),))

    def shown(anywhere: bool) -> float:
        make = CropSource((crop,), lambda seed: pytest.fail("nothing is to be simulated"), 0.0, anywhere)
        return float(np.mean([make(seed).lesion.any() for seed in range(300)]))

    assert 0.45 < shown(True) < 0.65
    assert shown(False) == 1


def test_fine_tuning_begins_with_given_weights(crops, tmp_path):
    done = call(tmp_path / "a", "--steps", 2, "--validation", 2)
    assert done.returncode == 0, done.stderr
    start = tmp_path / "a/lesion.safetensors"
    tuned = call(
        tmp_path / "b", "--steps", 2, "--validation", 2, "--init", start, "--crops", crops, "--rate", 1e-9,
        "--validation-share", 0.5, "--average", 0,
    )  # fmt: skip
    assert tuned.returncode == 0, tuned.stderr
    assert "1 crops to learn from, 1 held back" in tuned.stderr
    first, second = (checkpoint.load(path).network for path in (start, tmp_path / "b/lesion.safetensors"))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)
    assert "labelled BIDS dataset" in checkpoint.load(tmp_path / "b/lesion.safetensors").card.record["data"]


def test_training_stops_when_validation_gets_no_better_and_keeps_the_best(crops, tmp_path):
    # With a rate of almost nothing no validation is better than the first.
    done = call(
        tmp_path, "--steps", 9, "--crops", crops, "--simulated", 0, "--validation-share", 0.5, "--rate", 1e-9,
        "--validate-every", 1, "--patience", 2, "--average", 0,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no improvement in 2 validations: stopped at step 3" in done.stderr
    assert len(losses(tmp_path)) == 3
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    shipped = checkpoint.load(tmp_path / "lesion.safetensors").network.state_dict()
    for name, value in best.items():
        torch.testing.assert_close(shipped[name], value, atol=1e-3, rtol=1e-3)


def test_several_processes_do_not_prepare_a_dataset_together(dataset, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert command.main([str(tmp_path), "--bids", str(dataset)]) == 2
    assert "--prepare-only" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_lesion_mask_on_another_grid_is_left_out_in_words(dataset, tmp_path, caplog):
    labels = tmp_path / "labels"
    shutil.copytree(dataset / "derivatives/labels", labels)
    for path in labels.rglob("sub-01*.nii.gz"):
        mask = nib.load(path)
        nib.save(nib.Nifti1Image(np.asarray(mask.dataobj)[:-1], mask.affine), path)
    assert prepare_dataset(dataset, labels, tmp_path / "crops") == 1
    assert "is not on the grid of sub-01_acq-sag_T2w.nii.gz" in caplog.text


def test_crops_without_any_lesion_teach_nothing_alone(crops, tmp_path):
    folder = tmp_path / "crops"
    folder.mkdir()
    for path in crops.glob("sub-02*"):
        shutil.copy(path, folder)
    done = call(tmp_path / "run", "--steps", 2, "--crops", folder, "--simulated", 0, "--validation-share", 0)
    assert done.returncode == 2
    assert "nothing to learn from" in done.stderr
