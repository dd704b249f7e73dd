import json
import shutil
from dataclasses import replace

import pytest
from conftest import oriented_affine
from fakes_write import centred, make_image, make_unit

from bids_app.errors import NothingToDoError
from bids_app.group import LESIONS, SESSIONS, UNITS, write_group
from bids_app.options import Options
from bids_app.records import Failed, Unit
from bids_app.report.dataset import GONE, write_dataset_page
from bids_app.tables import read_table
from bids_app.write.derivatives import write_session
from bids_app.write.manifest import status_path, write_status


@pytest.fixture
def options(tmp_path):
    return Options(tmp_path / "raw", tmp_path / "out", level="group")


def finish(options, tmp_path, name, balls):
    shape = (10, 40, 60)
    affine = centred(oriented_affine("RAS", (3, 1, 1)), shape)
    image = make_image(options.bids_dir, name, affine, shape)
    done = make_unit(tmp_path / "units" / name, Unit(image, (image,)), balls)
    write_session([done], options)
    write_status(image.participant, [done], options)
    return done


@pytest.fixture
def study(options, tmp_path):
    """Three participants, each as if from a process of its own; the last one has nothing usable."""
    two = finish(options, tmp_path, "sub-02_T2w", {1: (0, 3), 2: (15, 2)})
    finish(options, tmp_path, "sub-01_ses-B_T2w", {})
    bad = finish(options, tmp_path, "sub-01_ses-A_T2w", {1: (0, 3)})
    write_status("01", [Failed("01", "No cord was\tfound.", "Look at it.", bad.prepared.unit)], options)
    (options.bids_dir / "sub-03").mkdir()
    write_status("03", [Failed("03", "Nothing of sub-03 can be used.")], options)
    return two


def test_tables(options, study):
    lesions, units, sessions = write_group(options)
    rows = read_table(units)
    assert [(row["participant_id"], row["session_id"], row["status"]) for row in rows] == [
        ("sub-01", "ses-A", "failed"),
        ("sub-01", "ses-B", "done"),
        ("sub-02", "n/a", "done"),
        ("sub-03", "n/a", "failed"),
    ]
    assert [row["lesions"] for row in rows] == ["n/a", "0", "2", "n/a"]
    assert [(row["cord_mm"], row["image_mm"]) for row in rows[1:3]] == [("55.0", "60.0")] * 2
    assert rows[0]["reason"] == "No cord was found."
    assert rows[3]["unit"] == "n/a"
    assert float(rows[2]["volume_mm3"]) == pytest.approx(study.volume_mm3, abs=1e-3)
    found = read_table(lesions)
    assert [(row["participant_id"], row["unit"], row["index"]) for row in found] == [
        ("sub-02", "sub-02_T2w", "1"),
        ("sub-02", "sub-02_T2w", "2"),
    ]
    for path, columns in ((lesions, LESIONS), (units, UNITS), (sessions, SESSIONS)):
        names = [column.name for column in columns]
        assert list(json.loads(path.with_suffix(".json").read_text())) == names
        assert path.read_text().splitlines()[0].split("\t") == names


def test_rebuilding_gives_the_same_bytes(options, study):
    first = [path.read_bytes() for path in write_group(options)]
    assert [path.read_bytes() for path in write_group(options)] == first


def test_results_without_logs_are_found(options, study):
    status_path(options, "02", None).unlink()
    status_path(options, "03", None).unlink()
    rows = read_table(write_group(options)[1])
    assert [(row["unit"], row["status"]) for row in rows] == [
        ("sub-01_ses-A_T2w", "failed"),
        ("sub-01_ses-B_T2w", "done"),
        ("sub-02_T2w", "done"),
    ]
    assert rows[2]["lesions"] == "2"


def test_units_of_an_older_run_do_not_come_back(options, study, tmp_path):
    finish(options, tmp_path, "sub-02_acq-new_T2w", {1: (0, 3)})
    rows = read_table(write_group(options)[1])
    assert [row["unit"] for row in rows if row["participant_id"] == "sub-02"] == ["sub-02_acq-new_T2w"]


def test_lost_or_damaged_results_are_said_to_be(options, study):
    (table,) = options.output_dir.glob("sub-02/anat/*_dseg.tsv")
    table.unlink()
    status_path(options, "03", None).write_text("{")
    rows = read_table(write_group(options)[1])
    assert [row["status"] for row in rows] == ["failed", "done", "failed", "failed"]
    assert table.name in rows[2]["reason"]
    assert "sub-03_status.json" in rows[3]["reason"]


def test_each_broken_image_counts_once_and_in_its_session(options, tmp_path):
    """A unit that failed, two broken images beside one that is done, and a participant of whom there is nothing."""
    done = finish(options, tmp_path, "sub-01_ses-B_T2w", {1: (0, 3)})
    folder = options.bids_dir / "sub-01/ses-B/anat"
    broken = [Failed("01", f"{n} is empty.", "", image=folder / n, session="B") for n in ("a.nii", "b.nii")]
    write_status("01", [done, *broken], options)
    write_status("02", [Failed("02", "sub-02 has no image that can be used.")], options)
    _, units, sessions = map(read_table, write_group(options))
    assert [(row["unit"], row["image"], row["status"]) for row in units] == [
        ("n/a", "a.nii", "failed"),
        ("n/a", "b.nii", "failed"),
        ("sub-01_ses-B_T2w", "n/a", "done"),
        ("n/a", "n/a", "failed"),
    ]
    assert [(row["session_id"], row["units"], row["failed"]) for row in sessions] == [
        ("ses-B", "1", "2"),
        ("n/a", "0", "1"),
    ]


def test_who_is_no_longer_in_the_input_is_marked(options, study, caplog):
    shutil.rmtree(options.bids_dir / "sub-01/ses-B")
    shutil.rmtree(options.bids_dir / "sub-02")
    lesions, units, sessions = map(read_table, write_group(options))
    expected = [
        ("sub-01", "ses-A", "yes"),
        ("sub-01", "ses-B", "no"),
        ("sub-02", "n/a", "no"),
        ("sub-03", "n/a", "yes"),
    ]
    for rows in (units, sessions):
        assert [(row["participant_id"], row["session_id"], row["in_input"]) for row in rows] == expected
    assert [row["in_input"] for row in lesions] == ["no", "no"]
    assert "No longer in the input, and marked so in the tables: sub-01 ses-B, sub-02." in caplog.text
    page = write_dataset_page(options).read_text()
    assert page.count(GONE) == 2


def test_labels_restrict(options, study):
    chosen = replace(options, level="group", participant_label=("sub-01",), session_label=("B",))
    rows = read_table(write_group(chosen)[1])
    assert [row["unit"] for row in rows] == ["sub-01_ses-B_T2w"]


def test_an_image_of_two_units_counts_each_lesion_once(options, tmp_path):
    shape = (10, 40, 60)
    affine = centred(oriented_affine("RAS", (3, 1, 1)), shape)
    a, b = (make_image(options.bids_dir, f"sub-01_acq-{x}_T2w", affine, shape) for x in "ab")
    units = [
        make_unit(tmp_path / "a", Unit(a, (a,), (b,)), {1: (0, 3)}),
        make_unit(tmp_path / "b", Unit(b, (b,), (a,)), {2: (15, 3)}),
    ]
    write_session(units, options)
    write_status("01", units, options)
    assert [row["index"] for row in read_table(write_group(options)[0])] == ["1", "2"]


def test_nothing_to_do(options):
    with pytest.raises(NothingToDoError, match="no results"):
        write_group(options)


def test_a_lesion_in_the_overlap_of_two_stations_counts_once(options, tmp_path):
    stations = []
    for name, balls in (("chunk-1", {1: (0, 3), 2: (15, 2)}), ("chunk-2", {1: (0, 3)})):
        shape = (10, 40, 60)
        affine = centred(oriented_affine("RAS", (3, 1, 1)), shape)
        image = make_image(options.bids_dir, f"sub-01_{name}_T2w", affine, shape)
        stations.append(make_unit(tmp_path / "units" / name, Unit(image, (image,)), balls))
    write_session(stations, options)
    write_status("01", stations, options)
    lesions, units, sessions = map(read_table, write_group(options))
    assert [row["lesions"] for row in units] == ["2", "1"]
    assert [(row["units"], row["failed"], row["lesions"]) for row in sessions] == [("2", "0", "2")]
    assert float(sessions[0]["volume_mm3"]) == pytest.approx(
        sum(float(row["volume_mm3"]) for row in lesions if row["same_as"] == "n/a"), abs=1e-3
    )
    same = [row["same_as"] for row in lesions]
    assert same[:2] == ["n/a", "n/a"]
    assert same[2].startswith("sub-01_chunk-1_T2w:")
