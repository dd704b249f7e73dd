"""Which code ran, and in which container."""

from __future__ import annotations

import re
import subprocess

import pytest

from bids_app import provenance
from bids_app.provenance import COMMIT, DIGEST, TAG


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch):
    for name in (COMMIT, TAG, DIGEST, "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"):
        monkeypatch.delenv(name, raising=False)


def test_the_commit_of_a_checkout_is_found_and_changes_are_told(tmp_path, monkeypatch):
    package = tmp_path / "repository/bids_app"
    package.mkdir(parents=True)
    (package / "code.py").write_text("1")
    monkeypatch.setattr(provenance, "_PACKAGE", package)
    assert provenance.commit() == "unknown"
    git = ["git", "-C", str(package), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        where = git if command[0] != "init" else ["git", "-C", str(package.parent)]
        subprocess.run([*where, *command], check=True)
    assert re.fullmatch(r"[0-9a-f]{40}", provenance.commit())
    (package / "code.py").write_text("2")
    assert re.fullmatch(r"[0-9a-f]{40}-dirty", provenance.commit())


def test_what_was_recorded_when_an_image_was_built_counts(monkeypatch):
    monkeypatch.setenv(COMMIT, "abc")
    assert provenance.commit() == "abc"


def test_a_repository_of_somebody_else_is_not_ours(tmp_path, monkeypatch):
    package = tmp_path / "venv/lib/bids_app"
    package.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(provenance, "_PACKAGE", package)
    assert provenance.commit() == "unknown"


def test_container_with_tag_and_digest(monkeypatch):
    assert provenance.container() is None
    monkeypatch.setenv(TAG, "mscord:0.1")
    monkeypatch.setenv(DIGEST, "sha256:12")
    assert provenance.container() == {"Type": "docker", "Tag": "mscord:0.1", "Digest": "sha256:12"}
    monkeypatch.setenv("APPTAINER_CONTAINER", "/x.sif")
    monkeypatch.delenv(TAG)
    assert provenance.container() == {"Type": "apptainer", "Digest": "sha256:12"}
