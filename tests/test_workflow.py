"""The graph of a unit: what it hands on, what it drops, what it refuses, and that it remembers."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import nibabel as nib
import numpy as np
import pytest
from fakes_cord import cord_mask, make_grid, save, scan
from fakes_sct import install

from bids_app import preprocess
from bids_app.errors import BadImageError, CordError, EnvironmentFault, UnitError
from bids_app.images import common_grid, plane_of, read_grid
from bids_app.preprocess import PrepareRequest, prepare
from bids_app.records import Image, Unit

SMALL = (30.0, 32.0, 60.0)


@pytest.fixture
def neck(tmp_path):
    """Reference, an axial and a further image of one participant, with masks: path by name."""
    made = {}
    for name, sequence, grid, contrast in (
        ("sub-01_acq-sag_T2w", "T2Sag", make_grid("PSR", (1.0, 1.0, 3.0), extent=SMALL), "T2"),
        ("sub-01_T2starw", "T2starAx", make_grid("LAS", (1.0, 1.0, 5.0), 8.0, SMALL), "T1"),
        ("sub-01_run-2_T2starw", "T2starAx", make_grid("LPS", (1.0, 1.0, 4.0), extent=SMALL), "T1"),
    ):
        path = save(tmp_path / "input" / f"{name}.nii.gz", scan(grid, contrast), grid)
        mask = save(tmp_path / "masks" / f"{name}.nii.gz", cord_mask(grid), grid)
        suffix = name.rsplit("_", 1)[1]
        own = read_grid(path)
        made[name] = Image(path, "01", None, {}, suffix, sequence, plane_of(own), own), mask
    return list(made.values())


def request_of(neck, folder, inputs=2, others=1, **kwargs):
    images = [image for image, _ in neck]
    unit = Unit(images[0], tuple(images[:inputs]), tuple(images[inputs : inputs + others]))
    masks = {image.path: mask for image, mask in neck}
    return PrepareRequest(unit, folder / "work", "builtin", masks, {}, "builtin 0.1", **kwargs)


def stamps(prepared):
    """When each outcome of the graph was written."""
    return {
        path.parent.name: path.stat().st_mtime_ns
        for path in prepared.crop.parent.parent.glob("*/outcome.json")
    }


def test_a_unit_is_prepared(neck, tmp_path):
    before = {path: path.read_bytes() for path in (tmp_path / "input").iterdir()}
    request = request_of(neck, tmp_path)
    prepared = prepare(request)
    reference, axial, other = (image for image, _ in neck)
    assert prepared.sequences == ("T2Sag", "T2starAx")
    assert set(prepared.alignments) == set(prepared.cord_masks) == {reference.path, axial.path, other.path}
    assert prepared.dropped == {}
    assert prepared.cord_method == "builtin 0.1"
    assert prepared.alignments[reference.path].method == "identity"
    assert [image.path for image in prepared.images] == [reference.path, axial.path, other.path]
    crop = np.load(prepared.crop)
    n = common_grid(read_grid(reference.path)).shape[2]
    assert crop["images"].shape == (2, 48, 48, n)
    assert prepared.grid.shape[2] == n
    for path, mask in prepared.cord_masks.items():
        assert np.array_equal(read_grid(mask).affine, read_grid(path).affine)
    again = pickle.loads(pickle.dumps(prepared))
    assert again.sequences == prepared.sequences
    assert {path: path.read_bytes() for path in (tmp_path / "input").iterdir()} == before


def test_a_reference_alone_is_enough(neck, tmp_path):
    prepared = prepare(request_of(neck, tmp_path, inputs=1, others=0))
    assert prepared.sequences == ("T2Sag",)
    assert len(prepared.alignments) == 1


def test_a_second_run_takes_what_is_there(neck, tmp_path):
    request = request_of(neck, tmp_path)
    first = stamps(prepare(request))
    for image, _ in neck:
        os.utime(image.path)
    started = time.monotonic()
    assert stamps(prepare(request)) == first
    assert time.monotonic() - started < 2


def test_what_was_interrupted_goes_on(neck, tmp_path):
    request = request_of(neck, tmp_path)
    prepared = prepare(request)
    first = stamps(prepared)
    content = prepared.crop.read_bytes()
    shutil.rmtree(prepared.crop.parent)
    again = prepare(request)
    second = stamps(again)
    assert {name for name in first if first[name] != second[name]} == {"crop"}
    assert again.crop.read_bytes() == content


def test_changes_redo_what_depends_on_them(neck, tmp_path, monkeypatch):
    request = request_of(neck, tmp_path)
    prepared = prepare(request)
    first = stamps(prepared)
    # Another mask of the axial image.
    image, mask = neck[1]
    save(mask, cord_mask(read_grid(mask), radii=(5.0, 4.0)), read_grid(mask))
    second = stamps(prepare(request))
    changed = {name for name in first if first[name] != second[name]}
    assert f"cord-{image.stem}" in changed
    assert f"align-{image.stem}" in changed
    assert f"cord-{neck[0][0].stem}" not in changed
    # Other voxels of the reference.
    reference = neck[0][0]
    old = np.load(prepared.crop)["images"]
    save(reference.path, scan(reference.grid, "T2", seed=9), reference.grid)
    assert not np.array_equal(np.load(prepare(request).crop)["images"][0], old[0])
    # Another version of the app.
    third = stamps(prepare(request))
    monkeypatch.setattr("bids_app.preprocess.workflow.__version__", "99.0")
    fourth = stamps(prepare(request))
    assert all(third[name] != fourth[name] for name in third)


def test_an_image_without_a_cord_is_dropped_in_words(neck, tmp_path):
    request = request_of(neck, tmp_path)
    axial, other = neck[1][0], neck[2][0]
    del request.cord_masks[axial.path]
    request.cord_missing[axial.path] = "No spinal cord was found in it: too dark."
    grid = other.grid
    brain = np.ones(grid.shape, bool)
    brain[:2] = False
    save(request.cord_masks[other.path], brain, grid)
    prepared = prepare(request)
    assert prepared.sequences == ("T2Sag",)
    assert prepared.dropped[axial.path] == "No spinal cord was found in it: too dark."
    assert "area check" in prepared.dropped[other.path]
    assert other.path.name in prepared.dropped[other.path]
    assert set(prepared.alignments) == {neck[0][0].path}


def test_bad_further_images_are_dropped(neck, tmp_path):
    request = request_of(neck, tmp_path, others=0)
    axial = neck[1][0].path
    axial.write_bytes(axial.read_bytes()[:3000])
    prepared = prepare(request)
    assert "damaged" in prepared.dropped[axial]
    assert prepared.sequences == ("T2Sag",)
    assert prepared.unit is request.unit


def spoil(fault, image, mask):
    """Make an image of no use, though its header is fine; return words of the reason."""
    array = np.asarray(nib.load(image.path).dataobj).copy()
    if fault == "nan":
        array[cord_mask(image.grid)] = np.nan
    if fault == "constant":
        array[:] = 7
    save(image.path, array, image.grid)
    if fault == "cut":
        image.path.write_bytes(image.path.read_bytes()[:3000])
    if fault == "no cord":
        save(mask, np.zeros(image.grid.shape, bool), image.grid)
    return {
        "nan": "NaN",
        "constant": "every voxel has the value 7",
        "cut": "damaged",
        "no cord": "No spinal cord",
    }[fault]


@pytest.mark.parametrize("fault", ["nan", "constant", "cut", "no cord"])
def test_a_reference_of_no_use_gives_way_to_the_next_image(neck, tmp_path, fault):
    reference, axial, other = (image for image, _ in neck)
    request = request_of(neck, tmp_path)
    words = spoil(fault, *neck[0])
    prepared = prepare(request)
    # Of the two axial images that with the thinner slices leads.
    assert prepared.unit.reference is other
    assert (prepared.unit.name, prepared.unit.planned) == (other.stem, reference.stem)
    assert prepared.sequences == ("T2starAx",)
    assert set(prepared.dropped) == {reference.path}
    assert words in prepared.dropped[reference.path]
    assert {path: one.method == "identity" for path, one in prepared.alignments.items()} == {
        axial.path: False,
        other.path: True,
    }
    assert prepared.grid.shape == common_grid(other.grid).shape
    assert np.load(prepared.crop)["images"].shape[:1] == (1,)
    assert reference.path in [image.path for image in prepared.unit.images]
    # What is there is taken from there, also of a unit with another reference.
    first = stamps(prepared)
    assert stamps(prepare(request)) == first


def test_an_input_of_no_use_gives_way_to_another_of_its_sequence(neck, tmp_path):
    request = request_of(neck, tmp_path)
    axial, other = neck[1][0], neck[2][0]
    save(request.cord_masks[axial.path], np.zeros(axial.grid.shape, bool), axial.grid)
    prepared = prepare(request)
    assert prepared.sequences == ("T2Sag", "T2starAx")
    assert prepared.unit.inputs == (neck[0][0], other)
    assert set(prepared.dropped) == {axial.path}
    assert prepared.unit.name == prepared.unit.planned == neck[0][0].stem


def test_a_unit_fails_when_no_image_is_left(neck, tmp_path):
    request = request_of(neck, tmp_path)
    for image, _ in neck:
        image.path.write_bytes(b"")
    with pytest.raises(BadImageError) as caught:
        prepare(request)
    for image, _ in neck:
        assert f"{image.path.name} is empty (zero bytes)." in caught.value.message
    assert caught.value.message.startswith("No image of sub-01_acq-sag_T2w can be used: ")


def test_an_image_that_leads_elsewhere_does_not_lead_here(neck, tmp_path):
    request = request_of(neck, tmp_path)
    spoil("constant", *neck[0])
    prepared = prepare(replace(request, taken=(neck[2][0].path,)))
    assert prepared.unit.reference is neck[1][0]
    both = replace(request, taken=(neck[1][0].path, neck[2][0].path))
    with pytest.raises(BadImageError, match="every voxel has the value 7"):
        prepare(both)


def test_stations_feed_one_encoder_each_where_it_covers(neck, tmp_path):
    reference, stations = neck[0][0], []
    masks = {reference.path: neck[0][1]}
    for number, centre in ((1, 14.0), (2, -14.0)):
        grid = make_grid("LAS", (1.0, 1.0, 4.0), 0.0, (30, 32, 32), centre=(0, 0, centre))
        path = save(tmp_path / "input" / f"sub-01_chunk-{number}_T2starw.nii.gz", scan(grid, "T1"), grid)
        masks[path] = save(tmp_path / "masks" / path.name, cord_mask(grid), grid)
        own = read_grid(path)
        stations.append(
            Image(path, "01", None, {"chunk": str(number)}, "T2starw", "T2starAx", plane_of(own), own)
        )
    unit = Unit(reference, (reference, *stations))
    prepared = prepare(PrepareRequest(unit, tmp_path / "work", "builtin", masks, {}, "builtin 0.1"))
    assert prepared.sequences == ("T2Sag", "T2starAx")
    assert set(prepared.alignments) == {reference.path, *(image.path for image in stations)}
    with np.load(prepared.crop) as crop:
        covered = crop["coverage"][1].mean(axis=(0, 1)) > 0.25
        assert crop["images"].shape[0] == 2
    # 60 mm, of which either station alone has 32.
    assert covered.sum() * 0.5 > 54


def test_a_reference_without_a_cord_fails_with_the_plain_sentence(neck, tmp_path):
    request = request_of(neck, tmp_path, inputs=1, others=0)
    save(request.cord_masks[neck[0][0].path], np.zeros(neck[0][0].grid.shape, bool), neck[0][0].grid)
    for _ in range(2):
        with pytest.raises(CordError) as caught:
            prepare(request)
        assert (
            caught.value.message
            == f"No spinal cord was found in {neck[0][0].path.name}: the cord mask is empty."
        )


def test_a_ready_mask_that_is_broken_only_drops_its_image(neck, tmp_path):
    request = request_of(neck, tmp_path)
    good = request.cord_masks[neck[2][0].path]
    content = good.read_bytes()
    good.write_bytes(content[:200])
    assert "cannot be used" in prepare(request).dropped[neck[2][0].path]
    good.write_bytes(content)
    assert prepare(request).dropped == {}


def test_a_mask_on_another_grid_is_refused(neck, tmp_path):
    request = request_of(neck, tmp_path, inputs=1, others=0)
    request.cord_masks[neck[0][0].path] = neck[1][1]
    with pytest.raises(UnitError, match="not on the image's grid"):
        prepare(request)


def test_an_input_beside_the_reference_is_dropped(neck, tmp_path):
    axial, mask = neck[1]
    grid = make_grid("LAS", (1.0, 1.0, 5.0), 0.0, (30, 32, 30), centre=(0, 0, 38))
    save(axial.path, scan(grid, "T1"), grid)
    save(mask, cord_mask(grid), grid)
    prepared = prepare(request_of(neck, tmp_path))
    assert "does not overlap the reference" in prepared.dropped[axial.path]
    assert prepared.sequences == ("T2Sag",)
    assert axial.path not in prepared.alignments


def with_voxels(image, change):
    """Change the voxels of an image in place of the file."""
    volume = scan(image.grid, "T2")
    change(volume)
    save(image.path, volume, image.grid)


def test_no_numbers_beside_the_cord_are_told_and_cost_nothing(neck, tmp_path):
    reference = neck[0][0]
    plain = np.load(prepare(request_of(neck, tmp_path / "plain")).crop)

    def corner(volume):
        volume[:4, :20, :3] = np.nan

    with_voxels(reference, corner)
    prepared = prepare(request_of(neck, tmp_path))
    assert "of the image are no numbers" in prepared.doubts[reference.path]
    assert "no numbers" not in "".join(
        text for path, text in prepared.doubts.items() if path != reference.path
    )
    crop = np.load(prepared.crop)
    assert np.isfinite(crop["images"]).all()
    both = crop["coverage"][0] & plain["coverage"][0]
    assert (crop["images"][0] == plain["images"][0])[both].mean() > 0.995


def test_no_numbers_in_the_cord_cost_the_image_in_words(neck, tmp_path):
    for image, _ in neck[:2]:
        with_voxels(image, lambda volume, grid=image.grid: volume.__setitem__(cord_mask(grid), np.nan))
    with pytest.raises(BadImageError, match="around its cord are no numbers"):
        prepare(request_of(neck, tmp_path))
    with_voxels(neck[0][0], lambda volume: None)
    prepared = prepare(request_of(neck, tmp_path))
    assert "around its cord are no numbers" in prepared.dropped[neck[1][0].path]


def test_a_uniform_image_has_one_zero_however_it_is_written(neck, tmp_path):
    reference = replace(neck[0][0], suffix="UNIT1", sequence="MP2RAGE")
    neck[0] = reference, neck[0][1]
    plain = scan(reference.grid, "T2")
    level = np.round(4095 * np.clip(plain / plain.max(), 0, 1))
    crops = []
    for number, values in enumerate((level, level / 4095 - 0.5, 2 * level - 4095)):
        save(reference.path, values.astype(np.float32), reference.grid)
        crops.append(np.load(prepare(request_of(neck, tmp_path / str(number), 1, 0)).crop)["images"][0])
    np.testing.assert_allclose(crops[1] * 4095, crops[0], atol=0.01)
    np.testing.assert_allclose(crops[2] / 2, crops[0], atol=0.01)


def test_a_full_disk_is_said_so(neck, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    request = request_of(neck, tmp_path, inputs=1, others=0)
    with monkeypatch.context() as patched:
        patched.setattr("numpy.savez", full)
        with pytest.raises(EnvironmentFault, match="is full"):
            prepare(request)
    assert prepare(request).crop.exists()


def test_processes_make_no_difference(neck, tmp_path):
    one = prepare(request_of(neck, tmp_path / "one"))
    two = prepare(request_of(neck, tmp_path / "two", nprocs=2))
    assert one.crop.read_bytes() == two.crop.read_bytes()
    for path, alignment in one.alignments.items():
        assert np.array_equal(alignment.transform, two.alignments[path].transform)


@pytest.fixture
def with_sct(neck, tmp_path, monkeypatch):
    """A request of two images of one grid, whose cords a fake SCT finds; and how to change that SCT."""
    reference = neck[0][0]
    twin_path = save(tmp_path / "input" / "sub-01_T1w.nii.gz", scan(reference.grid, "T1"), reference.grid)
    twin = Image(twin_path, "01", None, {}, "T1w", "T1", reference.plane, reference.grid)
    np.save(tmp_path / "mask.npy", cord_mask(reference.grid).astype(np.uint8))

    def use(behaviour="good", **kwargs):
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
        return install(tmp_path / "bin", tmp_path / "mask.npy", behaviour, **kwargs)

    def request(nprocs=1):
        return PrepareRequest(Unit(reference, (reference, twin)), tmp_path / "work", "sct", nprocs=nprocs)

    return request, use


def test_sct_on_the_gpu_works_with_several_processes(with_sct):
    request, use = with_sct
    log = use()
    prepare(replace(request(nprocs=2), sct_device="cuda"))
    assert log.read_text().count('"SCT_USE_GPU"') == 2


def test_sct_is_called_once_per_image(with_sct):
    request, use = with_sct
    log = use()
    prepared = prepare(request())
    assert prepared.cord_method == "sct 7.3"
    assert prepared.sequences == ("T2Sag", "T1")
    prepare(request())
    assert len(log.read_text().splitlines()) == 2


def levels_of(prepared):
    with np.load(prepared.crop) as crop:
        return crop["levels"]


def test_levels_of_vertebrae_come_from_sct(with_sct, tmp_path):
    request, use = with_sct
    use()
    prepared = prepare(request())
    assert prepared.no_levels == ""
    levels = levels_of(prepared)
    known = levels[levels > 0]
    # A vertebra every 15 mm from C3 on, from the head down; slices are numbered from the feet up.
    assert known[0] == known.max() >= 5
    assert known[-1] == 3
    assert set(np.diff(known.astype(int))) == {0, -1}
    assert abs((levels == 4).sum() * 0.5 - 15) <= 1
    (call,) = map(json.loads, (tmp_path / "bin" / "labels.jsonl").read_text().splitlines())
    assert call["argv"][call["argv"].index("-c") + 1] == "t2"
    assert call["cwd"].startswith(str(tmp_path / "work"))
    assert (
        sorted(path.name for path in request().unit.reference.path.parent.iterdir() if "warp" in path.name)
        == []
    )


@pytest.mark.parametrize(
    ("behaviour", "height_mm", "reason"),
    [
        ("labels-rc1", 15.0, "SCT failed on the vertebrae of sub-01_acq-sag_T2w.nii.gz with return code 1"),
        ("labels-silent", 15.0, "SCT wrote no label map for sub-01_acq-sag_T2w.nii.gz"),
        ("good", 6.0, "The vertebral labels of SCT were refused: C4 would be 6 mm high"),
    ],
)
def test_without_levels_there_is_a_reason_and_a_result(with_sct, behaviour, height_mm, reason):
    request, use = with_sct
    use(behaviour, height_mm=height_mm)
    prepared = prepare(request())
    assert prepared.no_levels.startswith(reason)
    assert not levels_of(prepared).any()
    assert prepared.sequences == ("T2Sag", "T1")


def test_sct_that_failed_is_asked_again(with_sct):
    request, use = with_sct
    use("rc1")
    with pytest.raises(UnitError, match="return code 1"):
        prepare(request())
    use("good")
    assert prepare(request()).sequences == ("T2Sag", "T1")


def test_labels_that_failed_are_asked_for_again(with_sct):
    request, use = with_sct
    use("labels-rc1")
    assert not levels_of(prepare(request())).any()
    use("good")
    again = prepare(request())
    assert not again.no_levels
    assert levels_of(again).any()


def test_sct_that_finds_no_cord_is_believed(with_sct):
    request, use = with_sct
    log = use("empty")
    for _ in range(2):
        with pytest.raises(CordError, match="SCT found no spinal cord in sub-01_acq-sag_T2w"):
            prepare(request())
    assert len(log.read_text().splitlines()) == 2


def test_absent_sct_is_a_fault_of_the_environment(with_sct, monkeypatch):
    request, use = with_sct
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EnvironmentFault, match="not on PATH"):
        prepare(request())
    use()
    assert prepare(request()).cord_method == "sct 7.3"


@pytest.mark.timeout(60)
def test_a_killed_worker_ends_the_unit_and_not_the_app(with_sct):
    request, use = with_sct
    use("kill-caller")
    with pytest.raises(UnitError, match="was killed"):
        prepare(request(nprocs=2))
    use("good")
    assert prepare(request(nprocs=2)).sequences == ("T2Sag", "T1")


def prepare_and_look(request):
    """Run in a spawned process: what it made, and whether torch was loaded on the way."""
    prepared = prepare(request)
    return prepared, "torch" in sys.modules


def test_a_spawned_process_needs_no_torch_and_no_home(neck, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        prepared, torch_there = pool.submit(prepare_and_look, request_of(neck, tmp_path, others=0)).result()
    assert not torch_there
    assert prepared.crop.exists()
    assert not list(home.iterdir())


def test_errors_come_back_from_a_spawned_process(neck, tmp_path):
    request = request_of(neck, tmp_path, inputs=1, others=0)
    request.cord_masks.clear()
    request.cord_missing[neck[0][0].path] = "No spinal cord was found in it."
    with ProcessPoolExecutor(1, get_context("spawn")) as pool, pytest.raises(CordError, match="found in it"):
        pool.submit(prepare, request).result()


def test_the_room_is_light_until_it_is_used():
    code = (
        "import sys, bids_app.preprocess; print({'nipype', 'SimpleITK', 'torch', 'bids'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert preprocess.__all__ == ["PrepareRequest", "prepare", "require_sct", "sct_version"]
