"""The interface to SCT, against fakes that do what the real programs are known to do."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fakes_cord import cord_mask, make_grid, save, scan
from fakes_sct import install

from bids_app.errors import CordError, EnvironmentFault, UnitError
from bids_app.preprocess import sct


@pytest.fixture
def image(tmp_path):
    grid = make_grid("LPS", (1.0, 1.0, 4.0), 10.0)
    np.save(tmp_path / "mask.npy", cord_mask(grid).astype(np.uint8))
    path = save(tmp_path / "input" / "sub-01_T2w.nii.gz", scan(grid), grid)
    loaded = nib.load(path)
    loaded.header["qform_code"], loaded.header["sform_code"] = 2, 1
    nib.save(nib.Nifti1Image(np.asarray(loaded.dataobj), None, loaded.header), path)
    return path


@pytest.fixture
def fake(tmp_path, monkeypatch):
    def use(behaviour="good", **kwargs):
        log = install(tmp_path / "bin", tmp_path / "mask.npy", behaviour, **kwargs)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
        return log

    return use


def call(image, tmp_path, **kwargs):
    return sct.segment_cord(image, tmp_path / "out" / "cord.nii.gz", tmp_path / "work" / "sct", **kwargs)


def test_mask_lies_on_exactly_the_grid_of_the_image(image, fake, tmp_path):
    for behaviour in ("good", "drift"):
        fake(behaviour)
        assert call(image, tmp_path) == "7.3"
        mask, source = nib.load(tmp_path / "out" / "cord.nii.gz"), nib.load(image)
        assert np.array_equal(np.asarray(mask.dataobj), np.load(tmp_path / "mask.npy"))
        assert mask.get_data_dtype() == np.uint8
        assert np.array_equal(mask.affine, source.affine)
        for name in ("qform_code", "sform_code", "pixdim"):
            assert np.array_equal(mask.header[name], source.header[name])


def test_call_is_private_explicit_and_clean(image, fake, tmp_path, monkeypatch):
    log = fake()
    monkeypatch.setenv("SCT_USE_GPU", "0")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.delenv("HOME", raising=False)
    call(image, tmp_path)
    monkeypatch.delenv("SCT_USE_GPU")
    call(image, tmp_path, device="cuda")
    plain, gpu = (json.loads(line) for line in log.read_text().splitlines())
    work = str(tmp_path / "work" / "sct")
    assert plain["argv"][0] == "spinalcord"
    assert all(path.startswith(work) for path in (plain["argv"][2], plain["argv"][4], plain["cwd"]))
    assert plain["link"]
    assert "SCT_USE_GPU" not in plain["environ"]
    assert "SCT_USE_GPU" in gpu["environ"]
    assert "PYTHONPATH" not in plain["environ"]
    assert plain["environ"]["OMP_NUM_THREADS"] == "1"
    assert plain["environ"]["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] == "1"
    assert plain["environ"]["HOME"].startswith(work)
    assert plain["environ"]["TMPDIR"].startswith(work)


@pytest.mark.parametrize(
    ("device", "seen_here", "seen_by_sct"),
    [
        ("cuda", None, None),
        ("cuda", "3", "3"),
        ("cuda:1", None, "1"),
        ("cuda:1", "4,6", "6"),
        ("cpu", "4,6", "4,6"),
    ],
)
def test_sct_gets_the_card_that_the_app_uses(
    image, fake, tmp_path, monkeypatch, device, seen_here, seen_by_sct
):
    log = fake()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if seen_here:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen_here)
    call(image, tmp_path, device=device)
    environ = json.loads(log.read_text().splitlines()[-1])["environ"]
    assert environ.get("CUDA_VISIBLE_DEVICES") == seen_by_sct
    assert ("SCT_USE_GPU" in environ) == (device != "cpu")


def test_nothing_is_left_beside_the_input(image, fake, tmp_path):
    fake("noisy-beside")
    image.chmod(0o444)
    image.parent.chmod(0o555)
    before = image.read_bytes()
    try:
        call(image, tmp_path)
    finally:
        image.parent.chmod(0o755)
    assert [path.name for path in image.parent.iterdir()] == [image.name]
    assert image.read_bytes() == before
    assert not (tmp_path / "warp_curve2straight.nii.gz").exists()


@pytest.mark.parametrize(
    ("behaviour", "error", "words"),
    [
        ("rc1", UnitError, r"return code 1 \(ValueError: the model cannot be loaded\)"),
        ("silent", UnitError, "wrote no cord mask"),
        ("empty", CordError, "found no spinal cord"),
        ("wrong-grid", UnitError, "another grid"),
        ("shifted", UnitError, "another grid"),
        ("garbage", UnitError, "unusable cord mask"),
    ],
)
def test_failures_become_sentences(image, fake, tmp_path, behaviour, error, words):
    fake(behaviour)
    with pytest.raises(error, match=words) as caught:
        call(image, tmp_path)
    assert type(caught.value) is error
    assert image.name in caught.value.message
    assert not (tmp_path / "out" / "cord.nii.gz").exists()


def test_a_stale_output_is_not_taken_for_a_new_one(image, fake, tmp_path):
    fake()
    call(image, tmp_path)
    assert (tmp_path / "out" / "cord.nii.gz").exists()
    fake("silent")
    with pytest.raises(UnitError, match="wrote no cord mask"):
        call(image, tmp_path)
    assert not (tmp_path / "out" / "cord.nii.gz").exists()


def test_a_call_that_hangs_is_ended(image, fake, tmp_path):
    fake("slow")
    started = time.monotonic()
    with pytest.raises(UnitError, match="within 3 s"):
        call(image, tmp_path, timeout_s=3)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_sct_ends_with_the_process_that_called_it(image, fake, tmp_path, number):
    """However that process goes, also with what the program has started itself."""
    fake("slow")
    caller = multiprocessing.get_context("spawn").Process(target=call, args=(image, tmp_path))
    caller.start()
    noted = tmp_path / "work" / "sct" / "pids.txt"
    assert _until(lambda: noted.exists() and len(noted.read_text().split()) == 2)
    pids = [int(pid) for pid in noted.read_text().split()]
    assert all(_runs(pid) for pid in pids)
    os.kill(caller.pid, number)
    caller.join()
    assert _until(lambda: not any(_runs(pid) for pid in pids))


def _until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_program_that_cannot_be_started_is_the_fault_of_the_machine(image, fake, tmp_path):
    fake()
    (tmp_path / "bin" / "sct_deepseg").write_text("#!/nowhere/python\n")
    with pytest.raises(EnvironmentFault, match="sct_deepseg cannot be started"):
        call(image, tmp_path)


def test_version_is_asked_and_other_versions_are_refused(fake, monkeypatch, tmp_path):
    fake()
    assert sct.sct_version() == "7.3"
    fake(version="7.4.dev")
    assert sct.sct_version() == "7.4.dev"
    fake(version="6.5")
    assert sct.sct_version() is None
    with pytest.raises(EnvironmentFault, match=r"is 6\.5"):
        sct.require_sct()
    fake(version="nothing to say")
    assert sct.sct_version() is None
    fake(code=1)
    with pytest.raises(EnvironmentFault, match="does not tell its version"):
        sct.require_sct()
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert sct.sct_version() is None
    with pytest.raises(EnvironmentFault, match="not on PATH") as caught:
        sct.require_sct()
    assert "--cord builtin" in caught.value.next_step


@pytest.mark.sct
def test_real_sct(image, tmp_path):
    if sct.sct_version() is None:
        pytest.skip("no SCT 7 on PATH")
    # The made-up neck may not convince it: what counts is that it ran.
    with contextlib.suppress(CordError):
        call(image, tmp_path)
    assert (tmp_path / "work" / "sct" / "sct.log").exists()
