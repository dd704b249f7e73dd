"""The corridor's traffic: units go through the rooms, the next one prepared while this one is segmented."""

from __future__ import annotations

import logging
import shlex
import shutil
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from . import __version__
from .cards import SHIPPED, localiser_version, read_card
from .errors import ExitCode, MscordError, UnitError
from .files import writing
from .given import given_cords
from .machine import share
from .options import Options
from .pages import page_of, sections_of
from .preprocess import PrepareRequest, require_sct, sct_version
from .records import Discovery, Failed, Kept, Outcome, Prepared, Segmented, Unit, session_of
from .workers import Workers
from .write.crash import write_crash
from .write.derivatives import clear, write_session
from .write.finished import Basis, basis_of, digests, kept, record_of, recorded
from .write.manifest import forget_sessions, outdated, unit_record, versions, write_status
from .write.methods import methods_of

if TYPE_CHECKING:
    from .localise import Localiser
    from .report import ReportRun
    from .segment import Segmenter

log = logging.getLogger(__name__)
T = TypeVar("T")
#: Participant and session.
Key = tuple[str, str | None]
#: A unit on its way: in a worker, or with an outcome already.
Entry = tuple[PrepareRequest, Future[Prepared]] | Outcome


class Participants:
    """Takes the units of all chosen participants through the rooms, session by session."""

    def __init__(
        self,
        options: Options,
        found: Discovery,
        command: Sequence[str],
        started: datetime,
        work: Path,
        advance: Callable[[], None],
    ) -> None:
        self.options, self.found, self.command = options, found, command
        self.started, self.work = started, work
        #: Called when a unit has come out of the network, or has failed.
        self.advance = advance
        self.card = read_card(options.weights or SHIPPED / "lesion.safetensors")
        self.sct: str | None = None
        if options.cord != "builtin":
            self.sct = require_sct() if options.cord == "sct" else sct_version()
        self.unforeseen = False
        #: Filled as the work goes on, so that an early end can still be recorded.
        self.outcomes: list[Outcome] = []
        self.share = share(options.nprocs, len(found.units), options.mem_gb)
        #: Seconds of what is not done unit by unit.
        self.seconds: dict[str, float] = defaultdict(float)
        #: What the results of a session in work are made from.
        self.bases: dict[Key, Basis] = {}
        #: References of the units of each session that are prepared.
        self.leaders: dict[Key, list[Path]] = defaultdict(list)

    @cached_property
    def segmenter(self) -> Segmenter:
        """The lesion model, loaded once, when the first unit needs it."""
        with self.clock("load"):
            import torch

            from .segment import Segmenter, choose_device

            torch.set_num_threads(self.share.threads)
            return Segmenter(choose_device(self.options.device), self.options.weights, self.options.threshold)

    @property
    def device(self) -> str:
        """Where the networks run."""
        return str(self.segmenter.predictor.device)

    @cached_property
    def localiser(self) -> Localiser:
        """The built-in localiser, loaded once."""
        from .localise import Localiser

        return Localiser(self.segmenter.device)

    @contextmanager
    def clock(self, step: str) -> Iterator[None]:
        """Add what is done within to the seconds of a step."""
        began = time.perf_counter()
        yield
        self.seconds[step] += time.perf_counter() - began

    @cached_property
    def cord_method(self) -> str:
        """Who finds the cord, with the version."""
        return f"SCT {self.sct} sct_deepseg spinalcord" if self.sct else localiser_version()

    def run(self) -> ExitCode:
        """Work on all units; one outcome each, and one for each participant without any."""
        for label, sessions in groupby(self._sessions(), key=lambda outcomes: outcomes[0].participant):
            self._finish(label, sessions)
        served = {unit.participant for unit in self.found.units}
        for label in self.found.participants:
            if label not in served:
                self._finish(label, iter(()))
        if self.unforeseen:
            return ExitCode.UNFORESEEN
        failed = any(isinstance(outcome, Failed) for outcome in self.outcomes)
        return ExitCode.SOME_FAILED if failed else ExitCode.OK

    def _finish(self, label: str, sessions: Iterator[list[Outcome]]) -> None:
        """Take what the sessions of a participant come to: write each, record it, and show it on the page.

        A session is on the page and recorded before the next one: a run that is killed loses no finished one.
        """
        told: list[Outcome] = []
        files: dict[str | None, Mapping[str, object]] = {}
        for outcomes in sessions:
            if all(isinstance(outcome, Kept) for outcome in outcomes):
                log.info("sub-%s: %s is finished already and is kept", label, _names(outcomes))
                told += outcomes
                self.outcomes += outcomes
                files[session_of(outcomes[0])] = recorded(outcomes[0], self.options)
                continue
            outcomes, made = self._write(outcomes)
            files |= made
            self._publish(label, [*told, *outcomes], outcomes, made)
            # Their part of the page is there now.
            told += [_as_kept(outcome) for outcome in outcomes]
            self.outcomes += outcomes
            self._clear_work(outcomes)
            self._stop_at(outcomes)
        sessions_told = {session_of(outcome) for outcome in told}
        clear(label, self.options, lambda session: session not in sessions_told)
        forget_sessions(label, self.options, sessions_told)
        unusable = _not_usable(label, self.found, bool(told), self.options.bids_dir)
        everything = [*told, *unusable]
        changed = outdated(label, everything, self.options)
        new = [outcome for outcome in everything if session_of(outcome) in changed]
        if unusable or self._shows_more(label, told):
            self._publish(label, everything, new, files)
        elif new:
            write_status(label, new, self.options, files)
        self.outcomes += unusable
        self._stop_at(unusable)

    def _clear_work(self, outcomes: Sequence[Outcome]) -> None:
        """Remove intermediate files that nobody asked to keep: the disk for temporary files may be small."""
        for outcome in outcomes:
            if self.options.work_dir is None and outcome.unit:
                shutil.rmtree(self.work / outcome.unit.planned, ignore_errors=True)

    def _write(
        self, outcomes: list[Outcome]
    ) -> tuple[list[Outcome], Mapping[str | None, Mapping[str, object]]]:
        """Write the derivatives of a session; returns its outcomes and what its status record says of files."""
        first = outcomes[0]
        session = session_of(first)
        # What an earlier run left would pass for a result of this one.
        clear(first.participant, self.options, lambda name: name == session)
        done = [outcome for outcome in outcomes if isinstance(outcome, Segmented)]
        if not done:
            return outcomes, {}
        with self.clock("write"):
            paths = self._attempt(done[0].unit, partial(write_session, done, self.options))
        if isinstance(paths, Failed):
            return [replace(paths, unit=outcome.unit) for outcome in outcomes], {}
        basis = self.bases.get((first.participant, session))
        return outcomes, {session: record_of(basis, paths, self.options.output_dir)} if basis else {}

    def _publish(
        self,
        label: str,
        told: Sequence[Outcome],
        new: Sequence[Outcome],
        made: Mapping[str | None, Mapping[str, object]] | None = None,
    ) -> None:
        """Write the page with all that is known of a participant, and the records of what is new."""
        known = {problem.message for problem in self.found.problems}
        for outcome in new:
            # What discovery said already is not said again.
            if isinstance(outcome, Failed) and outcome.message not in known:
                log.error("sub-%s: %s %s", label, outcome.message, outcome.next_step)
            write_crash(outcome, self.options)
        try:
            from .report import write_report

            with self.clock("report"):
                path = write_report(label, told, self.found, self._report_run())
            log.info("sub-%s: report %s", label, path)
        except MscordError:
            raise
        except Exception:
            log.exception("sub-%s: the report could not be made", label)
            self.unforeseen, made = True, None
        write_status(label, new, self.options, made)

    def _shows_more(self, label: str, told: Sequence[Outcome]) -> bool:
        """Tell whether the page shows units that are gone from the input; of sessions that were not chosen nothing is known."""
        shown = sections_of(page_of(label, self.options.output_dir))
        return not self.options.session_label and bool(shown.keys() - {o.unit.name for o in told if o.unit})

    def _stop_at(self, outcomes: Sequence[Outcome]) -> None:
        if self.options.stop_on_first_crash and any(isinstance(outcome, Failed) for outcome in outcomes):
            raise UnitError("The run ends at the first failure, as --stop-on-first-crash asks.")

    def _report_run(self) -> ReportRun:
        from .report import ReportRun

        return ReportRun(
            output_dir=self.options.output_dir,
            command=shlex.join(self.command),
            version=__version__,
            started=self.started.isoformat(timespec="seconds"),
            cord_method=self.cord_method,
            device=self.device,
            weights=self.card.describe(),
            links={"raw": str(self.options.bids_dir)},
            versions=versions(),
            checksums={
                name.rsplit("/", 1)[-1]: digest
                for basis in self.bases.values()
                for name, digest in digests(basis)
            },
            methods=self._methods_of,
        )

    def _methods_of(self, outcome: Segmented) -> list[str]:
        methods = methods_of([outcome], self.device)
        return [*methods.paragraphs, *(one.line() for one in methods.references)]

    def _sessions(self) -> Iterator[list[Outcome]]:
        """Yield the outcomes of each session in order."""

        def counted() -> Iterator[Outcome]:
            for outcome in self._units():
                self.advance()
                yield outcome

        for _, outcomes in groupby(counted(), key=_key):
            yield list(outcomes)

    def _units(self) -> Iterator[Outcome]:
        """Yield units as they come out of the network, while workers prepare the next ones."""
        waiting: deque[Entry] = deque()
        workers = Workers(self.share.workers)
        numbers: dict[Key, int] = {}
        try:
            for key, group in groupby(self.found.units, key=lambda unit: (unit.participant, unit.session)):
                for entry in self._entries(key, list(group), workers):
                    waiting.append(entry)
                    while len(waiting) > self.share.workers:
                        yield self._next(waiting, workers, numbers)
            while waiting:
                yield self._next(waiting, workers, numbers)
        except BaseException:
            workers.abort()
            raise
        workers.stop()

    def _entries(self, key: Key, units: list[Unit], workers: Workers) -> Iterator[Entry]:
        """Yield the units of a session: kept, or handed to a worker."""
        # An image that cannot be read fails its unit later, in words.
        with suppress(OSError):
            basis = basis_of(units, self._method(), self.options.bids_dir, self._given(units))
            still = [] if self.options.force else kept(units, basis, self.options)
            shown = sections_of(page_of(key[0], self.options.output_dir)) if still else {}
            if still and all(one.unit.name in shown for one in still):
                yield from still
                return
            self.bases[key] = basis
        for unit in units:
            request = self._attempt(unit, partial(self._request, unit))
            yield request if isinstance(request, Failed) else (request, workers.submit(request))

    def _method(self) -> dict[str, object]:
        """Return what decides results beside the images."""
        setting = self.card.operating(self.options.threshold)
        return {
            "Version": __version__,
            "Weights": self.card.sha256,
            "CordMethod": self.cord_method,
            "Threshold": setting.threshold,
            "MinimumVolume": setting.minimum_volume_mm3,
            "MinimumMeanProbability": setting.least_mean,
            "MinimumMeanProbabilityOfSeveralSequences": setting.least_mean_several,
        }

    def _given(self, units: Sequence[Unit]) -> dict[Path, Path]:
        """Return the cord masks that the user brought along for some units."""
        return given_cords(self.options.derivatives, [image for unit in units for image in unit.images])

    def _request(self, unit: Unit) -> PrepareRequest:
        device = str(self.segmenter.device)  # weights and device are checked before any work
        folder, inside = self.work / unit.name, self.share.inside
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        given = self._given([unit])
        method = self.cord_method
        if given:
            method = f"given masks for {len(given)} of {len(unit.images)} images, else {method}"
        if self.sct:
            return PrepareRequest(unit, folder, "sct", given, {}, method, sct_device=device, nprocs=inside)
        from .cords import find_cords

        cords = find_cords(unit, folder / "cords", lambda: self.localiser, self.cord_method, given)
        return PrepareRequest(
            unit, folder, "builtin", cords.masks, cords.missing, method,
            nprocs=inside, cord_seconds=sum(cords.seconds.values()),
        )  # fmt: skip

    def _next(
        self,
        waiting: deque[Entry],
        workers: Workers,
        numbers: dict[Key, int],
    ) -> Outcome:
        """Return the outcome of the unit that has waited longest, and take it from those that wait."""
        item = waiting.popleft()
        if not isinstance(item, tuple):
            return item
        request, future = item
        key = (request.unit.participant, request.unit.session)

        def work() -> Segmented:
            prepared = self._prepared(request, future, workers)
            for image in prepared.unit.instead_of:
                log.warning(
                    "%s: %s leads in place of %s", request.unit.name, prepared.unit.name, image.path.name
                )
            for path, reason in prepared.dropped.items():
                log.warning("%s: %s is left out: %s", request.unit.name, path.name, reason)
            for path, doubt in prepared.doubts.items():
                log.warning("%s: %s", path.name, doubt)
            for path, words in prepared.unit.reasons.items():
                log.info("%s: %s gets masks only: %s", request.unit.name, path.name, words)
            if self.segmenter.takes_many:
                self.segmenter.look_ahead([prepared, *_ready(waiting)])
            return self.segmenter.segment(prepared, self.work / request.unit.name, numbers.get(key, 0) + 1)

        result = self._attempt(request.unit, work)
        if isinstance(result, Segmented):
            numbers[key] = numbers.get(key, 0) + len(result.lesions)
            log.info("%s: lesions: %d, %.0f mm3", request.unit.name, len(result.lesions), result.volume_mm3)
        return result

    def _prepared(self, request: PrepareRequest, future: Future[Prepared], workers: Workers) -> Prepared:
        """Wait for a unit; once more where another unit of the session has come to be led by the same image."""
        key = (request.unit.participant, request.unit.session)
        prepared = workers.result(request, future)
        led = self.leaders[key]
        if prepared.unit.reference.path in led:
            request = replace(request, taken=tuple(led))
            prepared = workers.result(request, workers.submit(request))
        led.append(prepared.unit.reference.path)
        return prepared

    def _attempt(self, unit: Unit, work: Callable[[], T]) -> T | Failed:
        """Do something for a unit; whatever goes wrong with it stays with it, unless the machine is at fault."""
        try:
            return work()
        except UnitError as error:
            return Failed(unit.participant, error.message, error.next_step, unit, traceback.format_exc())
        except MscordError:
            raise
        except Exception as error:
            log.exception("%s: unforeseen failure", unit.name)
            self.unforeseen = True
            return Failed(
                unit.participant,
                f"{unit.name}: unforeseen failure ({type(error).__name__}: {error}).",
                "This is a defect of mscord: please report it with the crash report.",
                unit,
                traceback.format_exc(),
            )


def _ready(waiting: Iterable[Entry]) -> list[Prepared]:
    """Return what the workers have finished of the units that wait."""
    futures = [entry[1] for entry in waiting if isinstance(entry, tuple)]
    return [future.result() for future in futures if future.done() and not future.exception()]


def _key(outcome: Outcome) -> Key:
    return outcome.participant, session_of(outcome)


def _names(outcomes: Sequence[Outcome]) -> str:
    return ", ".join(outcome.unit.name for outcome in outcomes if outcome.unit)


def _as_kept(outcome: Outcome) -> Outcome:
    """Return a finished unit as a later run would find it."""
    return Kept(outcome.unit, unit_record(outcome)) if isinstance(outcome, Segmented) else outcome


def _not_usable(label: str, found: Discovery, has_units: bool, root: Path) -> list[Outcome]:
    """Return what failed of a participant before any unit began: each broken image or folder, or all that there is."""
    failed: list[Outcome] = [
        Failed(
            label,
            problem.message,
            problem.next_step,
            image=problem.path,
            session=_session_in(problem.path, root),
        )
        for problem in found.problems
        if problem.fatal and problem.participant == label
    ]
    if not has_units and not failed:
        seen = sorted({unused.reason for unused in found.unused if unused.participant == label})
        why = f" What there is: {'; '.join(seen)}." if seen else " There are no images at all."
        failed.append(Failed(label, f"sub-{label} has no image that can be used.{why}"))
    return failed


def _session_in(path: Path | None, root: Path) -> str | None:
    """Return the session whose folder a path is or lies in, label without ``ses-``."""
    parts = path.relative_to(root).parts if path is not None else ()
    return parts[1].removeprefix("ses-") if len(parts) > 1 and parts[1].startswith("ses-") else None
