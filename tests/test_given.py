"""Cord masks that the user brings along are found by their names."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from conftest import oriented_affine
from fakes_cord import cord_mask, make_grid, save, scan
from fakes_write import centred, make_image

from bids_app.cord import clean_mask
from bids_app.errors import UnitError, UsageError
from bids_app.given import check_derivatives, given_cords, is_cord_mask
from bids_app.preprocess.steps import find_cord


@pytest.mark.parametrize(
    "name",
    [
        "sub-01_T2w_seg.nii.gz",
        "sub-01_T2w_seg-manual.nii.gz",
        "sub-01_T2w_label-SC_seg.nii.gz",
        "sub-01_acq-ax_T2w_label-SC_mask.nii",
        "sub-01_space-orig_label-SC_desc-T2w_mask.nii.gz",
    ],
)
def test_usual_names_of_cord_masks(name):
    assert is_cord_mask(name)


@pytest.mark.parametrize(
    "name",
    [
        "sub-01_T2w.nii.gz",
        "sub-01_T2w_lesion-manual.nii.gz",
        "sub-01_T2w_label-lesion_seg.nii.gz",
        "sub-01_T2w_lesion_seg.nii.gz",
        "sub-01_T2w_label-GM_seg.nii.gz",
        "sub-01_space-orig_label-lesion_desc-T2w_mask.nii.gz",
        "sub-01_T2w_seg.json",
        "sub-01_seg-vertebrae_desc-T2w_dseg.nii.gz",
    ],
)
def test_other_files_are_none(name):
    assert not is_cord_mask(name)


@pytest.fixture
def images(tmp_path):
    shape = (10, 20, 30)
    affine = centred(oriented_affine("RAS", (3, 1, 1)), shape)
    return [
        make_image(tmp_path / "raw", name, affine, shape)
        for name in ("sub-01_T2w", "sub-01_acq-ax_T2w", "sub-01_ses-A_T2w")
    ]


def test_each_image_gets_its_own_and_the_first_folder_counts(tmp_path, images):
    for name in (
        "one/sub-01/anat/sub-01_T2w_label-SC_seg.nii.gz",
        "two/sub-01/anat/sub-01_T2w_seg.nii.gz",
        "two/sub-01/anat/sub-01_acq-ax_space-orig_label-SC_desc-T2w_mask.nii.gz",
        "two/sub-02/anat/sub-02_T2w_seg.nii.gz",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = given_cords((tmp_path / "one", tmp_path / "two"), images)
    assert {image.name: str(mask.relative_to(tmp_path)).split("/")[0] for image, mask in found.items()} == {
        "sub-01_T2w.nii.gz": "one",
        "sub-01_acq-ax_T2w.nii.gz": "two",
    }
    assert given_cords((), images) == {}


@pytest.mark.parametrize("codes", ["LAS", "PSR", "SRA", "IPL"])
def test_a_mask_in_another_order_of_axes_is_used(tmp_path, codes):
    """Drawn in a program that stores images in an order of its own: the same voxels, so the same mask."""
    grid = make_grid("LAS", (1.0, 1.0, 3.0), 12.0)
    image = save(tmp_path / "scan.nii.gz", scan(grid), grid)
    mask = cord_mask(grid)
    order = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(grid.affine), nib.orientations.axcodes2ornt(tuple(codes))
    )
    drawn = nib.Nifti1Image(mask.astype(np.uint8), grid.affine).as_reoriented(order)
    nib.save(drawn, tmp_path / "drawn.nii.gz")
    found = find_cord(image, tmp_path, tmp_path / "drawn.nii.gz", "", False, "cpu")
    made = nib.load(tmp_path / found["mask"])
    np.testing.assert_array_equal(made.affine, nib.load(image).affine)
    np.testing.assert_array_equal(np.asarray(made.dataobj), clean_mask(mask, grid).astype(np.uint8))


def test_a_mask_on_another_grid_is_still_refused(tmp_path):
    grid = make_grid("LAS", (1.0, 1.0, 3.0))
    image = save(tmp_path / "scan.nii.gz", scan(grid), grid)
    moved = make_grid("LAS", (1.0, 1.0, 3.0), centre=(0, 0, 1))
    save(tmp_path / "drawn.nii.gz", cord_mask(grid), moved)
    with pytest.raises(UnitError, match="not on the image's grid"):
        find_cord(image, tmp_path, tmp_path / "drawn.nii.gz", "", False, "cpu")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    check_derivatives([tmp_path])
    with pytest.raises(UsageError, match="nowhere"):
        check_derivatives([tmp_path, tmp_path / "nowhere"])
