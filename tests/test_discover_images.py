"""Discovery: what images are taken for, and why some are not used."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes_discover import dataset, found, messages, reasons, scan, write_scan

from bids_app.discover.names import parse


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return dataset(tmp_path / "bids")


def test_the_header_decides_on_the_plane_and_names_only_warn(root: Path) -> None:
    scan(root, "sub-01_acq-ax_T2w", "sagittal")
    scan(root, "sub-02_acq-sagTse_T2w", "axial")
    scan(root, "sub-03_acq-cspineAxial_T2w", "isotropic")
    scan(root, "sub-04_acq-relax_T2w", "sagittal")
    discovery = found(root)
    assert [unit.reference.sequence for unit in discovery.units] == ["T2Sag", "T2Ax", "T2Sag", "T2Sag"]
    assert [unit.reference.plane for unit in discovery.units] == [
        "sagittal",
        "axial",
        "isotropic",
        "sagittal",
    ]
    first, second = messages(discovery, fatal=False)
    assert "sub-01_acq-ax_T2w.nii.gz is named axial (acq-ax) but is sagittal by its header" in first
    assert "sub-02_acq-sagTse_T2w.nii.gz is named sagittal (acq-sagTse) but is axial" in second


@pytest.mark.parametrize(
    ("sidecar", "words"),
    [
        ({}, "gives no InversionTime"),
        ({"InversionTime": 2.5}, "InversionTime of 2.5 s"),
        ({"InversionTime": 220}, "InversionTime of 220 s"),
        ({"InversionTime": "fast"}, "InversionTime of fast s"),
        ({"InversionTime": 0.22}, None),
    ],
)
def test_stir_by_name_is_checked_against_the_inversion_time(
    root: Path, sidecar: dict, words: str | None
) -> None:
    scan(root, "sub-01_acq-sagSTIR_T2w", **sidecar)
    discovery = found(root)
    assert discovery.units[0].reference.sequence == "STIR"
    warnings = messages(discovery, fatal=False)
    assert len(warnings) == (0 if words is None else 1)
    assert words is None or words in warnings[0]


@pytest.mark.parametrize(
    ("plane", "seconds", "sequence", "words"),
    [
        ("sagittal", 0.13, "STIR", "is taken for STIR: its sidecar gives an InversionTime of 0.13 s"),
        ("axial", 0.26, "STIR", "is taken for STIR: its sidecar gives an InversionTime of 0.26 s"),
        (
            "sagittal",
            0.12,
            "T2Sag",
            "taken for T2w without inversion, and its sidecar gives an InversionTime of 0.12 s",
        ),
        (
            "axial",
            220,
            "T2Ax",
            "taken for T2w without inversion, and its sidecar gives an InversionTime of 220 s",
        ),
        ("sagittal", "fast", "T2Sag", "gives an InversionTime of fast s"),
        ("sagittal", 0, "T2Sag", None),
    ],
)
def test_an_inversion_time_makes_a_t2w_a_stir(
    root: Path, plane: str, seconds: object, sequence: str, words: str | None
) -> None:
    scan(root, "sub-01_T2w", plane, InversionTime=seconds)
    discovery = found(root)
    assert discovery.units[0].reference.sequence == sequence
    warnings = messages(discovery, fatal=False)
    assert len(warnings) == (0 if words is None else 1)
    assert words is None or words in warnings[0]


def test_inversion_times_of_other_sequences_change_nothing(root: Path) -> None:
    scan(root, "sub-01_T1w", InversionTime=0.2)
    scan(root, "sub-01_acq-psir_T2w", InversionTime=0.2)
    discovery = found(root)
    assert sorted(image.sequence for image in discovery.units[0].inputs) == ["PSIR", "T1"]
    assert discovery.problems == ()


def test_megre_is_t2star(root: Path) -> None:
    scan(root, "sub-01_echo-1_MEGRE", "axial")
    discovery = found(root)
    assert discovery.units[0].reference.sequence == "T2starAx"
    assert discovery.problems == ()


@pytest.mark.parametrize(
    ("suffix", "meant"),
    [("t2w", "T2w"), ("T2W", "T2w"), ("T2", "T2w"), ("unit1", "UNIT1"), ("megre", "MEGRE")],
)
def test_a_misspelt_suffix_is_said_to_be_just_that(root: Path, suffix: str, meant: str) -> None:
    scan(root, f"sub-01_{suffix}", "axial")
    discovery = found(root)
    reason = f"{suffix} is not a suffix of BIDS; is it {meant}?"
    assert reasons(discovery) == {f"sub-01_{suffix}": reason}
    (warning,) = messages(discovery, fatal=False)
    assert reason in warning
    assert "Rename it" in warning


@pytest.mark.parametrize(
    ("ending", "right"), [(".NII.GZ", ".nii.gz"), (".nii.GZ", ".nii.gz"), (".NII", ".nii")]
)
def test_a_misspelt_ending_is_said_to_be_just_that(root: Path, ending: str, right: str) -> None:
    scan(root, "sub-01_T2w")
    write_scan(root / "sub-01/anat/sub-01_T1w.nii.gz").rename(root / f"sub-01/anat/sub-01_T1w{ending}")
    discovery = found(root)
    assert [image.stem for image in discovery.units[0].images] == ["sub-01_T2w"]
    (unused,) = discovery.unused
    assert unused.path.name == f"sub-01_T1w{ending}"
    assert unused.reason == f"its name ends in {ending}, which is to be spelt {right}"
    (warning,) = messages(discovery, fatal=False)
    assert unused.reason in warning


def test_a_participant_of_misspelt_endings_alone_fails_with_that_reason(root: Path) -> None:
    write_scan(root / "sub-01/anat/sub-01_T2w.nii.gz").rename(root / "sub-01/anat/sub-01_T2w.NII.GZ")
    discovery = found(root)
    assert discovery.participants_without_units() == ("01",)
    assert "is to be spelt .nii.gz" in discovery.unused[0].reason
    assert messages(discovery, fatal=True) == []


def test_a_suffix_that_bids_lacks_is_read_with_a_warning(root: Path) -> None:
    scan(root, "sub-01_STIR", InversionTime=0.2)
    scan(root, "sub-01_T2star", "axial")
    scan(root, "sub-01_UNIT1")
    discovery = found(root)
    assert sorted(image.sequence for image in discovery.units[0].images) == ["MP2RAGE", "STIR", "T2starAx"]
    (warning,) = messages(discovery, fatal=False)
    assert "the BIDS validator does not know the suffix STIR" in warning


@pytest.mark.parametrize(
    ("name", "plane", "words"),
    [
        ("sub-01_acq-ax_flip-1_mt-on_MTS", "axial", "MTS is not a sequence that mscord uses"),
        ("sub-01_FLAIR", "axial", "FLAIR is not a sequence that mscord uses"),
        (
            "sub-01_T2w",
            "coronal",
            "T2w, coronal plane: mscord uses T2w images that are sagittal or axial or iso",
        ),
        ("sub-01_part-phase_T2w", "sagittal", "the phase part of the signal"),
        ("sub-01_part-imag_T2w", "sagittal", "the imag part of the signal"),
        ("sub-01_part-real_T2w", "sagittal", "the real part of the signal"),
        ("sub-01_space-orig_T2w", "sagittal", "derived image (space orig)"),
        ("sub-01_desc-preproc_T2w", "sagittal", "derived image (description preproc)"),
        ("sub-01_label-SC_mask", "sagittal", "derived image (label SC)"),
        ("sub-01_whatever", "sagittal", "whatever is not a sequence that mscord uses"),
    ],
)
def test_unused_images_have_a_reason(root: Path, name: str, plane: str, words: str) -> None:
    scan(root, name, plane)
    discovery = found(root)
    assert words in reasons(discovery)[name]
    assert discovery.units == ()
    assert discovery.participants_without_units() == ("01",)
    assert discovery.problems == ()


def test_images_outside_anat_are_listed_and_not_opened(root: Path) -> None:
    scan(root, "sub-01_T2w")
    for folder, name in (("func", "task-rest_bold"), ("dwi", "dwi"), ("fmap", "epi"), (".", "T1w")):
        path = root / "sub-01" / folder / f"sub-01_{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not an image")
    discovery = found(root)
    assert len(discovery.unused) == 4
    assert "it lies in the folder dwi" in reasons(discovery)["sub-01_dwi"]
    assert discovery.problems == ()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("sub-01/anat/sub-02_T2w.nii.gz", "does not say sub-01"),
        ("sub-01/anat/sub-01_ses-2_T2w.nii.gz", "says ses-2, its folder no session"),
        ("sub-01/ses-1/anat/sub-01_T2w.nii.gz", "says no session, its folder ses-1"),
    ],
)
def test_misnamed_images_are_a_problem(root: Path, place: str, words: str) -> None:
    path = write_scan(root / place)
    discovery = found(root)
    (message,) = messages(discovery, fatal=True)
    assert path.name in message
    assert words in message
    assert words in discovery.unused[0].reason


@pytest.mark.parametrize("name", ["sub-01_acq-0.5mm_T2w", "sub-01_acq-a_acq-b_T2w", "sub-01_T2w_seg", "scan"])
def test_names_that_are_not_of_bids_are_named_and_fail_nothing(root: Path, name: str) -> None:
    path = write_scan(root / f"sub-01/anat/{name}.nii.gz")
    discovery = found(root)
    fatal = [one for one in discovery.problems if one.fatal and one.path == path]
    assert fatal == []
    assert any(path.name in message for message in messages(discovery, fatal=False))
    assert "not built as BIDS names are" in discovery.unused[0].reason


def test_of_two_files_with_one_name_the_compressed_one_counts(root: Path) -> None:
    path = scan(root, "sub-01_T2w")
    write_scan(path.with_name("sub-01_T2w.nii"))
    discovery = found(root)
    assert [unit.reference.path for unit in discovery.units] == [path]
    assert "is used instead" in discovery.unused[0].reason


def test_entities_are_kept_as_written() -> None:
    name = parse(
        "sub-01_ses-M0_acq-ax_ce-gad_rec-avg_run-01_echo-02_flip-1_inv-2_mt-on_part-mag_chunk-03_T2w.nii.gz"
    )
    assert name is not None
    assert (name.participant, name.session, name.suffix) == ("01", "M0", "T2w")
    assert name.entities == {
        "acquisition": "ax",
        "ceagent": "gad",
        "reconstruction": "avg",
        "run": "01",
        "echo": "02",
        "flip": "1",
        "inversion": "2",
        "mt": "on",
        "part": "mag",
        "chunk": "03",
    }
