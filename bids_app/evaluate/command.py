"""``mscord-evaluate``: compare predicted lesion masks with reference masks, and two methods with each other."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ExitCode, MscordError, NothingToDoError, UsageError, check_all
from ..processes import process_pool

if TYPE_CHECKING:
    from ..tables import Cell
    from .assess import Assessed
    from .summary import Summary

log = logging.getLogger("bids_app")
#: Fewer pairs than this are not worth the start of further processes.
FEW = 12


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``mscord-evaluate``."""
    result = argparse.ArgumentParser(
        prog="mscord-evaluate",
        description="Compare lesion masks with reference masks: tables (TSV, Markdown), figures (SVG), one HTML page.",
    )
    add = result.add_argument
    add(
        "predictions",
        type=Path,
        nargs="?",
        help="folder with predicted masks, of mscord or of any other tool",
    )
    add("references", type=Path, nargs="?", help="folder with reference masks")
    add("output_dir", type=Path, nargs="?", metavar="OUT", help="where the tables, figures and the page go")
    add("--against", type=Path, metavar="DIR", help="predictions of another method, to compare with")
    add(
        "--names",
        nargs=2,
        metavar=("NAME", "OTHER"),
        help="what to call the two methods (default: the folders' names)",
    )
    add("--workers", type=int, default=0, help="processes; 0: one for each core")
    return result


def run(options: argparse.Namespace) -> int:
    """Evaluate what a command line names; returns the exit status."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        if options.output_dir is None:
            raise UsageError(
                "Three folders are needed: PREDICTIONS REFERENCES OUT.", "See mscord-evaluate --help."
            )
        return int(
            evaluate(
                options.predictions, options.references, options.output_dir, options.against, options.names, options.workers
            )
        )  # fmt: skip
    except MscordError as error:
        log.error("%s", error)
        return int(error.exit_code)


def evaluate(
    predictions: Path,
    references: Path,
    output_dir: Path,
    against: Path | None = None,
    names: Sequence[str] | None = None,
    workers: int = 0,
) -> ExitCode:
    """Write tables, figures and page, and print the summary.

    Every mask without a partner, or that cannot be evaluated, is named; the exit status is then not 0.

    Raises
    ------
    UsageError
        A folder is not there.
    NothingToDoError
        A method has no mask that can be compared.
    """
    from .summary import compared, summarise

    folders = [predictions, *([against] if against else [])]
    check_all(partial(_folder, folder) for folder in (*folders, references))
    titles = list(names or (folder.name for folder in folders))[: len(folders)]
    if len(set(titles)) < len(titles):
        titles = list(map(str, folders))
    methods: dict[str, tuple[list[Assessed], Summary]] = {}
    problems: list[str] = []
    for title, folder in zip(titles, folders, strict=True):
        good, bad = _assess(folder, references, workers)
        problems += bad
        methods[title] = (good, summarise(good))
    # Both methods meet the same problems of the references.
    problems = list(dict.fromkeys(problems))
    for problem in problems:
        log.error("%s", problem)
    if empty := [
        str(folder) for folder, (good, _) in zip(folders, methods.values(), strict=True) if not good
    ]:
        raise NothingToDoError(
            f"No lesion mask in {' or '.join(empty)} could be compared with one in {references}."
        )
    first, *second = methods.values()
    comparison = compared(first[0], second[0][0]) if second else []
    _write(output_dir, methods, comparison, str(references), problems)
    return ExitCode.SOME_FAILED if problems else ExitCode.OK


def _assess(predictions: Path, references: Path, workers: int) -> tuple[list[Assessed], list[str]]:
    """Evaluate every pair; returns what could be, and a sentence on each problem."""
    from ..machine import available_cores
    from .assess import assess
    from .pairs import pair

    pairs, problems = pair(predictions, references)
    count = workers or available_cores()
    if len(pairs) < FEW or count == 1:
        results = [assess(one) for one in pairs]
    else:
        with process_pool(count) as pool:
            results = list(pool.map(assess, pairs, chunksize=4))
    problems += [one.problem for one in results if one.problem]
    return [one for one in results if not one.problem], problems


def _folder(path: Path) -> None:
    if not path.is_dir():
        raise UsageError(f"{path} is not a folder.")


def _write(
    folder: Path,
    methods: Mapping[str, tuple[Sequence[Assessed], Summary]],
    comparison: Sequence[Mapping[str, Cell]],
    references: str,
    problems: Sequence[str],
) -> None:
    from ..files import write_text
    from ..tables import Column, write_table
    from . import page, summary
    from .figures import figures

    folder.mkdir(parents=True, exist_ok=True)
    for number, (assessed, found) in enumerate(methods.values()):
        own = folder if number == 0 else folder / "against"
        rows = [summary.metrics_row(one) for one in assessed]
        write_table(own / "metrics.tsv", [Column(name, "") for name in rows[0]], rows)
        lesions = [row for one in assessed for row in summary.lesion_cells(one)]
        write_table(own / "lesions.tsv", summary.LESION_COLUMNS, lesions)
        write_table(own / "summary.tsv", summary.SUMMARY_COLUMNS, found.rows)
    if comparison:
        write_table(folder / "comparison.tsv", summary.COMPARISON_COLUMNS, comparison)
    shown = page.tables({name: found for name, (_, found) in methods.items()}, comparison)
    drawn = figures(methods)
    for name, svg in drawn.items():
        write_text(folder / f"{name}.svg", svg)
    text = page.markdown(shown)
    write_text(folder / "evaluation.md", text)
    pairs = sum(found.pairs for _, found in methods.values())
    write_text(
        folder / "evaluation.html", page.html(list(methods), references, pairs, shown, drawn, problems)
    )
    sys.stdout.write(text)
    log.info("wrote %s", folder / "evaluation.html")
