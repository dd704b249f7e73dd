from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from bids_app import judge
from bids_app.errors import UsageError
from bids_app.evaluate import scores
from bids_app.evaluate.pairs import pair
from bids_app.train.prepare import prepare_dataset


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


def test_bounds_are_exact():
    # 7 of 35 voxels is an IoU of 20 %; 63 of 90 outside is 70 %, although 0.7 * 90 is a little less in floating point.
    row = np.zeros((1, 1, 200), bool)
    first, second = row.copy(), row.copy()
    first[..., :21], second[..., 14:35] = True, True
    assert scores.count_iou20(first, second) == (1, 0, 1, 0)
    first[:], second[:] = False, False
    first[..., 10:100], second[..., 10:37] = True, True
    assert scores.count_anima(first, second) == (1, 0, 1, 0)
    first[..., 100] = True
    assert scores.count_anima(first, second) == (0, 1, 1, 0)


@given(arrays(bool, (6, 6, 6)), arrays(bool, (6, 6, 6)))
def test_anima_counts_as_a_loop_over_its_definition(prediction, reference):
    def detected(table):
        found = 0
        for row in table[1:]:
            shared = row[1:]
            total, explained = shared.sum(), 0
            ok = 100 * total > 10 * row.sum()
            for column in np.argsort(-shared, kind="stable") if ok else ():
                outside, size = table[0, column + 1], table[:, column + 1].sum()
                ok &= 100 * outside <= 70 * size
                explained += shared[column]
                if 100 * explained >= 65 * total:
                    break
            found += bool(ok)
        return found

    counts = scores.count_anima(prediction, reference, 4)
    table = scores.overlaps(prediction, reference, scores.FACES)
    assert counts.found == detected(table)
    assert counts.right == detected(table.T)


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


def test_of_two_raters_masks_none_is_taken(tmp_path):
    write(tmp_path / "p/sub-01_T2w_label-lesion_seg.nii.gz", mask(A))
    for rater in ("one", "two"):
        write(tmp_path / f"r/sub-01_T2w_label-lesion_desc-{rater}_seg.nii.gz", mask(A))
    pairs, problems = pair(tmp_path / "p", tmp_path / "r")
    assert not pairs
    assert "sub-01_T2w_label-lesion_desc-one_seg.nii.gz and" in problems[0]
    assert "masks of one image" in problems[0]
    assert len(problems) == 1, "the mask that has two partners is not said to have none"
    with pytest.raises(UsageError, match="masks of one image"):
        prepare_dataset(tmp_path / "p", tmp_path / "r", tmp_path / "crops")


def test_all_problems_are_named_at_once(tmp_path, caplog):
    for number in range(8):
        write(tmp_path / f"p/sub-{number}_label-lesion_desc-T2w_mask.nii.gz", mask(A))
        write(tmp_path / f"r/sub-{number}_label-lesion_desc-T1w_mask.nii.gz", mask(A))
    assert judge.main([str(tmp_path / name) for name in ("p", "r", "out")]) == 4
    assert caplog.text.count("has no reference mask") == caplog.text.count("has no predicted mask") == 8
    caplog.clear()
    assert judge.main([str(tmp_path / name) for name in ("no", "nothing", "out")]) == 2
    assert f"{tmp_path}/no is not a folder" in caplog.text
    assert f"{tmp_path}/nothing is not a folder" in caplog.text


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
