"""The code that judges the weights is itself judged on cords whose answer is known."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from bids_app import space
from bids_app.accuracy import __main__ as accuracy
from bids_app.accuracy import ablation, negatives, realism, scans
from bids_app.accuracy.cords import centre_distance
from bids_app.accuracy.paint import draw_sets, paint, volume_mm3
from bids_app.accuracy.real import Result, _overlap, recall, retest
from bids_app.accuracy.scans import LESION_FREE, PAIRS, Scan
from bids_app.accuracy.simulated import SUBSETS, make_participant
from bids_app.cutting import Crop
from bids_app.simulate.draw import Draw
from bids_app.simulate.scan import NOISE, draw_protocol
from bids_app.simulate.shifted import shifted_protocol
from bids_app.train import command
from bids_app.train.options import parser


@pytest.fixture
def scan() -> Scan:
    """A straight cord of 12 mm by 8 mm and value 100, 60 mm long, on voxels of 0.5 x 0.5 x 3 mm, in noise."""
    grid = space.Grid((80, 80, 20), np.diag([0.5, 0.5, 3.0, 1.0]))
    points = grid.to_mm(
        np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1).astype(float)
    )
    cord = ((points[..., 0] - 20) / 6) ** 2 + ((points[..., 1] - 20) / 4) ** 2 <= 1
    volume = np.where(cord, 100.0, 250.0) + np.random.default_rng(0).normal(0, 2, grid.shape)
    common = space.Grid(
        (80, 80, 120), np.array([[-0.5, 0, 0, 39.5], [0, 0.5, 0, 0], [0, 0, 0.5, -1.25], [0, 0, 0, 1]])
    )
    starts = np.full((120, 2), 16)
    empty = np.zeros((1, 48, 48, 120), np.float32)
    crop = Crop(empty, np.ones(empty.shape, bool), empty[0], starts, common, ("T2starAx",))
    return Scan("made up", volume.astype(np.float32), cord, grid, crop, np.ones(grid.shape, bool))  # fmt: skip


def test_painted_lesions_have_the_contrast_and_size_that_were_drawn(scan):
    for lesion in draw_sets(1, 4, 1):
        one = replace(lesion[0], length_mm=12.0, radial=0.4, along=0.0)
        volume, (share,) = paint(scan, [one], darker=False)
        full = share > 0.99
        assert full.any()
        assert (volume - scan.volume)[full].mean() == pytest.approx(100 * (one.contrast - 1), rel=0.03)
        ellipsoid = 4 / 3 * np.pi * one.radius_mm[0] * one.radius_mm[1] * one.length_mm / 2
        assert volume_mm3(share, scan.grid) == pytest.approx(ellipsoid, rel=0.2)
        assert not share[~scan.cord].any()
        dark, _ = paint(scan, [one], darker=True)
        assert dark[full].mean() == pytest.approx(100 / one.contrast, rel=0.03)


def test_sets_are_the_same_every_time_and_within_their_ranges():
    first, second = draw_sets(3, 20, 3), draw_sets(3, 20, 3)
    assert first == second
    every = [lesion for some in first for lesion in some]
    assert all(1.1 <= lesion.contrast <= 1.6 and 4 <= lesion.length_mm <= 20 for lesion in every)
    assert all(np.diff([lesion.along for lesion in some]).min() > 0.2 for some in first)


def test_a_painted_lesion_comes_through_the_crop(scan):
    lesion = replace(draw_sets(2, 1, 1)[0][0], contrast=1.6, length_mm=15.0, radial=0.3, along=0.0)
    volume, (share,) = paint(scan, [lesion], darker=False)
    crop = scan.with_volume(volume.astype(np.float32)).images[0]
    truth = scan.to_crop(share) >= 0.5
    assert truth.sum() * 0.125 == pytest.approx(volume_mm3(share, scan.grid), rel=0.25)
    assert crop[truth].mean() > 130


def test_overlaps_of_a_painted_lesion():
    truth = np.zeros((8, 8, 8), bool)
    truth[2:6, 2:6, 2:6] = True
    marked = np.zeros(truth.shape, np.int32)
    assert _overlap(marked, truth) == (0.0, 0.0, 0.0)
    marked[2:6, 2:6, 2:4] = 3
    marked[0, 0, 0] = 4
    assert _overlap(marked, truth) == (0.5, 0.5, 4.0)


def test_recall_and_retest_are_told_by_group():
    results = [
        Result(
            name, number, 1.4, 10.0, 50.0, 0.5 if number else 0.05, 0.3, 40.0 + 10 * (name in PAIRS[0][:1])
        )
        for name in LESION_FREE
        for number in range(3)
    ]
    lines = "\n".join(recall(results, 9, len(LESION_FREE)))
    assert "over 30 mm3 and contrast 1.3\t18 of 27 (0.67)" in lines
    assert "marked beside them\t0.20 a scan" in lines
    first, second = list(retest(results))[1:]
    assert "same answer for 3 of 3 (1.00)" in first
    assert "differs by 22%" in first
    assert "differs by 0%" in second


def test_centres_of_shifted_masks_are_apart():
    grid = space.Grid((20, 20, 5), np.diag([0.5, 0.5, 4.0, 1.0]))
    one, two = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    one[5:9, 5:9, :4] = True
    two[7:11, 5:9, 1:] = True
    assert centre_distance(one, two, grid) == (pytest.approx(1.0), 4, 4)


def test_no_person_is_in_both_halves_and_every_scan_is_in_one(tmp_path):
    assert not set(scans.HALVES[0]) & set(scans.HALVES[1])
    data, out = tmp_path / "data", tmp_path / "out"
    for stem in LESION_FREE:
        folder = data / stem.split("_")[0] / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        nibabel.save(
            nibabel.Nifti1Image(np.ones((3, 3, 3), np.float32), np.eye(4)), folder / f"{stem}.nii.gz"
        )
    assert negatives.main([str(data), str(out)]) == 0
    written = {
        name: {path.name for path in (out / name).rglob("*.nii.gz")} for name in ("all", "first", "second")
    }
    assert len(written["all"]) == len(LESION_FREE)
    assert written["first"] | written["second"] == written["all"]
    assert not {name.split("_")[0] for name in written["first"]} & {
        name.split("_")[0] for name in written["second"]
    }
    mask = nibabel.load(next((out / "first").rglob("*.nii.gz")))
    assert not np.asanyarray(mask.dataobj).any()


def test_each_half_is_judged_by_weights_of_the_other(monkeypatch, capsys):
    """The line of figures comes from whoever has not seen the person."""
    asked = []

    class Fake:
        def __init__(self, device, path):
            self.name = path.name
            self.operating = "setting"
            card = Namespace(name=path.name, sha256="0" * 64, record={"data": "something"})
            self.weights = Namespace(card=card)

    def told(scans, judge):
        asked.extend((stem, judge(stem).name) for stem in LESION_FREE)
        return []

    monkeypatch.setattr(accuracy, "Segmenter", Fake)
    monkeypatch.setattr(accuracy, "read_scans", lambda data: {})
    monkeypatch.setattr(accuracy, "false_lesions", told)
    monkeypatch.setattr(accuracy, "painted_lesions", lambda scans, judge: ([], 0))
    for name in ("recall", "retest", "cord_agreement"):
        monkeypatch.setattr(accuracy, name, lambda *args: [])
    accuracy.main(["data", "--halves", "first", "second", "--participants", "0"])
    for stem, name in asked:
        learned_from = scans.HALVES[("first", "second").index(name)]
        assert stem.split("_")[0].removeprefix("sub-") not in learned_from
    assert "learned from other people" in capsys.readouterr().out


def test_test_participants_are_unlike_those_of_training():
    for name in ("T2Sag", "T2starAx", "MP2RAGE"):
        for seed in range(20):
            worse, usual = shifted_protocol(Draw(seed), name), draw_protocol(Draw(seed), name)
            assert worse.noise >= NOISE[1] or worse.slice_mm > max(4.2, usual.slice_mm)
    person = make_participant(0)
    assert person.crop.sequences == SUBSETS[-1]
    assert person.with_only(SUBSETS[0]).images.shape == (1, 48, 48, person.crop.cord.shape[2])


def test_every_variant_is_a_valid_call():
    options = Namespace(runs=Path("runs"), steps=3, batch=2, seed=0, workers=1)
    for name in ablation.VARIANTS:
        parsed = parser().parse_args(ablation.arguments(name, options))
        from bids_app.train.tasks import TASKS

        assert command.configure(parsed, TASKS["lesion"]).steps == 3


@pytest.mark.real
def test_simulated_cords_look_like_real_ones(real_data, capsys):
    """Plain statistics of real scans lie within the simulator's ranges, nearly all of them; the table is printed."""
    rows = list(realism.compare(scans.read_scans(real_data), samples=30))
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(realism.table(rows)) + "\n")
    inside = [low <= real <= high for _, _, real, low, high in rows]
    assert len(rows) >= 48
    assert np.mean(inside) >= 0.85
