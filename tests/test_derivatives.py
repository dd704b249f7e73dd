import errno
import json
import os
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import oriented_affine
from fakes_write import THRESHOLD, centred, make_image, make_unit

from bids_app.errors import EnvironmentFault
from bids_app.images import plane_of, read_grid, write_like
from bids_app.options import Options
from bids_app.records import Image, Unit
from bids_app.tables import LESION_COLUMNS, read_table
from bids_app.write.derivatives import write_session
from bids_app.write.names import (
    CORD_MASK,
    LESION_INSTANCES,
    LESION_MASK,
    LESION_PROBABILITY,
    OUTPUTS,
    output_path,
    outputs_of,
    transform_path,
)
from bids_app.write.transforms import itk_text

SAGITTAL = ("RAS", (3.0, 0.7, 0.7), (12, 60, 120))
GRIDS = [
    ("RAS", (3.0, 0.7, 0.8), (12, 60, 120), 0),
    ("LAS", (3.0, 0.7, 0.8), (12, 60, 120), 0),
    ("LPS", (3.0, 0.7, 0.8), (12, 60, 120), 0),
    ("PSR", (0.7, 0.8, 3.0), (60, 120, 12), 0),
    ("RAS", (3.0, 0.7, 0.8), (12, 60, 120), 25),
    ("RSA", (0.8, 0.8, 0.8), (60, 120, 60), 50),
]


def rigid(degrees: float, shift_mm) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:3, :3] = [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = shift_mm
    return turn


@pytest.fixture
def options(tmp_path):
    return Options(tmp_path / "raw", tmp_path / "out")


def scan(options, name, grid=SAGITTAL, sequence="T2Sag", tilt=0.0, codes=(1, 1), centre=(3.0, -7.0, 11.0)):
    orientation, spacing, shape = grid
    affine = centred(oriented_affine(orientation, spacing, tilt), shape, centre)
    return make_image(options.bids_dir, name, affine, shape, sequence, codes)


def load(options, image, output):
    return nib.load(options.output_dir / output_path(image, output))


def axial(options, name="sub-01_acq-ax_T2starw", **more):
    return scan(options, name, ("LPS", (0.6, 0.6, 5.0), (50, 50, 16)), "T2starAx", **more)


@pytest.mark.parametrize(
    ("orientation", "spacing", "shape", "tilt", "codes"),
    [(*grid, (1, 1)) for grid in GRIDS] + [(*GRIDS[4], codes) for codes in ((1, 2), (0, 4), (3, 0))],
)
def test_outputs_lie_exactly_on_their_image(options, tmp_path, orientation, spacing, shape, tilt, codes):
    reference = scan(options, "sub-01_acq-sag_T2w", (orientation, spacing, shape), tilt=tilt, codes=codes)
    other = axial(options, tilt=-20, centre=(5.0, -3.0, 9.0))
    transform = rigid(4, (2.0, -1.5, 3.0))
    unit = Unit(reference, (reference, other))
    done = make_unit(tmp_path / "w", unit, {1: (-12.0, 3.0), 2: (9.0, 2.2)}, {other.path: transform})
    write_session([done], options)
    for image, mapping in ((reference, np.eye(4)), (other, transform)):
        source = nib.load(image.path)
        for output in OUTPUTS:
            made = load(options, image, output)
            assert made.shape == source.shape
            assert np.array_equal(made.affine, source.affine)
            for code in ("qform_code", "sform_code", "xyzt_units"):
                assert made.header[code] == source.header[code]
            assert np.array_equal(made.header.get_qform(), source.header.get_qform())
            assert np.array_equal(made.header.get_sform(), source.header.get_sform())
        mask = np.asarray(load(options, image, LESION_MASK).dataobj)
        labels = np.asarray(load(options, image, LESION_INSTANCES).dataobj)
        assert np.array_equal(mask > 0, labels > 0)
        assert set(np.unique(labels)) == {0, 1, 2}
        for lesion in done.lesions:
            centre = image.grid.to_mm(np.argwhere(labels == lesion.index).astype(float)).mean(axis=0)
            expected = mapping[:3, :3] @ lesion.position_mm + mapping[:3, 3]
            # Half a voxel, rotated by at most 50 degrees, and the rounding of a thick slice.
            assert np.linalg.norm(centre - expected) < 0.6 * np.linalg.norm(image.grid.spacing_mm)
    volume = (np.asarray(load(options, reference, LESION_MASK).dataobj) > 0).sum()
    assert volume * reference.grid.voxel_volume_mm3 == pytest.approx(done.volume_mm3, rel=0.35)


def test_isotropic_grid_gives_back_the_volume(options, tmp_path):
    reference = scan(options, "sub-01_T2w", ("LAS", (0.5, 0.5, 0.5), (60, 60, 80)))
    done = make_unit(tmp_path / "w", Unit(reference, (reference,)), {1: (0.0, 3.0)})
    write_session([done], options)
    (row,) = read_table(options.output_dir / output_path(reference, LESION_INSTANCES, ".tsv"))
    # The grid of the reference is the common grid: not one voxel may differ.
    assert float(row["volume_image_mm3"]) == float(row["volume_mm3"]) == pytest.approx(done.volume_mm3)


def test_image_without_a_unit_of_length_is_taken_for_mm(options, tmp_path):
    affine = centred(oriented_affine("RAS", (3.0, 1.0, 1.0)), (10, 40, 60))
    image = make_image(options.bids_dir, "sub-01_T2w", affine, (10, 40, 60), unit="unknown")
    write_session([make_unit(tmp_path / "w", Unit(image, (image,)), {1: (0, 3)})], options)
    assert nib.load(image.path).header.get_xyzt_units()[0] == "unknown"
    made = load(options, image, LESION_MASK)
    assert made.header.get_xyzt_units()[0] == "mm"
    assert np.array_equal(made.affine, image.grid.affine)


def test_types_and_range(options, tmp_path):
    image = scan(options, "sub-01_T2w")
    write_session([make_unit(tmp_path / "w", Unit(image, (image,)), {7: (0, 3)})], options)
    types = {output: load(options, image, output).get_data_dtype() for output in OUTPUTS}
    assert types == {
        LESION_MASK: np.uint8,
        LESION_PROBABILITY: np.float32,
        LESION_INSTANCES: np.uint16,
        CORD_MASK: np.uint8,
    }
    probability = np.asarray(load(options, image, LESION_PROBABILITY).dataobj)
    assert 0 <= probability.min() < THRESHOLD < probability.max() <= 1
    assert np.asarray(load(options, image, CORD_MASK).dataobj).sum() == 1


def test_every_path_of_the_dry_run_is_made_and_no_other(options, tmp_path):
    reference = scan(options, "sub-01_ses-M0_acq-sag_T2w")
    other = axial(options, "sub-01_ses-M0_acq-ax_T2starw")
    unit = Unit(reference, (reference,), (other,))
    paths = write_session([make_unit(tmp_path / "w", unit, {1: (0, 3)})], options)
    on_disk = {path for path in options.output_dir.rglob("*") if path.is_file()}
    assert on_disk == set(paths) == {options.output_dir / path for path in outputs_of(unit)}


def test_no_lesion_gives_zero_masks_and_a_header(options, tmp_path):
    image = scan(options, "sub-01_T2w")
    write_session([make_unit(tmp_path / "w", Unit(image, (image,)), {})], options)
    assert not np.asarray(load(options, image, LESION_MASK).dataobj).any()
    assert not np.asarray(load(options, image, LESION_INSTANCES).dataobj).any()
    text = (options.output_dir / output_path(image, LESION_INSTANCES, ".tsv")).read_text()
    assert text == "\t".join(column.name for column in LESION_COLUMNS) + "\n"


def test_tiny_lesion_survives_thick_slices(options, tmp_path):
    reference, thick = scan(options, "sub-01_T2w"), axial(options)
    # A ball of 1 mm fills a small part of a 5 mm slice: its mean there stays far below the threshold.
    done = make_unit(tmp_path / "w", Unit(reference, (reference, thick)), {1: (0.3, 1.0)})
    write_session([done], options)
    labels = np.asarray(load(options, thick, LESION_INSTANCES).dataobj)
    (voxel,) = np.argwhere(labels == 1)
    assert np.array_equal(voxel, np.round(thick.grid.to_index(np.array(done.lesions[0].position_mm))))
    probability = np.asarray(load(options, thick, LESION_PROBABILITY).dataobj)
    assert probability[tuple(voxel)] == probability.max() < THRESHOLD


def test_two_tiny_lesions_never_erase_each_other(options, tmp_path):
    reference = scan(options, "sub-01_T2w")
    coarse = scan(options, "sub-01_acq-ax_T2w", ("LPS", (8.0, 8.0, 20.0), (5, 5, 5)), "T2Ax")
    done = make_unit(tmp_path / "w", Unit(reference, (reference, coarse)), {1: (-2.0, 1.0), 2: (2.0, 0.8)})
    write_session([done], options)
    labels = np.asarray(load(options, coarse, LESION_INSTANCES).dataobj)
    rows = read_table(options.output_dir / output_path(coarse, LESION_INSTANCES, ".tsv"))
    assert [row["index"] for row in rows] == ["1", "2"]
    for row in rows:
        assert int(row["voxels"]) == (labels == int(row["index"])).sum()
    assert (labels > 0).sum() >= 1


def test_lesion_outside_an_image_is_not_listed_there(options, tmp_path):
    reference = scan(options, "sub-01_T2w")
    short = scan(options, "sub-01_acq-ax_T2w", ("LPS", (0.6, 0.6, 4.0), (50, 50, 6)), "T2Ax")
    done = make_unit(tmp_path / "w", Unit(reference, (reference, short)), {1: (0.0, 2.0), 2: (25.0, 2.0)})
    write_session([done], options)
    rows = read_table(options.output_dir / output_path(short, LESION_INSTANCES, ".tsv"))
    assert [row["index"] for row in rows] == ["1"]
    assert len(read_table(options.output_dir / output_path(reference, LESION_INSTANCES, ".tsv"))) == 2


def test_lesion_that_was_not_kept_is_in_the_probability_alone(options, tmp_path):
    image = scan(options, "sub-01_T2w", ("LAS", (0.5, 0.5, 0.5), (60, 60, 80)))
    done = make_unit(tmp_path / "w", Unit(image, (image,)), {1: (-8.0, 3.0), 2: (8.0, 1.0)})
    maps = dict(np.load(done.maps))
    dropped = maps["instances"] == 2
    maps["instances"][dropped] = 0
    np.savez(done.maps, **maps)
    kept = type(done)(done.prepared, done.maps, done.lesions[:1], done.operating, done.weights)
    write_session([kept], options)
    mask = np.asarray(load(options, image, LESION_MASK).dataobj)
    probability = np.asarray(load(options, image, LESION_PROBABILITY).dataobj)
    spot = tuple(np.round(image.grid.to_index(np.array(done.lesions[1].position_mm))).astype(int))
    assert probability[spot] > THRESHOLD
    assert not mask[spot]
    assert mask.sum() == (maps["instances"] == 1).sum()


def test_image_of_two_units_holds_the_lesions_of_both(options, tmp_path):
    upper = scan(options, "sub-01_chunk-1_T2w", centre=(3, -7, 60))
    lower = scan(options, "sub-01_chunk-2_T2w", centre=(3, -7, -10))
    shared = axial(options, centre=(3, -7, 25))
    shift = rigid(0, (0.0, 1.0, 0.0))
    units = [
        make_unit(tmp_path / "a", Unit(upper, (upper, shared)), {1: (-15.0, 2.5)}, {shared.path: shift}),
        make_unit(tmp_path / "b", Unit(lower, (lower, shared)), {2: (15.0, 2.5)}),
    ]
    paths = write_session(units, options)
    labels = np.asarray(load(options, shared, LESION_INSTANCES).dataobj)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert set(np.unique(np.asarray(load(options, upper, LESION_INSTANCES).dataobj))) == {0, 1}
    rows = read_table(options.output_dir / output_path(shared, LESION_INSTANCES, ".tsv"))
    assert [row["reference"] for row in rows] == [upper.stem, lower.stem]
    transforms = {transform_path(shared, reference) for reference in (upper, lower)}
    assert transforms == {p.relative_to(options.output_dir).as_posix() for p in paths if p.suffix == ".txt"}
    record = json.loads((options.output_dir / output_path(shared, LESION_MASK, ".json")).read_text())
    assert len(record["Alignment"]) == 2
    assert len(record["Sources"]) == 3


def test_probability_of_two_units_is_the_highest(options, tmp_path):
    image = scan(options, "sub-01_T2w")
    other = scan(options, "sub-01_acq-b_T2w")
    units = [
        make_unit(tmp_path / "a", Unit(image, (image,), (other,)), {1: (0.0, 2.0)}),
        make_unit(tmp_path / "b", Unit(other, (other,), (image,)), {2: (0.0, 4.0)}),
    ]
    write_session(units, options)
    both = np.asarray(load(options, image, LESION_PROBABILITY).dataobj)
    write_session(units[1:], options)
    assert np.array_equal(both, np.asarray(load(options, image, LESION_PROBABILITY).dataobj))


def test_sidecars(options, tmp_path):
    reference, other = scan(options, "sub-01_acq-sag_T2w"), axial(options)
    done = make_unit(tmp_path / "w", Unit(reference, (reference, other)), {1: (0, 3)})
    write_session([done], options)

    def sidecar(image, output):
        return json.loads((options.output_dir / output_path(image, output, ".json")).read_text())

    mask = sidecar(other, LESION_MASK)
    assert mask["Type"] == "Lesion"
    assert mask["SpatialReference"] == "orig"
    assert mask["Sources"] == [
        "bids:raw:sub-01/anat/sub-01_acq-ax_T2starw.nii.gz",
        "bids:raw:sub-01/anat/sub-01_acq-sag_T2w.nii.gz",
    ]
    assert (mask["Threshold"], mask["MinimumVolume"]) == (THRESHOLD, 1.5)
    assert mask["Sequences"] == ["T2Sag", "T2starAx"]
    assert mask["Weights"] == done.weights
    assert mask["CordMethod"] == "builtin 0.1"
    assert mask["Alignment"][0]["Method"] == "rigid"
    assert "not for diagnosis" in mask["Notice"]
    assert sidecar(other, CORD_MASK)["Type"] == "ROI"
    assert sidecar(reference, LESION_INSTANCES)["Unit"] == reference.stem
    assert "Unit" not in sidecar(other, LESION_INSTANCES)
    assert sidecar(other, LESION_INSTANCES)["volume_mm3"]["Units"] == "mm^3"


def test_table(options, tmp_path):
    image = scan(options, "sub-01_T2w")
    done = make_unit(tmp_path / "w", Unit(image, (image,)), {3: (0, 3)})
    write_session([done], options)
    (row,) = read_table(options.output_dir / output_path(image, LESION_INSTANCES, ".tsv"))
    (lesion,) = done.lesions
    assert list(row) == [column.name for column in LESION_COLUMNS]
    assert (row["index"], row["name"], row["reference"]) == ("3", "lesion-003", "sub-01_T2w")
    assert row["sequences"] == "T2Sag,T2starAx"
    assert [float(row[k]) for k in ("x_mm", "y_mm", "z_mm")] == pytest.approx(lesion.position_mm, abs=1e-4)
    assert float(row["volume_image_mm3"]) == pytest.approx(int(row["voxels"]) * 3 * 0.7 * 0.7, rel=1e-4)


def test_equal_input_gives_equal_bytes(options, tmp_path):
    reference, other = scan(options, "sub-01_T2w"), axial(options)
    unit = Unit(reference, (reference, other))
    done = make_unit(tmp_path / "w", unit, {1: (0, 3)}, {other.path: rigid(2, (1, 0, 0))})
    first = {path: path.read_bytes() for path in write_session([done], options)}
    assert {path: path.read_bytes() for path in write_session([done], options)} == first


def test_sessions_are_not_mixed(options, tmp_path):
    one, two = scan(options, "sub-01_T2w"), scan(options, "sub-02_T2w")
    units = [make_unit(tmp_path / image.stem, Unit(image, (image,)), {}) for image in (one, two)]
    with pytest.raises(ValueError, match="one participant"):
        write_session(units, options)
    assert write_session([], options) == []


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "full"), (errno.EROFS, "not writable")])
@pytest.mark.parametrize("ending", [".nii.gz", ".tsv", ".json", ".txt"])
def test_full_or_read_only_disk(options, tmp_path, monkeypatch, number, words, ending):
    reference, other = scan(options, "sub-01_T2w"), axial(options)
    done = make_unit(tmp_path / "w", Unit(reference, (reference, other)), {1: (0, 3)})
    write = Path.write_bytes

    def refuse(self, data):
        if ending in self.name:
            raise OSError(number, os.strerror(number), str(self))
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(EnvironmentFault, match=words):
        write_session([done], options)
    assert not list(options.output_dir.rglob("*.part"))
    assert not list(options.output_dir.rglob(f"*{ending}"))


def test_input_is_never_touched(options, tmp_path):
    reference, other = scan(options, "sub-01_T2w"), axial(options)
    done = make_unit(tmp_path / "w", Unit(reference, (reference, other)), {1: (0, 3)})
    before = {path: path.stat().st_mtime_ns for path in options.bids_dir.rglob("*")}
    write_session([done], options)
    assert {path: path.stat().st_mtime_ns for path in options.bids_dir.rglob("*")} == before


def test_itk_transform_maps_points_of_the_reference_to_the_image(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    transform = rigid(20, (3.0, -8.0, 15.0))
    path = tmp_path / "a.txt"
    path.write_text(itk_text(transform))
    read = sitk.ReadTransform(str(path))
    point = np.array([11.0, -4.0, 27.0])
    flip = np.array([-1, -1, 1])
    mapped = np.array(read.TransformPoint((point * flip).tolist())) * flip
    assert mapped == pytest.approx(transform[:3, :3] @ point + transform[:3, 3])


def test_itk_transform_by_hand():
    # A turn of 90 degrees about x takes y to z; then 10 mm to the right, which is -10 in LPS.
    numbers = itk_text(rigid(90, (10.0, 0.0, 0.0))).splitlines()[3].split()[1:]
    matrix, shift = np.array(numbers[:9], float).reshape(3, 3), np.array(numbers[9:], float)
    assert matrix @ [0, -5, 0] + shift == pytest.approx([-10, 0, 5])


def test_resampling_by_the_written_transform_puts_the_image_on_the_reference(options, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    reference, other = scan(options, "sub-01_T2w"), axial(options)
    transform = rigid(5, (2.0, -3.0, 4.0))
    unit = Unit(reference, (reference, other))
    done = make_unit(tmp_path / "w", unit, {1: (6.0, 3.0)}, {other.path: transform})
    write_session([done], options)
    out = options.output_dir
    moved = sitk.Resample(
        sitk.ReadImage(str(out / output_path(other, LESION_PROBABILITY))),
        sitk.ReadImage(str(reference.path)),
        sitk.ReadTransform(str(out / transform_path(other, reference))),
        sitk.sitkLinear,
    )
    own = np.asarray(load(options, reference, LESION_PROBABILITY).dataobj)
    resampled = sitk.GetArrayFromImage(moved).T
    centres = [
        reference.grid.to_mm(np.average(np.argwhere(a > 0), axis=0, weights=a[a > 0]))
        for a in (own, resampled)
    ]
    assert np.linalg.norm(centres[0] - centres[1]) < 1.0


@pytest.mark.real
def test_headers_of_real_scans_come_through(real_data, tmp_path):
    paths = sorted(path for path in real_data.glob("sub-*/**/anat/*.nii.gz"))
    assert paths
    for path in paths:
        source = nib.load(path)
        write_like(tmp_path / path.name, np.zeros(source.shape, np.uint8), path)
        made = nib.load(tmp_path / path.name)
        assert made.shape == source.shape
        assert np.array_equal(made.affine, source.affine)
        for code in ("qform_code", "sform_code", "xyzt_units"):
            assert made.header[code] == source.header[code]


@pytest.mark.real
def test_real_reference_in_reasonable_time(real_data, tmp_path):
    path = next(real_data.glob("sub-dev01/anat/sub-dev01_acq-sag_T2w.nii.gz"))
    grid = read_grid(path)
    image = Image(path, "dev01", None, {"acquisition": "sag"}, "T2w", "T2Sag", plane_of(grid), grid)
    options = Options(real_data, tmp_path / "out")
    done = make_unit(tmp_path / "w", Unit(image, (image,)), {1: (0.0, 3.0), 2: (40.0, 1.0)})
    start = time.perf_counter()
    write_session([done], options)
    assert time.perf_counter() - start < 60
    rows = read_table(options.output_dir / output_path(image, LESION_INSTANCES, ".tsv"))
    assert [row["index"] for row in rows] == ["1", "2"]
    assert all(int(row["voxels"]) > 0 for row in rows)
