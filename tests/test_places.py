"""Where the app has to run: without network, HOME or name, on odd paths and read-only inputs, beside others of its kind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import pytest

from bids_app.simulate.participant import simulate_participant

VALIDATOR = Path(sys.executable).parent / "bids-validator-deno"
#: So many processes write into one folder at once.
WRITERS = 20
#: Forbids sockets to the outside from the start of the interpreter; processes of one machine still talk to each other.
NO_NETWORK = """
import socket

class Refused(socket.socket):
    def __init__(self, family=-1, *more, **named):
        if family in (-1, socket.AF_INET, socket.AF_INET6):
            raise RuntimeError("the network was asked for")
        super().__init__(family, *more, **named)

def refuse(*_, **__):
    raise RuntimeError("the network was asked for")

socket.socket = Refused
socket.create_connection = socket.getaddrinfo = refuse
"""


@pytest.fixture(scope="module")
def scan():
    return simulate_participant(51, ("T2starAx",), half_mm=20)[0].image


def make_dataset(root: Path, scan: nib.Nifti1Image, labels: list[str]) -> Path:
    for label in labels:
        folder = root / f"sub-{label}/anat"
        folder.mkdir(parents=True)
        nib.save(scan, folder / f"sub-{label}_T2starw.nii.gz")
    (root / "dataset_description.json").write_text(json.dumps({"Name": "test", "BIDSVersion": "1.10.0"}))
    return root


def command(root: Path, out: Path, *more: str) -> list[str]:
    line = [
        str(root),
        str(out),
        "participant",
        "--cord",
        "builtin",
        "--device",
        "cpu",
        "--nprocs",
        "1",
        *more,
    ]
    return [sys.executable, "-m", "bids_app", *line]


def environment(**more: str) -> dict[str, str]:
    """Return as little of an environment as there can be."""
    return {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", **more}


def masks(out: Path) -> list[Path]:
    return sorted(out.rglob("*label-lesion*_mask.nii.gz"))


def test_no_network_is_asked_for(scan, tmp_path):
    root = make_dataset(tmp_path / "bids", scan, ["01"])
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook/sitecustomize.py").write_text(NO_NETWORK)
    hooked = environment(PYTHONPATH=str(tmp_path / "hook"))
    tried = "import socket; socket.socket(socket.AF_INET)"
    assert subprocess.run(
        [sys.executable, "-c", tried], env=hooked, capture_output=True, check=False
    ).returncode
    done = subprocess.run(
        command(root, tmp_path / "out"), env=hooked, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(masks(tmp_path / "out")) == 1


def test_odd_paths_no_home_a_strict_umask_and_an_input_that_is_links(scan, tmp_path):
    """As git-annex leaves it: links out of the tree to read-only files."""
    store = make_dataset(tmp_path / "store", scan, ["01"])
    root, out = tmp_path / "Daten für alle (neu)" / "bids", tmp_path / "Ergebnis à 'l' é"
    shutil.copytree(store, root)
    link = root / "sub-01/anat/sub-01_T2starw.nii.gz"
    link.unlink()
    target = store / "sub-01/anat/sub-01_T2starw.nii.gz"
    target.chmod(0o444)
    link.symlink_to(target)
    before = target.read_bytes()
    code = f"import os, sys; os.umask(0o077); os.execv(sys.executable, {command(root, out)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (mask,) = masks(out)
    sidecar = json.loads(mask.with_name(mask.name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["Sources"] == ["bids:raw:sub-01/anat/sub-01_T2starw.nii.gz"]
    assert target.read_bytes() == before
    assert [path.name for path in root.rglob("*") if path.is_file()] == [
        "dataset_description.json",
        link.name,
    ]


def test_any_uid_without_a_name(scan, tmp_path):
    somebody = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]
    asked = [*somebody, sys.executable, "-c", "import os; print(os.getuid())"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine makes no user namespaces")
    assert answer.strip() == "54321"
    root, out = make_dataset(tmp_path / "bids", scan, ["01"]), tmp_path / "out"
    done = subprocess.run(
        [*somebody, *command(root, out)], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(masks(out)) == 1


@pytest.mark.parametrize(("full", "words"), [("out", "The disk (or the quota) is full"), ("work", "full")])
def test_a_full_disk_is_said_in_words(scan, tmp_path, full, words):
    """A real one, of 64 KiB: no injected error."""
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    small = tmp_path / full
    small.mkdir()
    mount = f"mount -t tmpfs -o size=64k none '{small}'"
    if subprocess.run([*alone, mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine mounts nothing in a namespace of its own")
    root = make_dataset(tmp_path / "bids", scan, ["01"])
    line = command(root, tmp_path / "out", "--work-dir", str(tmp_path / "work"))
    done = subprocess.run(
        [*alone, f'{mount} && exec "$@"', "sh", *line],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_many_write_into_one_folder_at_once(scan, tmp_path):
    labels = [f"{number:02d}" for number in range(WRITERS)]
    root, out = make_dataset(tmp_path / "bids", scan, labels), tmp_path / "out"
    running = [
        subprocess.Popen(
            command(root, out, "--participant-label", label),
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for label in labels
    ]
    said = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0] * WRITERS, "\n".join(said)
    assert len(masks(out)) == WRITERS
    assert not list(out.rglob("*.part"))
    # One scan under twenty names: one answer.
    assert len({path.read_bytes() for path in masks(out)}) == 1
    assert len(list((out / "logs").glob("run-*_manifest.json"))) == WRITERS
    group = [*command(root, out)[:5], "group"]
    assert subprocess.run(group, env=environment(), check=False).returncode == 0
    assert len((out / "group_units.tsv").read_text().splitlines()) == 1 + WRITERS
    if VALIDATOR.exists():
        report = tmp_path / "report.json"
        subprocess.run([VALIDATOR, out, "--format", "json", "-o", report], check=False, capture_output=True)
        assert json.loads(report.read_text())["issues"]["issues"] == []
