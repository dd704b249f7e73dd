"""The record of a run, and of what became of each session: how a user finds out later what was done."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from .. import __version__
from ..config import to_toml
from ..files import LOGS, STATUS_ENDING, read_json, write_json, write_text, writing
from ..options import Options
from ..provenance import SEEDS, commit, container
from ..records import Failed, Kept, Outcome, Problem, session_of
from .dataset import NOTICE
from .names import LESION_INSTANCES, output_path

MANIFEST_ENDING = "_manifest.json"
RUNNING, FINISHED = "running", "finished"
DONE, FAILED = "done", "failed"
_PACKAGES = (
    "numpy",
    "scipy",
    "nibabel",
    "torch",
    "SimpleITK",
    "nipype",
    "pybids",
    "safetensors",
    "matplotlib",
)


@dataclass(frozen=True, eq=False)
class Run:
    """A run whose manifest has been started."""

    path: Path
    started: datetime
    record: Mapping[str, object]


def start_run(options: Options, command: Sequence[str]) -> Run:
    """Write the manifest of a run that begins: status ``running``.

    Parameters
    ----------
    options : Options
        As resolved.
    command : sequence of str
        The command line.

    Raises
    ------
    EnvironmentFault
        The output folder cannot be written to.
    """
    started = datetime.now(UTC)
    path = _new_file(options.output_dir / LOGS, started)
    record: dict[str, object] = {
        "Status": RUNNING,
        "Command": list(command),
        "Options": _plain(options),
        "Versions": versions(),
        "Commit": commit(),
        "Seeds": SEEDS,
        "Started": started.isoformat(timespec="seconds"),
        "ProcessId": os.getpid(),
        "Notice": NOTICE,
    }
    where = container()
    if where:
        record["Container"] = where
    write_json(path, record)
    write_text(run_file(path, "_options.toml"), to_toml(options))
    return Run(path, started, record)


def run_file(manifest: Path, ending: str) -> Path:
    """Return the path of another file of the same run."""
    return manifest.with_name(manifest.name.removesuffix(MANIFEST_ENDING) + ending)


def finish_run(
    run: Run,
    exit_code: int,
    outcomes: Sequence[Outcome] = (),
    problems: Sequence[Problem] = (),
    message: str = "",
    seconds: Mapping[str, float] | None = None,
) -> None:
    """Complete the manifest; call it at every exit.

    Parameters
    ----------
    outcomes : sequence of Segmented or Failed
        What is known of each unit so far.
    problems : sequence of Problem
        What discovery said.
    message : str
        Why the run ended early; empty where it did not.
    seconds : mapping of str to float, optional
        What took time beside the units' own steps.
    """
    ended = datetime.now(UTC)
    record = dict(run.record) | {
        "Status": FINISHED,
        "Ended": ended.isoformat(timespec="seconds"),
        "Seconds": round((ended - run.started).total_seconds(), 1),
        "ExitCode": int(exit_code),
        "Message": message,
        "StepSeconds": {name: round(float(value), 2) for name, value in (seconds or {}).items()},
        "PeakMemory_MB": {
            "MainProcess": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "LargestWorker": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        },
        "Units": [unit_record(outcome) for outcome in outcomes],
        "Problems": [
            {"Message": problem.message, "NextStep": problem.next_step, "Fatal": problem.fatal}
            for problem in problems
        ],
    }
    write_json(run.path, record)


def write_status(
    participant: str,
    outcomes: Sequence[Outcome],
    options: Options,
    made: Mapping[str | None, Mapping[str, object]] | None = None,
) -> list[Path]:
    """Record what became of one participant: a file for each session that the outcomes are of.

    The group level is rebuilt from these, so failures count there also when every participant ran in a
    process of its own. Each run replaces the records of the sessions that it worked on.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    outcomes : sequence of Segmented or Failed
        All of this participant.
    made : mapping, optional
        By session, what `finished.record_of` says of its inputs and outputs.
    """
    sessions: dict[str | None, list[Outcome]] = {}
    for outcome in outcomes:
        sessions.setdefault(session_of(outcome), []).append(outcome)
    paths = []
    for session, of_session in sessions.items():
        path = status_path(options, participant, session)
        write_json(
            path,
            {
                "Participant": participant,
                "Session": session,
                "Version": __version__,
                "Written": datetime.now(UTC).isoformat(timespec="seconds"),
                "Units": [unit_record(outcome) for outcome in of_session],
                **(made or {}).get(session, {}),
            },
        )
        paths.append(path)
    if sessions and None not in sessions:
        _forget_unitless_failure(status_path(options, participant, None))
    return paths


def outdated(participant: str, outcomes: Sequence[Outcome], options: Options) -> set[str | None]:
    """Return the sessions of some outcomes whose record says something else of them, or is not there.

    A session that is kept is not written again, but images of it may have been broken or mended since.
    """
    found = set()
    for session in dict.fromkeys(map(session_of, outcomes)):
        units = [unit_record(outcome) for outcome in outcomes if session_of(outcome) == session]
        try:
            known = read_json(status_path(options, participant, session)).get("Units")
        except (OSError, ValueError):
            known = None
        if known != units:
            found.add(session)
    return found


def forget_sessions(participant: str, options: Options, present: Collection[str | None]) -> None:
    """Remove the records of sessions that are not there any more, among those that the run works on."""
    if present and None not in present:
        _forget_unitless_failure(status_path(options, participant, None))
    for path in sorted((options.output_dir / LOGS).glob(f"sub-{participant}_*{STATUS_ENDING}")):
        session = path.name.removeprefix(f"sub-{participant}_ses-").removesuffix(STATUS_ENDING)
        chosen = not options.session_label or session in options.session_label
        if path.name.startswith(f"sub-{participant}_ses-") and chosen and session not in present:
            with writing(path):
                path.unlink(missing_ok=True)


def status_path(options: Options, participant: str, session: str | None) -> Path:
    """Return where the status of a session is kept.

    Session None: of a participant without sessions, or without units.
    """
    name = f"sub-{participant}" + (f"_ses-{session}" if session else "")
    return options.output_dir / LOGS / (name + STATUS_ENDING)


def versions() -> dict[str, str]:
    """Return the versions of everything that shapes results, without importing any of it."""
    found = {"mscord": __version__, "python": platform.python_version(), "platform": sys.platform}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def _new_file(folder: Path, started: datetime) -> Path:
    """Reserve a name of its own for this run: jobs of an array may share second and process id."""
    stem = f"run-{started:%Y%m%dT%H%M%S}-{os.getpid()}"
    with writing(folder / f"{stem}{MANIFEST_ENDING}"):
        folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, 10_000):
            path = folder / f"{stem}{f'-{attempt}' if attempt > 1 else ''}{MANIFEST_ENDING}"
            try:
                path.open("x").close()
            except FileExistsError:
                continue
            return path
        raise FileExistsError(f"too many manifests named {stem}")


def _forget_unitless_failure(path: Path) -> None:
    """Remove the record of an earlier run that found nothing to use of a participant who now has units."""
    try:
        units = read_json(path).get("Units")
    except (OSError, ValueError):
        return
    if isinstance(units, list) and all(isinstance(unit, dict) and unit.get("Unit") is None for unit in units):
        with writing(path):
            path.unlink(missing_ok=True)


def unit_record(outcome: Outcome) -> dict[str, object]:
    """Return what the records say of an outcome."""
    if isinstance(outcome, Kept):
        # Times of acquisition do not decide results: they may have been added since.
        return dict(outcome.record) | {"Acquired": dict(outcome.unit.reference.acquired)}
    if isinstance(outcome, Failed):
        unit = outcome.unit
        return {
            "Participant": outcome.participant,
            "Session": session_of(outcome),
            "Unit": unit.name if unit else None,
            "Planned": unit.planned if unit else None,
            **({"Image": outcome.image.name} if outcome.image else {}),
            "Status": FAILED,
            "Reason": outcome.message,
            "NextStep": outcome.next_step,
            "Sequences": list(unit.sequences) if unit else [],
        }
    prepared = outcome.prepared
    return {
        "Participant": prepared.unit.participant,
        "Session": prepared.unit.session,
        "Unit": prepared.unit.name,
        "Planned": prepared.unit.planned,
        "Status": DONE,
        "Acquired": dict(prepared.unit.reference.acquired),
        "Sequences": list(prepared.sequences),
        "Images": [image.path.name for image in prepared.images],
        "Dropped": {path.name: reason for path, reason in prepared.dropped.items()},
        "Choices": {path.name: words for path, words in prepared.unit.reasons.items()},
        "Doubts": {path.name: doubt for path, doubt in prepared.doubts.items()},
        "CordSeen_mm": round(outcome.cord_mm, 1),
        "ImageAlongCord_mm": round(outcome.image_mm, 1),
        "Lesions": len(outcome.lesions),
        "Volume_mm3": round(outcome.volume_mm3, 4),
        "Table": output_path(prepared.unit.reference, LESION_INSTANCES, ".tsv"),
        "CordMethod": prepared.cord_method,
        "Threshold": outcome.operating.threshold,
        "Weights": dict(outcome.weights),
        "Seconds": {name: round(float(value), 2) for name, value in outcome.seconds.items()},
        "PeakMemory_MB": round(prepared.peak_mb),
    }


def _plain(options: Options) -> dict[str, object]:
    values = {field.name: getattr(options, field.name) for field in fields(options)}
    return {
        name: str(value)
        if isinstance(value, Path)
        else [str(one) for one in value]
        if isinstance(value, tuple)
        else value
        for name, value in values.items()
    }
