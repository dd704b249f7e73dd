from __future__ import annotations

import numpy as np

from bids_app.psir import ring, upright
from bids_app.sequences import SLOTS
from bids_app.simulate.draw import Draw
from bids_app.simulate.patches import make_patch

PSIR = {name: float(name == "PSIR") for name in SLOTS}


def test_the_way_up_is_found_in_nearly_all_simulated_images_whatever_the_export():
    right, usable, same = 0, 0, []
    for seed in range(200):
        patch = make_patch(40_000 + seed, length=32, presence=PSIR)
        draw = Draw(seed)
        sign, scale, offset = (1 if draw.chance(0.5) else -1), draw.log_uniform(0.01, 1000), draw.normal(0, 3)
        image, covered = patch.images[0].astype(np.float32), patch.coverage[0]
        found = upright(
            np.where(covered, scale * (sign * image + offset), 0), covered, patch.cord.astype(np.float32)
        )
        if found is None:
            continue
        usable += 1
        if found.turned == (sign < 0):
            right += 1
            same.append(float(np.abs(found.image / scale - image)[covered].max()))
    assert usable > 180
    assert right >= 0.99 * usable
    # The simulator leaves its images as the app would: nothing but sign, scale and offset is undone.
    assert np.mean(np.array(same) < 0.02) > 0.95


def test_what_grows_grows_by_so_many_millimetres():
    mask = np.zeros((21, 21, 2), bool)
    mask[10, 10, 0] = True
    around = ring(mask, 0.4, 1.2)
    assert around[12, 10, 0]
    assert not around[13, 10, 0]
    assert not around[10, 10, 0]
    assert not around[..., 1].any()


def test_an_image_that_shows_no_cord_has_no_way_up():
    patch = make_patch(40_000, length=32, presence=PSIR)
    nothing = np.zeros(patch.cord.shape, bool)
    assert upright(patch.images[0].astype(np.float32), nothing, patch.cord.astype(np.float32)) is None
