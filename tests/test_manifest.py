import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import oriented_affine
from fakes_write import centred, make_image, make_unit

from bids_app.errors import EnvironmentFault
from bids_app.options import Options
from bids_app.records import Failed, Problem, Unit
from bids_app.write.manifest import finish_run, start_run, status_path, versions, write_status


@pytest.fixture
def options(tmp_path):
    return Options(tmp_path / "raw", tmp_path / "out", participant_label=("01",), work_dir=tmp_path / "w")


def read(path):
    return json.loads(Path(path).read_text())


def finished(options, tmp_path, name="sub-01_T2w"):
    shape = (10, 40, 60)
    affine = centred(oriented_affine("RAS", (3, 1, 1)), shape)
    image = make_image(options.bids_dir, name, affine, shape)
    return make_unit(tmp_path / "units" / name, Unit(image, (image,)), {1: (0, 3), 2: (15, 3)})


def test_manifest_is_there_from_the_start(options):
    run = start_run(options, ["mscord", "a", "b", "participant"])
    record = read(run.path)
    assert record["Status"] == "running"
    assert record["Command"] == ["mscord", "a", "b", "participant"]
    assert record["Options"]["participant_label"] == ["01"]
    assert record["Options"]["work_dir"] == str(options.work_dir)
    assert record["Options"]["bids_filter_file"] is None
    assert record["Versions"]["numpy"]
    assert "ExitCode" not in record


def test_manifest_at_the_end(options, tmp_path):
    done = finished(options, tmp_path)
    run = start_run(options, ["mscord"])
    outcomes = [done, Failed("01", "No cord was found in x.", "Check the image.", done.prepared.unit)]
    finish_run(run, 3, outcomes, [Problem("x.json is not JSON.", "Correct it.")])
    record = read(run.path)
    assert (record["Status"], record["ExitCode"]) == ("finished", 3)
    good, bad = record["Units"]
    assert (good["Status"], good["Lesions"], good["Sequences"]) == ("done", 2, ["T2Sag"])
    assert good["Volume_mm3"] == pytest.approx(done.volume_mm3, abs=1e-3)
    assert good["Seconds"] == {"segment": 1.25}
    assert (bad["Status"], bad["Reason"]) == ("failed", "No cord was found in x.")
    assert bad["NextStep"] == "Check the image."
    assert record["Problems"][0]["Message"] == "x.json is not JSON."
    assert record["Command"] == ["mscord"]


def test_every_run_has_a_file_of_its_own(options):
    with ThreadPoolExecutor(16) as pool:
        paths = {run.path for run in pool.map(lambda _: start_run(options, []), range(50))}
    assert len(paths) == 50
    assert len(list((options.output_dir / "logs").glob("*_manifest.json"))) == 50


def test_status_per_session(options, tmp_path):
    one = finished(options, tmp_path, "sub-01_ses-A_T2w")
    two = finished(options, tmp_path, "sub-01_ses-B_T2w")
    failed = Failed("01", "No cord.", "", two.prepared.unit)
    paths = write_status("01", [one, failed], options)
    assert [path.name for path in paths] == ["sub-01_ses-A_status.json", "sub-01_ses-B_status.json"]
    assert read(paths[0])["Units"][0]["Status"] == "done"
    assert read(paths[1])["Units"][0]["Status"] == "failed"
    write_status("01", [two], options)
    assert read(paths[1])["Units"][0]["Status"] == "done"
    assert read(paths[0])["Units"][0]["Unit"] == "sub-01_ses-A_T2w"


def test_failure_without_unit_is_forgotten_once_there_are_units(options, tmp_path):
    (path,) = write_status("01", [Failed("01", "Nothing usable.")], options)
    assert path == status_path(options, "01", None)
    write_status("01", [finished(options, tmp_path, "sub-01_ses-A_T2w")], options)
    assert not path.exists()


def test_results_of_a_participant_without_sessions_stay(options, tmp_path):
    (path,) = write_status("01", [finished(options, tmp_path)], options)
    write_status("01", [finished(options, tmp_path, "sub-01_ses-A_T2w")], options)
    assert path.exists()


def test_full_disk(options, monkeypatch):
    def refuse(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(EnvironmentFault, match="full"):
        start_run(options, [])
    with pytest.raises(EnvironmentFault, match="full"):
        write_status("01", [Failed("01", "x")], options)


def test_read_only_output(options, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(EnvironmentFault, match="not writable"):
        start_run(options, [])


def test_versions_import_nothing_heavy():
    code = (
        "import sys; from bids_app.write.manifest import versions; found = versions();"
        "assert found['torch'][0].isdigit(), found;"
        "assert not {'torch', 'nipype', 'bids', 'SimpleITK', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert versions()["python"].startswith("3.")
