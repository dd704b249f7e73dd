"""The corridor: each unit through the rooms, the next one prepared while this one is segmented."""

from __future__ import annotations

import logging
import shlex
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from . import __version__, discover
from .errors import EnvironmentFault, ExitCode, MscordError, NothingToDoError, UnitError
from .files import writing
from .group import write_group
from .options import Options
from .preprocess import PrepareRequest, require_sct, sct_version
from .records import Discovery, Failed, Outcome, Prepared, Segmented, Unit
from .workers import Workers
from .write.dataset import start_dataset
from .write.derivatives import clear_participant, write_session
from .write.manifest import Run, finish_run, start_run, write_status
from .write.names import collisions, outputs_of

if TYPE_CHECKING:
    from .localise import Localiser
    from .report import ReportRun
    from .segment import Segmenter

log = logging.getLogger(__name__)
T = TypeVar("T")

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
        tables = write_group(options)
        log.info("wrote %s", ", ".join(map(str, tables)))
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
    participants = Participants(options, found, record, command)
    code, message = int(ExitCode.UNFORESEEN), "ended early"
    try:
        with _work_folder(options) as participants.work:
            code, message = int(participants.run()), ""
    except MscordError as error:
        code, message = int(error.exit_code), str(error)
        raise
    except KeyboardInterrupt:
        code, message = 130, "interrupted"
        raise
    except SystemExit as end:
        code, message = int(end.code or 0), "told to end"
        raise
    finally:
        # A manifest that cannot be written must not hide why the run ended.
        with suppress(EnvironmentFault) if message else nullcontext():
            finish_run(record, code, participants.outcomes, found.problems, message)
    _say_end(participants.outcomes, options)
    return ExitCode(code)


class Participants:
    """Takes the units of all chosen participants through the rooms."""

    def __init__(self, options: Options, found: Discovery, record: Run, command: Sequence[str]) -> None:
        self.options, self.found, self.record, self.command = options, found, record, command
        self.work = Path()
        self.sct: str | None = None
        self.unforeseen = False
        #: Filled as the work goes on, so that an early end can still be recorded.
        self.outcomes: list[Outcome] = []
        affordable = max(1, int(options.mem_gb / WORKER_GB))
        self.workers = max(1, min(options.nprocs, len(found.units), affordable))
        #: Processes inside the graph of one unit.
        self.inside = max(1, min(options.nprocs, affordable) // self.workers)

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
        if not outcomes:
            clear_participant(label, self.options)
        outcomes = outcomes + _not_usable(label, self.found, bool(outcomes))
        self.outcomes.extend(outcomes)
        for outcome in outcomes:
            if isinstance(outcome, Failed):
                log.error("sub-%s: %s %s", label, outcome.message, outcome.next_step)
        write_status(label, outcomes, self.options)
        try:
            from .report import write_report

            path = write_report(label, outcomes, self.found, self._report_run())
            log.info("sub-%s: report %s", label, path)
        except MscordError:
            raise
        except Exception:
            log.exception("sub-%s: the report could not be made", label)
            self.unforeseen = True

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
        if self.sct:
            return f"SCT {self.sct} sct_deepseg spinalcord"
        from .localise import version_of

        return version_of()

    def _outcomes(self) -> Iterator[Outcome]:
        """Yield the outcome of each unit in order, each session written before its outcomes are yielded."""
        last = None
        for (label, _), session in groupby(
            self._segmented(), key=lambda outcome: (_participant(outcome), _session(outcome))
        ):
            if label != last:
                # What an earlier run left would pass for a result of this one.
                clear_participant(label, self.options)
                last = label
            outcomes = list(session)
            done = [outcome for outcome in outcomes if isinstance(outcome, Segmented)]
            if done:
                written = self._attempt(done[0].prepared.unit, partial(write_session, done, self.options))
                if isinstance(written, Failed):
                    outcomes = [replace(written, unit=_unit(outcome)) for outcome in outcomes]
            yield from outcomes

    def _segmented(self) -> Iterator[Outcome]:
        """Yield units as they come out of the network, while workers prepare the next ones."""
        waiting: deque[tuple[PrepareRequest, Future[Prepared]] | Failed] = deque()
        workers = Workers(self.workers)
        numbers: dict[tuple[str, str | None], int] = {}
        try:
            for unit in self.found.units:
                request = self._attempt(unit, partial(self._request, unit))
                waiting.append(request if isinstance(request, Failed) else (request, workers.submit(request)))
                while len(waiting) > self.workers:
                    yield self._next(waiting.popleft(), workers, numbers)
            while waiting:
                yield self._next(waiting.popleft(), workers, numbers)
        except BaseException:
            workers.abort()
            raise
        workers.stop()

    def _request(self, unit: Unit) -> PrepareRequest:
        folder = self.work / unit.name
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        method = self._cord_method()
        if self.sct:
            device = str(self.segmenter.device)
            return PrepareRequest(unit, folder, "sct", {}, {}, method, sct_device=device, nprocs=self.inside)
        from .cords import find_cords

        cords = find_cords(unit, folder / "cords", lambda: self.localiser, method)
        return PrepareRequest(unit, folder, "builtin", cords.masks, cords.missing, method, nprocs=self.inside)

    def _next(
        self,
        item: tuple[PrepareRequest, Future[Prepared]] | Failed,
        workers: Workers,
        numbers: dict[tuple[str, str | None], int],
    ) -> Outcome:
        """Return the outcome of the unit that has waited longest."""
        if isinstance(item, Failed):
            return item
        request, future = item
        key = (request.unit.participant, request.unit.session)

        def work() -> Segmented:
            prepared = workers.result(request, future)
            for path, reason in prepared.dropped.items():
                log.warning("%s: %s is left out: %s", request.unit.name, path.name, reason)
            for path, doubt in prepared.doubts.items():
                log.warning("%s: %s", path.name, doubt)
            return self.segmenter.segment(prepared, self.work / request.unit.name, numbers.get(key, 0) + 1)

        result = self._attempt(request.unit, work)
        if isinstance(result, Segmented):
            numbers[key] = numbers.get(key, 0) + len(result.lesions)
            log.info("%s: %d lesions, %.0f mm3", request.unit.name, len(result.lesions), result.volume_mm3)
        return result

    def _attempt(self, unit: Unit, work: Callable[[], T]) -> T | Failed:
        """Do something for a unit; whatever goes wrong with it stays with it, unless the machine is at fault."""
        try:
            return work()
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


@contextmanager
def _work_folder(options: Options) -> Iterator[Path]:
    """Yield the work folder; a temporary one lies beside nothing else and goes at the end."""
    if options.work_dir is not None:
        with writing(options.work_dir):
            options.work_dir.mkdir(parents=True, exist_ok=True)
        yield options.work_dir
        return
    with writing(Path(tempfile.gettempdir())):
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


def _unit(outcome: Outcome) -> Unit | None:
    return outcome.unit if isinstance(outcome, Failed) else outcome.prepared.unit


def _say_end(outcomes: Sequence[Outcome], options: Options) -> None:
    done = [outcome for outcome in outcomes if isinstance(outcome, Segmented)]
    log.info(
        "%d units done, %d failed, %d lesions; see %s",
        len(done),
        len(outcomes) - len(done),
        sum(len(outcome.lesions) for outcome in done),
        options.output_dir,
    )
