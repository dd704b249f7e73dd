"""What can go wrong, as types: each carries one clear sentence, and a next step where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit status of every mscord command."""

    OK = 0  #: all chosen participants are done
    UNFORESEEN = 1  #: a defect: nothing below describes it
    USAGE = 2  #: the command line is wrong
    SOME_FAILED = 3  #: some unit or participant failed, also when all did
    NOTHING_TO_DO = 4  #: discovery found nothing to work on at all
    ENVIRONMENT = 5  #: the machine cannot do what was asked for


class MscordError(Exception):
    """A failure that the app foresees.

    Parameters
    ----------
    message : str
        One sentence that names the thing and what is wrong with it.
    next_step : str
        What the user can do about it; may be empty.
    """

    exit_code = ExitCode.UNFORESEEN

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        """Return the sentence, followed by the next step."""
        return f"{self.message} {self.next_step}".strip()

    def __reduce__(self) -> tuple[type[MscordError], tuple[str, str]]:
        """Pickle both parts: these errors come back from worker processes."""
        return (type(self), (self.message, self.next_step))


class UsageError(MscordError):
    """The command line or a file that it names is wrong."""

    exit_code = ExitCode.USAGE


class UnitError(MscordError):
    """One unit of work cannot be done; the others go on."""

    exit_code = ExitCode.SOME_FAILED


class BadImageError(UnitError):
    """An image file cannot be used."""


class CordError(UnitError):
    """No plausible spinal cord was found in an image."""


class NothingToDoError(MscordError):
    """Discovery found nothing to work on."""

    exit_code = ExitCode.NOTHING_TO_DO


class EnvironmentFault(MscordError):  # noqa: N818 - "EnvironmentError" is a builtin of another meaning
    """The machine lacks what was asked for: a GPU, SCT, a writable output."""

    exit_code = ExitCode.ENVIRONMENT


def check_all(checks: Iterable[Callable[[], object]]) -> None:
    """Make every check, and raise all that they raise as one error.

    Its kind, and so the exit status, is that of the first. What several checks say is said once.
    """
    errors: dict[str, MscordError] = {}
    for check in checks:
        try:
            check()
        except MscordError as error:
            errors.setdefault(str(error), error)
    if not errors:
        return
    first = next(iter(errors.values()))
    if len(errors) == 1:
        raise first
    listed = "".join(f"\n  {number}. {text}" for number, text in enumerate(errors, 1))
    raise type(first)(f"{len(errors)} things are in the way:{listed}") from first
