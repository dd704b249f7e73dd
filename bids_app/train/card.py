"""The model card that lies beside the weights."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict

import torch

from .. import __version__, space
from ..provenance import commit
from ..sequences import SLOTS
from .loop import TrainConfig
from .methods import METHODS
from .tasks import Task


def make_card(
    name: str,
    task: Task,
    config: TrainConfig,
    steps_done: int,
    note: str,
    data: str,
    results: Mapping[str, object],
) -> dict[str, object]:
    """Return the card.

    Parameters
    ----------
    name : str
        Of the task.
    note : str
        What else a reader should know of how these weights came about.
    data : str
        What they learned from.
    results : mapping
        Further entries, such as the operating point.
    """
    several = task.network.slots > 1
    return {
        "name": f"mscord {name}",
        "task": task.about,
        "method": METHODS[config.method].about if several else "single encoder",
        "sequences": list(SLOTS) if several else "any",
        "geometry": {
            "spacing_mm": space.SPACING_MM if name != "overview" else 2.0,
            "axes": "".join(space.AXIS_CODES),
            "crop_mm": space.CROP_MM if name != "overview" else None,
            "seen_mm": [n * space.SPACING_MM for n in space.NARROW] if several else None,
        },
        "version": __version__,
        "commit": commit(),
        "training": {**asdict(config), "steps_done": steps_done},
        "note": note,
        "data": data,
        "environment": {
            "torch": torch.__version__,
            "python": platform.python_version(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "licence": "Apache-2.0",
        "notice": notice_of(data),
        **results,
    }


def notice_of(data: str) -> str:
    """Return what every output says of weights that learned from ``data``."""
    return f"Research use only, not for diagnosis. Trained on {data}."
