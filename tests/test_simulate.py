from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_app import images
from bids_app.sequences import SLOTS
from bids_app.simulate import command, scan, tissue
from bids_app.simulate.anatomy import MEDULLA_MM, draw_anatomy, draw_grey_form, grey_matter
from bids_app.simulate.block import make_block
from bids_app.simulate.cohorts import walsh2024
from bids_app.simulate.command import _spread
from bids_app.simulate.contrast import PALETTES, lesion_change
from bids_app.simulate.draw import Draw, Field
from bids_app.simulate.lesions import LEAST_CHANGE
from bids_app.simulate.overview import make_overview
from bids_app.simulate.participant import simulate_participant
from bids_app.simulate.patches import make_patch
from bids_app.simulate.scan import draw_protocol, stack_over
from bids_app.simulate.tissue import draw_body


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_equal_seeds_give_equal_patches_and_others_differ():
    one, two, other = make_patch(5), make_patch(5), make_patch(6)
    assert one.slots == two.slots
    np.testing.assert_array_equal(one.images, two.images)
    np.testing.assert_array_equal(one.lesion, two.lesion)
    assert other.slots != one.slots or not np.array_equal(other.images, one.images)


@pytest.fixture(scope="module")
def patches():
    return [make_patch(seed) for seed in range(100, 130)]


def test_patches_are_what_the_network_expects(patches):
    for patch in patches:
        count = len(patch.slots)
        assert 1 <= count <= 3
        assert list(patch.slots) == sorted(set(patch.slots))
        assert patch.images.shape == patch.coverage.shape == (count, 48, 48, 64)
        assert np.isfinite(patch.images.astype(float)).all()
        assert (patch.images[~patch.coverage] == 0).all()


def test_lesions_lie_in_the_cord_and_many_patches_have_none(patches):
    with_lesion = [patch for patch in patches if patch.lesion.any()]
    assert 0.3 < len(with_lesion) / len(patches) < 0.85
    for patch in with_lesion:
        # Thick slices blur labels and cord alike.
        assert (patch.cord[patch.lesion] >= 0.5).mean() > 0.8


def test_a_lesion_is_labelled_only_where_a_sequence_covers_it(patches):
    for patch in patches:
        assert not (patch.lesion & ~patch.coverage.any(axis=0)).any()


def test_the_cord_has_a_plausible_size(patches):
    areas = [float((patch.cord.astype(float) > 0.5).sum(axis=(0, 1)).mean()) * 0.25 for patch in patches]
    assert 30 < np.median(areas) < 95


def test_csf_is_brighter_than_cord_in_t2_and_darker_in_t1():
    for name in ("T2Sag", "STIR", "T2Ax"):
        assert np.mean(PALETTES[name].csf) > 1.2
    for name in ("T1", "MP2RAGE"):
        assert np.mean(PALETTES[name].csf) < 0.6
    assert set(PALETTES) == set(SLOTS)


def test_grey_matter_fills_a_sixth_of_a_cervical_cord():
    anatomy = draw_anatomy(Draw(0), -20, 20, 4.0)
    line = torch.linspace(-12, 12, 97)
    grid = torch.stack(torch.meshgrid(line, line, torch.tensor([0.0]), indexing="ij"), dim=-1).reshape(-1, 3)
    local = anatomy.local(grid)
    share = float((grey_matter(local) * local.cord).sum() / local.cord.sum())
    assert 0.1 < share < 0.25


def test_overviews_show_a_cord_mostly_but_not_always():
    samples = [make_overview(seed) for seed in range(20)]
    shown = [sample.cord.max() > 0.5 for sample in samples]
    assert 0.5 < np.mean(shown) < 1.0
    assert all(np.isfinite(sample.images.astype(float)).all() for sample in samples)


def test_fields_are_smooth_and_centred():
    low, high = torch.full((3,), -50.0), torch.full((3,), 50.0)
    field = Field(Draw(1), 2, low, high, (5.0, 5.0, 5.0))
    points = torch.rand((4000, 3), generator=torch.Generator().manual_seed(0)) * 100 - 50
    values = field(points)
    assert abs(float(values.mean())) < 0.2
    assert 0.6 < float(values.std()) < 1.4
    assert float((field(points + 0.1) - values).abs().max()) < 0.5


def test_a_field_is_the_same_on_a_grid_and_at_its_points():
    low, high = torch.full((3,), -20.0), torch.tensor([20.0, 15.0, 30.0])
    field = Field(Draw(2), 3, low, high, (4.0, 6.0, 5.0))
    axes = (torch.linspace(-18, 18, 7), torch.linspace(-10, 14, 5), torch.linspace(-30, 40, 9))
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    torch.testing.assert_close(
        field.on_grid(axes), field(points.reshape(-1, 3)).reshape(3, 7, 5, 9), atol=1e-4, rtol=1e-4
    )


def test_what_is_tabulated_around_a_leaning_cord_is_what_is_there():
    anatomy = draw_anatomy(Draw(4), -16, 16, 5.0)
    reach = torch.tensor([20.0, 20.0, 30.0])
    body = draw_body(Draw(5), anatomy, (), -reach, reach)
    block = make_block(anatomy, -16, 16, 0.0, torch.device("cpu"))
    scene = block.look(body)
    z = torch.rand(3000, generator=torch.Generator().manual_seed(0)) * 30 - 15
    around = torch.randn(3000, 2, generator=torch.Generator().manual_seed(1)) * 4
    points = torch.cat([anatomy.centre(z) + around, z[:, None]], dim=1)
    read = block.sample(scene.local.cord[None], points)[0]
    true = anatomy.local(points).cord
    assert float((read - true).abs().mean()) < 0.02
    assert float(((read > 0.5) == (true > 0.5)).float().mean()) > 0.97


def test_every_person_has_another_grey_matter_of_plausible_size():
    line = torch.linspace(-8, 8, 129)
    shares = []
    for seed in range(12):
        anatomy = draw_anatomy(Draw(seed), -10, 10, 4.5)
        centre = anatomy.centre(torch.tensor([0.0]))[0]
        grid = torch.stack(torch.meshgrid(line, line, torch.tensor([0.0]), indexing="ij"), dim=-1).reshape(
            -1, 3
        )
        local = anatomy.local(grid + torch.cat([centre, torch.zeros(1)]))
        shares.append(
            float((grey_matter(local, draw_grey_form(Draw(seed))) * local.cord).sum() / local.cord.sum())
        )
    # Manual masks of several people: 13 to 21 %.
    assert min(shares) > 0.08
    assert max(shares) < 0.27
    assert np.std(shares) > 0.015


def test_participants_have_masks_on_the_grid_of_every_image():
    scans = simulate_participant(11, ("T2Sag", "T2starAx"), half_mm=35)
    assert [one.sequence for one in scans] == ["T2Sag", "T2starAx"]
    for one in scans:
        assert one.image.shape == one.lesion.shape == one.cord.shape
        np.testing.assert_array_equal(one.image.affine, one.cord.affine)
        cord = np.asarray(one.cord.dataobj) > 0
        volume = cord.sum() * abs(np.linalg.det(one.image.affine[:3, :3]))
        assert 500 < volume < 15_000
        assert not (np.asarray(one.lesion.dataobj) > 0)[~cord].any()


def test_cohort_has_the_numbers_of_the_poster():
    members = walsh2024()
    assert len(members) == 247
    counts = {name: sum(name in member.sequences for member in members) for name in SLOTS}
    assert counts == {
        "T2Sag": 247,
        "STIR": 137,
        "T2starAx": 119,
        "T1": 63,
        "T2Ax": 52,
        "MP2RAGE": 36,
        "PSIR": 0,
    }
    for member in members:
        assert list(member.sequences) == sorted(set(member.sequences), key=SLOTS.index)
    some = _spread(members, 5)
    assert {member.cohort for member in some} == {"A", "B", "C"}


def test_command_refuses_what_makes_no_sense(tmp_path):
    assert command.main([str(tmp_path / "a"), "--participants", "0"]) == 2
    assert command.main([str(tmp_path / "a"), "--cohort", "walsh2024", "--participants", "300"]) == 2
    assert not (tmp_path / "a").exists()


def test_command_writes_a_dataset_with_truth(tmp_path):
    out = tmp_path / "bids"
    assert command.main([str(out), "--participants", "1", "--seed", "3"]) == 0
    scans = sorted(out.glob("sub-01/anat/*.nii.gz"))
    assert scans
    for path in scans:
        images.read_volume(path)
        truth = sorted(
            (out / "derivatives/truth/sub-01/anat").glob(
                path.name.rsplit("_", 1)[0] + "_space-orig_label-*.nii.gz"
            )
        )
        assert len(truth) >= 2
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "raw"
    assert nib.aff2axcodes(nib.load(scans[0]).affine)
    assert command.main([str(out)]) == 2


def test_signal_differs_by_slice_and_fades_at_the_ends():
    protocol = replace(
        draw_protocol(Draw(0), "T2starAx"),
        gains=0.05,
        fading=0.3,
        fading_mm=4.0,
        tilt=0.0,
        roll=0.0,
        coil=0.0,
    )
    stack = stack_over(protocol, torch.tensor([-10.0, -10.0, -60.0]), torch.tensor([10.0, 10.0, 60.0]))
    faded = scan._gains(Draw(1), replace(protocol, gains=0.0), stack)
    assert faded.shape == (1, 1, stack.shape[2])
    assert float(faded[0, 0, 0]) == pytest.approx(0.7)
    assert float(faded[0, 0, -1]) == pytest.approx(0.7)
    assert float(faded[0, 0, stack.shape[2] // 2]) == pytest.approx(1, abs=1e-3)
    gains = scan._gains(Draw(1), replace(protocol, fading=0.0), stack).flatten()
    assert 0.02 < float(gains.log().std()) < 0.1
    still = scan._gains(Draw(1), replace(protocol, gains=0.0, fading=0.0), stack)
    assert bool((still == 1).all())


def test_signal_falls_where_the_coil_ends():
    protocol = replace(
        draw_protocol(Draw(0), "T2Sag"), gains=0.0, fading=0.0, tilt=0.0, roll=0.0, coil=0.9, coil_mm=8.0
    )
    stack = stack_over(protocol, torch.tensor([-10.0, -10.0, -60.0]), torch.tensor([10.0, 10.0, 60.0]))
    lowest = [float(scan._gains(Draw(seed), protocol, stack).min()) for seed in range(20)]
    assert min(lowest) < 0.15
    assert max(lowest) > 0.9


def test_above_the_foramen_magnum_the_cord_becomes_the_medulla():
    body = draw_anatomy(Draw(3), -40, 60, 1.5)
    points = body.centre(torch.tensor([body.top - 30, body.top + 15]))
    z = torch.tensor([body.top - 30, body.top + 15])
    local = body.local(torch.cat([points, z[:, None]], dim=1))
    assert local.medulla[0] < 0.01
    assert local.medulla[1] > 0.9
    assert bool((local.cord > 0.9).all())
    assert local.half_rl[1] > local.half_rl[0]
    # It never ends in fluid: the cord goes on to the pons, the canal no further.
    assert MEDULLA_MM[0] <= body.upper - body.top <= MEDULLA_MM[1]
    assert float(grey_matter(local)[1]) < 0.1


def test_a_lesion_is_never_against_its_sign_in_grey_matter():
    cord = torch.tensor([0.7, 1.0, 1.3, 1.7])
    assert bool((tissue._lesion_level(cord, 0.15) > cord).all())
    assert bool((tissue._lesion_level(cord, -0.15) < cord).all())
    assert float(tissue._lesion_level(torch.tensor(1.0), 0.4)) == pytest.approx(1.4)


def test_a_hidden_lesion_stays_below_what_a_reader_marks():
    hidden = [
        lesion_change(Draw(seed), name, 0.9, 0.0) for seed in range(40) for name in ("T2Sag", "MP2RAGE")
    ]
    assert all(abs(change) < LEAST_CHANGE for change in hidden)
    assert all(change >= 0 for change in hidden[::2])
    assert all(change <= 0 for change in hidden[1::2])
    shown = [lesion_change(Draw(seed), name, 0.0, 1.0) for seed in range(40) for name in PALETTES]
    assert min(map(abs, shown)) >= LEAST_CHANGE
