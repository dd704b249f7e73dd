"""What a call of ``mscord-train`` learns from, and the weights it begins with."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .devices import is_first

if TYPE_CHECKING:
    from ..model.network import MultiSequenceNet
    from .loop import Source, TrainConfig
    from .tasks import Task

log = logging.getLogger("bids_app")
#: Of the two stages of the localiser: shape and spacing of a sample, and how far off its middle the cord may lie.
WINDOWS = {
    "overview": ((48, 56, 64), 2.0, (30.0, 36.0)),
    "cord": ((48, 48, 64), 0.5, (7.0, 7.0)),
}


def kept_samples(folder: Path | None, purpose: str, method: str, task: str = "lesion") -> Path | None:
    """Return where simulated samples are kept; methods that always have a T2Sag learn from other ones."""
    from .methods import METHODS

    return folder and Path(folder, f"{purpose}-{'t2sag' if METHODS[method].t2sag_only else task}")


@contextmanager
def source_of(options: argparse.Namespace, task: Task, crops: Path | None) -> Iterator[Source]:
    """Yield where samples come from: the simulator, prepared crops, or both, by way of a ring on disk."""
    from ..simulate.patches import PRESENCE, Patch, make_patch, shortened
    from .loop import Source
    from .methods import METHODS, T2SAG
    from .ring import Ring, filled
    from .tasks import Shortened

    make, t2sag_only = task.make, METHODS[options.method].t2sag_only
    if t2sag_only:
        make = partial(make_patch, presence={**PRESENCE, "T2Sag": 1.0})
    if options.scans:
        from .scans import ScanSource, read_scans

        make = ScanSource(read_scans(options.scans), make, options.simulated, *WINDOWS[options.task])
    validate, held_back = None, tuple[Patch, ...]()
    if crops is not None:
        from .crops import CropSource, read_crops, split
        from .validation import shown_by, voxel_dice

        crops_there = read_crops(crops)
        if options.simulated == 0 and not any(crop.whole.lesion.any() for crop in crops_there):
            raise UsageError(
                f"No crop in {crops} has a lesion, and no sample is to be simulated: there is nothing to learn from.",
                "Add participants with lesions, or raise --simulated.",
            )
        learning, held = split(crops_there, options.validation_share, options.seed)
        if t2sag_only:
            learning = [crop for crop in learning if T2SAG in crop.whole.slots]
        make = CropSource(tuple(learning), make, options.simulated)
        held_back = tuple(patch for crop in held for patch in crop.windows())
        log.info("%d crops to learn from, %d held back for validation", len(learning), len(held))
        if held_back:
            short = tuple(shortened(patch, task.network.along) for patch in held_back)
            validate = partial(voxel_dice, patches=short, keep=shown_by(options.method))
    kind = f"{options.task}{' with T2Sag' if t2sag_only else ''}, {task.network.along} voxels along the cord together"
    ring = Ring(options.ring or options.out / "ring", options.keep, options.seed, kind)
    making = filled(ring, Shortened(make, task.network.along)) if is_first() else nullcontext()
    with making:
        yield Source(ring.take, task.collate, validate, held_back)


def start_of(options: argparse.Namespace, config: TrainConfig) -> MultiSequenceNet | None:
    """Return the network that ``--init`` names, or None.

    Raises
    ------
    UsageError
        It has another shape.
    """
    if options.init is None:
        return None
    from ..cards import SHIPPED
    from ..model import checkpoint
    from ..model.network import MultiSequenceNet

    path = SHIPPED / f"{options.task}.safetensors" if str(options.init) == "shipped" else options.init
    loaded = checkpoint.load(path).network
    network = MultiSequenceNet(config.network)
    try:
        network.load_state_dict(loaded.state_dict())
    except RuntimeError as error:
        raise UsageError(f"{path.name} has another shape than the network to be trained.") from error
    return network
