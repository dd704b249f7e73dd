"""The table of sequences."""

from __future__ import annotations

import pytest

from bids_app.sequences import PLANES, SEQUENCES, SLOTS, classify, slot_of


@pytest.mark.parametrize(
    ("suffix", "acquisition", "plane", "expected"),
    [
        ("T2w", "", "sagittal", "T2Sag"),
        ("T2w", "ax", "sagittal", "T2Sag"),  # the header decides, not the name
        ("T2w", "", "isotropic", "T2Sag"),
        ("T2w", "sag", "axial", "T2Ax"),
        ("T2w", "", "coronal", None),
        ("T2w", "sagSTIR", "sagittal", "STIR"),
        ("T2w", "stir", "axial", "STIR"),
        ("STIR", "", "sagittal", "STIR"),
        ("T2starw", "", "axial", "T2starAx"),
        ("T2star", "", "axial", "T2starAx"),
        ("T2starw", "", "sagittal", None),
        ("T1w", "", "coronal", "T1"),
        ("UNIT1", "", "sagittal", "MP2RAGE"),
        ("MTS", "", "axial", None),
        ("FLAIR", "", "axial", None),
        ("t2w", "", "sagittal", None),
    ],
)
def test_classify(suffix: str, acquisition: str, plane: str, expected: str | None) -> None:
    row = classify(suffix, {"acquisition": acquisition} if acquisition else {}, plane)
    assert (row.name if row else None) == expected


def test_no_image_is_of_two_sequences() -> None:
    for suffix in {suffix for row in SEQUENCES for suffix in row.suffixes}:
        for acquisition in ("", "sag", "STIR", "axSTIR"):
            for plane in PLANES:
                names = {
                    row.name for row in SEQUENCES if row.selects(suffix, {"acquisition": acquisition}, plane)
                }
                assert len(names) <= 1, (suffix, acquisition, plane, names)


def test_slots_count_up_and_belong_to_one_name() -> None:
    assert len(set(SLOTS)) == len(SLOTS)
    for row in SEQUENCES:
        assert SLOTS[row.slot] == row.name
        assert slot_of(row.name) == row.slot
    assert sorted({row.slot for row in SEQUENCES}) == list(range(len(SLOTS)))
    with pytest.raises(ValueError, match="not in tuple"):
        slot_of("FLAIR")


def test_rows_are_well_formed() -> None:
    for row in SEQUENCES:
        assert row.suffixes
        assert set(row.planes) <= set(PLANES)
        assert row.description
