"""What the page of a participant costs: ``python tests/page_cost.py BIDS_DIR OUT_DIR [options]``.

Runs mscord in this process and prints, for each page, its size and the processor's seconds that it took, and for each unit those
of the passes that find which sequences its lesions rest on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def main(argv: list[str] | None = None) -> int:
    """Run, and print a table."""
    # Loaded before anything is timed: what a run loads counts there.
    from bids_app import cli, report
    from bids_app.segment import Segmenter

    bids_dir, output_dir, *options = sys.argv[1:] if argv is None else argv
    lines: list[str] = []

    def say(what: str, seconds: float, result: object) -> None:
        size = f"\t{result.stat().st_size / 1e6:.2f} MB\t{result.name}" if isinstance(result, Path) else ""
        lines.append(f"{what}\t{seconds:.2f} s{size}")

    report.write_report = timed(report.write_report, "page", say)
    Segmenter.supported = timed(Segmenter.supported, "support", say)  # type: ignore[method-assign]
    code = cli.main([bids_dir, output_dir, "participant", "--force", "--nprocs", "1", "-q", *options])
    sys.stdout.writelines(line + "\n" for line in lines)
    return code


def timed(work: Callable[P, T], what: str, say: Callable[[str, float, object], None]) -> Callable[P, T]:
    """Return a function that also says what it took of the processor."""

    @wraps(work)
    def result(*args: P.args, **kwargs: P.kwargs) -> T:
        began = time.process_time()
        found = work(*args, **kwargs)
        say(what, time.process_time() - began, found)
        return found

    return result


if __name__ == "__main__":
    sys.exit(main())
