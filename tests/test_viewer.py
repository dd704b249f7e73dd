"""What stands in a page for the viewer, and the viewer's program as it ships."""

from __future__ import annotations

import base64
import gzip
import io
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow
from test_report import LEFT_POSTERIOR_HIGH, discovery_of, run_of, scan, segmented

from bids_app import space
from bids_app.files import checksum
from bids_app.records import Alignment
from bids_app.report import bundle, viewer, write_report
from bids_app.report.alignment import comparisons
from bids_app.report.arrays import read_crop
from bids_app.report.viewer import view_of


@pytest.fixture
def unit(tmp_path):
    path, mask = scan(tmp_path, "sub-01_T2w", lesions=[LEFT_POSTERIOR_HIGH])
    return segmented(tmp_path, [path], mask, [LEFT_POSTERIOR_HIGH])


def volume(text: str) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def test_program_is_the_one_that_its_record_names():
    record = json.loads((bundle.VENDOR / "manifest.json").read_text())
    assert set(record) == {bundle.PROGRAM}
    entry = record[bundle.PROGRAM]
    assert checksum(bundle.VENDOR / bundle.PROGRAM) == entry["sha256"]
    assert entry["version"] == bundle.version()
    licence = (bundle.VENDOR / entry["licence_text"]).read_text()
    assert entry["licence"] == "BSD-2-Clause"
    assert "Copyright (c) 2021, Niivue" in licence
    packed = gzip.decompress(base64.b64decode(bundle.packed_program()))
    assert packed == (bundle.VENDOR / bundle.PROGRAM).read_bytes()


def test_volumes_are_the_crop(unit):
    crop = read_crop(unit)
    view = view_of(unit, crop, 1)
    assert view.note == ""
    assert view.facts["shape"] == list(crop.instances.shape)
    lesions, probability = (
        np.asarray(volume(view.volumes[name]).dataobj) for name in ("lesions", "probability")
    )
    assert np.array_equal(lesions, crop.instances)
    assert np.allclose(probability / viewer.FULL, crop.probability, atol=0.5 / viewer.FULL)
    grey = np.asarray(volume(view.volumes["image-0"]).dataobj)
    assert np.array_equal(grey > 0, crop.coverage[0])
    (lesion,) = view.facts["lesions"]
    assert crop.instances[tuple(lesion["voxel"])] == 1
    # The page finds the scanner's coordinates of a voxel from these.
    i, j, k = lesion["voxel"]
    start = view.facts["starts"][k]
    mm = np.array(view.facts["affine"]) @ [i + start[0], j + start[1], k, 1]
    assert np.linalg.norm(mm[:3] - unit.lesions[0].position_mm) < 1


def test_equal_input_gives_equal_volumes(unit):
    crop = read_crop(unit)
    assert view_of(unit, crop, 1).volumes == view_of(unit, crop, 1).volumes


def test_many_units_get_coarser_volumes_that_keep_every_lesion(unit, monkeypatch):
    crop = read_crop(unit)
    full = sum(map(len, view_of(unit, crop, 1).volumes.values()))
    monkeypatch.setattr(viewer, "PAGE_BYTES", full // 2)
    view = view_of(unit, crop, 1)
    assert sum(map(len, view.volumes.values())) <= full // 2
    assert view.facts["step"] == 2
    assert "1 mm" in view.note
    coarse = volume(view.volumes["lesions"])
    assert coarse.header.get_zooms() == pytest.approx((2 * space.SPACING_MM,) * 3)
    assert np.asarray(coarse.dataobj).any()


def test_a_kept_unit_keeps_its_viewer(tmp_path, unit):
    from bids_app.pages import sections_of
    from bids_app.records import Kept

    written = write_report("01", [unit], discovery_of(), run_of(tmp_path))
    before = sections_of(written)
    record = {"Lesions": 1, "Volume_mm3": 2.0, "Sequences": ["T2Sag"]}
    write_report("01", [Kept(unit.unit, record)], discovery_of(), run_of(tmp_path))
    assert sections_of(written) == before
    assert 'data-volume="probability"' in before[unit.unit.name]
    assert 'id="niivue"' in written.read_text(encoding="utf-8")


def test_a_page_without_a_viewer_carries_no_program(tmp_path):
    text = write_report("01", [], discovery_of(), run_of(tmp_path)).read_text(encoding="utf-8")
    assert 'id="niivue"' not in text


def test_compressed_nifti_is_readable_by_others(unit):
    data = base64.b64decode(view_of(unit, read_crop(unit), 1).volumes["cord"])
    image = nib.Nifti1Image.from_stream(gzip.GzipFile(fileobj=io.BytesIO(data)))
    assert nib.aff2axcodes(image.affine) == ("L", "A", "S")


def test_alignment_is_shown_before_and_after(tmp_path):
    path, mask = scan(tmp_path, "sub-01_T2w")
    moved, _ = scan(tmp_path, "sub-01_T2starw")
    unit = segmented(tmp_path, [path, moved], mask, sequences=("T2Sag", "T2starAx"))
    shift = np.eye(4)
    shift[1, 3] = 3.0
    way = Alignment(moved, shift, "rigid", "closer")
    prepared = replace(unit.prepared, alignments={**unit.prepared.alignments, moved: way})
    crop = read_crop(unit)
    (one,) = comparisons(replace(unit, prepared=prepared), crop)
    assert one.words == "moved by 3.0 mm at the middle of the cord and turned by 0.0 degrees"
    assert [heading for heading, _ in one.pictures] == ["before", "after"]
    (same,) = comparisons(unit, crop)
    assert [heading for heading, _ in same.pictures] == ["as it was used"]
    # The crop was cut without a transform here: what lay there before is what lies there now.
    assert one.pictures[1][1].data == same.pictures[0][1].data
    before, after = (
        np.asarray(Pillow.open(io.BytesIO(picture.data)).convert("L"), int) for _, picture in one.pictures
    )
    assert np.abs(before - after).max() <= 4
    elsewhere = replace(crop, images=np.roll(crop.images, 6, axis=2))
    (other,) = comparisons(replace(unit, prepared=prepared), elsewhere)
    assert other.pictures[0][1].data != other.pictures[1][1].data
