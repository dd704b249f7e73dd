"""What can be known to be wrong before any work starts, all at once, and how much disk the work may need."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import gettempdir

from . import discover
from .cards import SHIPPED, read_card
from .errors import check_all
from .files import nearest
from .given import check_derivatives, without_match
from .machine import share
from .options import Options
from .preprocess import require_sct
from .records import Discovery, Problem, Unit
from .space import CROP_VOXELS, SPACING_MM

#: Upper bounds. Of intermediate files on real scans there were 5 to 10 bytes a voxel of the crop and image, of results less
#: than one a voxel of the crop and of the image together; a page is kept below its limit.
WORK_BYTES, RESULT_BYTES, PAGE_BYTES = 12, 2, 15_000_000


@dataclass(frozen=True)
class Need:
    """Disk that a run may need.

    Attributes
    ----------
    what : str
        ``output``, ``work``, or both where they lie on one disk.
    folder : Path
    needed, free : int
        Bytes.
    """

    what: str
    folder: Path
    needed: int
    free: int

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.what}: up to {_size(self.needed)} in {self.folder}, {_size(self.free)} free"


def preflight(options: Options) -> Discovery:
    """Look at everything that the command line names, and at the input; returns what there is to do.

    Nothing is written.

    Raises
    ------
    MscordError
        All that is wrong, each with its next step.
    """
    found: list[Discovery] = []
    check_all(
        [
            *discover.place_checks(options),
            lambda: check_derivatives(options.derivatives),
            lambda: read_card(options.weights or SHIPPED / "lesion.safetensors"),
            lambda: _check_device(options.device),
            lambda: require_sct() if options.cord == "sct" else None,
            lambda: found.append(discover.discover(options)),
        ]
    )
    (discovery,) = found
    short = [need for need in disk_needs(discovery.units, options) if need.needed > need.free]
    problems = [
        Problem(f"The disk may be too small. {need}.", "Free some, or choose other folders.")
        for need in short
    ]
    images = [image for unit in discovery.units for image in unit.images]
    problems += without_match(options.derivatives, images)
    return replace(discovery, problems=(*discovery.problems, *problems))


def disk_needs(units: Sequence[Unit], options: Options) -> list[Need]:
    """Estimate how much disk a run may need at most, by the sizes of its images.

    Parameters
    ----------
    units : sequence of Unit
    options : Options
        Without ``work_dir`` the intermediate files of a session go when it is finished.

    Returns
    -------
    list of Need
        One; two where results and intermediate files lie on two disks.
    """
    if not units:
        return []
    works = [WORK_BYTES * sum(_voxels(unit)) for unit in units]
    if options.work_dir is None:
        # The largest that may be there at one time: those in the workers, one in the network, one that is written.
        together = share(options.nprocs, len(units), options.mem_gb).workers + 2
        works = sorted(works)[-together:]
    results = RESULT_BYTES * sum(sum(_voxels(unit)) for unit in units)
    results += PAGE_BYTES * len({unit.participant for unit in units})
    out, work = nearest(options.output_dir), nearest(options.work_dir or Path(gettempdir()))
    free_out, free_work = shutil.disk_usage(out).free, shutil.disk_usage(work).free
    if out.stat().st_dev == work.stat().st_dev:
        return [Need("output and work", options.output_dir, results + sum(works), free_out)]
    return [
        Need("output", options.output_dir, results, free_out),
        Need("work", options.work_dir or work, sum(works), free_work),
    ]


def _voxels(unit: Unit) -> list[int]:
    """Return the voxels of each image of a unit, with those of the crop."""
    grid = unit.reference.grid
    length = max(n * spacing for n, spacing in zip(grid.shape, grid.spacing_mm, strict=True))
    crop = CROP_VOXELS**2 * int(length / SPACING_MM + 1)
    return [crop + image.grid.shape[0] * image.grid.shape[1] * image.grid.shape[2] for image in unit.images]


def _check_device(device: str) -> None:
    """Ask for a GPU where one was named; torch is loaded only then."""
    if device.startswith("cuda"):
        from .segment import choose_device

        choose_device(device)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"
