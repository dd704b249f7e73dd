"""Discovery: what the user chooses, and the dry run that shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes_discover import dataset, found, messages, options, reasons, scan

from bids_app.discover import describe
from bids_app.errors import UsageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return dataset(tmp_path / "bids")


@pytest.fixture
def runs(root: Path) -> Path:
    for name in ("acq-sag_run-01_T2w", "acq-sag_run-02_T2w", "acq-sagBig_T2w", "acq-sag_T1w"):
        scan(root, f"sub-01_{name}")
    scan(root, "sub-01_acq-sagLong_T2w", high=240)
    return root


def filter_file(root: Path, content: object) -> Path:
    path = root.parent / "filter.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_run_is_chosen_and_images_without_runs_stay(runs: Path) -> None:
    discovery = found(runs, run_label=("1",))
    assert reasons(discovery) == {"sub-01_acq-sag_run-02_T2w": "run 02 is not among those chosen (1)"}
    assert len(discovery.units[0].images) == 4
    assert "sub-01_acq-sag_run-02_T2w" not in reasons(found(runs, run_label=("run-02",)))
    with pytest.raises(UsageError, match="has run 7") as caught:
        found(runs, run_label=("1", "7"))
    assert caught.value.next_step == "Known: 01, 02."


def test_acquisitions_and_stations_are_chosen_as_runs_are(root: Path) -> None:
    for name in ("acq-sag_chunk-1_T2w", "acq-sag_chunk-2_T2w", "acq-ax_T1w", "T1w"):
        scan(root, f"sub-01_{name}")
    chosen = found(root, acquisition_label=("sag",), chunk_label=("chunk-2",))
    assert reasons(chosen) == {
        "sub-01_acq-ax_T1w": "acquisition ax is not among those chosen (sag)",
        "sub-01_acq-sag_chunk-1_T2w": "chunk 1 is not among those chosen (2)",
    }
    with pytest.raises(UsageError, match="has acquisition cor"):
        found(root, acquisition_label=("cor",))


def test_participants_are_left_out(root: Path) -> None:
    for label in ("01", "02", "03"):
        scan(root, f"sub-{label}_T2w")
    assert found(root, exclude_participant_label=("sub-02",)).participants == ("01", "03")
    assert found(root, participant_label=("01", "02"), exclude_participant_label=("02",)).participants == (
        "01",
    )
    with pytest.raises(UsageError, match="excluded"):
        found(root, participant_label=("02",), exclude_participant_label=("02",))
    with pytest.raises(UsageError, match="called 99"):
        found(root, exclude_participant_label=("99",))


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ({"acquisition": "sag", "run": 2}, ["acq-sag_run-02"]),
        ({"acq": "sag"}, ["acq-sag_run-02", "acq-sag_run-01"]),
        ({"run": [1, "02"]}, ["acq-sag_run-02", "acq-sag_run-01"]),
        ({"run": "*"}, ["acq-sag_run-02", "acq-sag_run-01"]),
        ({"run": None}, ["acq-sagLong", "acq-sagBig"]),
        ({"run": [None, 1]}, ["acq-sagLong", "acq-sagBig", "acq-sag_run-01"]),
        ({"acquisition": "sagBig", "suffix": "T2w", "session": None}, ["acq-sagBig"]),
    ],
)
def test_the_filter_file_chooses(runs: Path, row: dict, kept: list[str]) -> None:
    discovery = found(runs, bids_filter_file=filter_file(runs, {"T2Sag": row}))
    (unit,) = discovery.units
    used = [image.stem for image in unit.images if image.sequence == "T2Sag"]
    assert used[0] == f"sub-01_{kept[0]}_T2w"
    assert sorted(used) == sorted(f"sub-01_{name}_T2w" for name in kept)
    assert [image.sequence for image in unit.inputs] == ["T2Sag", "T1"]
    assert len(discovery.unused) == 4 - len(kept)
    assert all("the filter file wants T2Sag with" in reason for reason in reasons(discovery).values())


def test_a_filter_that_leaves_nothing_is_a_warning(runs: Path) -> None:
    discovery = found(runs, bids_filter_file=filter_file(runs, {"T1": {"acq": "ax"}, "STIR": {"run": 1}}))
    assert messages(discovery, fatal=False) == [
        "The filter for T1 leaves none of the 1 images of that sequence. Check the filter file."
    ]


@pytest.mark.parametrize(
    ("content", "words", "step"),
    [
        ("{broken", "not valid JSON", "T2Sag, STIR"),
        ("[]", "holds no JSON object", "T2Sag, STIR"),
        ({"t2w": {}}, "unknown sequences: t2w", "T2Sag, STIR"),
        ({"T2Sag": "sag"}, "not an object", "T2Sag, STIR"),
        ({"T2Sag": {"colour": "red"}}, "unknown entity 'colour'", "acquisition"),
        ({"T2Sag": {"run": {"is": 1}}}, "gives run the value", "a list of these"),
        ({"T2Sag": {"run": True}}, "gives run the value true", "a list of these"),
        ({"T2Sag": {"run": []}}, "gives run the value", "a list of these"),
    ],
)
def test_a_wrong_filter_file_is_refused(runs: Path, content: object, words: str, step: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        found(runs, bids_filter_file=filter_file(runs, content))
    assert step in caught.value.next_step


def test_an_absent_filter_file_is_refused(runs: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        found(runs, bids_filter_file=runs / "none.json")


def test_describe_says_what_happens_to_every_image(runs: Path) -> None:
    scan(runs, "sub-01_FLAIR", "axial")
    scan(runs, "sub-01_acq-STIR_T2w")
    scan(runs, "sub-02_PDw")
    bad = runs / "sub-01" / "anat" / "sub-01_acq-bad_T1w.nii.gz"
    bad.write_bytes(b"")
    discovery = found(runs)
    text = describe(discovery, options(runs), lambda unit: [f"{unit.name}_mask.nii.gz"])
    lines = text.splitlines()
    assert "sub-01: 1 unit" in lines
    assert "  sub-01/anat/sub-01_acq-sagLong_T2w.nii.gz: T2Sag, sagittal; masks only" not in lines
    reference = "sub-01_acq-sagLong_T2w.nii.gz"
    for line in (
        f"  sub-01/anat/{reference}: T2Sag, sagittal; reference; network input",
        f"  sub-01/anat/sub-01_acq-sag_T1w.nii.gz: T1, sagittal; unit of {reference}; network input",
        f"  sub-01/anat/sub-01_acq-sag_run-01_T2w.nii.gz: T2Sag, sagittal; unit of {reference}; "
        f"masks only ({reference} is read instead, which shows more of the cord)",
        "  sub-01/anat/sub-01_FLAIR.nii.gz: not used: FLAIR is not a sequence that mscord uses",
        "  sub-01/anat/sub-01_acq-bad_T1w.nii.gz: not used: sub-01_acq-bad_T1w.nii.gz is empty (zero bytes)",
        "sub-02: 0 units",
        "Outputs of sub-01_acq-sagLong_T2w",
        "  sub-01_acq-sagLong_T2w_mask.nii.gz",
        "  Error: sub-01_acq-bad_T1w.nii.gz is empty (zero bytes).",
        "Nothing can be used of sub-02",
    ):
        assert line in lines
    assert sum("_T2w.nii.gz: " in line or "_T1w.nii.gz: " in line for line in lines) == 7
    assert any(line.startswith("  Warning: sub-01_acq-STIR_T2w.nii.gz is taken for STIR") for line in lines)
    assert "Outputs" not in describe(discovery, options(runs))


def test_describe_names_each_unit_of_an_image(root: Path) -> None:
    scan(root, "sub-01_chunk-1_T2w", low=0, high=200)
    scan(root, "sub-01_chunk-2_T2w", low=-180, high=20)
    scan(root, "sub-01_T1w", low=-100, high=50)
    text = describe(found(root), options(root))
    assert (
        "sub-01_T1w.nii.gz: T1, sagittal; unit of sub-01_chunk-1_T2w.nii.gz; network input; "
        "unit of sub-01_chunk-2_T2w.nii.gz; network input"
    ) in text
