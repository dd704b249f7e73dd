from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bids_app import cli

HEAVY = ("torch", "nipype", "bids", "SimpleITK", "matplotlib", "scipy")


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom bids_app import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    assert "--participant-label" in done.stdout


def test_python_m_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "bids_app", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("mscord ")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["in", "out", "session"],
        ["in", "out", "participant", "--threshold", "1.5"],
        ["in", "out", "participant", "--device", "tpu"],
        ["in", "out", "participant", "--nprocs", "0"],
        ["in", "out", "participant", "--cord", "magic"],
    ],
)
def test_bad_command_lines_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "error" in capsys.readouterr().err


def test_options_are_absolute_and_labels_bare(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = [
        "bids",
        "out",
        "participant",
        "--participant-label",
        "sub-01",
        "02",
        "--session-label",
        "ses-M0",
        "-w",
        "work",
    ]
    options = cli.options_from(cli.parser().parse_args(line))
    assert options.bids_dir == tmp_path / "bids"
    assert options.work_dir == tmp_path / "work"
    assert options.participant_label == ("01", "02")
    assert options.session_label == ("M0",)


def test_missing_input_folder_is_a_usage_error(tmp_path: Path):
    assert cli.main([str(tmp_path / "nowhere"), str(tmp_path / "out"), "participant"]) == 2
    assert not (tmp_path / "out").exists()


def test_empty_input_is_nothing_to_do(tmp_path: Path):
    (tmp_path / "bids").mkdir()
    assert cli.main([str(tmp_path / "bids"), str(tmp_path / "out"), "participant"]) == 4


def test_output_inside_the_input_is_refused(tmp_path: Path):
    (tmp_path / "bids" / "sub-01" / "anat").mkdir(parents=True)
    assert cli.main([str(tmp_path / "bids"), str(tmp_path / "bids" / "out"), "participant"]) == 2
