from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy import stats

from bids_app import judge, tables
from bids_app.evaluate import detection, lesionwise, measures, statistics

SPACING = (0.5, 0.5, 2.0)
A = (slice(2, 6), slice(2, 6), slice(2, 6))
B = (slice(12, 16), slice(12, 16), slice(12, 16))


def mask(*boxes):
    result = np.zeros((20, 20, 20), bool)
    for box in boxes:
        result[box] = True
    return result


def save(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(array)
    kind = np.uint8 if array.dtype == bool else array.dtype
    nib.save(nib.Nifti1Image(array.astype(kind), np.eye(4) if affine is None else affine), path)


def test_distances_of_a_shifted_block_are_the_shift():
    moved = np.roll(mask(A), 3, axis=2)
    hausdorff, average = measures.distances(moved, mask(A), SPACING)
    assert hausdorff == pytest.approx(6.0, abs=0.1)
    assert 0 < average < 6
    assert measures.distances(mask(A), mask(A), SPACING) == (0, 0)
    swapped = measures.distances(mask(A), moved, SPACING)
    assert swapped == pytest.approx((hausdorff, average))


def test_empty_masks():
    both = measures.voxelwise(mask(), mask(), SPACING)
    assert (both["dice"], both["sensitivity"], both["precision"], both["hd95_mm"]) == (1, 1, 1, 0)
    for one in (measures.voxelwise(mask(A), mask(), SPACING), measures.voxelwise(mask(), mask(A), SPACING)):
        assert one["dice"] == 0
        assert np.isnan(one["hd95_mm"])
        assert np.isnan(one["assd_mm"])
    assert measures.voxelwise(mask(A), mask(), SPACING)["volume_difference_mm3"] == 64 * 0.5


def test_rows_of_lesions_carry_place_probability_and_level():
    probability = np.zeros((20, 20, 20), np.float32)
    probability[A] = 0.7
    levels = np.zeros((20, 20, 20), np.int32)
    levels[10, 10, 3], levels[10, 10, 14] = 2, 9
    rows = lesionwise.lesion_rows(mask(A), mask(A, B), 1.0, probability, levels)
    assert [(row.side, row.level, row.found_iou20) for row in rows] == [
        ("reference", "C2", True),
        ("reference", "T2", False),
        ("prediction", "C2", True),
    ]
    assert rows[0].centre == (3.5, 3.5, 3.5)
    assert rows[0].probability == pytest.approx(0.7)
    assert np.isnan(rows[1].probability)
    assert (rows[0].best_iou, rows[1].best_iou) == (1, 0)


def row(side, probability, found):
    return lesionwise.LesionRow(side, 1, 20.0, (0, 0, 0), "", probability, 0.0, found, found)


def test_froc_by_hand():
    lesions = [
        row("reference", 0.9, True), row("reference", 0.5, True), row("reference", float("nan"), False),
        row("prediction", 0.9, True), row("prediction", 0.8, False), row("prediction", 0.5, True), row("prediction", 0.3, False),
    ]  # fmt: skip
    curve = detection.froc(lesions, 2)
    assert curve.at(0.25) == pytest.approx(1 / 3)
    assert curve.at(0.5) == pytest.approx(2 / 3)
    assert curve.at(3) == pytest.approx(2 / 3)
    assert curve.score == pytest.approx((1 / 3 + 4 * 2 / 3) / 5)
    assert (
        detection.froc([row("reference", float("nan"), False), row("prediction", float("nan"), False)], 1)
        is None
    )


def test_participants_count_over_all_their_images():
    found = detection.participants(
        [
            ("01", True, False),
            ("01", False, True),
            ("02", False, False),
            ("03", False, True),
            ("04", True, False),
        ]
    )
    assert (found.true_positive, found.false_negative, found.true_negative, found.false_positive) == (
        1,
        1,
        1,
        1,
    )
    assert (found.sensitivity, found.specificity) == (0.5, 0.5)


def test_bootstrap_interval_holds_the_mean():
    values = np.random.default_rng(1).normal(0.2, 1, 400)
    low, high = statistics.interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.15)


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.9, 0.8]) == [1, 1]


def test_comparison_of_two_methods():
    random = np.random.default_rng(0)
    baseline = random.uniform(0, 1, 40)
    method = baseline + random.normal(0.1, 0.1, 40)
    found = statistics.compare(method, baseline)
    assert found.p == pytest.approx(stats.wilcoxon(method, baseline).pvalue)
    assert found.low < found.gain < found.high
    assert found.stars == "**"
    assert statistics.compare(baseline, method).effect == pytest.approx(-found.effect)
    assert statistics.compare(np.arange(5.0), np.arange(5.0) - 1).effect == 1
    same = statistics.compare(baseline, baseline)
    assert (same.p, same.effect, same.gain) == (1, 0, 0)
    with pytest.raises(ValueError, match="cannot be paired"):
        statistics.compare(baseline, baseline[:3])
    assert statistics.compare(np.array([1.0, np.nan, 0.0]), np.zeros(3)).participants == 2


@pytest.fixture
def folders(tmp_path):
    """Three participants: one found, one missed by the first method, one without lesions."""
    truth = {"01": mask(A), "02": mask(A, B), "03": mask()}
    ours = {"01": mask(A), "02": mask(A, B), "03": mask()}
    theirs = {"01": mask(A), "02": mask(A), "03": mask(B)}
    for name, masks in (("truth", truth), ("ours", ours), ("theirs", theirs)):
        for number, one in masks.items():
            if name == "theirs":  # named as the image, as nnU-Net does
                save(tmp_path / name / f"sub-{number}_T2w.nii.gz", one)
            else:
                save(tmp_path / name / f"sub-{number}_label-lesion_desc-T2w_mask.nii.gz", one)
    return tmp_path


def read(path):
    return tables.read_table(path)


def test_two_methods_beside_each_other(folders, capsys):
    status = judge.main(
        [str(folders / name) for name in ("ours", "truth", "out")] + ["--against", str(folders / "theirs")]
    )
    assert status == 0
    rows = {one["measure"]: one for one in read(folders / "out/comparison.tsv")}
    assert rows["dice"]["participants"] == "2"
    assert float(rows["dice"]["gain"]) == pytest.approx((1 - 2 / 3) / 2, abs=1e-3)
    own = {(one["measure"], one["over"]): one for one in read(folders / "out/summary.tsv")}
    assert own["dice", "participants with reference lesions"]["mean"] == "1"
    assert own["participants_with_none_marked", "participants without"]["mean"] == "1"
    other = {(one["measure"], one["over"]): one for one in read(folders / "out/against/summary.tsv")}
    assert other["participants_with_none_marked", "participants without"]["mean"] == "0"
    assert other["false_positives_per_image_iou20", "participants without"]["mean"] == "1"
    assert len(read(folders / "out/lesions.tsv")) == 6
    page = (folders / "out/evaluation.html").read_text()
    assert page.count("<svg") == 2
    assert "ours less theirs" in page
    assert "http" not in page.split("</style>")[1].replace("http://www.w3.org", "")
    assert "## Comparison" in capsys.readouterr().out


def test_froc_needs_probabilities_of_lesions(folders):
    path = folders / "ours/sub-02_seg-lesions_desc-T2w_dseg.nii.gz"
    for number, one in (("01", mask(A)), ("02", mask(A) + 2 * mask(B).astype(np.uint8))):
        save(path.with_name(path.name.replace("02", number)), one.astype(np.uint8))
        table = path.with_name(path.name.replace("02", number).replace(".nii.gz", ".tsv"))
        table.write_text("index\tprobability\n1\t0.9\n2\t0.4\n")
    arguments = [str(folders / name) for name in ("ours", "truth", "out")]
    assert judge.main(arguments) == 0
    assert "froc_score" in (folders / "out/summary.tsv").read_text()
    assert (folders / "out/froc.svg").exists()
    lesions = read(folders / "out/lesions.tsv")
    assert [one["probability"] for one in lesions if one["image"] == "sub-02_T2w"] == [
        "0.9",
        "0.4",
        "0.9",
        "0.4",
    ]


def test_every_problem_is_named_at_once(folders, caplog):
    save(folders / "ours/sub-01_label-lesion_desc-T2w_mask.nii.gz", np.full((20, 20, 19), 0, bool))
    values = np.zeros((20, 20, 20), np.float32)
    values[A], values[B] = 0.5, 1
    save(folders / "ours/sub-02_label-lesion_desc-T2w_mask.nii.gz", values)
    save(folders / "ours/sub-04_label-lesion_desc-T2w_mask.nii.gz", mask(A))
    save(folders / "truth/sub-05_label-lesion_desc-T2w_mask.nii.gz", mask(A))
    assert judge.main([str(folders / name) for name in ("ours", "truth", "out")]) == 3
    for words in (
        "20 x 20 x 19 voxels", "is no binary mask: it holds 2 values",
        "sub-04_label-lesion_desc-T2w_mask.nii.gz has no reference",
        "sub-05_label-lesion_desc-T2w_mask.nii.gz has no predicted",
    ):  # fmt: skip
        assert words in caplog.text
    assert [one["participant"] for one in read(folders / "out/metrics.tsv")] == ["03"]
    assert "What could not be evaluated" in (folders / "out/evaluation.html").read_text()


def test_masks_in_other_places_are_refused(folders, caplog):
    for number in ("01", "02", "03"):
        path = folders / f"ours/sub-{number}_label-lesion_desc-T2w_mask.nii.gz"
        save(path, mask(A), np.diag([-1.0, 1, 1, 1]))
    assert judge.main([str(folders / name) for name in ("ours", "truth", "out")]) == 4
    assert "lie in different places" in caplog.text


def test_masks_and_maps_in_another_order_of_axes_are_the_same(folders):
    """The same voxels, stored in another order: the same scores to the last digit, levels and probabilities included."""
    levels = np.zeros((20, 20, 20), np.uint8)
    levels[10, 10, :8], levels[10, 10, 8:] = 4, 8
    save(folders / "truth/sub-02_T2w_seg_labeled.nii.gz", levels)
    tables = []
    for out in ("straight", "turned"):
        assert judge.main([str(folders / name) for name in ("ours", "truth", out)]) == 0
        tables.append([read(folders / out / name) for name in ("metrics.tsv", "lesions.tsv")])
        for path in (folders / "truth").rglob("*.nii.gz"):
            image = nib.load(path)
            codes = nib.orientations.axcodes2ornt(("P", "S", "R"))
            order = nib.orientations.ornt_transform(nib.orientations.io_orientation(image.affine), codes)
            turned = image.as_reoriented(order)
            nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), path)
    assert tables[0] == tables[1]


def test_folders_are_needed(caplog):
    assert judge.main([]) == 2
    assert judge.main(["a"]) == 2
    assert "Three folders are needed" in caplog.text


def test_levels_come_from_a_map_beside_the_reference(folders):
    levels = np.zeros((20, 20, 20), np.uint8)
    levels[10, 10, :8], levels[10, 10, 8:] = 4, 8
    save(folders / "truth/sub-02_T2w_seg_labeled.nii.gz", levels)
    assert judge.main([str(folders / name) for name in ("ours", "truth", "out")]) == 0
    own = [one["level"] for one in read(folders / "out/lesions.tsv") if one["image"] == "sub-02_T2w"]
    assert own == ["C4", "T1", "C4", "T1"]
    assert "Recall by vertebral level" in (folders / "out/evaluation.md").read_text()
