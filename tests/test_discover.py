"""Discovery: participants, sessions, and files that are missing or damaged."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes_discover import dataset, found, messages, reasons, scan, tree, units_of, write_scan

from bids_app.errors import NothingToDoError, UsageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return dataset(tmp_path / "bids")


def test_all_participants_by_default_and_their_labels_as_written(root: Path) -> None:
    for name in ("sub-10_T2w", "sub-02_T2w", "sub-A1_T2w"):
        scan(root, name)
    (root / "sub-file").write_text("not a folder")
    assert found(root).participants == ("02", "10", "A1")
    assert found(root).problems == ()


def test_participants_are_chosen_with_and_without_prefix(root: Path) -> None:
    for label in ("01", "010", "1", "02"):
        scan(root, f"sub-{label}_T2w")
    discovery = found(root, participant_label=("sub-01", "02"))
    assert discovery.participants == ("01", "02")
    assert [unit.participant for unit in discovery.units] == ["01", "02"]
    assert found(root, participant_label=("1",)).units[0].name == "sub-1_T2w"


def test_an_unknown_participant_is_named_with_the_known_ones(root: Path) -> None:
    scan(root, "sub-01_T2w")
    scan(root, "sub-02_T2w")
    with pytest.raises(UsageError, match="called 03") as caught:
        found(root, participant_label=("01", "sub-03"))
    assert caught.value.next_step == "Known: 01, 02."


def test_labels_are_escaped_and_others_are_never_opened(root: Path) -> None:
    scan(root, "sub-0+1_T2w")
    scan(root, "sub-001_T2w")
    (root / "sub-001" / "anat" / "sub-001_T2w.json").write_text("{broken")
    discovery = found(root, participant_label=("0+1",))
    assert units_of(discovery) == [(["sub-0+1_T2w"], [])]
    assert discovery.problems == ()


def test_no_participants_and_no_folder(root: Path, tmp_path: Path) -> None:
    with pytest.raises(NothingToDoError, match="no folder called sub-"):
        found(root)
    with pytest.raises(UsageError, match="does not exist"):
        found(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is not a folder"):
        found(root / "dataset_description.json")


def test_a_participant_without_images_and_a_folder_that_is_no_label(root: Path) -> None:
    scan(root, "sub-01_T2w")
    (root / "sub-02").mkdir()
    (root / "sub-03_old").mkdir()
    discovery = found(root)
    assert discovery.participants == ("01", "02")
    assert discovery.participants_without_units() == ("02",)
    assert messages(discovery, fatal=True)[0].startswith("sub-02 has no NIfTI images.")
    assert "sub-03_old is left out" in messages(discovery, fatal=False)[0]


def test_sessions_are_chosen_and_never_mixed(root: Path) -> None:
    for name in (
        "sub-01_ses-M0_T2w",
        "sub-01_ses-M0_T1w",
        "sub-01_ses-M12_T2w",
        "sub-02_ses-M0_T2w",
        "sub-03_T2w",
    ):
        scan(root, name)
    everything = found(root)
    assert [(unit.participant, unit.session) for unit in everything.units] == [
        *[("01", "M0"), ("01", "M12"), ("02", "M0"), ("03", None)]
    ]
    assert [len(unit.inputs) for unit in everything.units] == [2, 1, 1, 1]
    later = found(root, session_label=("ses-M12",))
    assert units_of(later) == [(["sub-01_ses-M12_T2w"], [])]
    assert later.participants_without_units() == ("02", "03")
    assert all("no NIfTI images in session M12" in message for message in messages(later, fatal=True))
    with pytest.raises(UsageError, match="session of the chosen participants called M6") as caught:
        found(root, session_label=("M6",))
    assert caught.value.next_step == "Known: M0, M12."


def test_bad_sidecars_of_other_sessions_are_not_reported(root: Path) -> None:
    scan(root, "sub-01_ses-1_T2w")
    other = scan(root, "sub-01_ses-2_T2w")
    other.with_name("sub-01_ses-2_T2w.json").write_text("{")
    assert found(root, session_label=("1",)).problems == ()
    assert len(found(root).problems) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"{broken", "is not valid JSON"),
        (b"[1, 2]", "holds no JSON object"),
        (b"\xff\xfe{}", "is not valid JSON"),
        (b"\xef\xbb\xbf{}", "is not valid JSON"),
        (b"[" * 20000, "is not valid JSON"),
    ],
    ids=["empty", "malformed", "list", "utf16", "bom", "deep"],
)
@pytest.mark.parametrize("place", ["sub-01/anat/sub-01_T2w.json", "T2w.json", "sub-01/sub-01_T1w.json"])
def test_a_bad_sidecar_is_named_and_the_rest_goes_on(
    root: Path, place: str, content: bytes, words: str
) -> None:
    scan(root, "sub-01_T2w")
    scan(root, "sub-01_acq-STIR_T2w", InversionTime=0.2)
    (root / place).write_bytes(content)
    discovery = found(root)
    assert len(discovery.units[0].inputs) == 2
    assert len(discovery.problems) == 1  # and so the sidecar of the STIR was read
    assert discovery.problems[0].message.startswith(f"{place} {words}")
    assert discovery.problems[0].path == root / place
    assert not discovery.problems[0].fatal


def test_metadata_is_inherited_and_conflicts_cost_only_the_metadata(root: Path) -> None:
    scan(root, "sub-01_acq-STIR_T2w")
    (root / "acq-STIR_T2w.json").write_text('{"InversionTime": 0.22}')
    assert found(root).problems == ()
    path = scan(root, "sub-01_acq-STIR_run-1_T2w")
    path.with_name("sub-01_acq-STIR_run-1_T2w.json").write_text('{"run": 5}')
    discovery = found(root)
    assert len(discovery.units[0].images) == 2
    assert "cannot be combined" in messages(discovery, fatal=False)[0]


def test_descriptions_missing_bad_or_of_the_wrong_kind(root: Path) -> None:
    scan(root, "sub-01_T2w")
    description = root / "dataset_description.json"
    description.write_text("")
    assert "dataset_description.json is empty" in found(root).problems[0].message
    description.write_text('{"Name": "x", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}')
    assert len(found(root).units) == 1
    description.write_text("[1]")
    with pytest.raises(UsageError, match="cannot be read as a BIDS dataset"):
        found(root)
    description.unlink()
    discovery = found(root)
    assert [p.message for p in discovery.problems] == ["dataset_description.json is missing."]
    assert len(discovery.units) == 1


def test_unfetched_and_broken_images_are_named_and_the_others_go_on(root: Path) -> None:
    scan(root, "sub-01_T2w")
    anat = root / "sub-01" / "anat"
    (anat / "sub-01_T1w.nii.gz").symlink_to("../../.git/annex/objects/aa/MD5E-s1--0.nii.gz")
    (anat / "sub-01_acq-STIR_T2w.nii.gz").symlink_to("nowhere")
    (anat / "sub-01_T2starw.nii.gz").write_bytes(b"")
    (anat / "sub-01_UNIT1.nii.gz").write_bytes(b"/annex/objects/MD5E-s1--0.nii.gz\n")
    (anat / "sub-01_T2w.json").symlink_to("../../.git/annex/objects/bb/MD5E-s1--0.json")
    discovery = found(root)
    assert units_of(discovery) == [(["sub-01_T2w"], [])]
    fatal = messages(discovery, fatal=True)
    assert len(fatal) == 4
    for name, words in {
        "sub-01_T1w.nii.gz": f"datalad get {anat / 'sub-01_T1w.nii.gz'}",
        "sub-01_acq-STIR_T2w.nii.gz": "broken link",
        "sub-01_T2starw.nii.gz": "zero bytes",
        "sub-01_UNIT1.nii.gz": "datalad get",
    }.items():
        assert any(message.startswith(name) and words in message for message in fatal), name
        assert name.split(".")[0] in reasons(discovery)
    (warning,) = messages(discovery, fatal=False)
    assert f"datalad get {anat / 'sub-01_T2w.json'}" in warning


def test_only_the_chosen_part_of_the_dataset_is_indexed(root: Path) -> None:
    scan(root, "sub-01_T2w")
    for folder in ("derivatives/x", "sourcedata", "code", "work", ".hidden"):
        write_scan(root / folder / "sub-01" / "anat" / "sub-01_T2w.nii.gz")
        (root / folder / "bad.json").write_text("{")
    discovery = found(root)
    assert units_of(discovery) == [(["sub-01_T2w"], [])]
    assert discovery.unused == ()
    assert discovery.problems == ()


def test_links_to_folders_are_followed(root: Path, tmp_path: Path) -> None:
    scan(tmp_path / "store", "sub-01_T2w")
    (root / "sub-01").symlink_to(tmp_path / "store" / "sub-01")
    discovery = found(root)
    assert discovery.units[0].reference.path == root / "sub-01" / "anat" / "sub-01_T2w.nii.gz"


def test_the_input_may_be_a_relative_path_and_is_not_changed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan(root, "sub-01_T2w", EchoTime=0.1)
    monkeypatch.chdir(root.parent)
    before = tree(root)
    discovery = found(Path("bids"))
    assert discovery.units[0].reference.path == Path("bids/sub-01/anat/sub-01_T2w.nii.gz")
    assert tree(root) == before


@pytest.fixture
def shared() -> Iterator[Path]:
    """A dataset that an ordinary user may read: for root no folder is closed."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield dataset(Path(folder) / "bids")
        for place, _, _ in os.walk(folder):
            Path(place).chmod(0o755)


@contextmanager
def ordinary_user() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("place", "mode", "kept"),
    [
        *[("sub-02", 0o000, False), ("sub-02/ses-B", 0o000, False), ("sub-02/ses-B/anat", 0o000, True)],
        *[
            ("sub-02/ses-B", 0o444, True),
            ("sub-02/ses-B/anat", 0o444, False),
            ("sub-02/ses-B/anat", 0o111, False),
        ],
    ],
)
def test_a_folder_that_cannot_be_read_fails_its_participant_alone(shared, place, mode, kept) -> None:
    for name in ("sub-01_ses-A_T2w", "sub-02_ses-A_T2w", "sub-02_ses-B_T2w", "sub-03_ses-A_T2w"):
        scan(shared, name)
    found(shared)  # loads what is loaded late
    folder = shared / place
    folder.chmod(mode)
    database = shared.parent / "db"
    database.mkdir()
    database.chmod(0o777)
    with ordinary_user():
        discovery = found(shared, bids_database_dir=database if kept else None)
    folder.chmod(0o755)
    left = [] if place == "sub-02" else ["sub-02_ses-A_T2w"]
    assert [unit.name for unit in discovery.units] == ["sub-01_ses-A_T2w", *left, "sub-03_ses-A_T2w"]
    (problem,) = discovery.problems
    assert (problem.participant, problem.fatal) == ("02", True)
    assert problem.message == f"The folder {folder} cannot be read: what lies in it is not used."


def test_folders_of_sessions_that_were_not_chosen_are_of_no_interest(shared) -> None:
    for name in ("sub-01_ses-A_T2w", "sub-01_ses-B_T2w", "sub-02_ses-A_T2w"):
        scan(shared, name)
    (shared / "sub-01/ses-B").chmod(0)
    with ordinary_user():
        assert found(shared, session_label=("A",)).problems == ()
    (shared / "sub-02").chmod(0)
    with ordinary_user():
        discovery = found(shared, session_label=("A",))
    assert [unit.name for unit in discovery.units] == ["sub-01_ses-A_T2w"]
    assert [problem.participant for problem in discovery.problems] == ["02"]


def test_an_input_that_cannot_be_read_is_named(shared) -> None:
    scan(shared, "sub-01_T2w")
    shared.chmod(0)
    with (
        ordinary_user(),
        pytest.raises(UsageError, match=r"input folder .* cannot be read \(Permission denied\)"),
    ):
        found(shared)


def test_an_empty_session_is_named(root: Path) -> None:
    scan(root, "sub-01_ses-A_T2w")
    (root / "sub-01/ses-B/anat").mkdir(parents=True)
    (root / "sub-01/ses-B/anat/sub-01_ses-B_T2w.json").write_text("{}")
    (root / "sub-02/ses-B").mkdir(parents=True)
    assert messages(found(root), fatal=False) == [
        "sub-01: the session ses-B holds no NIfTI images. Check whether something is missing."
    ]
    # Of whom there is nothing at all that is said, and no more.
    assert [message.split(".")[0] for message in messages(found(root), fatal=True)] == [
        "sub-02 has no NIfTI images"
    ]
    assert messages(found(root, session_label=("A",)), fatal=False) == []


@pytest.mark.real
def test_the_development_scans(real_data: Path) -> None:
    discovery = found(real_data)
    assert len(discovery.participants) == 11
    assert discovery.participants_without_units() == ("dev08", "dev09", "dev11")
    units = {unit.name: unit for unit in discovery.units}
    assert len(units) == 9
    first = units["sub-dev01_acq-sag_T2w"]
    assert [image.stem for image in first.others] == ["sub-dev01_acq-sagcrop_T2w"]
    assert len(first.inputs) == 1
    runs = units["sub-dev05_acq-ax_run-2_T2starw"]
    assert [image.stem for image in runs.others] == ["sub-dev05_acq-ax_run-1_T2starw"]
    assert [unit.session for unit in discovery.units if unit.participant == "dev07"] == ["01", "02"]
    assert {unit.reference.sequence for unit in discovery.units} == {"T2Sag", "T1", "T2starAx"}
    assert len(discovery.unused) == 4
    assert discovery.problems == ()
