"""A large site on paper: ``python -m bids_app.benchmark.site`` measures a few participants and multiplies.

Each participant is a run of its own on one core, as a task of a job array is. What a multiplication cannot know is said in
docs/cluster.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .app import call
from .indexing import make_dataset, one_participant
from .measure import alternate

#: Of the site.
PARTICIPANTS = 10_000
#: Copies of one participant's records with which the group level is measured.
COPIES = 300
#: Nodes, and cores of each: one task a core.
NODES, CORES = (1, 4, 16, 64), 32
GPUS = (1, 4, 16, 64)
#: Steps that a card can take over.
NETWORKS = ("cord", "segment")


@dataclass(frozen=True)
class Cost:
    """What one participant costs, the mean over those measured.

    Attributes
    ----------
    cpu : float
        Seconds of one core, start of the program included.
    networks : float
        Share of the steps' time that networks take: what a card can shorten.
    files, folders : float
        In the output folder, of one participant.
    logs : float
        Files among them that lie in ``logs``.
    output_mb, input_mb : float
    group : float
        Seconds of one core that the group level takes, for each participant.
    """

    cpu: float
    networks: float
    files: float
    folders: float
    logs: float
    output_mb: float
    input_mb: float
    group: float


def main(argv: list[str] | None = None) -> int:
    """Measure, multiply, print."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.benchmark.site", description=__doc__)
    parser.add_argument(
        "--participants", type=int, default=4, help="how many to measure (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        cost = measure(Path(name), options.participants)
        for line in lines(cost, indexing_seconds(Path(name) / "many")):
            sys.stdout.write(line + "\n")
    return 0


def measure(folder: Path, participants: int) -> Cost:
    """Simulate participants as `mscord-simulate` does, and run the app on each."""
    from ..simulate.command import main as simulate

    bids, out = folder / "bids", folder / "out"
    simulate([str(bids), "--participants", str(participants), "--seed", "0"])
    labels = sorted(path.name for path in bids.glob("sub-*"))
    common = [str(bids), str(out)]
    ran = [
        call(
            [
                *common,
                "participant",
                "--participant-label",
                label,
                "--nprocs",
                "1",
                "--cord",
                "builtin",
                "--device",
                "cpu",
            ]
        )
        for label in labels
    ]
    entries = list(out.rglob("*"))
    files = [path for path in entries if path.is_file()]
    images = [path for label in labels for path in (bids / label).rglob("*.nii.gz")]
    return Cost(
        statistics.mean(one.cpu for one in ran),
        _networks(out),
        len(files) / participants,
        (len(entries) - len(files)) / participants,
        sum(path.parent.name == "logs" for path in files) / participants,
        sum(path.stat().st_size for path in files) / 1e6 / participants,
        sum(path.stat().st_size for path in images) / 1e6 / participants,
        _group_seconds(bids, out, labels[0]),
    )


def _group_seconds(bids: Path, out: Path, label: str) -> float:
    """Return the seconds of one core that a further participant costs at the group level, from copies of one's records."""
    first = call([str(bids), str(out), "group"]).cpu
    records = [path for path in out.rglob(f"{label}*") if path.suffix in {".json", ".tsv"}]
    for number in range(COPIES):
        for path in records:
            name = f"sub-copy{number}"
            copy = out / str(path.relative_to(out)).replace(label, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text(encoding="utf-8").replace(label, name)
            bare = label.removeprefix("sub-")
            copy.write_text(
                text.replace(f'"Participant": "{bare}"', f'"Participant": "copy{number}"'), encoding="utf-8"
            )
    return (call([str(bids), str(out), "group"]).cpu - first) / COPIES


def _networks(out: Path) -> float:
    """Return the share of the networks in the time of all steps."""
    seconds: Counter[str] = Counter()
    for manifest in (out / "logs").glob("run-*_manifest.json"):
        record = json.loads(manifest.read_text(encoding="utf-8"))
        seconds.update(record["StepSeconds"])
        for unit in record["Units"]:
            seconds.update(unit["Seconds"])
    return sum(seconds[name] for name in NETWORKS) / seconds.total()


def indexing_seconds(root: Path) -> float:
    """Return the seconds of one core in which one participant among all of the site is found."""
    make_dataset(root, PARTICIPANTS)
    return alternate({"found": partial(one_participant, root)}, 1)["found"].seconds


def lines(cost: Cost, indexing: float) -> Iterator[str]:
    """Yield the figures, and what they make for the whole site, as Markdown."""
    hours = PARTICIPANTS * (cost.cpu + indexing) / 3600
    least = PARTICIPANTS * (cost.cpu * (1 - cost.networks) + indexing) / 3600
    yield f"Measured: {cost.cpu:.1f} CPU-s a participant ({100 * cost.networks:.0f} % of it networks),"
    yield f"input {cost.input_mb:.1f} MB, output {cost.output_mb:.2f} MB in {cost.files:.0f} files ({cost.logs:.0f} in logs),"
    yield f"found among {PARTICIPANTS} in {indexing:.2f} CPU-s, group level {1000 * cost.group:.1f} CPU-ms a participant."
    yield ""
    yield f"| {PARTICIPANTS} participants | |"
    yield "|---|---|"
    yield f"| core hours | {hours:.0f} |"
    for nodes in NODES:
        yield f"| wall time on {nodes} x {CORES} cores | {_time(hours / (nodes * CORES))} |"
    for gpus in GPUS:
        yield f"| wall time on {gpus} GPU, a core and a participant each | {_time(least / gpus)} to {_time(hours / gpus)} |"
    yield f"| group level, one core | {PARTICIPANTS * cost.group:.0f} s and its start |"
    yield f"| input read | {PARTICIPANTS * cost.input_mb / 1000:.0f} GB |"
    yield f"| output written | {PARTICIPANTS * cost.output_mb / 1000:.0f} GB |"
    yield f"| files and folders written | {PARTICIPANTS * (cost.files + cost.folders):.0f} |"
    yield f"| of them in the one folder logs | {PARTICIPANTS * cost.logs:.0f} |"


def _time(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"


if __name__ == "__main__":
    sys.exit(main())
