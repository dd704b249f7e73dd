"""The corridor: each unit through the rooms, the next one prepared while this one is segmented."""

from __future__ import annotations

import logging
import multiprocessing
import shlex
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__, discover
from .errors import ExitCode, MscordError, NothingToDoError, UnitError
from .group import write_group
from .preprocess import PrepareRequest, prepare, require_sct, sct_version
from .records import Discovery, Failed, Options, Outcome, Prepared, Segmented, Unit
from .write.dataset import start_dataset
from .write.derivatives import write_session
from .write.manifest import Run, finish_run, start_run, write_status
from .write.names import collisions, outputs_of

if TYPE_CHECKING:
    from .localise import Localiser
    from .report import ReportRun
    from .segment import Segmenter

log = logging.getLogger(__name__)

#: Memory that one preprocessing worker may need.
WORKER_GB = 2.0


def run(options: Options, command: Sequence[str]) -> ExitCode:
    """Run one analysis level.

    Raises
    ------
    MscordError
        Whatever stops the run as a whole; failures of single units are in the exit status.
    """
    discover.check_places(options)
    if options.level == "group":
        lesions, units = write_group(options)
        log.info("wrote %s and %s", lesions, units)
        return ExitCode.OK
    found = _without_collisions(discover.discover(options))
    for problem in found.problems:
        log.log(
            logging.ERROR if problem.fatal else logging.WARNING, "%s %s", problem.message, problem.next_step
        )
    if options.dry_run:
        sys.stdout.write(discover.describe(found, options, outputs_of))
        return _dry_status(found)
    start_dataset(options)
    record = start_run(options, command)
    with _work_folder(options) as work:
        participants = Participants(options, found, work, record, command)
        code, message = ExitCode.UNFORESEEN, "ended early"
        try:
            code, message = participants.run(), ""
        except MscordError as error:
            code, message = error.exit_code, str(error)
            raise
        finally:
            finish_run(record, int(code), participants.outcomes, found.problems, message)
    _say_end(participants.outcomes, options)
    return code


class Participants:
    """Takes the units of all chosen participants through the rooms."""

    def __init__(
        self, options: Options, found: Discovery, work: Path, record: Run, command: Sequence[str]
    ) -> None:
        self.options, self.found, self.work, self.record = options, found, work, record
        self.command = command
        self.sct: str | None = None
        #: Filled as the work goes on, so that an early end can still be recorded.
        self.outcomes: list[Outcome] = []
        self.unforeseen = False
        self.workers = max(1, min(options.nprocs, len(found.units), int(options.mem_gb / WORKER_GB)))

    @cached_property
    def segmenter(self) -> Segmenter:
        """The lesion model, loaded once."""
        import torch

        from .segment import Segmenter, choose_device

        torch.set_num_threads(self.options.nprocs)
        return Segmenter(choose_device(self.options.device), self.options.weights, self.options.threshold)

    @cached_property
    def localiser(self) -> Localiser:
        """The built-in localiser, loaded once."""
        from .localise import Localiser

        return Localiser(self.segmenter.device)

    def run(self) -> ExitCode:
        """Work on all units; one outcome each, and one for each participant without any."""
        _ = self.segmenter  # weights and device are checked before any work
        if self.options.cord != "builtin":
            self.sct = require_sct() if self.options.cord == "sct" else sct_version()
        results = self._outcomes()
        for label, of_participant in groupby(results, key=lambda outcome: _participant(outcome)):
            self._finish(label, list(of_participant))
        served = {unit.participant for unit in self.found.units}
        for label in self.found.participants:
            if label not in served:
                self._finish(label, [])
        if self.unforeseen:
            return ExitCode.UNFORESEEN
        failed = any(isinstance(outcome, Failed) for outcome in self.outcomes)
        return ExitCode.SOME_FAILED if failed else ExitCode.OK

    def _finish(self, label: str, outcomes: list[Outcome]) -> None:
        """Record what became of a participant, and write the page."""
        from .report import write_report

        outcomes = outcomes + _not_usable(label, self.found, bool(outcomes))
        self.outcomes.extend(outcomes)
        for outcome in outcomes:
            if isinstance(outcome, Failed):
                log.error("sub-%s: %s %s", label, outcome.message, outcome.next_step)
        write_status(label, outcomes, self.options)
        path = write_report(label, outcomes, self.found, self._report_run())
        log.info("sub-%s: report %s", label, path)

    def _report_run(self) -> ReportRun:
        from .report import ReportRun

        return ReportRun(
            output_dir=self.options.output_dir,
            command=shlex.join(self.command),
            version=__version__,
            started=self.record.started.isoformat(timespec="seconds"),
            cord_method=self._cord_method(),
            device=str(self.segmenter.device),
            weights=self.segmenter.describe(),
            links={"raw": str(self.options.bids_dir)},
        )

    def _cord_method(self) -> str:
        return f"SCT {self.sct} sct_deepseg spinalcord" if self.sct else str(self.localiser.version)

    def _outcomes(self) -> Iterator[Outcome]:
        """Yield the outcome of each unit in order, each session written before its outcomes are yielded."""
        for _, session in groupby(
            self._segmented(), key=lambda outcome: (_participant(outcome), _session(outcome))
        ):
            outcomes = list(session)
            done = [outcome for outcome in outcomes if isinstance(outcome, Segmented)]
            write_session(done, self.options)
            yield from outcomes

    def _segmented(self) -> Iterator[Outcome]:
        """Yield units as they come out of the network, while workers prepare the next ones."""
        waiting: deque[tuple[PrepareRequest, Future[Prepared]]] = deque()
        workers = Workers(self.workers)
        numbers: dict[tuple[str, str | None], int] = {}
        try:
            for unit in self.found.units:
                request = self._request(unit)
                waiting.append((request, workers.submit(request)))
                while len(waiting) > self.workers:
                    yield self._one(workers, *waiting.popleft(), numbers)
            while waiting:
                yield self._one(workers, *waiting.popleft(), numbers)
        finally:
            workers.stop()

    def _request(self, unit: Unit) -> PrepareRequest:
        folder = self.work / unit.name
        folder.mkdir(parents=True, exist_ok=True)
        inside = max(1, self.options.nprocs // self.workers)
        if self.sct:
            gpu = self.segmenter.device.type == "cuda"
            return PrepareRequest(
                unit, folder, "sct", cord_method=self._cord_method(), sct_gpu=gpu, nprocs=inside
            )
        from .cords import find_cords

        cords = find_cords(unit, folder / "cords", lambda: self.localiser, self.localiser.version)
        return PrepareRequest(
            unit, folder, "builtin", cords.masks, cords.missing, self.localiser.version, nprocs=inside
        )

    def _one(
        self,
        workers: Workers,
        request: PrepareRequest,
        future: Future[Prepared],
        numbers: dict[tuple[str, str | None], int],
    ) -> Outcome:
        """Return the outcome of one unit; whatever goes wrong with it stays with it."""
        unit = request.unit
        key = (unit.participant, unit.session)
        try:
            prepared = workers.result(request, future)
            for path, reason in prepared.dropped.items():
                log.warning("%s: %s is left out: %s", unit.name, path.name, reason)
            result = self.segmenter.segment(prepared, self.work / unit.name, numbers.get(key, 0) + 1)
        except UnitError as error:
            return Failed(unit.participant, error.message, error.next_step, unit)
        except MscordError:
            raise
        except Exception as error:
            log.exception("%s: unforeseen failure", unit.name)
            self.unforeseen = True
            return Failed(
                unit.participant,
                f"{unit.name}: unforeseen failure ({type(error).__name__}: {error}).",
                "This is a defect of mscord; the log holds the details.",
                unit,
            )
        numbers[key] = numbers.get(key, 0) + len(result.lesions)
        log.info("%s: %d lesions, %.0f mm3", unit.name, len(result.lesions), result.volume_mm3)
        return result


class Workers:
    """Processes that prepare units; one that is killed, most often for lack of memory, costs only its own unit."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.pool = self._new()

    def submit(self, request: PrepareRequest) -> Future[Prepared]:
        """Hand a unit to a worker."""
        try:
            return self.pool.submit(prepare, request)
        except BrokenProcessPool:
            self.pool = self._new()
            return self.pool.submit(prepare, request)

    def result(self, request: PrepareRequest, future: Future[Prepared]) -> Prepared:
        """Wait for a unit.

        A dead worker takes its whole pool along: a unit that was caught up in that is tried again alone.
        """
        try:
            return future.result()
        except BrokenProcessPool:
            log.warning("%s: a worker was killed; trying once more", request.unit.name)
        try:
            with self._new(1) as alone:
                return alone.submit(prepare, request).result()
        except BrokenProcessPool as error:
            raise UnitError(
                f"{request.unit.name}: the preprocessing worker was killed twice, most likely for lack of memory.",
                "Grant more memory.",
            ) from error

    def stop(self) -> None:
        """Let go of the workers."""
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _new(self, count: int | None = None) -> ProcessPoolExecutor:
        # Spawned, not forked: a fork after torch or CUDA has started threads can hang.
        return ProcessPoolExecutor(count or self.count, mp_context=multiprocessing.get_context("spawn"))


@contextmanager
def _work_folder(options: Options) -> Iterator[Path]:
    """Yield the work folder; a temporary one lies beside nothing else and goes at the end."""
    if options.work_dir is not None:
        options.work_dir.mkdir(parents=True, exist_ok=True)
        yield options.work_dir
        return
    folder = Path(tempfile.mkdtemp(prefix="mscord-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _without_collisions(found: Discovery) -> Discovery:
    """Leave out images whose outputs would overwrite those of another."""
    problems = collisions(image for unit in found.units for image in unit.images)
    bad = {problem.path for problem in problems}
    units = tuple(
        Unit(
            unit.reference,
            tuple(image for image in unit.inputs if image.path not in bad),
            tuple(image for image in unit.others if image.path not in bad),
        )
        for unit in found.units
        if unit.reference.path not in bad
    )
    return replace(found, units=units, problems=found.problems + problems)


def _not_usable(label: str, found: Discovery, has_units: bool) -> list[Outcome]:
    """Return what failed of a participant before any unit began: broken images, or nothing to use at all."""
    failed: list[Outcome] = [
        Failed(label, problem.message, problem.next_step)
        for problem in found.problems
        if problem.fatal and problem.participant == label
    ]
    if not has_units:
        seen = sorted({unused.reason for unused in found.unused if unused.participant == label})
        why = f" What there is: {'; '.join(seen)}." if seen else " There are no images at all."
        failed.append(Failed(label, f"sub-{label} has no image that can be used.{why}"))
    return failed


def _dry_status(found: Discovery) -> ExitCode:
    if not found.units:
        return ExitCode.SOME_FAILED if found.participants else NothingToDoError.exit_code
    failed = found.participants_without_units() or any(problem.fatal for problem in found.problems)
    return ExitCode.SOME_FAILED if failed else ExitCode.OK


def _participant(outcome: Outcome) -> str:
    return outcome.participant if isinstance(outcome, Failed) else outcome.prepared.unit.participant


def _session(outcome: Outcome) -> str | None:
    if isinstance(outcome, Failed):
        return outcome.unit.session if outcome.unit else None
    return outcome.prepared.unit.session


def _say_end(outcomes: Sequence[Outcome], options: Options) -> None:
    done = [outcome for outcome in outcomes if isinstance(outcome, Segmented)]
    log.info(
        "%d units done, %d failed, %d lesions; see %s",
        len(done),
        len(outcomes) - len(done),
        sum(len(outcome.lesions) for outcome in done),
        options.output_dir,
    )
