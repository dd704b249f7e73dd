import re
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_app.records import Image, Unit
from bids_app.space import Grid
from bids_app.write.names import (
    LESION_INSTANCES,
    LESION_MASK,
    OUTPUTS,
    collisions,
    description,
    output_path,
    outputs_of,
    transform_path,
)

GRID = Grid((10, 10, 10), np.eye(4))


def image(name: str, folder: str = "anat", extension: str = ".nii.gz") -> Image:
    words = dict(word.partition("-")[::2] for word in name.split("_")[:-1])
    session = words.get("ses")
    path = Path("/data") / f"sub-{words['sub']}" / folder / (name + extension)
    return Image(path, words["sub"], session, {}, name.split("_")[-1], "T2Sag", "sagittal", GRID)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-01_T2w", "sub-01/anat/sub-01_space-orig_label-lesion_desc-T2w_mask.nii.gz"),
        (
            "sub-01_ses-M0_acq-sag_chunk-1_T2w",
            "sub-01/ses-M0/anat/sub-01_ses-M0_acq-sag_space-orig_chunk-1_label-lesion_desc-T2w_mask.nii.gz",
        ),
        (
            "sub-01_task-rest_acq-ax_ce-gd_rec-norm_run-02_echo-1_part-mag_chunk-3_T2starw",
            "sub-01/anat/sub-01_task-rest_acq-ax_ce-gd_rec-norm_run-02_echo-1_part-mag_space-orig_chunk-3"
            "_label-lesion_desc-T2starw_mask.nii.gz",
        ),
        ("sub-01_inv-1_MP2RAGE", "sub-01/anat/sub-01_space-orig_label-lesion_desc-MP2RAGEinv1_mask.nii.gz"),
        (
            "sub-01_flip-2_inv-1_mt-on_MP2RAGE",
            "sub-01/anat/sub-01_space-orig_label-lesion_desc-MP2RAGEflip2inv1mton_mask.nii.gz",
        ),
    ],
)
def test_mask_name(name, expected):
    assert output_path(image(name), LESION_MASK) == expected


def test_same_acq_different_suffix_do_not_meet():
    assert output_path(image("sub-01_acq-ax_T2w"), LESION_MASK) != output_path(
        image("sub-01_acq-ax_T2starw"), LESION_MASK
    )


def test_instances_have_seg_and_no_label():
    path = output_path(image("sub-01_T2w"), LESION_INSTANCES, ".tsv")
    assert path == "sub-01/anat/sub-01_space-orig_seg-lesions_desc-T2w_dseg.tsv"


TRICKY = [
    "sub-01_T2w",
    "sub-01_inv-1_T2w",
    "sub-01_T2winv1",
    "sub-01_flip-1_inv-1_T2w",
    "sub-01_inv-1_flip-1_T2w",
    "sub-01_flip-1inv1_T2w",
    "sub-01_flip-1+_T2w",
    "sub-01_bp-cspine_T2w",
    "sub-01_T2wbpcspine",
    "sub-01_run-1_T2w",
    "sub-01_run-01_T2w",
    "sub-01_run-A_T2w",
    "sub-01_acq-sag_chunk-1_T2w",
    "sub-01_chunk-1_acq-sag_T2w",
    "sub-01_acq-sagchunk1_T2w",
    "sub-01_acq-sag_acq-ax_T2w",
    "sub-01_acq-s.ag_T2w",
    "sub-01_acq-s.a.g_T2w",
    "sub-01_part-foo_T2w",
    "sub-01_part-mag_T2w",
    "sub-01_acq_T2w",
    "sub-01_acq-_T2w",
    "sub-01_dir-AP_T2w",
    "sub-01_T2wx0123abcd",
    "sub-01_space-orig_T2w",
]


def test_tricky_names_stay_apart():
    for output in OUTPUTS:
        assert len({output_path(image(name), output) for name in TRICKY}) == len(TRICKY)
    reference = image("sub-01_T1w")
    assert len({transform_path(image(name), reference) for name in TRICKY}) == len(TRICKY)
    assert len({transform_path(reference, image(name)) for name in TRICKY}) == len(TRICKY)


ENTITIES = ("task", "acq", "ce", "rec", "run", "echo", "flip", "inv", "mt", "part", "chunk", "bp", "proc")
VALUES = st.one_of(
    st.sampled_from(
        ["1", "01", "2", "on", "off", "mag", "1inv1", "sagrun1", "1chunk1", "inv1", "on+", "a.b"]
    ),
    st.text("1ainvmtflp", min_size=1, max_size=6),
)
NAMES = st.builds(
    lambda entities, suffix: "_".join(["sub-01", *(f"{k}-{v}" for k, v in entities), suffix]),
    st.lists(st.tuples(st.sampled_from(ENTITIES), VALUES), max_size=4),
    st.sampled_from(["T2w", "T2star", "T2starw", "UNIT1", "MP2RAGE", "T2winv1", "T2wrun1"]),
)


@settings(max_examples=400, deadline=None)
@given(NAMES, NAMES)
def test_different_inputs_never_share_a_name(first, second):
    one, two = image(first), image(second)
    same = [output_path(one, LESION_MASK) == output_path(two, LESION_MASK)]
    reference = image("sub-01_T1w")
    same.append(transform_path(one, reference) == transform_path(two, reference))
    same.append(transform_path(reference, one) == transform_path(reference, two))
    assert set(same) == {first == second}


@settings(max_examples=200, deadline=None)
@given(NAMES)
def test_names_are_always_bids(name):
    stem = Path(output_path(image(name), LESION_MASK)).name
    label, index = "[0-9A-Za-z+]+", "[0-9]+"
    pattern = (
        rf"sub-01(_task-{label})?(_acq-{label})?(_ce-{label})?(_rec-{label})?(_run-{index})?(_echo-{index})?"
        rf"(_part-(mag|phase|real|imag))?_space-orig(_chunk-{index})?_label-lesion_desc-[0-9A-Za-z]+_mask\.nii\.gz"
    )
    assert re.fullmatch(pattern, stem)


def test_plain_names_over_all_usual_entities_stay_plain_and_apart():
    options = [("acq", ("sag", "ax")), ("run", ("1", "2")), ("inv", ("1", "2")), ("chunk", ("1", "2"))]
    names = set()
    for size in range(len(options) + 1):
        for chosen in combinations(options, size):
            for values in product(*(v for _, v in chosen)):
                words = [f"{key}-{value}" for (key, _), value in zip(chosen, values, strict=True)]
                names |= {"_".join(["sub-01", *words, suffix]) for suffix in ("T2w", "T2starw", "UNIT1")}
    assert len({output_path(image(name), LESION_MASK) for name in names}) == len(names)
    assert all(re.fullmatch("(T2w|T2starw|UNIT1)(inv[12])?", description(image(name))) for name in names)


def test_outputs_of_a_unit():
    reference, other = image("sub-01_acq-sag_T2w"), image("sub-01_acq-ax_T2starw")
    paths = outputs_of(Unit(reference, (reference,), (other,)))
    assert len(paths) == len(set(paths)) == 2 * 9 + 2
    assert "sub-01/anat/sub-01_acq-ax_from-T2starw_to-T2wacqsag_mode-image_xfm.txt" in paths
    assert sum(path.endswith("_mask.nii.gz") and "label-SC" in path for path in paths) == 2
    assert all(Path(path).parts[0] == "sub-01" for path in paths)


def test_collisions_name_both_files():
    one, two = image("sub-01_T2w"), image("sub-01_T2w", extension=".nii")
    (problem,) = collisions([two, image("sub-01_T1w"), one, one])
    assert problem.fatal
    assert "sub-01_T2w.nii " in problem.message + " "
    assert "sub-01_T2w.nii.gz" in problem.message
    assert problem.path in (one.path, two.path)
    assert collisions([image(name) for name in TRICKY]) == ()
