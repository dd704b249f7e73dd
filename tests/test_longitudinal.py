"""Lesions of one participant across sessions."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import oriented_affine
from fakes_cord import cord_mask, make_grid, save, scan
from fakes_write import centred, make_image, make_unit

from bids_app import longitudinal
from bids_app.group import unit_rows, write_group
from bids_app.longitudinal import Change, Visit, changes, write_longitudinal
from bids_app.options import Options
from bids_app.records import Unit
from bids_app.space import Grid
from bids_app.tables import read_table
from bids_app.write.derivatives import write_session
from bids_app.write.manifest import write_status

SHAPE = (40, 40, 60)


def visit(
    balls: dict[int, tuple[tuple[float, float, float], float]], shape=SHAPE, origin=(0.0, 0.0, 0.0)
) -> Visit:
    """Make a visit on voxels of 1 mm with balls: number to centre (mm) and radius (mm)."""
    affine = np.eye(4)
    affine[:3, 3] = origin
    grid = Grid(shape, affine)
    at = grid.to_mm(np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1).astype(float))
    labels = np.zeros(shape, np.int64)
    for number, (centre, radius) in balls.items():
        labels[np.linalg.norm(at - centre, axis=-1) <= radius] = number
    volumes = {number: float((labels == number).sum()) for number in balls}
    return Visit("ses-A", "unit", Path("image"), Path("cord"), labels, grid, volumes)


def states(found: list[Change]) -> dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    result: dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
    for change in found:
        result.setdefault(change.state, []).append((change.before, change.after))
    return result


def test_each_state():
    before = visit({1: ((20, 20, 10), 3), 2: ((20, 20, 30), 3), 3: ((20, 20, 50), 3)})
    after = visit({1: ((20, 21, 10), 3), 2: ((20, 20, 31), 5), 4: ((12, 20, 40), 3)})
    assert states(changes(before, after, np.eye(4))) == {
        "persisting": [((1,), (1,))],
        "enlarged": [((2,), (2,))],
        "gone": [((3,), ())],
        "new": [((), (4,))],
    }


def test_a_patient_who_moved_is_put_back():
    move = np.eye(4)
    move[:3, 3] = (0, 6, 9)
    before = visit({1: ((20, 15, 20), 3)})
    after = visit({1: ((20, 21, 29), 3)})
    assert states(changes(before, after, move)) == {"persisting": [((1,), (1,))]}
    assert states(changes(before, after, np.eye(4))) == {"gone": [((1,), ())], "new": [((), (1,))]}


def test_lesions_that_merge_are_compared_together():
    before = visit({1: ((20, 20, 24), 3), 2: ((20, 20, 33), 3)})
    after = visit({1: ((20, 20, 28), 7)})
    assert states(changes(before, after, np.eye(4))) == {"enlarged": [((1, 2), (1,))]}
    assert states(changes(after, before, np.eye(4))) == {"persisting": [((1,), (1, 2))]}


def test_what_the_other_session_does_not_cover_is_neither_new_nor_gone():
    before = visit({1: ((20, 20, 50), 3)})
    after = visit({1: ((20, 20, 35), 3)}, (40, 40, 30), (0, 0, 12))
    found = states(changes(before, after, np.eye(4)))
    assert found == {"not covered later": [((1,), ())], "new": [((), (1,))]}
    assert states(changes(after, before, np.eye(4)))["not covered before"] == [((), (1,))]


def test_nothing_on_either_side():
    assert changes(visit({}), visit({}), np.eye(4)) == []
    assert states(changes(visit({}), visit({1: ((20, 20, 20), 3)}), np.eye(4))) == {"new": [((), (1,))]}


@pytest.fixture
def options(tmp_path) -> Options:
    return Options(tmp_path / "raw", tmp_path / "out", level="group")


def finish(
    options: Options, tmp_path: Path, name: str, balls: dict[int, tuple[float, float]], **acquired: str
) -> Unit:
    affine = centred(oriented_affine("RAS", (3, 1, 1)), (10, 40, 60))
    times = {place.replace("_tsv", ".tsv"): time for place, time in acquired.items()}
    image = replace(make_image(options.bids_dir, name, affine, (10, 40, 60)), acquired=times)
    done = make_unit(tmp_path / "units" / name, Unit(image, (image,)), balls)
    write_session([done], options)
    write_status(image.participant, [done], options)
    return done.unit


def test_the_table_of_a_study(options, tmp_path):
    """The images are noise: they stay where their headers say. M12 follows M6, though it comes first by name."""
    finish(options, tmp_path, "sub-01_ses-M0_T2w", {1: (-12, 4), 2: (12, 4)})
    finish(options, tmp_path, "sub-01_ses-M6_T2w", {1: (-12, 4), 2: (0, 4)})
    finish(options, tmp_path, "sub-01_ses-M12_T2w", {1: (0, 6)})
    finish(options, tmp_path, "sub-02_T2w", {1: (0, 3)})
    path = write_longitudinal(unit_rows(options), options)
    rows = read_table(path)
    seen = {
        (row["session_before"], row["session_after"], row["state"]): (
            row["lesions_before"],
            row["lesions_after"],
        )
        for row in rows
    }
    assert seen == {
        ("ses-M0", "ses-M6", "persisting"): ("1", "1"),
        ("ses-M0", "ses-M6", "gone"): ("2", "n/a"),
        ("ses-M0", "ses-M6", "new"): ("n/a", "2"),
        ("ses-M6", "ses-M12", "enlarged"): ("2", "1"),
        ("ses-M6", "ses-M12", "gone"): ("1", "n/a"),
    }
    assert {row["order"] for row in rows} == {"labels"}
    assert float(rows[0]["volume_before_mm3"]) > 100
    assert path.with_suffix(".json").exists()


def compared(options: Options) -> dict[tuple[str, str, str], list[tuple[str, str, str]]]:
    """Sessions and what their order is known from, with state and lesions of each row."""
    found: dict[tuple[str, str, str], list[tuple[str, str, str]]] = {}
    for row in read_table(write_longitudinal(unit_rows(options), options)):
        key = (row["session_before"], row["session_after"], row["order"])
        found.setdefault(key, []).append((row["state"], row["lesions_before"], row["lesions_after"]))
    return found


FEW, MANY = {1: (-12, 4)}, {1: (-12, 4), 2: (12, 4)}


@pytest.mark.parametrize("place", ["scans_tsv", "sessions_tsv", "sidecar"])
def test_times_of_acquisition_count_before_labels(options, tmp_path, place, caplog):
    """The session that was called 1 was acquired later: a lesion that it alone shows is new."""
    finish(options, tmp_path, "sub-01_ses-1_T2w", MANY, **{place: "2021-06-01T10:00:00"})
    finish(options, tmp_path, "sub-01_ses-2_T2w", FEW, **{place: "2020-06-01T10:00:00"})
    name = place.replace("_tsv", ".tsv")
    assert compared(options) == {("ses-2", "ses-1", name): [("persisting", "1", "1"), ("new", "n/a", "2")]}
    assert f"ses-2, ses-1 were acquired in this order by {name}" in caplog.text


def test_where_only_words_are_known_nothing_is_new_or_gone(options, tmp_path, caplog):
    finish(options, tmp_path, "sub-01_ses-pre_T2w", FEW)
    finish(options, tmp_path, "sub-01_ses-post_T2w", MANY)
    assert compared(options) == {
        ("ses-post", "ses-pre", "unknown"): [("persisting", "1", "1"), ("in one session only", "2", "n/a")]
    }
    assert "nothing says which of ses-post and ses-pre is earlier" in caplog.text
    finish(options, tmp_path, "sub-01_ses-pre_T2w", FEW, sidecar="2020-01-01T00:00:00")
    finish(options, tmp_path, "sub-01_ses-post_T2w", MANY, sidecar="2020-09-01T00:00:00")
    assert compared(options) == {
        ("ses-pre", "ses-post", "sidecar"): [("persisting", "1", "1"), ("new", "n/a", "2")]
    }


def test_states_without_an_order_are_the_same_from_both_sides():
    one = visit({1: ((20, 20, 10), 3), 2: ((20, 20, 30), 3), 3: ((20, 20, 50), 3)})
    other = visit({1: ((20, 21, 10), 3), 2: ((20, 20, 31), 5)}, (40, 40, 40))
    forth, back = (states(changes(*pair, np.eye(4), ordered=False)) for pair in ((one, other), (other, one)))
    assert forth == {
        "persisting": [((1,), (1,))],
        "of another volume": [((2,), (2,))],
        "not covered by the other session": [((3,), ())],
    }
    assert back == {state: [(b, a) for a, b in pairs] for state, pairs in forth.items()}
    assert states(changes(one, visit({}), np.eye(4), ordered=False)).keys() == {"in one session only"}


def test_one_session_has_nothing_to_compare(options, tmp_path):
    finish(options, tmp_path, "sub-01_ses-A_T2w", {1: (0, 3)})
    finish(options, tmp_path, "sub-02_T2w", {1: (0, 3)})
    write_group(options)
    assert write_longitudinal(unit_rows(options), options) is None


def test_a_session_that_cannot_be_read_costs_its_comparison_alone(options, tmp_path, caplog):
    finish(options, tmp_path, "sub-01_ses-A_T2w", {1: (0, 3)})
    finish(options, tmp_path, "sub-01_ses-B_T2w", {1: (0, 3)})
    shutil.rmtree(options.bids_dir)
    assert read_table(write_longitudinal(unit_rows(options), options)) == []
    assert "sub-01: ses-A and ses-B are not compared" in caplog.text


def test_sessions_are_aligned_by_their_images(tmp_path, monkeypatch):
    """A neck that lies 5 mm further back and 3 mm higher the second time: its lesion is the same one."""
    grid = make_grid("LPS", (1.0, 1.0, 3.0), 10.0)
    cord = cord_mask(grid).astype(np.uint8)
    values = scan(grid)
    paths = {}
    for name, shift in (("A", 0.0), ("B", 5.0)):
        moved = Grid(grid.shape, grid.affine.copy())
        moved.affine[1, 3] += shift
        moved.affine[2, 3] += 0.6 * shift
        paths[name] = (
            save(tmp_path / f"{name}.nii.gz", values, moved),
            save(tmp_path / f"{name}_cord.nii.gz", cord, moved),
            moved,
        )
    labels = np.zeros(grid.shape, np.int64)
    middle = np.argwhere(cord)[len(np.argwhere(cord)) // 2]
    labels[tuple(slice(n - 1, n + 2) for n in middle)] = 1
    visits = {
        name: Visit(name, name, image, mask, labels, moved, {1: 27.0})
        for name, (image, mask, moved) in paths.items()
    }
    monkeypatch.setattr(longitudinal, "_visit", lambda row, _: visits[row["unit"]])
    rows = [{"participant_id": "sub-01", "session_id": f"ses-{n}", "unit": n, "status": "done"} for n in "AB"]
    found = read_table(write_longitudinal(rows, Options(tmp_path, tmp_path)))
    assert [(row["state"], row["alignment"]) for row in found] == [("persisting", "rigid")]
    assert nib.load(paths["B"][0]).affine[1, 3] == pytest.approx(grid.affine[1, 3] + 5)
