"""What the machine grants, and how it is shared out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bids_app import machine
from bids_app.errors import EnvironmentFault
from bids_app.machine import Share, share


@pytest.mark.parametrize(
    ("nprocs", "units", "mem_gb", "expected"),
    [
        (1, 5, 64, Share(1, 1, 1)),
        (2, 1, 64, Share(2, 1, 2)),
        (2, 5, 64, Share(1, 1, 1)),
        (8, 5, 64, Share(2, 5, 1)),
        (16, 2, 64, Share(5, 2, 5)),
        (16, 5, 4, Share(5, 2, 1)),
        (4, 5, 0.5, Share(1, 1, 1)),
        (8, 0, 64, Share(8, 1, 8)),
    ],
)
def test_what_runs_at_one_time_never_needs_more(nprocs, units, mem_gb, expected):
    found = share(nprocs, units, mem_gb)
    assert found == expected
    assert found.workers * found.inside <= nprocs
    if units > 1 and nprocs > 1:
        assert found.threads + found.workers * found.inside <= nprocs


@pytest.fixture
def groups(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(machine, "_OWN", tmp_path / "own")

    def make(own: str, files: dict[str, str]) -> None:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return make


def test_the_tightest_limit_of_all_groups_counts(groups):
    gib = 2**30
    groups(
        "0::/slice/job\n",
        {
            "memory.max": "max",
            "slice/memory.max": str(3 * gib),
            "slice/job/memory.max": str(5 * gib),
            "slice/cpu.max": "100000 100000",
        },
    )
    assert machine.available_memory_gb() == 3
    assert machine.available_cores() == 1


def test_the_older_kind_of_groups_and_of_containers(groups):
    groups(
        "7:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n0::/docker/x\n",
        {
            "memory/memory.limit_in_bytes": str(2**30),
            "cpu/cpu.cfs_quota_us": "150000",
            "cpu/cpu.cfs_period_us": "100000",
        },
    )
    assert machine.available_memory_gb() == 1
    assert machine.available_cores() == 1


def test_without_limits_the_machine_counts(groups):
    groups("", {"cpu.max": "max 100000", "cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"})
    assert machine.available_cores() == len(os.sched_getaffinity(0))
    assert machine.available_memory_gb() > 1


def test_a_home_is_made_where_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(machine.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    machine.ensure_home()
    made = Path(os.environ["HOME"])
    assert made.parent == tmp_path
    assert made.is_dir()
    machine.ensure_home()
    assert Path(os.environ["HOME"]) == made


def test_no_folder_for_temporary_files_is_said(monkeypatch):
    """As in a container with a read-only root and no /tmp of its own."""
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setattr(
        "tempfile.mkdtemp", lambda **_: (_ for _ in ()).throw(FileNotFoundError(2, "no such folder"))
    )
    with pytest.raises(EnvironmentFault, match="--tmpfs /tmp"):
        machine.ensure_home()


def test_threads_that_wait_sleep_unless_the_user_says_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    machine.prepare_process()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    machine.prepare_process()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
