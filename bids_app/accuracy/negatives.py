"""``python -m bids_app.accuracy.negatives DATA OUT``: empty lesion masks for the development scans that show no lesion.

``OUT/all``, ``OUT/first`` and ``OUT/second`` are folders for ``mscord-train --labels``: cords without lesions are backgrounds and
negatives. Weights that learned from one half of the people are judged on the other.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nibabel
import numpy as np

from .scans import LESION_FREE, find, half_of

NAMES = ("first", "second")


def main(argv: list[str] | None = None) -> int:
    """Write the masks."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.accuracy.negatives", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(argv)
    for stem in LESION_FREE:
        path = find(options.data, stem)
        image = nibabel.load(path)
        mask = nibabel.Nifti1Image(np.zeros(image.shape[:3], np.uint8), image.affine)
        for name in ("all", NAMES[half_of(stem)]):
            folder = options.out / name / path.parent.relative_to(options.data)
            folder.mkdir(parents=True, exist_ok=True)
            nibabel.save(mask, folder / f"{stem}_label-lesion_mask.nii.gz")
    return 0


if __name__ == "__main__":
    sys.exit(main())
