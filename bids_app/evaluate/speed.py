"""``python -m bids_app.evaluate.speed``: how long an evaluation takes, and lesion matching beside a loop over lesions."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from ..space import CONNECTED
from .command import evaluate
from .scores import IOU_PERCENT, Mask, count_iou20

#: A sagittal scan of 1 mm slices.
SHAPE = (64, 256, 256)
LESIONS = 12


def main(argv: list[str] | None = None) -> int:
    """Print both times."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.evaluate.speed", description=__doc__)
    parser.add_argument("--participants", type=int, default=250)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = [_pair(np.random.default_rng(number)) for number in range(20)]
        for number in range(options.participants):
            for side, mask in zip(("predictions", "references"), pairs[number % len(pairs)], strict=True):
                path = folder / side / f"sub-{number:03d}_label-lesion_desc-T2w_mask.nii.gz"
                path.parent.mkdir(exist_ok=True)
                nib.save(nib.Nifti1Image(mask.astype(np.uint8), np.eye(4)), path)
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            evaluate(folder / "predictions", folder / "references", folder / "out", workers=options.workers)
        whole = time.perf_counter() - began
    sys.stdout.write(
        f"{options.participants} pairs of {SHAPE} voxels, {options.workers} processes: {whole:.1f} s\n"
    )
    counted, looped = _matching(pairs)
    sys.stdout.write(
        f"matching one pair by counting {1000 * counted:.0f} ms, by a loop {1000 * looped:.0f} ms\n"
    )
    return 0


def _pair(random: np.random.Generator) -> tuple[Mask, Mask]:
    """Return two masks of blobs along a cord that overlap in part."""
    masks = []
    centres = np.stack(
        [random.uniform(22, 42, LESIONS), random.uniform(110, 140, LESIONS), random.uniform(10, 246, LESIONS)]
    )
    for _ in range(2):
        seeds = np.zeros(SHAPE, bool)
        seeds[tuple((centres + random.normal(0, 1, centres.shape)).astype(int))] = True
        masks.append(ndimage.binary_dilation(seeds, CONNECTED, iterations=3))
    return masks[0], masks[1]


def _matching(pairs: list[tuple[Mask, Mask]]) -> tuple[float, float]:
    """Return seconds a pair by `count_iou20` and by the loop; both must agree."""
    times = [0.0, 0.0]
    for pair in pairs[:5]:
        for number, count in enumerate((count_iou20, _naive)):
            began = time.perf_counter()
            result = count(*pair)
            times[number] += (time.perf_counter() - began) / 5
            if number and tuple(result) != tuple(count_iou20(*pair)):
                raise AssertionError("the two ways of counting disagree")
    return times[0], times[1]


def _naive(prediction: Mask, reference: Mask) -> tuple[int, ...]:
    """Count lesions by the rule ``iou20`` as one would write it down first: every pair of lesions on the whole image."""
    labels_p, count_p = ndimage.label(prediction, CONNECTED)
    labels_r, count_r = ndimage.label(reference, CONNECTED)
    hit = np.zeros((count_r, count_p), bool)
    for r in range(count_r):
        for p in range(count_p):
            one, other = labels_r == r + 1, labels_p == p + 1
            hit[r, p] = 100 * (one & other).sum() >= IOU_PERCENT * (one | other).sum()
    found, right = int(hit.any(axis=1).sum()), int(hit.any(axis=0).sum())
    return found, count_r - found, right, count_p - right


if __name__ == "__main__":
    sys.exit(main())
