"""Reading and writing images: what is wrong with a bad one, planes, extents and the common grid."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import re
import struct
import tracemalloc
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import ORIENTATIONS, oriented_affine

from bids_app import images
from bids_app.discover import discover
from bids_app.errors import BadImageError
from bids_app.options import Options
from bids_app.space import Grid

# Byte offsets in a NIfTI-1 header.
DIM, DATATYPE, PIXDIM, VOX_OFFSET, QFORM_CODE, SFORM_CODE, SROW_X = 40, 70, 76, 108, 252, 254, 280
SLOPE, INTER, QUATERN_B, MAGIC = 112, 116, 256, 344
SHAPE = (6, 7, 8)


def good(shape=SHAPE, dtype=np.int16, fill=None) -> nib.Nifti1Image:
    data = (
        np.arange(np.prod(shape)).reshape(shape).astype(dtype)
        if fill is None
        else np.full(shape, fill, dtype)
    )
    image = nib.Nifti1Image(data, oriented_affine("RAS"))
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 1)
    return image


def patched(*changes: tuple[int, str, object]) -> bytes:
    """A good image with bytes of its header overwritten: nibabel would not write such a header."""
    blob = bytearray(good().to_bytes())
    for offset, form, value in changes:
        struct.pack_into(form, blob, offset, value)
    return bytes(blob)


def with_values(*values: float) -> bytes:
    data = np.ones(SHAPE, np.float32)
    data.flat[: len(values)] = values
    return nib.Nifti1Image(data, good().affine).to_bytes()


def rgb() -> bytes:
    colour = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    return nib.Nifti1Image(colour, good().affine).to_bytes()


def noise(dtype=np.uint8) -> nib.Nifti1Image:
    values = np.random.default_rng(0).integers(0, 255, (20, 20, 20)).astype(dtype)
    image = nib.Nifti1Image(values, good().affine)
    image.set_qform(image.affine, 1)
    return image


def nifti2(shape: tuple[int, ...]) -> bytes:
    return nib.Nifti2Image(np.ones(shape, np.int16), np.eye(4)).to_bytes()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("scan.nii", good().to_bytes())
    return file.getvalue()


def other_format() -> bytes:
    return gzip.compress(nib.MGHImage(np.ones(SHAPE, np.float32), np.eye(4)).to_bytes())


NO_QFORM = (QFORM_CODE, "<h", 0)
UNREADABLE = "not a readable NIfTI"
BAD_GRIDS = {
    "4D": (good((3, 3, 3, 2)).to_bytes, "4D"),
    "single slice": (good((6, 7, 1)).to_bytes, "single slice"),
    "2D": (good((6, 7)).to_bytes, "single slice"),
    "RGB": (rgb, "colour"),
    "complex": (good(dtype=np.complex64).to_bytes, "complex"),
    "zero voxel size": (lambda: patched((PIXDIM + 4, "<f", 0.0)), "voxel size of zero or less"),
    "negative voxel size": (lambda: patched((PIXDIM + 8, "<f", -1.0)), "voxel size of zero or less"),
    "voxel size not a number": (lambda: patched((PIXDIM + 8, "<f", float("nan"))), "voxel size"),
    "forms disagree": (lambda: patched((SROW_X + 12, "<f", 30.0)), "disagree by up to 30"),
    "no form": (lambda: patched((QFORM_CODE, "<h", 0), (SFORM_CODE, "<h", 0)), "neither qform nor sform"),
    "flat affine": (lambda: patched((QFORM_CODE, "<h", 0), (SROW_X, "<f", 0.0)), "cannot be inverted"),
    "huge": (lambda: patched(*((DIM + 2 * axis, "<h", 32000) for axis in (1, 2, 3))), "cannot be right"),
    "unknown data type": (lambda: patched((DATATYPE, "<h", 9999)), "not a readable NIfTI"),
    "voxels inside the header": (lambda: patched((VOX_OFFSET, "<f", 129.0)), "not a readable NIfTI"),
    "zero bytes": (lambda: b"", "zero bytes"),
    "text": (lambda: b"this is a text, not a scan\n" * 100, "not a readable NIfTI"),
    "header cut": (lambda: good().to_bytes()[:200], "not a readable NIfTI"),
    "no dimensions": (lambda: patched((DIM, "<h", 0)), "single slice or less"),
    "nine dimensions": (lambda: patched((DIM, "<h", 9)), UNREADABLE),
    "a negative number of dimensions": (lambda: patched((DIM, "<h", -3)), UNREADABLE),
    "1D": (lambda: patched((DIM, "<h", 1)), "single slice or less"),
    "an axis of length 0": (lambda: patched((DIM + 2, "<h", 0)), "single slice or less"),
    "an axis of negative length": (lambda: patched((DIM + 2, "<h", -6)), "single slice or less"),
    "5D vectors": (good((4, 4, 4, 1, 3)).to_bytes, "5D"),
    "7D": (good((2, 2, 2, 1, 1, 1, 2)).to_bytes, "7D"),
    "NIfTI-2 of 4D": (lambda: nifti2((3, 3, 3, 2)), "4D"),
    "NIfTI-2 cut": (lambda: nifti2((3, 3, 3))[:400], UNREADABLE),
    "no magic": (lambda: patched((MAGIC, "<4s", b"abcd")), UNREADABLE),
    "data type 0": (lambda: patched((DATATYPE, "<h", 0)), UNREADABLE),
    "single bits": (lambda: patched((DATATYPE, "<h", 1)), UNREADABLE),
    "RGBA": (lambda: patched((DATATYPE, "<h", 2304)), "colour"),
    "complex of 128 bits": (good((3, 3, 3), np.complex128).to_bytes, "complex"),
    "complex of 256 bits": (lambda: patched((DATATYPE, "<h", 2048)), UNREADABLE),
    "infinite voxel size": (lambda: patched((PIXDIM + 4, "<f", float("inf"))), "voxel size"),
    "voxels of a kilometre": (lambda: patched(NO_QFORM, (SROW_X, "<f", 1e6)), "impossible voxel sizes"),
    "voxels of 10 nm": (lambda: patched(NO_QFORM, (SROW_X, "<f", 1e-5)), "impossible voxel sizes"),
    "affine not a number": (
        lambda: patched(NO_QFORM, (SROW_X + 4, "<f", float("nan"))),
        "cannot be inverted",
    ),
    "infinitely far": (lambda: patched(NO_QFORM, (SROW_X + 12, "<f", float("inf"))), "cannot be inverted"),
    "far away": (lambda: patched(NO_QFORM, (SROW_X + 12, "<f", 1e9)), "from the origin"),
    "two parallel axes": (
        lambda: patched(NO_QFORM, *((SROW_X + n, "<f", 1.0) for n in (0, 4, 16, 20))),
        "cannot be inverted",
    ),
    "quaternion not a number": (
        lambda: patched((SFORM_CODE, "<h", 0), (QUATERN_B, "<f", float("nan"))),
        "cannot be inverted",
    ),
    "quaternion too long": (lambda: patched((SFORM_CODE, "<h", 0), (QUATERN_B, "<f", 5.0)), UNREADABLE),
    "mirrored between the forms": (lambda: patched((SROW_X, "<f", -1.0)), "disagree by up to"),
    "voxels before the file": (lambda: patched((VOX_OFFSET, "<f", -352.0)), UNREADABLE),
    "voxels nowhere": (lambda: patched((VOX_OFFSET, "<f", float("nan"))), UNREADABLE),
    "no intercept": (lambda: patched((SLOPE, "<f", 1.0), (INTER, "<f", float("nan"))), UNREADABLE),
    "PNG": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(2000), UNREADABLE),
    "zip": (zipped, UNREADABLE),
    "DICOM": (lambda: bytes(128) + b"DICM" + bytes(2000), UNREADABLE),
    "web page": (lambda: b"<!DOCTYPE html><html><body>not found</body></html>" * 20, UNREADABLE),
    "FreeSurfer's format": (other_format, UNREADABLE),
    "compressed once more": (lambda: gzip.compress(gzip.compress(good().to_bytes())), UNREADABLE),
    "zeros": (lambda: bytes(5000), UNREADABLE),
    "Git LFS pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    "annex pointer": (lambda: b"/annex/objects/MD5E-s1--d41d8cd98f.nii\n", "git-annex content"),
}
NO_NUMBERS = {
    "NaN": (lambda: with_values(np.nan, 2.0), "1 voxels that are NaN or infinite"),
    "Inf": (lambda: with_values(np.inf, -np.inf, 3.0), "2 voxels that are NaN or infinite"),
}
BAD_VOXELS = {
    "nothing but NaN": (
        lambda: with_values(*[np.nan] * int(np.prod(SHAPE))),
        "every voxel is NaN or infinite",
    ),
    "all zero": (good(fill=0).to_bytes, "every voxel has the value 0"),
    "header alone": (lambda: good().to_bytes()[:352], "damaged: its header claims"),
    "one byte short": (lambda: good().to_bytes()[:-1], "damaged: its voxels cannot be read"),
    "voxels behind the file": (
        lambda: patched((VOX_OFFSET, "<f", 1e9)),
        "damaged: its voxels cannot be read",
    ),
    "constant": (good(fill=7).to_bytes, "every voxel has the value 7"),
    "cut": (lambda: good().to_bytes()[:600], "damaged: its header claims"),
}
#: 3.2 GiB of voxels in a file of a kilobyte, each axis long but possible.
CLAIM = (1200, 1200, 1200)


@pytest.mark.parametrize("case", NO_NUMBERS)
def test_no_numbers_are_read_in_images_and_refused_in_masks(tmp_path: Path, case: str) -> None:
    make, words = NO_NUMBERS[case]
    path = tmp_path / "bad.nii"
    path.write_bytes(make())
    assert not np.isfinite(images.read_volume(path)[0]).all()
    for read in (images.read_labels, images.read_mask):
        with pytest.raises(BadImageError, match=words):
            read(path)


@pytest.mark.parametrize("compressed", [False, True], ids=["nii", "nii.gz"])
@pytest.mark.parametrize("case", BAD_GRIDS)
def test_a_bad_grid_is_refused_in_words(tmp_path: Path, case: str, compressed: bool) -> None:
    make, words = BAD_GRIDS[case]
    blob = make()
    plain = not blob or blob.startswith((b"/annex", b"version"))
    path = tmp_path / ("bad.nii.gz" if compressed else "bad.nii")
    path.write_bytes(gzip.compress(blob) if compressed and not plain else blob)
    for read in (images.read_grid, images.read_volume):
        with pytest.raises(BadImageError, match=words) as caught:
            read(path)
        assert caught.value.message.startswith(path.name)
        assert caught.value.message.endswith(".")
        assert "\n" not in caught.value.message


@pytest.mark.parametrize("case", BAD_VOXELS)
def test_bad_voxels_are_refused_where_they_are_read(tmp_path: Path, case: str) -> None:
    make, words = BAD_VOXELS[case]
    path = tmp_path / "bad.nii"
    path.write_bytes(make())
    assert images.read_grid(path).shape == SHAPE
    with pytest.raises(BadImageError, match=words):
        images.read_volume(path)


@pytest.mark.parametrize("compressed", [False, True], ids=["nii", "nii.gz"])
def test_voxels_that_no_file_of_this_size_holds_cost_no_memory(tmp_path: Path, compressed: bool) -> None:
    blob = patched(*((DIM + 2 * axis, "<h", n) for axis, n in enumerate(CLAIM, start=1)))
    path = tmp_path / ("bad.nii.gz" if compressed else "bad.nii")
    path.write_bytes(gzip.compress(blob) if compressed else blob)
    assert images.read_grid(path).shape == CLAIM
    tracemalloc.start()
    with pytest.raises(BadImageError, match=r"claims 3,295.9 MiB of voxels"):
        images.read_volume(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def test_every_bad_image_of_a_dataset_is_named_and_costs_only_itself(tmp_path: Path) -> None:
    """All kinds at once, each as a participant of its own, beside a good one: discovery names every one that headers show."""
    cases = {**BAD_GRIDS, **BAD_VOXELS}
    root = tmp_path / "bids"
    for number, (make, _) in enumerate(cases.values()):
        path = root / f"sub-{number:02d}/anat/sub-{number:02d}_T2w.nii"
        path.parent.mkdir(parents=True)
        path.write_bytes(make())
    (root / "sub-good/anat").mkdir(parents=True)
    nib.save(good((40, 40, 40)), root / "sub-good/anat/sub-good_T2w.nii.gz")
    (root / "dataset_description.json").write_text('{"Name": "bad", "BIDSVersion": "1.10.0"}')
    found = discover(Options(root, tmp_path / "out", skip_bids_validation=True))
    named = {problem.participant: problem.message for problem in found.problems if problem.fatal}
    for number, (_, words) in enumerate(BAD_GRIDS.values()):
        assert re.search(words, named[f"{number:02d}"])
    assert "good" in {unit.participant for unit in found.units}
    assert set(found.participants) == {"good", *(f"{number:02d}" for number in range(len(cases)))}


def test_damaged_headers_raise_nothing_else(tmp_path: Path) -> None:
    """Random bytes in the header: an image is either read or refused in words."""
    random = np.random.default_rng(0)
    path = tmp_path / "bad.nii"
    refused = 0
    for _ in range(300):
        blob = bytearray(good().to_bytes())
        for _ in range(random.integers(1, 5)):
            blob[random.integers(4, 344)] = random.integers(256)
        path.write_bytes(blob)
        try:
            images.read_volume(path)
        except BadImageError:
            refused += 1
    assert 20 < refused < 280


def test_a_truncated_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.nii.gz"
    whole = gzip.compress(noise().to_bytes())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadImageError, match="damaged"):
        images.read_volume(path)


def test_a_corrupt_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.nii.gz"
    path.write_bytes(b"\x1f\x8b" + bytes(2000))
    with pytest.raises(BadImageError, match="not a readable NIfTI"):
        images.read_grid(path)


def test_another_format_under_a_nifti_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan.mgz"
    nib.save(nib.MGHImage(np.ones(SHAPE, np.float32), np.eye(4)), path)
    with pytest.raises(BadImageError, match="not a NIfTI file but MGHImage"):
        images.read_grid(path)


@pytest.mark.parametrize(
    ("target", "words", "step"),
    [
        ("nowhere.nii.gz", "broken link to nowhere", ""),
        ("../.git/annex/objects/Xk/2q/MD5E-s9--0.nii.gz", "git-annex content", "datalad get"),
    ],
)
def test_a_link_to_nothing_is_named(tmp_path: Path, target: str, words: str, step: str) -> None:
    path = tmp_path / "linked.nii.gz"
    path.symlink_to(target)
    with pytest.raises(BadImageError, match=words) as caught:
        images.read_grid(path)
    assert caught.value.next_step == (f"Fetch it with: {step} {path}" if step else "")


def test_fetched_annex_content_is_read(tmp_path: Path) -> None:
    store = tmp_path / ".git" / "annex" / "objects" / "a"
    store.mkdir(parents=True)
    (store / "MD5E-s9--0.nii.gz").write_bytes(gzip.compress(good().to_bytes()))
    path = tmp_path / "linked.nii.gz"
    path.symlink_to(os.path.relpath(store / "MD5E-s9--0.nii.gz", tmp_path))
    assert images.missing_content(path) is None
    assert images.read_grid(path).shape == SHAPE


def test_absent_files_and_folders_are_named(tmp_path: Path) -> None:
    assert images.missing_content(tmp_path / "no.nii") == "no.nii is not a file"
    assert "is not a file" in (images.missing_content(tmp_path) or "")


def test_trailing_axes_of_one_and_scaling_are_fine(tmp_path: Path) -> None:
    image = good((4, 5, 6, 1))
    image.header.set_slope_inter(2, 1)
    nib.save(image, tmp_path / "a.nii.gz")
    data, grid = images.read_volume(tmp_path / "a.nii.gz")
    assert data.shape == grid.shape == (4, 5, 6)
    assert data.dtype == np.float32
    np.testing.assert_allclose(data.max(), nib.load(tmp_path / "a.nii.gz").get_fdata().max())


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_unequal_form_codes_and_oblique_grids_are_fine(tmp_path: Path, codes: str) -> None:
    affine = oriented_affine(codes, (0.5, 0.7, 3), 20)
    image = nib.Nifti1Image(np.arange(336).reshape(SHAPE).astype(np.int16), affine)
    image.set_qform(affine, 2)
    image.set_sform(affine, 1)
    nib.save(image, tmp_path / "a.nii.gz")
    np.testing.assert_allclose(images.read_grid(tmp_path / "a.nii.gz").affine, affine, atol=1e-6)


# Spacing of a slab whose slices lie across the named RAS axis.
SPACING = {"sagittal": (3.0, 0.7, 0.7), "coronal": (0.7, 3.0, 0.7), "axial": (0.7, 0.7, 3.0)}


def grid_of(codes: str, spacing_ras_mm, tilt: float = 0.0, shape_ras=(40, 40, 40)) -> Grid:
    """Grid with spacing and shape given along R, A, S but stored in the given order."""
    order = nib.orientations.axcodes2ornt(tuple(codes))[:, 0].astype(int)
    spacing = [spacing_ras_mm[axis] for axis in order]
    shape = tuple(int(shape_ras[axis]) for axis in order)
    return Grid(shape, oriented_affine(codes, spacing, tilt))


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("plane", SPACING)
def test_plane_by_header_in_every_orientation(plane: str, codes: str) -> None:
    assert images.plane_of(grid_of(codes, SPACING[plane])) == plane


@pytest.mark.parametrize(
    ("plane", "tilt", "expected"),
    [
        ("axial", 50, "axial"),
        ("axial", -50, "axial"),
        ("axial", 59, "axial"),
        ("axial", 65, "coronal"),
        ("coronal", 20, "coronal"),
        ("sagittal", 50, "sagittal"),
    ],
)
def test_plane_of_oblique_slabs(plane: str, tilt: float, expected: str) -> None:
    for codes in ORIENTATIONS:
        assert images.plane_of(grid_of(codes, SPACING[plane], tilt)) == expected


@pytest.mark.parametrize(("ratio", "expected"), [(1.0, "isotropic"), (1.29, "isotropic"), (1.31, "axial")])
def test_nearly_equal_spacing_is_isotropic(ratio: float, expected: str) -> None:
    assert images.plane_of(grid_of("LPS", (1, 1, ratio))) == expected


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_extent_runs_from_edge_to_edge(codes: str) -> None:
    grid = grid_of(codes, (1, 1, 2), shape_ras=(10, 20, 30))
    low, high = images.extent_si_mm(grid)
    assert high - low == pytest.approx(60)
    tilted = grid_of(codes, (1, 1, 2), 30, shape_ras=(10, 20, 30))
    low, high = images.extent_si_mm(tilted)
    assert high - low == pytest.approx(60 * np.cos(np.deg2rad(30)))


@pytest.mark.parametrize("tilt", [0, 35])
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_common_grid_is_the_reference_at_half_a_millimetre(codes: str, tilt: float) -> None:
    reference = grid_of(codes, (3.3, 0.7, 0.8), tilt, shape_ras=(11, 30, 50))
    common = images.common_grid(reference)
    np.testing.assert_allclose(common.spacing_mm, 0.5)
    assert nib.aff2axcodes(common.affine) == ("L", "A", "S")
    # Same field of view: the same outer corner where the voxels start, less than one voxel more at the end.
    assert common.shape == tuple(
        int(np.ceil(round(n, 6))) for n in (11 * 3.3 * 2, 30 * 0.7 * 2, 50 * 0.8 * 2)
    )
    start = common.to_mm(np.full(3, -0.5))
    corners = reference.corners_mm()
    assert np.linalg.norm(corners - start, axis=1).min() < 1e-6
    inside = reference.to_index(common.to_mm((np.array(common.shape) - 1) / 2))
    assert np.all(np.abs(inside - (np.array(reference.shape) - 1) / 2) < 0.5 / reference.spacing_mm)
    # The axes are the reference's own: no rotation.
    cosines = np.abs((reference.affine[:3, :3] / reference.spacing_mm).T @ (common.affine[:3, :3] / 0.5))
    np.testing.assert_allclose(np.sort(cosines.ravel()), [0] * 6 + [1] * 3, atol=1e-9)


@pytest.mark.parametrize("degrees", [0, 12, 20])
def test_thick_sagittal_slices_that_lean_keep_their_length(degrees: float) -> None:
    angle = np.deg2rad(degrees)
    roll = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = roll @ np.diag([3.3, 0.5, 0.5])
    low, high = images.extent_si_mm(Grid((15, 300, 400), affine))
    assert high - low == pytest.approx(200 * np.cos(angle))


@pytest.mark.parametrize("codes", [2, 1], ids=["qform", "both"])
def test_write_like_keeps_grid_and_forms_to_the_bit(tmp_path: Path, codes: int) -> None:
    affine = oriented_affine("PSR", (0.9, 0.8, 3), 17)
    source = nib.Nifti1Image(np.arange(336).reshape(SHAPE).astype(np.float32), affine)
    source.set_qform(affine, 2)
    source.set_sform(affine if codes == 1 else None, 1 if codes == 1 else 0)
    nib.save(source, tmp_path / "source.nii.gz")
    mask = (np.arange(336).reshape(SHAPE) % 3 == 0).astype(np.uint8)
    for name in ("one.nii.gz", "two.nii.gz"):
        images.write_like(tmp_path / "out" / name, mask, tmp_path / "source.nii.gz")
    one, like = nib.load(tmp_path / "out" / "one.nii.gz"), nib.load(tmp_path / "source.nii.gz")
    np.testing.assert_array_equal(np.asarray(one.dataobj), mask)
    np.testing.assert_array_equal(one.affine, like.affine)
    for field in (
        "qform_code",
        "sform_code",
        "pixdim",
        "quatern_b",
        "quatern_c",
        "quatern_d",
        "srow_x",
    ):
        np.testing.assert_array_equal(one.header[field], like.header[field])
    # The source names no unit of length; millimetres are what a reader assumes, and what BIDS validators want said.
    assert one.header.get_xyzt_units()[0] == "mm"
    assert one.get_data_dtype() == np.uint8
    one_bytes = (tmp_path / "out" / "one.nii.gz").read_bytes()
    assert one_bytes == (tmp_path / "out" / "two.nii.gz").read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.nii.gz", "two.nii.gz"]


def test_write_like_refuses_another_shape(tmp_path: Path) -> None:
    nib.save(good(), tmp_path / "source.nii.gz")
    with pytest.raises(ValueError, match="does not fit"):
        images.write_like(tmp_path / "out.nii.gz", np.zeros((2, 2, 2), np.uint8), tmp_path / "source.nii.gz")
    assert not (tmp_path / "out.nii.gz").exists()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_name_that_is_wrong_about_compression_does_no_harm(
    tmp_path: Path, compressed: bool, kind: type
) -> None:
    """A gzip named .nii, or the other way round: read, named, and masks like it are written."""
    source = kind(np.asarray(good().dataobj), good().affine)
    source.set_qform(source.affine, 1)
    blob = source.to_bytes()
    path = tmp_path / ("scan.nii" if compressed else "scan.nii.gz")
    path.write_bytes(gzip.compress(blob) if compressed else blob)
    data, grid = images.read_volume(path)
    np.testing.assert_array_equal(data, np.asarray(good().dataobj))
    np.testing.assert_array_equal(grid.affine, good().affine)
    assert (
        images.name_doubt(path)
        == f"{path.name} is {'' if compressed else 'not '}compressed, though its name says otherwise"
    )
    mask = np.ones(SHAPE, np.uint8)
    images.write_like(tmp_path / "mask.nii.gz", mask, path)
    written = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(written.affine, good().affine)
    assert images.name_doubt(tmp_path / "mask.nii.gz") == ""


def test_a_compressed_file_named_nii_may_not_claim_more_than_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "bad.nii"
    path.write_bytes(
        gzip.compress(patched(*((DIM + 2 * axis, "<h", n) for axis, n in enumerate(CLAIM, start=1))))
    )
    with pytest.raises(BadImageError, match=r"claims 3,295.9 MiB of voxels"):
        images.read_volume(path)


def in_unit(name: str, scale: float) -> nib.Nifti1Image:
    affine = oriented_affine("RAS", (0.5, 0.5, 3))
    affine[:3] *= scale
    image = nib.Nifti1Image(np.asarray(good().dataobj), affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units(name)
    return image


@pytest.mark.parametrize(
    ("unit", "scale", "words", "factor"),
    [
        ("meter", 1e-3, r"voxel sizes in metres \(0.0005 x 0.0005 x 0.003\)", "by 1000"),
        ("micron", 1e3, r"voxel sizes in micrometres \(500 x 500 x 3000\)", "by 0.001"),
    ],
)
def test_other_units_of_length_are_refused_in_words(
    tmp_path: Path, unit: str, scale: float, words: str, factor: str
) -> None:
    path = tmp_path / "scan.nii.gz"
    nib.save(in_unit(unit, scale), path)
    with pytest.raises(BadImageError, match=words) as caught:
        images.read_grid(path)
    assert factor in caught.value.next_step


@pytest.mark.parametrize(
    ("unit", "name"), [("meter", "metres"), ("micron", "micrometres"), ("mm", ""), ("unknown", "")]
)
def test_a_unit_that_the_numbers_contradict_is_named_and_not_believed(
    tmp_path: Path, unit: str, name: str
) -> None:
    """Many programs write a wrong code, and no scan of a person has voxels of half a metre."""
    path = tmp_path / "bids/sub-01/anat/sub-01_T2w.nii.gz"
    path.parent.mkdir(parents=True)
    nib.save(in_unit(unit, 1), path)
    np.testing.assert_allclose(images.read_grid(path).spacing_mm, (0.5, 0.5, 3))
    assert (f"says that its voxel sizes are in {name}" in images.unit_doubt(path)) == bool(name)
    (path.parents[2] / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    found = discover(Options(path.parents[2], tmp_path / "out", skip_bids_validation=True))
    assert [name in problem.message for problem in found.problems] == ([True] if name else [])


def all_orders() -> list[str]:
    letters = [("R", "L"), ("A", "P"), ("S", "I")]
    return ["".join(codes) for axes in itertools.permutations(letters) for codes in itertools.product(*axes)]


@pytest.mark.parametrize("tilt", [0.0, 33.0])
def test_the_same_voxels_in_every_order_of_storage(tilt: float) -> None:
    affine = oriented_affine("LPS", (0.5, 0.7, 3), tilt)
    image = nib.Nifti1Image(np.arange(336).reshape(SHAPE).astype(np.int16), affine)
    wanted = Grid(SHAPE, affine)
    now = nib.orientations.axcodes2ornt(("L", "P", "S"))
    orders = all_orders()
    assert len(orders) == 48
    for codes in orders:
        other = image.as_reoriented(
            nib.orientations.ornt_transform(now, nib.orientations.axcodes2ornt(tuple(codes)))
        )
        own = Grid(other.shape, other.affine)
        np.testing.assert_array_equal(
            images.on_grid(np.asarray(other.dataobj), own, wanted), np.asarray(image.dataobj)
        )
        moved = Grid(own.shape, own.affine.copy())
        moved.affine[2, 3] += 0.3
        assert images.on_grid(np.asarray(other.dataobj), moved, wanted) is None
    assert images.on_grid(np.zeros((6, 7, 9)), Grid((6, 7, 9), affine), wanted) is None


@pytest.mark.real
def test_planes_of_the_development_scans(real_data: Path) -> None:
    planes = {
        "sub-dev01/anat/sub-dev01_acq-sag_T2w": "isotropic",
        "sub-dev03/anat/sub-dev03_acq-ax_T2starw": "axial",
        "sub-dev05/anat/sub-dev05_acq-ax_run-1_T2starw": "axial",
        "sub-dev07/ses-01/anat/sub-dev07_ses-01_acq-ax_run-1_T2starw": "axial",
    }
    for name, plane in planes.items():
        data, grid = images.read_volume(real_data / f"{name}.nii.gz")
        assert images.plane_of(grid) == plane
        assert data.shape == grid.shape
