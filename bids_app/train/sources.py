"""What a call of ``mscord-train`` learns from, and the weights it begins with."""

from __future__ import annotations

import argparse
import logging
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from ..model.network import MultiSequenceNet
    from .loop import Source, TrainConfig
    from .tasks import Task

log = logging.getLogger("bids_app")


def kept_samples(folder: Path | None, purpose: str, method: str, task: str = "lesion") -> Path | None:
    """Return where simulated samples are kept; methods that always have a T2Sag learn from other ones."""
    from .methods import METHODS

    return folder and Path(folder, f"{purpose}-{'t2sag' if METHODS[method].t2sag_only else task}")


def source_of(
    options: argparse.Namespace, task: Task, crops: Path | None, executor: Executor | None
) -> Source:
    """Return where samples come from: the simulator, prepared crops, or both."""
    from ..simulate.patches import PRESENCE, make_patch
    from .loop import Source
    from .methods import METHODS, T2SAG
    from .samples import Kept, lesion_example

    make, collate, t2sag_only = task.make, task.collate, METHODS[options.method].t2sag_only
    if options.task == "lesion":
        collate = partial(lesion_example, intensity=options.intensity)
    if t2sag_only:
        make = partial(make_patch, presence={**PRESENCE, "T2Sag": 1.0})
    if folder := kept_samples(options.samples, "learning", options.method, options.task):
        make = Kept(make, folder)
    if crops is None:
        return Source(make, collate, None, executor)
    from .crops import CropSource, read_crops, split
    from .validation import shown_by, voxel_dice

    learning, held = split(read_crops(crops), options.validation_share, options.seed)
    if t2sag_only:
        learning = [crop for crop in learning if T2SAG in crop.whole.slots]
    make = CropSource(tuple(learning), make, options.simulated)
    patches = tuple(patch for crop in held for patch in crop.windows())
    log.info("%d crops to learn from, %d held back for validation", len(learning), len(held))

    def validate(network: MultiSequenceNet) -> float:
        return voxel_dice(network, patches, shown_by(options.method))

    return Source(make, collate, validate if patches else None, executor, patches)


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
