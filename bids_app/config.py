"""Options in a file: what ``--config`` reads, and what a run writes so that it can be repeated."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path

from .errors import UsageError
from .options import Options
from .provenance import COMMIT, DIGEST, TAG

#: Every option can be set by a variable: ``MSCORD_MEM_GB`` is ``--mem-gb``.
PREFIX = "MSCORD_"
#: Of the file: where mscord's options stand.
SECTION = "mscord"
#: Variables that are no options.
OTHERS = (COMMIT, TAG, DIGEST, "MSCORD_REAL_DATA")
#: What says where and how one call runs, not what it makes.
_NOT_KEPT = ("bids_dir", "output_dir", "level", "dry_run", "verbose", "quiet")


def check_variables(environment: Mapping[str, str], names: Iterable[str]) -> None:
    """Refuse variables that look like options and are none: a slip of the pen must not be passed over.

    Parameters
    ----------
    environment : mapping of str to str
    names : iterable of str
        Of all options, as in `Options`.

    Raises
    ------
    UsageError
        One is unknown.
    """
    known = sorted(PREFIX + name.upper() for name in names)
    unknown = [name for name in environment if name.startswith(PREFIX) and name not in (*known, *OTHERS)]
    if unknown:
        raise UsageError(
            f"There is no option for the variable {', '.join(sorted(unknown))}.",
            f"Known: {', '.join(known)}.",
        )


def hyphened(arguments: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return a command line with hyphens in the names of options: BIDS Apps use ``--participant_label`` and the like, too.

    Parameters
    ----------
    arguments : iterable of str
    known : iterable of str
        All options as they are written, such as ``--participant-label``; other words are left as they are.
    """
    options = frozenset(known)

    def spelled(word: str) -> str:
        name, equals, value = word.partition("=")
        hyphens = name.replace("_", "-")
        return f"{hyphens}{equals}{value}" if hyphens in options else word

    return [spelled(word) for word in arguments]


def to_toml(options: Options) -> str:
    """Return a file for ``--config`` that repeats a run."""
    lines = ["# The options of a run: give this file to --config to repeat it.", f"[{SECTION}]"]
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name in _NOT_KEPT or value is None or value == ():
            continue
        plain = (
            [str(one) for one in value]
            if isinstance(value, tuple)
            else str(value)
            if isinstance(value, Path)
            else value
        )
        # JSON writes texts, lists of texts, numbers and truth values as TOML does.
        lines.append(f"{field.name.replace('_', '-')} = {json.dumps(plain, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"
