"""Where the app may write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes_discover import dataset, tree

from bids_app.discover import check_places
from bids_app.errors import EnvironmentFault, UsageError
from bids_app.options import Options


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return dataset(tmp_path / "bids")


def places(root: Path, output: Path, work: Path | None = None) -> Options:
    return Options(root, output, work_dir=work)


@pytest.mark.parametrize("which", ["output", "work"])
def test_nothing_may_be_written_into_the_input(root: Path, tmp_path: Path, which: str) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    (root / "derivatives").mkdir()
    (root / "other").mkdir()
    before = tree(root)

    def check(place: Path) -> None:
        check_places(places(root, *((place,) if which == "output" else (tmp_path / "out", place))))

    for place in (root, link, root / "." / "derivatives" / ".."):
        with pytest.raises(UsageError, match="is the input folder"):
            check(place)
    for place in (
        root / "out",
        root / "other",
        link / "out",
        root / "derivatives" / ".." / "x",
        root / "derivatives2",
    ):
        with pytest.raises(UsageError, match="lies inside the input folder"):
            check(place)
    for place in (
        root / "derivatives" / "mscord",
        link / "derivatives" / "a" / "b",
        tmp_path / "out",
        tmp_path,
    ):
        check(place)
    assert tree(root) == before
    assert not (tmp_path / "out").exists()


def test_a_link_out_of_the_input_is_outside(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (root / "results").symlink_to(tmp_path / "elsewhere")
    check_places(places(root, root / "results"))
    (tmp_path / "hidden").symlink_to(root / "sub-01")
    with pytest.raises(UsageError, match="lies inside"):
        check_places(places(root, tmp_path / "hidden"))


def test_input_must_be_there_and_output_no_file(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        check_places(places(tmp_path / "nowhere", tmp_path / "out"))
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(UsageError, match="is a file"):
            check_places(places(root, output))


def test_an_output_that_cannot_be_written_is_the_environment(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The user who runs the tests may be allowed everything: so the answer of the system is set.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(EnvironmentFault, match="is not writable"):
        check_places(places(root, tmp_path / "a" / "b"))
    check_places(places(root, root / "derivatives" / "x"))
