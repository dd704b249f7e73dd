"""``mscord-slurm``: one task per participant, the group level after them, and only what failed again."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "cluster" / "mscord-slurm"

#: Runs every task at once, one after the other, and notes how it was called.
_SBATCH = """#!/usr/bin/env bash
printf '%q ' "$@" >> {here}/calls; echo >> {here}/calls
export SLURM_ARRAY_JOB_ID=$(wc -l < {here}/calls) SLURM_CPUS_PER_TASK=3
options=()
while [[ $1 == --* ]]; do options+=("$1"); shift; done
case ${{options[*]}} in
    *--array=1-*) last=$(sed -n 's/.*--array=1-\\([0-9]*\\).*/\\1/p' <<< "${{options[*]}}")
        for SLURM_ARRAY_TASK_ID in $(seq "$last"); do export SLURM_ARRAY_TASK_ID; bash "$@" >> {here}/said 2>&1; done ;;
    *) bash "$@" >> {here}/said 2>&1; echo $? > {here}/group-code ;;
esac
echo "$SLURM_ARRAY_JOB_ID;cluster"
"""
_MSCORD = """#!/usr/bin/env bash
printf '%q ' "$@" >> {here}/ran; echo >> {here}/ran
while read -r broken; do case " $* " in *" $broken "*) exit 3 ;; esac; done < {here}/broken
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Four participants in a folder with an odd name, and a Slurm that takes three tasks an array."""
    here = tmp_path / "a 'b"
    for label in ("01", "02", "03", "04"):
        (here / "bids" / f"sub-{label}").mkdir(parents=True)
    (here / "bids" / "derivatives").mkdir()
    (here / "broken").touch()
    programs = here / "bin"
    programs.mkdir()
    quoted = shlex.quote(str(here))
    texts = {
        "sbatch": _SBATCH.format(here=quoted),
        "mscord": _MSCORD.format(here=quoted),
        "scontrol": "#!/bin/sh\necho 'MaxArraySize            = 4'\n",
    }
    for name, text in texts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return here


def submit(here: Path, *arguments: str, code: int = 0) -> str:
    for name in ("calls", "ran", "said", "group-code"):
        (here / name).unlink(missing_ok=True)
    done = subprocess.run(
        [SCRIPT, *arguments[:-1], str(here / "bids"), str(here / "out"), *shlex.split(arguments[-1])]
        if arguments
        else [SCRIPT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def ran(here: Path) -> list[str]:
    """Whom mscord was called for, in order."""
    lines = [shlex.split(line) for line in (here / "ran").read_text().splitlines()]
    return [
        line[line.index("--participant-label") + 1] if "participant" in line else line[2] for line in lines
    ]


def calls(here: Path) -> list[list[str]]:
    return [shlex.split(line) for line in (here / "calls").read_text().splitlines()]


def test_a_task_each_in_arrays_that_slurm_takes_then_the_group(cluster):
    said = submit(cluster, "-s", "--gres=gpu:1 --mem=6G", "-j", "2", "--cord builtin --threshold 0.5")
    assert ran(cluster) == ["sub-01", "sub-02", "sub-03", "sub-04", "group"]
    first, second, group = calls(cluster)
    assert "--array=1-3%2" in first
    assert "--array=1-1%2" in second
    assert {"--gres=gpu:1", "--mem=6G"} <= set(first) & set(second) & set(group)
    assert "--dependency=afterany:1:2" in group
    line = shlex.split((cluster / "ran").read_text().splitlines()[3])
    assert line[:2] == [str(cluster / "bids"), str(cluster / "out")]
    assert line[-6:] == ["--nprocs", "3", "--cord", "builtin", "--threshold", "0.5"]
    assert "4 participants: job 1 2, then the group level: job 3" in said
    assert (cluster / "group-code").read_text().strip() == "0"


def test_only_what_failed_is_done_again(cluster):
    (cluster / "broken").write_text("sub-03\n")
    submit(cluster, "")
    assert (cluster / "group-code").read_text().strip() == "3"
    assert "sub-03 has not succeeded" in (cluster / "said").read_text()
    (cluster / "broken").write_text("")
    submit(cluster, "")
    assert ran(cluster) == ["sub-03", "group"]
    assert (cluster / "group-code").read_text().strip() == "0"
    said = submit(cluster, "")
    assert ran(cluster) == ["group"]
    assert "0 participants: job none" in said
    submit(cluster, "-a", "")
    assert ran(cluster) == ["sub-01", "sub-02", "sub-03", "sub-04", "group"]


def test_a_group_level_that_fails_fails(cluster):
    (cluster / "broken").write_text("group\n")
    submit(cluster, "")
    assert (cluster / "group-code").read_text().strip() == "3"


def test_a_command_with_arguments_is_read_on_the_node(cluster):
    submit(cluster, "-c", "env CARD=$SLURM_ARRAY_TASK_ID mscord --device cpu", "")
    assert (cluster / "ran").read_text().startswith("--device cpu ")


def test_nothing_is_submitted_when_asked_what_would_be(cluster):
    said = submit(cluster, "-n", "")
    assert not (cluster / "calls").exists()
    assert said.count("sbatch --job-name=mscord") == 3


def test_what_is_missing_is_said(cluster, tmp_path):
    assert "BIDS_DIR OUT_DIR" in submit(cluster, code=2)
    done = subprocess.run(
        [SCRIPT, tmp_path / "absent", tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "there is no folder" in done.stderr) == (2, True)
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [SCRIPT, tmp_path / "empty", tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "no participants" in done.stderr) == (4, True)
