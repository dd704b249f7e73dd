from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from bids_app import judge
from bids_app.evaluate import scores
from bids_app.evaluate.pairs import pair


def mask(*boxes: tuple[slice, slice, slice]) -> np.ndarray:
    result = np.zeros((20, 20, 20), bool)
    for box in boxes:
        result[box] = True
    return result


A = (slice(2, 6), slice(2, 6), slice(2, 6))
B = (slice(12, 16), slice(12, 16), slice(12, 16))


def test_dice_and_empty_cases():
    assert scores.dice(mask(A), mask(A)) == 1
    assert scores.dice(mask(A), mask(B)) == 0
    assert scores.dice(mask(), mask()) == 1
    assert scores.dice(mask(A), mask()) == 0
    assert scores.dice(mask(A, B), mask(A)) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("prediction", "reference", "counts", "f1"),
    [
        (mask(A, B), mask(A, B), (2, 0, 2, 0), 1.0),
        (mask(A), mask(A, B), (1, 1, 1, 0), 2 / 3),
        (mask(A, B), mask(A), (1, 0, 1, 1), 2 / 3),
        (mask(), mask(), (0, 0, 0, 0), 1.0),
        (mask(A), mask(), (0, 0, 0, 1), 0.0),
        (mask(), mask(A), (0, 1, 0, 0), 0.0),
    ],
)
def test_lesion_counts(prediction, reference, counts, f1):
    for rule in scores.RULES.values():
        result = rule(prediction, reference, 1.0)
        assert result == counts
        assert result.f1 == pytest.approx(f1)


def test_rules_differ_on_a_lesion_that_is_found_in_part():
    part = mask((slice(2, 4), slice(2, 4), slice(2, 5)))  # 12 of 64 voxels
    assert scores.count_iou20(part, mask(A)) == (0, 1, 0, 1)
    assert scores.count_overlap25(part, mask(A)) == (0, 1, 1, 0)
    # Four fifths of the lesion lie outside the prediction, which is too much to make the prediction right.
    assert scores.count_anima(part, mask(A)) == (1, 0, 0, 1)


def test_one_prediction_over_two_lesions():
    joined = mask((slice(2, 16), slice(2, 6), slice(2, 6)))
    two = mask((slice(2, 8), slice(2, 6), slice(2, 6)), (slice(10, 16), slice(2, 6), slice(2, 6)))
    for rule in scores.RULES.values():
        assert rule(joined, two, 1.0) == (2, 0, 1, 0)


def test_anima_drops_small_lesions_and_wants_most_of_a_prediction_inside():
    tiny = mask((slice(2, 4), slice(2, 4), slice(2, 4)))
    assert scores.count_anima(tiny, mask(), 3 / 8) == (0, 0, 0, 0)
    assert scores.count_anima(tiny, mask(), 3.2 / 8) == (0, 0, 0, 1)
    # It covers the lesion wholly, but three quarters of it lie outside.
    wide = mask((slice(0, 16), slice(2, 6), slice(2, 6)))
    assert scores.count_anima(wide, mask(A)) == (0, 1, 1, 0)


def test_diagonal_neighbours_are_one_lesion_or_two():
    chain = mask((slice(2, 4), slice(2, 4), slice(2, 4)), (slice(4, 6), slice(4, 6), slice(4, 6)))
    assert sum(scores.count_iou20(mask(), chain)[:2]) == 1
    assert sum(scores.count_anima(mask(), chain)[:2]) == 2


def write(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.astype(np.uint8), np.eye(4) if affine is None else affine), path)


def test_names_of_both_kinds_find_each_other(tmp_path):
    write(tmp_path / "p/sub-01/anat/sub-01_acq-ax_space-orig_label-lesion_desc-T2w_mask.nii.gz", mask(A))
    write(tmp_path / "r/sub-01/anat/sub-01_acq-ax_T2w_label-lesion_seg.nii.gz", mask(A))
    write(tmp_path / "r/sub-02/anat/sub-02_T2w_lesion-manual.nii.gz", mask(A))
    pairs, alone = pair(tmp_path / "p", tmp_path / "r")
    assert [(one.participant, one.image) for one in pairs] == [("01", "sub-01_acq-ax_T2w")]
    assert alone == [f"{tmp_path}/r/sub-02/anat/sub-02_T2w_lesion-manual.nii.gz has no predicted mask."]


def test_command_writes_the_table_and_names_what_does_not_fit(tmp_path):
    for number, predicted in (("01", mask(A)), ("02", mask())):
        write(tmp_path / f"p/sub-{number}_label-lesion_desc-T2w_mask.nii.gz", predicted)
        write(tmp_path / f"r/sub-{number}_label-lesion_desc-T2w_mask.nii.gz", mask(A))
    arguments = [str(tmp_path / name) for name in ("p", "r", "out")]
    assert judge.main(arguments) == 0
    rows = (tmp_path / "out/metrics.tsv").read_text().splitlines()
    assert len(rows) == 3
    assert rows[1].split("\t")[:4] == ["01", "n/a", "sub-01_T2w", "1"]
    write(tmp_path / "p/sub-02_label-lesion_desc-T2w_mask.nii.gz", mask(A), np.diag([2.0, 1, 1, 1]))
    assert judge.main(arguments) == 3
    assert judge.main([str(tmp_path / "p"), str(tmp_path / "nowhere"), str(tmp_path / "out")]) == 2
