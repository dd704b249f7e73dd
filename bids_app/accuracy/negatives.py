"""``python -m bids_app.accuracy.negatives DATA OUT``: empty lesion masks for the development scans that show no lesion.

``OUT`` is a folder for ``mscord-train --labels``: cords without lesions are backgrounds and negatives. Test people and those on
whom settings are chosen are left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nibabel
import numpy as np

from .scans import LESION_FREE, SEEN, group_of, raw_scans


def main(argv: list[str] | None = None) -> int:
    """Write the masks."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.accuracy.negatives", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(argv)
    there = raw_scans(options.data)
    for stem in LESION_FREE:
        if stem not in there or group_of(stem) != SEEN:
            continue
        image = nibabel.load(there[stem])
        mask = nibabel.Nifti1Image(np.zeros(image.shape[:3], np.uint8), image.affine)
        folder = options.out / there[stem].parent.relative_to(options.data)
        folder.mkdir(parents=True, exist_ok=True)
        nibabel.save(mask, folder / f"{stem}_label-lesion_mask.nii.gz")
    return 0


if __name__ == "__main__":
    sys.exit(main())
