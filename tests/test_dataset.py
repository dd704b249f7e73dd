import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bids_app import __version__
from bids_app.errors import EnvironmentFault, ExitCode, UsageError
from bids_app.files import write_json
from bids_app.options import Options
from bids_app.write.dataset import raw_uri, start_dataset


@pytest.fixture
def options(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "dataset_description.json").write_text(json.dumps({"Name": "Cords", "BIDSVersion": "1.9.0"}))
    return Options(raw, tmp_path / "out")


def description(options):
    return json.loads((options.output_dir / "dataset_description.json").read_text())


def test_description(options, monkeypatch):
    monkeypatch.delenv("MSCORD_CONTAINER_TAG", raising=False)
    start_dataset(options)
    record = description(options)
    assert record["DatasetType"] == "derivative"
    assert record["GeneratedBy"] == [{"Name": "mscord", "Version": __version__}]
    assert record["DatasetLinks"] == {"raw": (options.bids_dir).as_uri()}
    assert record["SourceDatasets"] == [{"URL": options.bids_dir.as_uri()}]
    assert "Cords" in record["Name"]
    assert len(record["Authors"]) == 2
    assert "not for diagnosis" in (options.output_dir / "README").read_text()


def test_container_and_doi(options, monkeypatch):
    monkeypatch.setenv("MSCORD_CONTAINER_TAG", "mscord:1")
    (options.bids_dir / "dataset_description.json").write_text(json.dumps({"DatasetDOI": "doi:10.1/x"}))
    start_dataset(options)
    assert description(options)["GeneratedBy"][0]["Container"] == {"Type": "docker", "Tag": "mscord:1"}
    assert description(options)["SourceDatasets"] == [{"DOI": "doi:10.1/x"}]


def test_output_under_derivatives_links_relatively(options):
    inside = Options(options.bids_dir, options.bids_dir / "derivatives" / "mscord")
    start_dataset(inside)
    assert description(inside)["DatasetLinks"] == {"raw": "../.."}


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_input_description_may_be_missing_or_broken(options, text):
    path = options.bids_dir / "dataset_description.json"
    path.unlink() if text is None else path.write_text(text)
    start_dataset(options)
    assert description(options)["Name"]


def test_parallel_writers_give_one_dataset(options):
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: start_dataset(options), range(64)))
    once = {path.name: path.read_bytes() for path in options.output_dir.iterdir()}
    assert not [name for name in once if name.endswith(".part")]
    start_dataset(options)
    assert {path.name: path.read_bytes() for path in options.output_dir.iterdir()} == once


def test_what_users_add_is_kept(options):
    start_dataset(options)
    ignore, readme = options.output_dir / ".bidsignore", options.output_dir / "README"
    ignore.write_text("mine/\n" + ignore.read_text())
    readme.write_text("my notes")
    start_dataset(options)
    assert ignore.read_text().startswith("mine/\n")
    assert ignore.read_text().count("*.html") == 1
    assert readme.read_text() == "my notes"


@pytest.mark.parametrize(
    "record",
    [
        {"Name": "raw", "BIDSVersion": "1.9.0"},
        {"Name": "f", "GeneratedBy": [{"Name": "fMRIPrep"}]},
        {"GeneratedBy": "mscord"},
    ],
)
def test_foreign_dataset_is_refused_and_untouched(options, record):
    options.output_dir.mkdir()
    path = options.output_dir / "dataset_description.json"
    path.write_text(json.dumps(record))
    with pytest.raises(UsageError, match="nothing is written"):
        start_dataset(options)
    assert json.loads(path.read_text()) == record
    assert [path.name for path in options.output_dir.iterdir()] == [path.name]


def test_output_that_is_a_file(options):
    options.output_dir.write_text("x")
    with pytest.raises(UsageError, match="not a folder"):
        start_dataset(options)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "full"),
        (errno.EDQUOT, "full"),
        (errno.EROFS, "not writable"),
        (errno.EACCES, "not writable"),
        (errno.EIO, "could not be written"),
    ],
)
def test_output_that_cannot_be_written(options, monkeypatch, number, words):
    def refuse(self, data):
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(EnvironmentFault, match=words) as caught:
        start_dataset(options)
    assert caught.value.exit_code == ExitCode.ENVIRONMENT
    assert caught.value.next_step
    assert list(options.output_dir.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(options):
    options.output_dir.mkdir(mode=0o555)
    with pytest.raises(EnvironmentFault, match="not writable"):
        start_dataset(options)


def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def interrupt(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_raw_uri(tmp_path):
    scan = tmp_path / "raw" / "sub-01" / "anat" / "sub-01_T2w.nii.gz"
    scan.parent.mkdir(parents=True)
    target = tmp_path / "annex"
    target.write_text("x")
    scan.symlink_to(target)
    assert raw_uri(scan, tmp_path / "raw") == "bids:raw:sub-01/anat/sub-01_T2w.nii.gz"
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "raw")
    assert raw_uri(scan, link) == "bids:raw:sub-01/anat/sub-01_T2w.nii.gz"
