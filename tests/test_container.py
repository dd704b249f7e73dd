"""What the images are built from agrees with the package: versions, checksums, options."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bids_app import __version__

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def locked(name: str) -> dict[str, tuple[str, int]]:
    """Version and number of checksums of each package in a lock file."""
    found = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / "locks" / f"{name}.txt").read_text()):
        package, version = re.match(r"(\S+?)==(\S+)", entry).groups()
        found[package] = (version, entry.count("--hash=sha256:"))
    return found


@pytest.mark.parametrize("name", ["cpu", "cuda", "build"])
def test_everything_is_locked_with_checksums(name):
    assert all(count for _, count in locked(name).values())


def test_the_two_locks_differ_in_torch_alone():
    cpu, cuda = locked("cpu"), locked("cuda")
    assert cpu["torch"][0] == "2.13.0+cpu"
    assert cuda["torch"][0] == "2.13.0"
    more = cuda.keys() - cpu.keys()
    assert more
    assert all(name.startswith(("nvidia-", "cuda-", "triton")) for name in more)
    assert {name: cpu[name] for name in cpu if name != "torch"} == {
        name: cuda[name] for name in cuda if name not in more | {"torch"}
    }
    assert locked("build").items() <= cpu.items()


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_the_locks_hold_what_the_package_asks_for(name):
    requirements = pytest.importorskip("packaging.requirements")
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    asked = [
        line
        for line in setup["options"]["install_requires"].splitlines()
        if line and not line.startswith("#")
    ]
    versions = locked(name)
    for line in asked:
        one = requirements.Requirement(line)
        version = versions[re.sub(r"[-_.]+", "-", one.name).lower()][0]
        assert one.specifier.contains(version, prereleases=True), f"{line}: {version}"


def test_the_label_is_the_version():
    assert f"ARG VERSION={__version__}\n" in DOCKERFILE


def test_the_default_target_is_the_last_and_has_sct():
    targets = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    assert targets == ["build", "app", "test", "sct", "full"]


def test_hadolint_has_nothing_to_say():
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def container_check(tools: Path) -> str:
    """Run the check with what every machine has, and with the programs of a folder; return what it says."""
    for name in ("bash", "dirname", "mktemp", "rm"):
        (tools / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        [shutil.which("bash"), ROOT / ".ci" / "container"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": str(tools)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_an_engine_the_container_check_says_so_and_skips(tmp_path):
    assert container_check(tmp_path).startswith("== container NOT tested: there is no docker")


def test_an_engine_that_does_not_run_is_said(tmp_path):
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "docker").write_text('#!/bin/sh\n[ "$1" = buildx ]\n')
    for name in ("id", "docker"):
        (tmp_path / name).chmod(0o755)
    (tmp_path / "sh").symlink_to("/bin/sh")
    assert "== container NOT tested: no Docker engine runs, and none can be started" in container_check(
        tmp_path
    )
