"""Options from the command line, from variables and from a file."""

from __future__ import annotations

import json
import logging
import tomllib
from pathlib import Path

import pytest

from bids_app import cli
from bids_app.config import hyphened, to_toml
from bids_app.options import Options

LINE = ["bids", "out", "participant"]


@pytest.fixture
def options(monkeypatch, tmp_path):
    def read(*more: str, file: str = "", **variables: str) -> Options:
        for name, value in variables.items():
            monkeypatch.setenv(f"MSCORD_{name}", value)
        path = tmp_path / "some options.toml"
        path.write_text(f"[mscord]\nverbose = 0\n{file}")
        return cli.options_from(cli.parser().parse_args([*LINE, "--config", str(path), *more]))

    return read


def test_the_command_line_counts_before_variables_and_these_before_the_file(options):
    assert options(file="threshold = 0.2").threshold == 0.2
    assert options(file="threshold = 0.2", THRESHOLD="0.3").threshold == 0.3
    assert options("--threshold", "0.4", file="threshold = 0.2", THRESHOLD="0.3").threshold == 0.4


def test_lists_and_switches(options):
    found = options(file='participant-label = ["01", "sub-02"]\nforce = true', SESSION_LABEL="[A, ses-B]")
    assert found.participant_label == ("01", "02")
    assert found.session_label == ("A", "B")
    assert found.force
    assert options("--participant-label", "03", file='participant-label = ["01"]').participant_label == (
        "03",
    )


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("treshold = 0.2", "treshold"),
        ("threshold = 2", "not between 0 and 1"),
        ("threshold = ", "toml"),
        ('device = "tpu"', "tpu"),
    ],
)
def test_a_slip_in_the_file_is_named(tmp_path, capsys, file, words):
    path = tmp_path / "options.toml"
    path.write_text(f"[mscord]\n{file}")
    with pytest.raises(SystemExit) as stop:
        cli.main([*LINE, "--config", str(path)])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err.lower()


def test_a_file_without_our_section_is_refused(tmp_path, capsys):
    path = tmp_path / "options.toml"
    path.write_text("threshold = 0.2")
    with pytest.raises(SystemExit):
        cli.main([*LINE, "--config", str(path)])
    assert "no options under [mscord]" in capsys.readouterr().err


UNDERSCORES = [
    "--participant_label",
    "01",
    "02",
    "--nprocs=2",
    "--mem_gb=3",
    "--skip_bids_validation",
    "--work_dir",
    "a_b",
]


def test_underscores_are_as_good_as_hyphens(options):
    found = options(*UNDERSCORES, file="stop_on_first_crash = true\nbids_filter_file = 'my_filter.json'")
    assert found == options(
        *["--participant-label", "01", "02", "--nprocs", "2", "--mem-gb", "3", "--skip-bids-validation"],
        *["--work-dir", "a_b", "--stop-on-first-crash", "--bids-filter-file", "my_filter.json"],
    )
    assert found.participant_label == ("01", "02")
    assert found.work_dir is not None
    assert found.work_dir.name == "a_b"


def test_every_option_may_be_written_with_underscores():
    names = {name for action in cli.parser()._actions for name in action.option_strings if "-" in name[2:]}
    assert hyphened(
        [name.replace("-", "_").replace("__", "--", 1) for name in sorted(names)], names
    ) == sorted(names)
    assert hyphened(["--partcipant_label", "--device=cuda_0", "a_b"], names) == [
        "--partcipant_label",
        "--device=cuda_0",
        "a_b",
    ]


def test_one_option_in_two_spellings_is_refused(tmp_path, capsys):
    path = tmp_path / "options.toml"
    path.write_text("[mscord]\nmem-gb = 3\nmem_gb = 4")
    with pytest.raises(SystemExit):
        cli.main([*LINE, "--config", str(path)])
    assert "stands there twice" in capsys.readouterr().err


def test_a_slip_in_a_variable_is_named(monkeypatch, capsys):
    monkeypatch.setenv("MSCORD_TRESHOLD", "0.2")
    with pytest.raises(SystemExit) as stop:
        cli.main(LINE)
    assert stop.value.code == 2
    assert "MSCORD_TRESHOLD" in capsys.readouterr().err


def test_what_a_run_writes_repeats_it(tmp_path):
    line = [
        "--participant-label",
        "01",
        "--threshold",
        "0.4",
        "--cord",
        "builtin",
        "-w",
        "a b/ü",
        "--nprocs",
        "1",
        "--force",
    ]
    options = cli.options_from(cli.parser().parse_args([*LINE, *line]))
    path = tmp_path / "options.toml"
    path.write_text(to_toml(options))
    assert tomllib.loads(path.read_text())["mscord"]["work-dir"] == str(Path("a b/ü").absolute())
    assert cli.options_from(cli.parser().parse_args([*LINE, "--config", str(path)])) == options


def test_all_options_go_into_the_file(tmp_path):
    """Every option has a field, every field an option: none is lost between them."""
    given = vars(cli.parser().parse_args(LINE))
    assert given.keys() - {"analysis_level", "config"} | {"level"} == Options.__dataclass_fields__.keys()


def test_quiet_and_loud(tmp_path, capfd):
    (tmp_path / "bids/sub-01/anat").mkdir(parents=True)
    (tmp_path / "bids/dataset_description.json").write_text(
        json.dumps({"Name": "x", "BIDSVersion": "1.10.0"})
    )
    assert cli.main([str(tmp_path / "bids"), str(tmp_path / "out"), "participant", "-q"]) == 3
    logs = list((tmp_path / "out/logs").glob("run-*_log.txt"))
    said = logs[0].read_text()
    assert said.count("sub-01 has no NIfTI images") == 1
    assert "participants: 1, 1 with failures; units: 0 done, 0 failed; lesions: 0;" in said


def test_the_log_begins_before_discovery(tmp_path):
    """What is said while the dataset is looked at is in it, down to what the terminal does not show, in order."""
    (tmp_path / "bids/sub-01/anat").mkdir(parents=True)
    (tmp_path / "bids/sub-02_x").mkdir()
    assert cli.main([str(tmp_path / "bids"), str(tmp_path / "out"), "participant", "-qq"]) == 3
    (path,) = (tmp_path / "out/logs").glob("run-*_log.txt")
    lines = path.read_text().splitlines()
    assert "participant -qq" in lines[0]
    words = (
        "mscord ",
        "found 0 units of 1 participants",
        "sub-02_x is left out",
        "dataset_description.json is missing",
    )
    at = [next(n for n, line in enumerate(lines) if word in line) for word in words]
    assert at[0] == 0
    assert at[1] < min(at[2:])
    assert [line[:19] for line in lines] == sorted(line[:19] for line in lines)


def test_a_run_that_cannot_begin_leaves_no_log(tmp_path):
    (tmp_path / "bids").mkdir()
    assert cli.main([str(tmp_path / "bids"), str(tmp_path / "out"), "participant"]) == 4
    assert not (tmp_path / "out").exists()
    assert not logging.getLogger("bids_app").handlers
