"""The corridor: what a run does around the work on its participants."""

from __future__ import annotations

import logging
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from logging.handlers import MemoryHandler
from pathlib import Path

from . import __version__, discover
from .errors import EnvironmentFault, ExitCode, MscordError, NothingToDoError
from .files import writing
from .group import included, unit_rows, write_group
from .longitudinal import write_longitudinal
from .options import Options
from .participants import Participants
from .preflight import disk_needs, preflight
from .progress import progress
from .records import Discovery, Failed, Kept, Outcome, Segmented
from .write.dataset import start_dataset
from .write.manifest import Run, finish_run, run_file, start_run
from .write.methods import methods_of, write_methods
from .write.names import collisions, outputs_of

log = logging.getLogger(__name__)


def run(options: Options, command: Sequence[str]) -> ExitCode:
    """Run one analysis level.

    Raises
    ------
    MscordError
        Whatever stops the run as a whole; failures of single units are in the exit status.
    """
    if options.level == "group":
        from .report import write_dataset_page

        discover.check_places(options)
        counted = [row for row in unit_rows(options) if included(row)]
        tables = [*write_group(options), write_longitudinal(counted, options), write_dataset_page(options)]
        log.info("wrote %s", ", ".join(str(table) for table in tables if table))
        return ExitCode.OK
    with _log_kept() as keep_in:
        log.debug("mscord %s: %s", __version__, shlex.join(command))
        began = time.perf_counter()
        found = _without_collisions(preflight(options))
        discovering = time.perf_counter() - began
        for problem in found.problems:
            level = logging.ERROR if problem.fatal else logging.WARNING
            log.log(level, "%s %s", problem.message, problem.next_step)
        if options.dry_run:
            sys.stdout.write(discover.describe(found, options, outputs_of))
            sys.stdout.writelines(f"\nDisk, {need}\n" for need in disk_needs(found.units, options))
            return _dry_status(found)
        start_dataset(options)
        record = start_run(options, command)
        keep_in(run_file(record.path, "_log.txt"))
        return _run(options, command, found, record, discovering)


def _run(
    options: Options, command: Sequence[str], found: Discovery, record: Run, discovering: float
) -> ExitCode:
    """Work on what was found, and complete the manifest however that ends."""
    outcomes: list[Outcome] = []
    seconds: Mapping[str, float] = {}
    code, message = int(ExitCode.UNFORESEEN), "ended early"
    try:
        with _work_folder(options) as work, _bar(found, options) as advance:
            participants = Participants(options, found, command, record.started, work, advance)
            outcomes, seconds = participants.outcomes, participants.seconds
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
            finish_run(record, code, outcomes, found.problems, message, {**seconds, "discover": discovering})
    done = [outcome for outcome in outcomes if isinstance(outcome, Segmented)]
    if done:
        write_methods(methods_of(done, participants.device), run_file(record.path, "_methods"))
    _say_end(outcomes, options)
    return ExitCode(code)


def _bar(found: Discovery, options: Options) -> AbstractContextManager[Callable[[], None]]:
    return progress(0 if options.quiet else len(found.units), "units")


@contextmanager
def _log_kept() -> Iterator[Callable[[Path], None]]:
    """Keep everything that is said, whatever the terminal shows.

    Yields what names the file for it. Until then nothing may be written: it is kept in memory, and forgotten where no file is
    named.
    """
    handler = MemoryHandler(sys.maxsize, flushLevel=sys.maxsize, flushOnClose=False)

    def keep_in(path: Path) -> None:
        with writing(path):
            file = logging.FileHandler(path, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handler.setTarget(file)
        # From now on every record is written at once.
        handler.flushLevel = logging.NOTSET
        handler.flush()

    app = logging.getLogger(__package__)
    app.addHandler(handler)
    try:
        yield keep_in
    finally:
        app.removeHandler(handler)
        file = handler.target
        handler.close()
        if file is not None:
            file.close()


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
        replace(
            unit,
            inputs=tuple(image for image in unit.inputs if image.path not in bad),
            others=tuple(image for image in unit.others if image.path not in bad),
        )
        for unit in found.units
        if unit.reference.path not in bad
    )
    return replace(found, units=units, problems=found.problems + problems)


def _dry_status(found: Discovery) -> ExitCode:
    if not found.units:
        return ExitCode.SOME_FAILED if found.participants else NothingToDoError.exit_code
    failed = found.participants_without_units() or any(problem.fatal for problem in found.problems)
    return ExitCode.SOME_FAILED if failed else ExitCode.OK


def _say_end(outcomes: Sequence[Outcome], options: Options) -> None:
    """Say what came of the run, by participants, units and images: each failure counts in one place."""
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    kept = sum(isinstance(outcome, Kept) for outcome in outcomes)
    images = sum(outcome.unit is None and outcome.image is not None for outcome in failed)
    log.info(
        "participants: %d, %d with failures; units: %d done%s, %d failed%s; lesions: %d; see %s",
        len({outcome.participant for outcome in outcomes}),
        len({outcome.participant for outcome in failed}),
        sum(isinstance(outcome, Segmented) for outcome in outcomes),
        f", {kept} kept" if kept else "",
        sum(outcome.unit is not None for outcome in failed),
        f"; images that cannot be used: {images}" if images else "",
        sum(outcome.lesion_count for outcome in outcomes if not isinstance(outcome, Failed)),
        options.output_dir,
    )
