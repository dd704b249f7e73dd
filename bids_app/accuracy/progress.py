"""``python -m bids_app.accuracy.progress RUN DATA TABLE``: how far a training run of the lesion model has come.

The moving average of the weights is judged as it stands in the run's checkpoint: on fixed simulated samples, and on the people
that settings are chosen on (dev07 and dev14), as they are and with painted lesions. A row is added to ``TABLE``; ``--write`` also
leaves weights with their card.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..localise import Localiser
from ..model import checkpoint
from ..model.network import MultiSequenceNet
from ..segment import Segmenter, cord_zone
from ..train.card import make_card
from ..train.loop import TrainConfig
from ..train.operating import choose
from ..train.tasks import TASKS
from ..train.validation import Map
from . import painted
from .scans import (
    AXIAL,
    CHOICE,
    LESION_FREE,
    SAGITTAL,
    Found,
    Scan,
    find_cord,
    group_of,
    raw_scans,
    read_scan,
)

COLUMNS = (
    "step", "samples", "f1_one", "f1_several", "recall_one", "precision_one", "false_dev14", "false_dev07",
    "painted_1.1", "painted_1.2", "painted_1.3", "threshold", "least_mean", "least_mean_several", "minimum_mm3",
)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Judge, and add a row."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.accuracy.progress", description=__doc__)
    parser.add_argument(
        "run", type=Path, help="folder of mscord-train, with checkpoint.pt; or weights (.safetensors)"
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--validation", type=int, default=600, help="simulated samples")
    parser.add_argument("--kept", type=Path, help="folder where these samples are kept")
    parser.add_argument(
        "--write", type=Path, metavar="WEIGHTS", help="leave weights and card here (.safetensors)"
    )
    parser.add_argument("--describe", default="", help="what they learned from, for the card")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    network, step = read_network(options.run)
    founds = choice_scans(options.data)
    where = options.write or options.run / "judged.safetensors"
    card = make_card("lesion", TASKS["lesion"], config_of(), step, "", options.describe, {})
    checkpoint.save(where, network, card)
    plain = Segmenter(torch.device("cpu"), where)
    real = [free_map(plain, read_scan(found)) for found in founds]
    point = choose(network, options.validation, folder=options.kept, real=real)
    checkpoint.save(where, network, card | {"operating_point": point})
    row = judged(Segmenter(torch.device("cpu"), where), founds, point)
    add(options.table, {"step": step, "samples": 4 * step, **row})
    return 0


def config_of() -> TrainConfig:
    """Return the configuration of the run of the weights that ship."""
    return TrainConfig(TASKS["lesion"].network, steps=100_000, visible_until=100_000, average=0.999)


def read_network(run: Path) -> tuple[MultiSequenceNet, int]:
    """Return the network of a run or of a file of weights, ready for use, and the steps that it has learned."""
    if run.suffix == ".safetensors":
        loaded = checkpoint.load(run)
        return loaded.network, int(loaded.card.record["training"]["steps_done"])
    state = torch.load(run / "checkpoint.pt", weights_only=True, map_location="cpu")
    network = MultiSequenceNet(TASKS["lesion"].network)
    network.load_state_dict(state["average"])
    return network.eval(), int(state["step"])


def choice_scans(data: Path) -> list[Found]:
    """Return the lesion-free scans of the people that settings are chosen on, with their cords."""
    localiser, there = Localiser(torch.device("cpu")), raw_scans(data)
    found = [find_cord(there[stem], localiser) for stem in LESION_FREE if group_of(stem) == CHOICE]
    return [one for one in found if one.mask is not None]


def free_map(segmenter: Segmenter, scan: Scan) -> Map:
    """Return what a network makes of a scan without lesions."""
    probability = segmenter.probability(scan.crop) * cord_zone(scan.crop.cord)
    return Map(probability, np.zeros(probability.shape, bool))


def judged(segmenter: Segmenter, founds: Sequence[Found], point: dict[str, object]) -> dict[str, object]:
    """Return the figures of a row."""
    false = {SAGITTAL: 0, AXIAL: 0}
    for found in founds:
        false[LESION_FREE[found.stem]] += len(segmenter.find(read_scan(found).crop)[2])
    results = [one for _, outcome in painted.paint_all(founds, segmenter) for one in outcome.results]
    one, several = (point.get(name, {}) for name in ("one_sequence", "several_sequences"))
    assert isinstance(one, dict)
    assert isinstance(several, dict)
    row: dict[str, object] = {
        "f1_one": one.get("lesion_f1_iou20"),
        "f1_several": several.get("lesion_f1_iou20"),
        "recall_one": one.get("recall"),
        "precision_one": one.get("precision"),
        "false_dev14": false[SAGITTAL],
        "false_dev07": false[AXIAL],
        "threshold": point["threshold"],
        "least_mean": point["least_mean"],
        "least_mean_several": point["least_mean_several"],
        "minimum_mm3": point["minimum_volume_mm3"],
    }
    for low, high in painted.BANDS:
        some = [result.found for result in results if low <= result.contrast < high]
        row[f"painted_{low}"] = f"{sum(some)}/{len(some)}"
    return row


def add(table: Path, row: dict[str, object]) -> None:
    """Add a row to a table, and print it."""
    if not table.exists():
        table.write_text("\t".join(COLUMNS) + "\n", encoding="utf-8")
    line = "\t".join(str(row.get(name, "n/a")) for name in COLUMNS)
    with table.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
