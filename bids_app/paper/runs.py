"""Train the compared methods on one cohort for equally many steps; every run goes on where it stopped."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from ..files import read_json, write_json
from ..model import checkpoint
from ..processes import process_pool
from ..simulate.patches import Patch
from ..train.crops import Crop as TrainingCrop
from ..train.crops import CropSource
from ..train.loop import Source, TrainConfig, train
from ..train.methods import BASELINE, METHODS
from ..train.samples import lesion_example
from ..train.tasks import TASKS
from .cohort import TRAINING_SEED, Person, people, training_members

log = logging.getLogger(__name__)

OURS = "mean-imputation"


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes
    ----------
    out : Path
    steps : int
        For every run, pre-training included.
    seeds : int
        Runs of each method.
    training, testing : int
        How many of the cohorts' participants are used; 0 for all.
    length : int
        Slices of 0.5 mm of each simulated cord.
    channels : tuple of int
        Of the network, per level.
    device : str
    workers : int
        Processes.
    """

    out: Path
    steps: int
    batch: int
    seeds: int
    training: int
    testing: int
    length: int
    channels: tuple[int, ...]
    device: str = "cpu"
    workers: int = 1

    @property
    def config(self) -> TrainConfig:
        """What all runs have in common."""
        return TrainConfig(
            replace(TASKS["lesion"].network, channels=self.channels, along=1), self.steps, batch=self.batch, save_every=100,
        )  # fmt: skip

    @property
    def run_stamp(self) -> dict[str, object]:
        """What the weights of a run depend on."""
        return {
            "Steps": self.steps, "Batch": self.batch, "Training": self.training, "Length": self.length,
            "Channels": list(self.channels),
        }  # fmt: skip

    @property
    def stamp(self) -> dict[str, object]:
        """What scores depend on."""
        return {**self.run_stamp, "Seeds": self.seeds, "Testing": self.testing}

    def scores(self, visibility: str, method: str) -> Path:
        """Return where the scores of a method lie."""
        return self.out / visibility / method / "scores.tsv"

    def is_scored(self, visibility: str, method: str) -> bool:
        """Say whether a method has been scored as this plan says."""
        path = self.scores(visibility, method)
        return path.exists() and _says(path.with_suffix(".json"), self.stamp)


def _says(path: Path, stamp: dict[str, object]) -> bool:
    try:
        return read_json(path) == stamp
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class Job:
    """One run: a way of drawing visibility (a folder's name), a method, a seed."""

    visibility: str
    method: str
    seed: int

    def folder(self, plan: Plan) -> Path:
        """Return where the run lies."""
        return plan.out / self.visibility / self.method / f"seed-{self.seed}"

    def weights(self, plan: Plan) -> Path:
        """Return the weights that the finished run leaves."""
        return self.folder(plan) / "lesion.safetensors"

    def is_done(self, plan: Plan) -> bool:
        """Say whether these weights have been trained as the plan says."""
        return self.weights(plan).with_suffix(".json").exists() and self.is_of(plan)

    def is_of(self, plan: Plan) -> bool:
        """Say whether what lies in the folder was begun as the plan says."""
        return _says(self.folder(plan) / "plan.json", plan.run_stamp)

    def begin(self, plan: Plan) -> None:
        """Clear the folder of a run that was begun by another plan."""
        if not self.is_of(plan):
            if self.folder(plan).exists():
                log.warning("%s was begun with other options: it is begun anew", self.folder(plan))
            shutil.rmtree(self.folder(plan), ignore_errors=True)
            write_json(self.folder(plan) / "plan.json", plan.run_stamp)


def train_all(plan: Plan, visibility: str, methods: Sequence[str]) -> None:
    """Train what is missing and not scored: the baselines first, since the frozen encoder comes from them."""
    methods = [name for name in methods if not plan.is_scored(visibility, name)]
    if any(METHODS[name].frozen for name in methods) and BASELINE not in methods:
        methods.append(BASELINE)
    order = sorted(methods, key=lambda name: (METHODS[name].frozen, list(METHODS).index(name)))
    for frozen in (False, True):
        jobs = [
            Job(visibility, method, seed)
            for seed in range(plan.seeds) for method in order if METHODS[method].frozen == frozen
        ]  # fmt: skip
        jobs = [job for job in jobs if not job.is_done(plan)]
        if jobs:
            training_people(plan, visibility)
            # A process reads the cohort once and keeps it.
            with process_pool(min(plan.workers, len(jobs))) as pool:
                list(pool.map(partial(_run, plan=plan), jobs))


_cohort: dict[tuple[Path, str], list[Person]] = {}


def training_people(plan: Plan, visibility: str) -> list[Person]:
    """Return the people to learn from; they are simulated the first time."""
    members = training_members()
    if plan.training:
        # Some of every cohort.
        members = members[:: max(1, len(members) // plan.training)][: plan.training]
    folder = plan.out / visibility
    return people(folder, "training", members, TRAINING_SEED, visibility, plan.length, plan.workers)


def _run(job: Job, plan: Plan) -> None:
    """Train one network to its end."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    key = (plan.out, job.visibility)
    if key not in _cohort:
        _cohort[key] = training_people(plan, job.visibility)
    crops = tuple(
        TrainingCrop(f"{number:04d}", person.patch, ()) for number, person in enumerate(_cohort[key])
    )
    config = replace(plan.config, method=job.method, seed=job.seed)
    # Encoders of their own for all methods.
    network = replace(config.network, noise=METHODS[job.method].noise, sharing="nothing")
    config = replace(config, network=network)
    start = None
    if METHODS[job.method].frozen:
        start = checkpoint.load(Job(job.visibility, BASELINE, job.seed).weights(plan)).network
    # A lesion in every sample of a cord that has any: a run is short.
    make = CropSource(crops, _none, 0.0, anywhere=False)
    source = Source(lambda draw, count: [make(draw.integer(0, 2**40)) for _ in range(count)], lesion_example)
    job.begin(plan)
    log.info("%s, %s, seed %d", job.visibility, job.method, job.seed)
    done = train(config, source, job.folder(plan), device=torch.device(plan.device), start=start)
    card = {
        "name": f"{job.method}, seed {job.seed}",
        "data": "simulated cohort",
        "steps": plan.steps,
        "batch": plan.batch,
    }
    checkpoint.save(job.weights(plan), done.average.cpu(), card)
    (job.folder(plan) / "checkpoint.pt").unlink(missing_ok=True)


def _none(seed: int) -> Patch:
    raise AssertionError(f"nothing is simulated on the fly, yet sample {seed} was asked for")
