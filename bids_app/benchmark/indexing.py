"""How long it takes to find one participant among thousands, beside pybids' own index of everything."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ..discover.index import index
from ..options import Options
from .measure import Job, Line, alternate

IMAGES = ("acq-sag_T2w", "acq-ax_T2starw", "T1w", "STIR", "UNIT1")
TARGETS = {1000: 0.5, 5000: 0.8}
#: pybids' own index of more participants would take minutes.
BESIDE = 1000


def lines(rounds: int, out: Path) -> Iterator[Line]:
    """Yield what indexing costs."""
    del out
    memory: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        for participants, target in TARGETS.items():
            root = Path(name) / str(participants)
            make_dataset(root, participants)
            jobs: dict[str, Job] = {"ours": partial(one_participant, root)}
            if participants == BESIDE:
                jobs["pybids"] = partial(everything, root)
            costs = alternate(jobs, rounds)
            cost = costs["ours"]
            memory.append(cost.peak_gb)
            yield Line(
                f"one participant of {participants} found", cost.seconds, "CPU-s", target, at_most=True,
                detail=f"peak memory {cost.peak_gb:.2f} GiB",
            )  # fmt: skip
            if whole := costs.get("pybids"):
                yield Line(
                    f"the same, beside pybids' index of all {participants}", whole.seconds / cost.seconds, "x", 35,
                    detail=f"{whole.seconds:.1f} CPU-s, peak memory {whole.peak_gb:.2f} GiB",
                )  # fmt: skip
    yield Line(
        f"memory for one participant of {max(TARGETS)}, as part of that for one of {min(TARGETS)}",
        memory[-1] / memory[0], "x", 1.2, at_most=True, detail=f"{memory[0]:.3f} and {memory[-1]:.3f} GiB",
    )  # fmt: skip


def make_dataset(root: Path, participants: int) -> None:
    """Write a BIDS dataset of empty images with sidecars."""
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "many", "BIDSVersion": "1.10.0"}))
    for number in range(participants):
        folder = root / f"sub-{number:04d}" / "anat"
        folder.mkdir(parents=True)
        for image in IMAGES:
            stem = folder / f"sub-{number:04d}_{image}"
            stem.with_name(stem.name + ".nii.gz").touch()
            stem.with_name(stem.name + ".json").write_text('{"EchoTime": 0.1}')


def one_participant(root: Path) -> Callable[[], object]:
    """Prepare what the app does."""
    return partial(index, Options(root, root / "out", participant_label=("0500",)))


def everything(root: Path) -> Callable[[], object]:
    """Prepare what pybids does by default."""
    from bids import BIDSLayout

    return partial(BIDSLayout, root)
