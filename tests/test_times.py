"""When images were acquired: scans.tsv, sessions.tsv, sidecars."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes_discover import dataset, found, messages, scan

from bids_app.discover.times import instant


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = dataset(tmp_path / "bids")
    for name in ("ses-A_T2w", "ses-A_T1w", "ses-B_T2w"):
        scan(root, f"sub-01_{name}")
    scan(root, "sub-02_T2w", AcquisitionDateTime="2020-01-01T10:00:00")
    return root


def acquired(root: Path) -> dict[str, dict[str, str]]:
    images = [image for unit in found(root).units for image in unit.images]
    return {image.stem: dict(image.acquired) for image in images}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019-03-04T10:15:00", "2019-03-04T10:15:00"),
        ("2019-03-04T10:15:00.250000", "2019-03-04T10:15:00"),
        ("2019-03-04T10:15:00Z", "2019-03-04T10:15:00"),
        ("2019-03-04T10:15:00+02:00", "2019-03-04T08:15:00"),
        ("20190304101500.25", "2019-03-04T10:15:00"),
        ("20190304", "2019-03-04T00:00:00"),
        ("1877-06-15", "1877-06-15T00:00:00"),
        *[(text, "") for text in ("n/a", "", "monday", "10:15:00", "2019", "2019-13-01")],
    ],
)
def test_dates_in_the_forms_that_they_come_in(text, expected):
    assert instant(text) == expected


def test_each_place_is_read_and_kept_apart(root):
    (root / "sub-01/ses-A/sub-01_ses-A_scans.tsv").write_bytes(
        "\ufefffilename\tacq_time\r\nanat/sub-01_ses-A_T2w.nii.gz\t2019-03-04T10:15:00\r\nfunc/x.nii.gz\tn/a\r\n".encode()
    )
    (root / "sub-01/sub-01_sessions.tsv").write_text("session_id\tacq_time\nses-A\t1800-01-02\nses-B\tn/a\n")
    sidecar = root / "sub-01/ses-B/anat/sub-01_ses-B_T2w.json"
    sidecar.write_text(json.dumps({"AcquisitionDate": "20200607", "AcquisitionTime": "08:09:10.5"}))
    assert acquired(root) == {
        "sub-01_ses-A_T2w": {"scans.tsv": "2019-03-04T10:15:00", "sessions.tsv": "1800-01-02T00:00:00"},
        # Of the same session; the table says nothing of this image.
        "sub-01_ses-A_T1w": {"scans.tsv": "2019-03-04T10:15:00", "sessions.tsv": "1800-01-02T00:00:00"},
        "sub-01_ses-B_T2w": {"sidecar": "2020-06-07T08:09:10"},
        # There is nothing to put in order.
        "sub-02_T2w": {},
    }
    assert messages(found(root), fatal=False) == []


def test_a_time_of_day_alone_says_nothing(root):
    (root / "sub-01/ses-B/anat/sub-01_ses-B_T2w.json").write_text('{"AcquisitionTime": "08:09:10"}')
    assert acquired(root)["sub-01_ses-B_T2w"] == {}


def test_what_is_no_time_or_no_table_is_named_once(root):
    (root / "sub-01/ses-A/sub-01_ses-A_scans.tsv").write_text("filename\tacq_time\nanat/x.nii.gz\tmonday\n")
    (root / "sub-01/sub-01_sessions.tsv").write_text("session_id\tacq_time\nses-A\n")
    assert [message.split(": ", 1)[0] for message in messages(found(root), fatal=False)] == [
        "sub-01_ses-A_scans.tsv, line 2",
        "sub-01_sessions.tsv cannot be read (line 2 has 1 cells, the header 2)",
    ]
