"""What the BIDS validator says of the input is passed on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes_discover import dataset, found, options, scan

from bids_app.discover.validation import PROGRAM, validate


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = dataset(tmp_path / "bids")
    scan(root, "sub-01_T2w")
    return root


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put a validator on PATH that answers with a text."""

    def install(answer: str, code: int = 16) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "answer").write_text(answer)
        program = folder / PROGRAM
        program.write_text(f"#!/bin/sh\ncat '{folder}/answer'\nexit {code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return install


def verdict(*issues: dict[str, str]) -> str:
    return json.dumps({"issues": {"issues": list(issues)}})


def test_errors_become_warnings_by_kind(root, fake):
    one = {"code": "NOT_INCLUDED", "severity": "error", "location": "/sub-01/anat/sub-01_STIR.nii.gz"}
    other = {"code": "NO_AUTHORS", "severity": "warning", "location": "/dataset_description.json"}
    fake(verdict(one, {**one, "location": "/x"}, other))
    discovery = found(root)
    (problem,) = [problem for problem in discovery.problems if "BIDS validator" in problem.message]
    assert problem.message == "BIDS validator: NOT_INCLUDED (2, such as sub-01_STIR.nii.gz)."
    assert not problem.fatal
    assert len(discovery.units) == 1


def test_it_is_not_asked_about_a_part_or_where_that_is_not_wanted(root, fake):
    fake(verdict({"code": "NOT_INCLUDED", "severity": "error"}))
    whole = options(root)
    assert len(validate(whole)) == 1
    assert validate(replace(whole, participant_label=("01",))) == []
    assert validate(replace(whole, skip_bids_validation=True)) == []


@pytest.mark.parametrize("answer", ["", "no JSON", "[]", json.dumps({"issues": None})])
def test_a_validator_that_fails_stops_nothing(root, fake, caplog, answer):
    fake(answer)
    assert validate(options(root)) == []
    assert "gave no verdict" in caplog.text


def test_without_a_validator_nothing_is_said(root, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert validate(options(root)) == []
