from __future__ import annotations

import numpy as np

from bids_app.psir import upright
from bids_app.sequences import SLOTS
from bids_app.simulate.draw import Draw
from bids_app.simulate.patches import make_patch

PSIR = {name: float(name == "PSIR") for name in SLOTS}


def test_the_way_up_is_found_in_nearly_all_simulated_images_whatever_the_export():
    right, zeros, usable = 0, [], 0
    for seed in range(200):
        patch = make_patch(40_000 + seed, length=32, presence=PSIR)
        draw = Draw(seed)
        sign, scale, offset = (1 if draw.chance(0.5) else -1), draw.log_uniform(0.01, 1000), draw.normal(0, 3)
        image, covered = patch.images[0].astype(np.float32), patch.coverage[0]
        cord = patch.cord.astype(np.float32)
        found = upright(np.where(covered, scale * (sign * image + offset), 0), covered, cord)
        if found is None:
            continue
        usable += 1
        right += found.turned == (sign < 0)
        level = np.median(found.image[covered & (cord >= 0.5)])
        zeros.append(level / (scale * np.median(image[covered & (cord >= 0.5)])))
    assert usable > 180
    assert right >= 0.99 * usable
    # The zero lies at the fluid, to a fifth of the cord's signal in nine of ten.
    assert np.mean(np.abs(np.array(zeros) - 1) < 0.2) > 0.9


def test_an_image_that_shows_no_cord_has_no_way_up():
    patch = make_patch(40_000, length=32, presence=PSIR)
    nothing = np.zeros(patch.cord.shape, bool)
    assert upright(patch.images[0].astype(np.float32), nothing, patch.cord.astype(np.float32)) is None
