"""Units of work: references, stations, and what goes with them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fakes_discover import dataset, found, image_of, reasons, scan, units_of

from bids_app.leading import OVERLAP_MM, share_unit, without


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return dataset(tmp_path / "bids")


def one_unit(root: Path) -> tuple[list[str], list[str]]:
    (unit,) = units_of(found(root))
    return unit


@pytest.mark.parametrize(
    ("longest", "expected"),
    [(240, "sub-01_T2w"), (250, "sub-01_T2w"), (251, "sub-01_T1w"), (400, "sub-01_T1w")],
)
def test_the_longest_is_the_reference_and_near_ties_go_by_the_table(
    root: Path, longest: int, expected: str
) -> None:
    scan(root, "sub-01_T2w", low=0, high=200)
    scan(root, "sub-01_T1w", low=0, high=longest)
    assert one_unit(root)[0][0] == expected


def test_inputs_are_one_per_slot_with_the_reference_first(root: Path) -> None:
    for name, plane in (
        ("UNIT1", "isotropic"),
        ("T1w", "sagittal"),
        ("acq-STIR_T2w", "sagittal"),
        ("T2w", "sagittal"),
    ):
        scan(root, f"sub-01_{name}", plane)
    scan(root, "sub-01_acq-ax_T2w", "axial", 50, 120)
    scan(root, "sub-01_T2starw", "axial", 50, 120)
    (unit,) = found(root).units
    assert [image.sequence for image in unit.inputs] == ["T2Sag", "STIR", "T2starAx", "T1", "T2Ax", "MP2RAGE"]
    assert unit.reference is unit.inputs[0]
    assert unit.others == ()


def test_of_several_images_the_longest_then_the_last_run_feeds_the_network(root: Path) -> None:
    scan(root, "sub-01_T2w")
    scan(root, "sub-01_run-2_T1w")
    scan(root, "sub-01_run-10_T1w")
    scan(root, "sub-01_acq-crop_run-11_T1w", high=150)
    inputs, others = one_unit(root)
    assert inputs == ["sub-01_T2w", "sub-01_run-10_T1w"]
    assert others == ["sub-01_acq-crop_run-11_T1w", "sub-01_run-2_T1w"]


def test_runs_of_the_reference(root: Path) -> None:
    scan(root, "sub-01_run-1_T2starw", "axial", 0, 60)
    scan(root, "sub-01_run-2_T2starw", "axial", 0, 60)
    assert one_unit(root) == (["sub-01_run-2_T2starw"], ["sub-01_run-1_T2starw"])


def test_without_runs_the_plain_name_feeds_the_network(root: Path) -> None:
    scan(root, "sub-01_T2w")
    scan(root, "sub-01_echo-2_T1w")
    scan(root, "sub-01_echo-1_T1w")
    assert one_unit(root)[0] == ["sub-01_T2w", "sub-01_echo-1_T1w"]


def test_stations_by_chunk_even_where_they_overlap(root: Path) -> None:
    scan(root, "sub-01_acq-a_chunk-1_T2w", low=0, high=200)
    scan(root, "sub-01_acq-a_chunk-2_T2w", low=-140, high=60)
    scan(root, "sub-01_acq-b_chunk-1_T2w", low=100, high=180)
    scan(root, "sub-01_chunk-1_T1w", low=0, high=200)
    scan(root, "sub-01_chunk-2_T1w", low=-140, high=60)
    scan(root, "sub-01_T2starw", "axial", 70, 110)
    upper, lower = units_of(found(root))
    # Both stations of the T1 feed the network, each where it covers.
    t1 = ["sub-01_chunk-1_T1w", "sub-01_chunk-2_T1w"]
    assert upper[0] == ["sub-01_acq-a_chunk-1_T2w", "sub-01_T2starw", *t1]
    assert upper[1] == ["sub-01_acq-b_chunk-1_T2w"]
    assert lower == (["sub-01_acq-a_chunk-2_T2w", *reversed(t1)], [])


def test_a_stitched_image_makes_its_chunks_superfluous(root: Path) -> None:
    scan(root, "sub-01_T2w", low=-200, high=200)
    scan(root, "sub-01_chunk-1_T2w", low=0, high=200)
    scan(root, "sub-01_chunk-2_T2w", low=-200, high=10)
    assert one_unit(root) == (["sub-01_T2w"], ["sub-01_chunk-1_T2w", "sub-01_chunk-2_T2w"])


@pytest.mark.parametrize(("overlap", "count"), [(OVERLAP_MM - 1, 2), (OVERLAP_MM, 1)])
def test_stations_by_position(root: Path, overlap: float, count: int) -> None:
    scan(root, "sub-01_acq-up_T2w", low=0, high=200)
    scan(root, "sub-01_acq-down_T2w", low=overlap - 180, high=overlap)
    units = units_of(found(root))
    assert len(units) == count
    assert units[0][0] == ["sub-01_acq-up_T2w"]


def test_an_image_takes_part_in_every_unit_that_it_overlaps(root: Path) -> None:
    scan(root, "sub-01_acq-up_T2w", low=0, high=200)
    scan(root, "sub-01_acq-down_T2w", low=-190, high=10)
    scan(root, "sub-01_T1w", low=-100, high=80)
    scan(root, "sub-01_acq-ax_T2w", "axial", -90, 15)
    assert units_of(found(root)) == [
        (["sub-01_acq-up_T2w", "sub-01_T1w"], []),
        (["sub-01_acq-down_T2w", "sub-01_T1w", "sub-01_acq-ax_T2w"], []),
    ]


def test_further_stations_keep_the_sequence_of_the_first(root: Path) -> None:
    scan(root, "sub-01_acq-up_T2w", low=0, high=250)
    scan(root, "sub-01_acq-down_T2w", low=-150, high=0)
    scan(root, "sub-01_acq-STIR_T2w", low=-220, high=0, InversionTime=0.2)
    lower = units_of(found(root))[1]
    assert lower == (["sub-01_acq-down_T2w", "sub-01_acq-STIR_T2w"], [])


def test_an_image_apart_from_all_becomes_a_unit_or_is_unused(root: Path) -> None:
    scan(root, "sub-01_T2w", low=0, high=200)
    scan(root, "sub-01_acq-apart_T2starw", "axial", -100, -40)
    scan(root, "sub-01_acq-short_T2starw", "isotropic", -205, -200)
    discovery = found(root)
    assert units_of(discovery) == [(["sub-01_T2w"], []), (["sub-01_acq-apart_T2starw"], [])]
    assert reasons(discovery) == {
        "sub-01_acq-short_T2starw": "it covers only 5 mm along the cord; 10 mm are needed"
    }


@pytest.mark.parametrize(
    ("length", "overlap", "joins"),
    # At least 20 mm, or 80 % of the shorter one if that is less, never under 10 mm.
    [
        (100, 20, True),
        (100, 19, False),
        (20, 16, True),
        (20, 15, False),
        (10, 10, True),
        (10, 9, False),
        (12, 9, False),
    ],
)
def test_how_much_of_an_image_must_overlap(root: Path, length: int, overlap: int, joins: bool) -> None:
    first = image_of(scan(root, "sub-01_T2w", low=0, high=200), "T2Sag")
    other = image_of(scan(root, "sub-01_T1w", low=200 - overlap, high=200 - overlap + length), "T1")
    assert share_unit(first, other) is joins
    assert share_unit(other, first) is joins
    assert len(found(root).units) == (1 if joins else 2)


def test_three_short_images_of_one_place_are_one_unit(root: Path) -> None:
    for name in ("T1w", "T2starw", "T2w"):
        scan(root, f"sub-01_{name}", "isotropic", low=-14, high=2)
    assert one_unit(root) == (["sub-01_T2w", "sub-01_T2starw", "sub-01_T1w"], [])


@pytest.mark.real
def test_three_short_scans_of_a_person_are_one_unit(real_data: Path) -> None:
    (unit,) = found(real_data.with_name("real-more"), participant_label=("dev16",)).units
    assert [image.sequence for image in unit.inputs] == ["T2Sag", "T2starAx", "T1"]


@pytest.mark.parametrize(("length", "used"), [(8, False), (9, False), (10, True)])
def test_what_is_shorter_than_10_mm_is_refused_in_words(root: Path, length: int, used: bool) -> None:
    scan(root, "sub-01_acq-x_T2w", "isotropic", low=0, high=length)
    discovery = found(root)
    assert (discovery.participants_without_units() == ()) is used
    expected = f"it covers only {length} mm along the cord; 10 mm are needed"
    assert reasons(discovery) == ({} if used else {"sub-01_acq-x_T2w": expected})


def test_units_come_in_order(root: Path) -> None:
    for name, low in (("sub-02_ses-1", 0), ("sub-01_ses-2", 0), ("sub-01_ses-1", 0)):
        scan(root, f"{name}_acq-a_T2w", low=low - 300, high=low - 120)
        scan(root, f"{name}_acq-b_T2w", low=low, high=low + 180)
    assert [unit.name for unit in found(root).units] == [
        f"sub-{participant}_ses-{session}_acq-{acq}_T2w"
        for participant, session in (("01", "1"), ("01", "2"), ("02", "1"))
        for acq in ("b", "a")
    ]


def words_of(root: Path) -> dict[str, str]:
    """Why images only get masks, by stem."""
    units = found(root).units
    return {path.name.split(".nii")[0]: words for unit in units for path, words in unit.reasons.items()}


@pytest.mark.parametrize("plane", ["sagittal", "isotropic"])
def test_a_stack_of_three_slices_never_leads_where_there_is_another(root: Path, plane: str) -> None:
    scan(root, "sub-01_acq-x_T2w", plane, low=-100, high=300, slices=3)
    scan(root, "sub-01_T2w", low=0, high=200)
    scan(root, "sub-01_T2starw", "axial", 80, 140)
    assert one_unit(root) == (["sub-01_T2w", "sub-01_T2starw"], ["sub-01_acq-x_T2w"])
    assert words_of(root) == {
        "sub-01_acq-x_T2w": "sub-01_T2w.nii.gz is read instead, which has more than a few slices"
    }
    (root / "sub-01/anat/sub-01_T2w.nii.gz").unlink()
    assert one_unit(root)[0] == ["sub-01_T2starw", "sub-01_acq-x_T2w"]
    (root / "sub-01/anat/sub-01_T2starw.nii.gz").unlink()
    assert one_unit(root)[0] == ["sub-01_acq-x_T2w"]


def test_coarse_voxels_do_not_lead_where_a_finer_image_shows_half_as_much(root: Path) -> None:
    path = scan(root, "sub-01_acq-quick_T2w", low=0, high=300)
    coarse = nib.load(path)
    affine = coarse.affine @ np.diag([4, 1, 1, 1])
    nib.save(nib.Nifti1Image(np.asarray(coarse.dataobj), affine), path)
    scan(root, "sub-01_T1w", low=0, high=140)
    assert one_unit(root)[0][0] == "sub-01_acq-quick_T2w"
    scan(root, "sub-01_T1w", low=0, high=160)
    assert one_unit(root)[0] == ["sub-01_T1w", "sub-01_acq-quick_T2w"]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("acq-localizer_T2w", "acq-localizer"),
        ("acq-3planeLoc_T2w", "acq-3planeLoc"),
        ("acq-Scout_T1w", "acq-Scout"),
        ("rec-survey_T2w", "rec-survey"),
    ],
)
def test_a_localiser_is_named_and_not_used(root: Path, name: str, part: str) -> None:
    scan(root, f"sub-01_{name}", low=-100, high=300, slices=3)
    scan(root, "sub-01_T2w")
    assert one_unit(root) == (["sub-01_T2w"], [])
    words = f"it is a localiser by its name ({part}) and its 3 slices"
    assert reasons(found(root)) == {f"sub-01_{name}": words}


@pytest.mark.parametrize("name", ["acq-localizer_T2w", "acq-local_T2w", "acq-block_T2w"])
def test_many_slices_or_another_word_are_no_localiser(root: Path, name: str) -> None:
    scan(root, f"sub-01_{name}", slices=20)
    assert one_unit(root)[0] == [f"sub-01_{name}"]


def test_without_contrast_agent_comes_first(root: Path) -> None:
    scan(root, "sub-01_T2w")
    scan(root, "sub-01_ce-gadolinium_run-3_T1w")
    scan(root, "sub-01_run-1_T1w", low=10)
    assert one_unit(root) == (["sub-01_T2w", "sub-01_run-1_T1w"], ["sub-01_ce-gadolinium_run-3_T1w"])
    assert words_of(root)["sub-01_ce-gadolinium_run-3_T1w"] == (
        "sub-01_run-1_T1w.nii.gz is read instead, which was made without a contrast agent (no ce-)"
    )


def test_the_choice_among_echoes_is_said(root: Path) -> None:
    scan(root, "sub-01_T2w")
    for number in (1, 2, 10):
        scan(root, f"sub-01_echo-{number}_MEGRE", "axial")
    inputs, others = one_unit(root)
    assert inputs == ["sub-01_T2w", "sub-01_echo-1_MEGRE"]
    assert len(others) == 2
    assert words_of(root)["sub-01_echo-10_MEGRE"] == (
        "sub-01_echo-1_MEGRE.nii.gz is read instead, which is the first echo (echo-1)"
    )
    scan(root, "sub-01_MEGRE", "axial")
    assert one_unit(root)[0] == ["sub-01_T2w", "sub-01_MEGRE"]
    assert "taken for the combination of the echoes" in words_of(root)["sub-01_echo-1_MEGRE"]


def test_every_image_that_only_gets_masks_has_a_reason(root: Path) -> None:
    scan(root, "sub-01_run-1_T2w")
    scan(root, "sub-01_run-2_T2w")
    scan(root, "sub-01_run-1_T1w")
    scan(root, "sub-01_run-2_T1w")
    scan(root, "sub-01_acq-short_T1w", high=150)
    scan(root, "sub-01_acq-thin_T1w", "isotropic", high=199.6)
    assert one_unit(root)[0] == ["sub-01_run-2_T2w", "sub-01_acq-thin_T1w"]
    assert {name: words.split("which ")[1] for name, words in words_of(root).items()} == {
        "sub-01_run-1_T2w": "is the last run",
        "sub-01_run-1_T1w": "has smaller voxels",
        "sub-01_run-2_T1w": "has smaller voxels",
        "sub-01_acq-short_T1w": "shows more of the cord",
    }


def test_three_stations_feed_one_encoder_in_the_unit_of_a_longer_image(root: Path) -> None:
    scan(root, "sub-01_T1w", low=-300, high=200)
    for number, low in ((1, 50), (2, -100), (3, -280)):
        scan(root, f"sub-01_chunk-{number}_T2w", low=low, high=low + 170)
    scan(root, "sub-01_run-2_chunk-2_T2w", low=-100, high=70)
    inputs, others = one_unit(root)
    assert inputs == [
        "sub-01_T1w",
        *["sub-01_run-2_chunk-2_T2w", "sub-01_chunk-3_T2w", "sub-01_chunk-1_T2w"],
    ]
    assert others == ["sub-01_chunk-2_T2w"]
    assert words_of(root) == {
        "sub-01_chunk-2_T2w": "sub-01_run-2_chunk-2_T2w.nii.gz is read instead, which is the last run"
    }
    (root / "sub-01/anat/sub-01_T1w.nii.gz").unlink()
    assert [unit[0][0] for unit in units_of(found(root))] == [
        *["sub-01_chunk-1_T2w", "sub-01_run-2_chunk-2_T2w", "sub-01_chunk-3_T2w"]
    ]


def test_of_stitched_and_unstitched_the_stitched_one_feeds(root: Path) -> None:
    scan(root, "sub-01_T2w", low=-300, high=200)
    scan(root, "sub-01_T1w", low=-290, high=200)
    scan(root, "sub-01_chunk-1_T1w", low=0, high=200)
    scan(root, "sub-01_chunk-2_T1w", low=-290, high=20)
    assert one_unit(root) == (
        ["sub-01_T2w", "sub-01_T1w"],
        ["sub-01_chunk-1_T1w", "sub-01_chunk-2_T1w"],
    )
    assert "shows more of the cord" in words_of(root)["sub-01_chunk-1_T1w"]


def test_images_of_one_sequence_that_lie_apart_all_feed(root: Path) -> None:
    scan(root, "sub-01_T2w", low=-300, high=200)
    scan(root, "sub-01_acq-neck_T2starw", "axial", 50, 150)
    scan(root, "sub-01_acq-chest_T2starw", "axial", -150, 40)
    scan(root, "sub-01_acq-late_ce-gad_T2starw", "axial", -290, -200)
    inputs, others = one_unit(root)
    assert inputs == ["sub-01_T2w", "sub-01_acq-chest_T2starw", "sub-01_acq-neck_T2starw"]
    assert others == ["sub-01_acq-late_ce-gad_T2starw"]
    assert "without a contrast agent" in words_of(root)["sub-01_acq-late_ce-gad_T2starw"]


def test_a_reference_of_no_use_gives_way_to_the_next(root: Path) -> None:
    scan(root, "sub-01_T2w", low=-100, high=200)
    scan(root, "sub-01_acq-b_T2w", low=0, high=190)
    scan(root, "sub-01_T1w", low=0, high=200)
    scan(root, "sub-01_run-1_T2starw", "axial", 10, 70)
    scan(root, "sub-01_run-2_T2starw", "axial", 10, 70)
    scan(root, "sub-01_acq-low_T2starw", "axial", -90, -40)
    (unit,) = found(root).units
    path = {image.stem.removeprefix("sub-01_"): image.path for image in unit.images}

    def after(*failed: str, taken: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
        made = without(unit, [path[name] for name in failed], [path[name] for name in taken])
        assert made is not None
        assert made.planned == "sub-01_T2w"
        return tuple(
            [image.stem.removeprefix("sub-01_") for image in some] for some in (made.inputs, made.others)
        )

    # The failed one stays, to be named; what shares nothing with the new reference leaves the unit.
    assert after("T2w") == (["acq-b_T2w", "run-2_T2starw", "T1w"], ["run-1_T2starw", "T2w"])
    assert after("T2w", "acq-b_T2w")[0] == ["T1w", "run-2_T2starw"]
    assert after("T2w", "acq-b_T2w", "T1w")[0] == ["run-2_T2starw"]
    assert after("T2w", taken=("acq-b_T2w",))[0][0] == "T1w"
    # An input that fails is replaced in its place.
    assert after("run-2_T2starw") == (
        ["T2w", "run-1_T2starw", "acq-low_T2starw", "T1w"],
        ["acq-b_T2w", "run-2_T2starw"],
    )
    assert without(unit, list(path.values())) is None
