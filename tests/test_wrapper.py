"""``mscord-docker``: what it mounts, whom it runs as, and that Docker gets exactly that."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from bids_app import cli, wrapper


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in a folder with an input, and without a card."""
    (tmp_path / "bids").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wrapper, "_NVIDIA", tmp_path / "no-card")
    return tmp_path


def printed(capsys, *arguments: str) -> list[str]:
    assert wrapper.main([*arguments, "--print-only"]) == 0
    return shlex.split(capsys.readouterr().out)


def mounted(command: list[str]) -> list[str]:
    return [value for name, value in pairwise(command) if name == "--mount"]


def test_the_command_line_goes_in_as_it_is(here, capsys):
    line = ["bids", "out", "participant", "--participant-label", "01", "02", "--nprocs", "4"]
    command = printed(capsys, *line, "--image", "mine:1")
    at = command.index("mine:1")
    assert command[at + 1 :] == line
    assert command[:3] == ["docker", "run", "--rm"]
    for one in (
        "--network none",
        "--read-only",
        "--cap-drop ALL",
        f"--user {os.getuid()}:{os.getgid()}",
        f"--workdir {here}",
    ):
        assert one in shlex.join(command[:at])
    assert mounted(command) == [
        f"type=bind,source={here}/bids,target={here}/bids,readonly",
        f"type=bind,source={here}/out,target={here}/out",
    ]
    assert not (here / "out").exists()


def test_every_path_is_mounted_wherever_it_was_named(here, capsys, monkeypatch):
    for name in ("filter.json", "w.safetensors", "w.json"):
        (here / name).write_text("{}")
    for name in ("one", "two", "../beside"):
        (here / name).mkdir(exist_ok=True)
    (here / "options.toml").write_text(f'[mscord]\nderivatives = ["{here}/one", "{here}/two"]\n')
    monkeypatch.setenv("MSCORD_WORK_DIR", str(here / "../beside"))
    command = printed(
        capsys,
        "bids",
        "out",
        "participant",
        "--config",
        "options.toml",
        "--bids-filter-file",
        "filter.json",
        "--weights",
        "w.safetensors",
    )
    read = {one.split(",")[1] for one in mounted(command) if one.endswith(",readonly")}
    assert read == {
        f"source={here}/{name}"
        for name in ("bids", "options.toml", "one", "two", "filter.json", "w.safetensors", "w.json")
    }
    assert {one.split(",")[1] for one in mounted(command)} - read == {
        f"source={here}/out",
        f"source={here.parent}/beside",
    }
    assert command[command.index("--env") + 1] == "MSCORD_WORK_DIR"


def test_each_option_that_is_a_path_is_mounted(here):
    """An option that is added later must not be forgotten."""
    names = {action.dest for action in cli.parser()._actions if action.type is Path}
    (here / "there").mkdir()
    for name in names:
        assert [mount.path for mount in wrapper.mounts({name: here / "there"}, create=False)] == [
            here / "there"
        ]
    assert set(wrapper._WRITTEN) <= names


def test_odd_names_and_an_output_within_the_input(here, capsys):
    (here / 'a, "b"').mkdir()
    command = printed(capsys, 'a, "b"', 'a, "b"/derivatives/mscord', "participant")
    assert mounted(command) == [
        f'type=bind,"source={here}/a, ""b""","target={here}/a, ""b""",readonly',
        f'type=bind,"source={here}/a, ""b""/derivatives/mscord","target={here}/a, ""b""/derivatives/mscord"',
    ]


@pytest.mark.parametrize(
    ("card", "more", "expected"),
    [
        (False, [], None),
        (True, [], "all"),
        (True, ["--device", "cpu"], None),
        (True, ["--gpus", "none"], None),
        (False, ["--gpus", "device=1"], "device=1"),
    ],
)
def test_cards(here, capsys, card, more, expected):
    if card:
        (here / "no-card").touch()
    command = printed(capsys, "bids", "out", "participant", *more)
    given = command[command.index("--gpus") + 1] if "--gpus" in command else None
    assert given == expected


@pytest.mark.parametrize(
    "line", [["/", "out"], ["/usr/share", "out"], ["bids", "/etc/out"], ["absent", "out"]]
)
def test_what_cannot_be_mounted_is_refused(here, capsys, line):
    assert wrapper.main([*line, "participant", "--print-only"]) == 2
    assert "mscord-docker: " in capsys.readouterr().err


def test_a_wrong_command_line_does_not_reach_docker(here, capsys):
    with pytest.raises(SystemExit) as stop:
        wrapper.main(["bids", "out", "participant", "--treshold", "1"])
    assert stop.value.code == 2
    assert not (here / "out").exists()


def test_docker_gets_it_and_its_exit_status_is_ours(here):
    """A fake docker notes its arguments and fails as mscord would."""
    fake = here / "bin" / "docker"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\n[ "$1" = image ] && echo sha256:abc && exit\nprintf "%s\\n" "$@" > {here}/given\nexit 3\n'
    )
    fake.chmod(0o755)
    environment = {**os.environ, "PATH": str(fake.parent)}
    root = Path(wrapper.__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "bids_app.wrapper", "bids", "out", "participant"],
        env={**environment, "PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == 3
    given = (here / "given").read_text().splitlines()
    assert given[-4:] == ["mscord", "bids", "out", "participant"]
    assert "MSCORD_CONTAINER_DIGEST=sha256:abc" in given
    assert (here / "out").is_dir()


def test_without_docker_it_says_so(here, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(here))
    assert wrapper.main(["bids", "out", "participant"]) == 5
    assert "no docker on PATH" in capsys.readouterr().err


def test_it_loads_nothing_heavy(here):
    code = (
        "import sys\nfrom bids_app import wrapper\nwrapper.main(['--self-test', '--print-only'])\n"
        "print([name for name in ('torch', 'numpy', 'bids', 'nipype') if name in sys.modules])"
    )
    root = Path(wrapper.__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stdout.splitlines()[0].endswith("mscord --self-test")
