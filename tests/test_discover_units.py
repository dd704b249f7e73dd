"""Units of work: references, stations, and what goes with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes_discover import dataset, found, reasons, scan, units_of

from bids_app.discover.units import OVERLAP_MM


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
    # The T1 that covers most of the reference feeds the network; the other one still gets its masks.
    assert upper[0] == ["sub-01_acq-a_chunk-1_T2w", "sub-01_T2starw", "sub-01_chunk-1_T1w"]
    assert upper[1] == ["sub-01_acq-b_chunk-1_T2w", "sub-01_chunk-2_T1w"]
    assert lower == (["sub-01_acq-a_chunk-2_T2w", "sub-01_chunk-2_T1w"], ["sub-01_chunk-1_T1w"])


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
    scan(root, "sub-01_acq-short_T2starw", "axial", -215, -200)
    discovery = found(root)
    assert units_of(discovery) == [(["sub-01_T2w"], []), (["sub-01_acq-apart_T2starw"], [])]
    assert reasons(discovery) == {
        "sub-01_acq-short_T2starw": "it covers only 15 mm along the cord and lies outside every reference"
    }


@pytest.mark.parametrize(("low", "joins"), [(100, True), (193, True), (196, False)])
def test_a_short_stack_joins_where_half_of_it_overlaps(root: Path, low: float, joins: bool) -> None:
    scan(root, "sub-01_T2w", low=0, high=200)
    scan(root, "sub-01_T2starw", "axial", low, low + 10)
    discovery = found(root)
    assert len(discovery.units) == 1
    assert (len(discovery.units[0].inputs) == 2) is joins
    assert ("sub-01_T2starw" in reasons(discovery)) is not joins


def test_only_a_short_stack_is_nothing(root: Path) -> None:
    scan(root, "sub-01_T2starw", "axial", 0, 15)
    discovery = found(root)
    assert discovery.participants_without_units() == ("01",)
    assert "15 mm" in reasons(discovery)["sub-01_T2starw"]


def test_units_come_in_order(root: Path) -> None:
    for name, low in (("sub-02_ses-1", 0), ("sub-01_ses-2", 0), ("sub-01_ses-1", 0)):
        scan(root, f"{name}_acq-a_T2w", low=low - 300, high=low - 120)
        scan(root, f"{name}_acq-b_T2w", low=low, high=low + 180)
    assert [unit.name for unit in found(root).units] == [
        f"sub-{participant}_ses-{session}_acq-{acq}_T2w"
        for participant, session in (("01", "1"), ("01", "2"), ("02", "1"))
        for acq in ("b", "a")
    ]
