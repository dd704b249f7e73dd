"""The processes that prepare units."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from .errors import UnitError
from .preprocess import PrepareRequest, prepare
from .processes import process_pool
from .records import Prepared

log = logging.getLogger(__name__)


class Workers:
    """Processes that prepare units.

    One that is killed, most often for lack of memory, costs only its own unit.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.pool = self._new(count)

    def submit(self, request: PrepareRequest) -> Future[Prepared]:
        """Hand a unit to a worker."""
        try:
            return self.pool.submit(prepare, request)
        except BrokenProcessPool:
            self.pool = self._new(self.count)
            return self.pool.submit(prepare, request)

    def result(self, request: PrepareRequest, future: Future[Prepared]) -> Prepared:
        """Wait for a unit.

        A dead worker takes its whole pool along: a unit that was caught up in that is tried again alone.

        Raises
        ------
        UnitError
            The worker was killed twice.
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
        """Let the workers finish and go."""
        self.pool.shutdown(wait=True)

    def abort(self) -> None:
        """Stop the workers at once: the run is over, and what they were doing is not wanted any more."""
        # The pool offers no public way to end its processes before Python 3.14.
        processes = list((getattr(self.pool, "_processes", None) or {}).values())
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()

    @staticmethod
    def _new(count: int) -> ProcessPoolExecutor:
        return process_pool(count)
