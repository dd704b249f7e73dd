"""The code that judges the weights is itself judged on cords whose answer is known."""

from __future__ import annotations

import itertools
import math
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from bids_app import space
from bids_app.accuracy import __main__ as accuracy
from bids_app.accuracy import cords, frozen, lines, make_frozen, painted, prepare, realism, scans
from bids_app.accuracy.cords import centre_distance
from bids_app.accuracy.elsewhere import PARTS, Part
from bids_app.accuracy.paint import draw_bands, paint, passes, place, volume_mm3
from bids_app.accuracy.painted import BANDS, EACH, SEED, Outcome, Result, _overlap, look, recall, retest
from bids_app.accuracy.scans import AXIAL, CHOICE, LESION_FREE, PAIRS, SEEN, TEST, Found, Scan, group_of
from bids_app.accuracy.simulated import SUBSETS, make_participant
from bids_app.cutting import Crop
from bids_app.errors import CordError
from bids_app.evaluate.statistics import poisson, wilson
from bids_app.operating import Operating
from bids_app.sequences import SLOTS
from bids_app.simulate.draw import Draw
from bids_app.simulate.patches import Patch
from bids_app.simulate.scan import NOISE, draw_protocol
from bids_app.simulate.shifted import shifted_protocol
from bids_app.simulate.tubes import make_tubes
from bids_app.train.scans import ScanSource, read_scans
from bids_app.train.validation import Map

LESIONS = draw_bands(SEED, BANDS, EACH)
#: Place, contrast and length of the first and of the last.
FIRST, LAST = (-0.11016, 1.19918, 16.65583), (0.55358, 1.54351, 14.45934)


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
    return Scan(
        "sub-dev05_acq-ax_run-1_T2starw",
        volume.astype(np.float32),
        cord,
        grid,
        crop,
        np.ones(cord.shape, bool),
    )


class Sees:
    """A segmenter that marks what differs from the plain cord: what is brighter than a limit, and one voxel in every corner."""

    def __init__(self, limit: float, corner: bool = False) -> None:
        self.limit, self.corner = limit, corner

    def find(self, crop: Crop) -> tuple[np.ndarray, np.ndarray, list[Namespace]]:
        """Mark each half of the crop with a number of its own."""
        # The fluid around the cord is brighter than any lesion.
        marked = (crop.images[0] > self.limit) & (crop.images[0] < 175)
        index = np.zeros(marked.shape, np.int32)
        index[marked] = 1
        index[0, 0, 0] = 2 if self.corner else 0
        return (
            marked.astype(np.float32),
            index,
            [Namespace(index=n, volume_mm3=1.0) for n in np.unique(index) if n],
        )


def test_painted_lesions_have_the_contrast_and_size_that_were_drawn(scan):
    for lesion in LESIONS[::20]:
        one = replace(lesion, length_mm=12.0, radial=0.4, along=0.0)
        volume, (share,) = paint(scan, [place(scan, one)], darker=False)
        full = share > 0.99
        assert full.any()
        assert (volume - scan.volume)[full].mean() == pytest.approx(100 * (one.contrast - 1), rel=0.05)
        ellipsoid = 4 / 3 * np.pi * one.radius_mm[0] * one.radius_mm[1] * one.length_mm / 2
        assert volume_mm3(share, scan.grid) == pytest.approx(ellipsoid, rel=0.25)
        assert not share[~scan.cord].any()
        dark, _ = paint(scan, [place(scan, one)], darker=True)
        assert dark[full].mean() == pytest.approx(100 / one.contrast, rel=0.03)


def test_the_list_of_painted_lesions_is_fixed_and_within_its_bands():
    assert draw_bands(SEED, BANDS, EACH) == LESIONS
    assert len(LESIONS) == 90
    for number, lesion in enumerate(LESIONS):
        low, high = BANDS[number // EACH]
        assert low <= lesion.contrast < high
        assert 4 <= lesion.length_mm <= 20
    # Written down before any network was trained anew: a change of these numbers changes what is measured.
    first, last = LESIONS[0], LESIONS[-1]
    assert (first.along, first.contrast, first.length_mm) == pytest.approx(FIRST, abs=1e-4)
    assert (last.along, last.contrast, last.length_mm) == pytest.approx(LAST, abs=1e-4)


def test_lesions_of_one_pass_keep_apart_and_none_is_left_out(scan):
    placed = [place(scan, lesion) for lesion in LESIONS]
    shared_out = passes(placed, 15)
    assert sorted(number for some in shared_out for number in some) == list(range(90))
    for some in shared_out:
        ends = sorted(
            (one.centre[2] - one.lesion.length_mm / 2, one.centre[2] + one.lesion.length_mm / 2)
            for one in (placed[number] for number in some)
        )
        assert all(after[0] - before[1] >= 15 for before, after in itertools.pairwise(ends))
    assert 45 <= len(shared_out) < 90


def test_a_painted_lesion_comes_through_the_crop(scan):
    lesion = replace(LESIONS[-1], contrast=1.6, length_mm=15.0, radial=0.3, along=0.0)
    volume, (share,) = paint(scan, [place(scan, lesion)], darker=False)
    crop = scan.with_volume(volume.astype(np.float32)).images[0]
    truth = scan.to_crop(share) >= 0.5
    assert truth.sum() * 0.125 == pytest.approx(volume_mm3(share, scan.grid), rel=0.25)
    assert crop[truth].mean() > 130


def test_whoever_sees_the_contrast_finds_the_lesions_that_have_it(scan):
    """Both ways: a limit below every contrast finds all, one above finds none, and what lies in a corner counts as false."""
    placed = [place(scan, replace(LESIONS[n], length_mm=14.0, radial=0.3)) for n in (0, 1, 60, 61)]
    shared_out = passes(placed, 15)
    keen, blind = (look(scan, placed, shared_out, Sees(limit)) for limit in (107.0, 170.0))
    assert [one.number for one in sorted(keen.results, key=lambda one: one.number)] == [0, 1, 2, 3]
    assert all(one.found for one in keen.results)
    assert not any(one.found for one in blind.results)
    assert (keen.beside, keen.passes) == (0, len(shared_out))
    assert look(scan, placed, shared_out, Sees(107.0, corner=True)).beside == len(shared_out)


def test_overlaps_of_a_painted_lesion():
    truth = np.zeros((8, 8, 8), bool)
    truth[2:6, 2:6, 2:6] = True
    marked = np.zeros(truth.shape, np.int32)
    assert _overlap(marked, truth) == (0.0, 0.0, 0.0)
    marked[2:6, 2:6, 2:4] = 3
    marked[0, 0, 0] = 4
    assert _overlap(marked, truth) == (0.5, 0.5, 4.0)


def test_painted_lesions_are_told_by_group_kind_and_band():
    def outcome(stem: str, found: int) -> Outcome:
        results = [
            Result(
                stem,
                n,
                1.05 + 0.1 * (1 + n % 2) + 0.2 * (n >= 8),
                50.0,
                0.5 if n < found else 0.05,
                0.3,
                40.0,
            )
            for n in range(10)
        ]
        return Outcome(results, 2, 4)

    stems = {"sub-dev13_acq-sag_T2w": 9, "sub-dev10_acq-ax_T2starw": 10, "sub-dev12_acq-sag_T2w": 0}
    told = {
        (one.what, one.group): one for one in recall({stem: outcome(stem, n) for stem, n in stems.items()})
    }
    clear = "painted, over 30 mm3, contrast 1.3 and more, "
    sagittal = told[clear + "sagittal T2w", TEST]
    assert (sagittal.count, sagittal.of, sagittal.scans, sagittal.people) == (1, 2, 1, 1)
    assert (sagittal.low, sagittal.high) == wilson(1, 2)
    assert sagittal.must == "0.9"
    assert told[clear + "axial T2*w", TEST].value == 1
    assert told[clear + "sagittal T2w", SEEN].value == 0
    assert told[clear + "sagittal T2w", SEEN].must == ""
    both = told["painted, contrast 1.1 to 1.2, T2-weighted", TEST]
    assert (both.count, both.of, both.scans) == (8, 8, 2)
    assert told["false lesions beside painted ones, a scan, T2-weighted", TEST].value == 0.5


def test_two_runs_that_look_alike_have_the_same_answer(scan, monkeypatch):
    """The same scan twice: one judge gives the same answers, and a blind one for the second run gives others."""
    monkeypatch.setattr(painted, "RETESTED", 2)
    first, second = (Found(stem, Path(stem), scan.cord.astype(np.uint8)) for stem in PAIRS[1])
    monkeypatch.setattr(painted, "read_scan", lambda found: replace(scan, name=found.stem))
    *_, alike = retest(first, second, Sees(107.0))
    assert alike.what == "two runs of dev05, the same painted lesions: same answer"
    assert (alike.count, alike.of, alike.group) == (6, 6, SEEN)
    looks = iter([Sees(107.0), Sees(170.0)])
    real = painted.look
    monkeypatch.setattr(
        painted, "look", lambda scan, placed, shared_out, who: real(scan, placed, shared_out, next(looks))
    )
    *_, unlike = retest(first, second, Sees(107.0))
    assert unlike.count < 4
    assert list(retest(first, replace(second, mask=None), Sees(107.0)))[-1].endswith("no cord")


def test_false_lesions_are_counted_where_there_is_a_cord(scan, monkeypatch):
    monkeypatch.setattr(painted, "read_scan", lambda found: replace(scan, name=found.stem))
    founds = [
        Found(stem, Path(stem), scan.cord.astype(np.uint8))
        for stem, kind in LESION_FREE.items()
        if kind == AXIAL
    ]
    founds[0] = replace(founds[0], mask=None)
    told = list(painted.false_lesions(founds, Sees(300.0, corner=True)))
    assert f"\t{founds[0].stem}\t{TEST}\tno cord" in told
    table = {one.group: one for one in told if isinstance(one, lines.Line)}
    assert (table[TEST].count, table[TEST].scans, table[TEST].people, table[TEST].must) == (2, 2, 2, "0")
    assert (table[CHOICE].count, table[CHOICE].people) == (4, 1)
    assert (table[TEST].low, table[TEST].high) == poisson(2)


def test_intervals_are_the_known_ones():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert all(math.isnan(end) for end in wilson(0, 0))
    assert poisson(0) == pytest.approx((0, 3.689), abs=1e-3)
    assert poisson(6) == pytest.approx((2.202, 13.059), abs=1e-3)


def test_groups_of_people():
    assert {group_of(f"sub-{person}_x") for person in ("dev06", "dev10", "dev13", "dev15")} == {TEST}
    assert {group_of(f"sub-{person}_x") for person in ("dev07", "dev14")} == {CHOICE}
    assert group_of("sub-dev01_x") == SEEN
    # dev01 to dev03 are very likely one person, and dev16 is dev08.
    assert scans.people_in(["sub-dev01_a", "sub-dev02_b", "sub-dev03_c", "sub-dev16_d", "sub-dev08_e"]) == 2


def test_the_table_is_written_and_printed(tmp_path):
    some = [
        lines.share("this", TEST, [True, False], ["sub-dev06_a"], "all"),
        lines.total("that", SEEN, 3, ["sub-dev01_a"]),
    ]
    lines.write(tmp_path / "table.tsv", some)
    header, first, second = (tmp_path / "table.tsv").read_text().splitlines()
    assert header.split("\t") == [column.name for column in lines.COLUMNS]
    assert first.split("\t")[:5] == ["this", TEST, "0.5", "1", "2"]
    assert second.split("\t")[2:5] == ["3", "3", "n/a"]
    assert "1 of 2" in list(lines.printed(some))[1]


def scan_file(folder: Path, stem: str, shape: tuple[int, int, int] = (30, 30, 30)) -> Path:
    path = folder / stem.split("_")[0] / "anat" / f"{stem}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).normal(100, 5, shape).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return path


def test_what_is_no_cord_must_be_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(
        cords,
        "PARTS",
        (
            Part("sub-dev06_a", "jaw", (2, 12), (0, 30), (5, 25)),
            Part("sub-dev09_b", "none", (0, 9), (0, 9), (0, 9)),
        ),
    )
    monkeypatch.setattr(cords, "TUBES", 2)
    scan_file(tmp_path, "sub-dev06_a")
    seen = []

    def refuses(volume, grid):
        seen.append((volume.shape, tuple(grid.affine[:3, 3])))
        raise CordError("No cord.")

    def accepts(volume, grid):
        return np.ones(volume.shape, np.uint8)

    refused, taken_in = (
        [one for one in cords.refusals(tmp_path, judge) if isinstance(one, lines.Line)]
        for judge in (refuses, accepts)
    )
    assert seen[0] == ((10, 30, 20), (2.0, 0.0, 5.0))
    assert [(one.count, one.of) for one in refused] == [(1, 1), (1, 1), (2, 2)]
    assert [one.count for one in taken_in] == [0, 0, 0]


def test_cords_are_counted_by_group_and_a_missing_one_has_no_dice(tmp_path):
    stems = ("sub-dev15_a", "sub-dev06_a", "sub-dev12_a", scans.BRAIN)
    mask = np.zeros((30, 30, 30), np.uint8)
    mask[10:20, 10:20] = 1
    founds = {}
    for stem in stems:
        path = scan_file(tmp_path, stem)
        founds[stem] = Found(stem, path, mask if stem != "sub-dev06_a" else None, "why")
        manual = tmp_path / "derivatives" / "labels" / f"{stem}_label-SC_seg.nii.gz"
        manual.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), manual)
    told = [one for one in cords.finding(founds) if isinstance(one, lines.Line)]
    assert [(one.group, one.count, one.of) for one in told] == [
        (TEST, 1, 2),
        (SEEN, 1, 1),
        ("everybody", 2, 3),
        ("dev11", 0, 1),
    ]
    dices = {one.what: one.value for one in cords.agreement(tmp_path, founds) if isinstance(one, lines.Line)}
    assert (dices["cord Dice of dev15"], dices["cord Dice of dev06"]) == (1.0, 0.0)


def test_parts_without_a_cord_are_many_and_large():
    assert len(PARTS) >= 15
    assert len({part.stem for part in PARTS}) >= 8
    assert all(high - low >= 15 for part in PARTS for low, high in (part.i, part.j, part.k))


def test_tubes_are_the_same_every_time_and_no_two_alike():
    volume, grid = make_tubes(3)
    again, _ = make_tubes(3)
    assert (volume == again).all()
    assert volume.shape == grid.shape
    assert volume.min() >= 0
    assert volume.std() > 3
    other, _ = make_tubes(4)
    assert other.shape != volume.shape or (other != volume).any()


def patch_of(slots: tuple[int, ...]) -> Patch:
    """A cord of value 1 in fluid, and a lesion that is seen in the second image alone, where there is one."""
    shape = (len(slots), 48, 48, 64)
    cord = np.zeros(shape[1:], np.float16)
    cord[16:32, 18:30] = 1
    images = np.broadcast_to(2 - cord, shape).astype(np.float16).copy()
    visible = np.zeros(shape, bool)
    visible[-1, 20:26, 20:26, 20:40] = True
    images[visible] = 1.5
    return Patch(images, np.ones(shape, bool), slots, visible, cord)


def test_a_sample_with_a_t1_is_also_shown_by_its_t1_alone(monkeypatch):
    shown = []

    def predict(network, patch, seed, keep):
        shown.append((patch.slots, patch.visible.any()))
        keep(patch.slots, Draw(seed))
        return Map(np.zeros((1, 1, 1)), np.zeros((1, 1, 1), bool), len(patch.slots) > 1)

    monkeypatch.setattr(frozen, "predict", predict)
    t1, other = frozen.T1, SLOTS.index("T2Sag")
    assert [name for name, _ in frozen.views(None, patch_of((other, t1)), 1)][-1] == "T1 alone"
    assert shown[-1] == ((t1,), True)
    assert [name for name, _ in frozen.views(None, patch_of((t1, other)), 1)][-1] == "T1 alone"
    assert shown[-1] == ((t1,), False)
    names = [name for name, _ in frozen.views(None, patch_of((t1,)), 1)]
    assert names == ["one sequence", "T1 alone, as the draw has it", "T1 alone"]
    assert [name for name, _ in frozen.views(None, patch_of((other,)), 1)] == ["one sequence"]
    # Weights that do not know a sequence are not shown it.
    assert not list(frozen.views(None, patch_of((t1,)), 1, known=("T2Sag",)))
    assert len(list(frozen.views(None, patch_of((other, t1)), 1, known=("T2Sag",)))) == 1
    assert shown[-1][0] == (other,)


def test_frozen_samples_are_scored_at_the_setting_of_the_weights(tmp_path, monkeypatch):
    """A network that marks bright voxels of the cord finds the lesion; a stricter setting for one sequence does not."""
    for number in range(4):
        patch = patch_of((SLOTS.index("T2Sag"),))
        np.savez(
            tmp_path / f"{number}.npz", images=patch.images, coverage=patch.coverage, slots=patch.slots,
            visible=patch.visible, cord=patch.cord,
        )  # fmt: skip

    def predict(network, patch, seed, keep):
        lesion = patch.visible.any(axis=0)
        return Map(np.where(lesion, 0.8, 0).astype(np.float32), lesion, False)

    monkeypatch.setattr(frozen, "predict", predict)
    weights = Namespace(network=Namespace(eval=lambda: None))
    for least, f1 in ((0.7, 1.0), (0.9, 0.0)):
        judge = Namespace(weights=weights, operating=Operating(0.5, 0.0, least, 0.1), sequences=SLOTS)
        told = [one for one in frozen.frozen_scores(tmp_path, judge) if isinstance(one, lines.Line)]
        assert [(one.value, one.low, one.high, one.of) for one in told] == [(f1, f1, f1, 4)]
        assert told[0].must == "0.45"
    assert len(list(frozen.frozen_scores(tmp_path, judge, most=2))) == 3
    monkeypatch.setattr(frozen, "make_patch", lambda seed: patch_of((SLOTS.index("T2Sag"),)))
    fresh = [one for one in frozen.fresh_scores(5, judge) if isinstance(one, lines.Line)]
    assert [(one.what, one.of, one.must) for one in fresh] == [
        ("samples of the present simulator, lesion F1, one sequence", 5, "")
    ]


def test_frozen_samples_are_not_made_by_this_simulator(tmp_path, capsys):
    assert make_frozen.main([str(tmp_path / "samples")]) == 2
    assert "is not the code of version 0.1.0" in capsys.readouterr().err
    assert not (tmp_path / "samples").exists()


def test_bootstrap_holds_the_score_of_all():
    rows = np.random.default_rng(1).integers(0, 3, (50, 2))
    low, high = frozen.bootstrap(rows, lambda total: float(total[0] / total.sum()))
    assert low < rows[:, 0].sum() / rows.sum() < high
    assert high - low < 0.3


def test_centres_of_shifted_masks_are_apart():
    grid = space.Grid((20, 20, 5), np.diag([0.5, 0.5, 4.0, 1.0]))
    one, two = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    one[5:9, 5:9, :4] = True
    two[7:11, 5:9, 1:] = True
    assert centre_distance(one, two, grid) == (pytest.approx(1.0), 4, 4)


def test_nobody_is_learned_from_who_is_tested_or_chosen_on():
    learned = {source.stem for source in prepare.SOURCES}
    people = {stem.split("_")[0] for stem in learned}
    assert not people & {f"sub-{name}" for name in (*scans.TEST_PEOPLE, *scans.CHOICE_PEOPLE)}
    # What is called seen in training was seen.
    assert {stem for stem in LESION_FREE if group_of(stem) == SEEN} <= learned


def test_a_scan_is_prepared_with_its_cord(tmp_path):
    volume, mask = np.full((20, 30, 24), 100.0, np.float32), np.zeros((20, 30, 24), bool)
    mask[8:12, 10:14] = True
    volume[mask] = 400
    grid = space.Grid(volume.shape, np.diag([0.5, 0.5, 2.0, 1.0]))
    prepare.write_scan(tmp_path / "a.npz", volume, mask, grid, 1.0)
    prepare.write_scan(tmp_path / "b.npz", volume, mask, grid, 0.5, near_mm=1.0)
    whole, near = read_scans(tmp_path)
    assert whole.channels.shape == (3, 10, 15, 48)
    assert near.channels.shape == (3, 8, 8, 96)
    image, cord_share, covered = whole.channels
    assert covered.all()
    assert float(cord_share.sum()) == pytest.approx(mask.sum() / 2, rel=0.1)
    assert 0.8 < float(image.max()) <= 1
    assert float(near.channels[0].max()) == pytest.approx(1, abs=0.01)
    make = ScanSource(
        (whole, near),
        lambda seed: pytest.fail("nothing is to be simulated"),
        0.0,
        (16, 16, 16),
        1.0,
        (3.0, 3.0),
    )
    patches = [make(seed) for seed in range(40)]
    assert all(patch.coverage.any() for patch in patches)
    assert sum(bool((patch.cord > 0.5).any()) for patch in patches) > 10
    np.testing.assert_array_equal(make(3).images, patches[3].images)


def test_the_command_keeps_the_lines_of_all_parts(tmp_path, monkeypatch, capsys):
    segmenter = Namespace(
        operating="setting",
        weights=Namespace(card=Namespace(name="weights", sha256="0" * 64, record={"data": "something"})),
    )
    monkeypatch.setattr(accuracy, "Segmenter", lambda device, path: segmenter)
    monkeypatch.setattr(
        accuracy, "on_scans", lambda data, cord, who: ["looked", lines.total("false", TEST, 1, LESION_FREE)]
    )
    monkeypatch.setattr(
        accuracy, "frozen_scores", lambda folder, who, most: [lines.share("F1", "simulated", [True], ())]
    )
    table = tmp_path / "table.tsv"
    call = ["data", "--frozen", "folder", "--participants", "0", "--fresh", "0", "--table", str(table)]
    assert accuracy.main(call) == 0
    assert [line.split("\t")[0] for line in table.read_text().splitlines()] == ["what", "false", "F1"]
    said = capsys.readouterr().out
    assert "weights weights" in said
    assert said.index("looked") < said.rindex("F1")


def test_test_participants_are_unlike_those_of_training():
    for name in ("T2Sag", "T2starAx", "MP2RAGE"):
        for seed in range(20):
            worse, usual = shifted_protocol(Draw(seed), name), draw_protocol(Draw(seed), name)
            assert worse.noise >= NOISE[1] or worse.slice_mm > max(4.2, usual.slice_mm)
    person = make_participant(0)
    assert person.crop.sequences == SUBSETS[-1]
    assert person.with_only(SUBSETS[0]).images.shape == (1, 48, 48, person.crop.cord.shape[2])


@pytest.mark.real
def test_simulated_cords_look_like_real_ones(real_data, capsys):
    """Plain statistics of real scans lie within the simulator's ranges, nearly all of them; the table is printed."""
    rows = list(realism.compare(realism.read_all(real_data), samples=30))
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(realism.table(rows)) + "\n")
    inside = [low <= real <= high for _, _, real, low, high in rows]
    assert len(rows) >= 42
    assert np.mean(inside) >= 0.85
