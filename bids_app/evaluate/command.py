"""``mscord-evaluate``: compare predicted lesion masks with reference masks."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import BadImageError, ExitCode, MscordError, NothingToDoError, UsageError

log = logging.getLogger("bids_app")


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``mscord-evaluate``."""
    result = argparse.ArgumentParser(
        prog="mscord-evaluate",
        description="Compare BIDS derivatives of lesion masks with reference masks, image by image.",
    )
    result.add_argument("predictions", type=Path, help="folder with predicted masks")
    result.add_argument("references", type=Path, help="folder with reference masks")
    result.add_argument("output_dir", type=Path, help="where metrics.tsv goes")
    return result


def main(argv: list[str] | None = None) -> int:
    """Evaluate; returns the exit status."""
    options = parser().parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        return int(evaluate(options.predictions, options.references, options.output_dir))
    except MscordError as error:
        log.error("%s", error)
        return int(error.exit_code)


def evaluate(predictions: Path, references: Path, output_dir: Path) -> ExitCode:
    """Write ``metrics.tsv``, one row a pair of masks, and print the means.

    Every mask without a partner or that does not fit its partner is named; the exit status is then not 0.
    """
    from .pairs import pair

    for folder in (predictions, references):
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder.")
    pairs, problems = pair(predictions, references)
    if not pairs:
        raise NothingToDoError(
            f"No lesion mask in {predictions} has a partner in {references}.", " ".join(problems[:5])
        )
    rows = []
    for one in pairs:
        try:
            rows.append(
                {
                    "participant": one.participant,
                    "session": one.session or "n/a",
                    "image": one.image,
                    **_scores(one.prediction, one.reference),
                }
            )
        except BadImageError as error:
            problems.append(str(error))
    for problem in problems:
        log.error("%s", problem)
    _write(output_dir, rows)
    return ExitCode.SOME_FAILED if problems else ExitCode.OK


def _scores(prediction_path: Path, reference_path: Path) -> dict[str, float]:
    import numpy as np

    from .. import images
    from . import scores

    prediction, grid = images.read_mask(prediction_path)
    reference, other = images.read_mask(reference_path)
    if grid.shape != other.shape or not np.allclose(grid.affine, other.affine, atol=1e-2):
        raise BadImageError(f"{prediction_path.name} and {reference_path.name} do not lie on the same grid.")
    counts = {name: rule(prediction, reference, grid.voxel_volume_mm3) for name, rule in scores.RULES.items()}
    return {
        "dice": scores.dice(prediction, reference),
        "sensitivity": scores.sensitivity(prediction, reference),
        "precision": scores.precision(prediction, reference),
        "volume_reference_mm3": float(reference.sum() * grid.voxel_volume_mm3),
        "volume_prediction_mm3": float(prediction.sum() * grid.voxel_volume_mm3),
        **{f"lesion_f1_{name}": count.f1 for name, count in counts.items()},
        **{
            f"lesions_{field}_{name}": getattr(count, field)
            for name, count in counts.items()
            for field in count._fields
        },
    }


def _write(folder: Path, rows: Sequence[dict[str, object]]) -> None:
    from ..files import write_text

    if not rows:
        return
    columns = list(rows[0])
    lines = ["\t".join(columns)]
    lines += [
        "\t".join(f"{row[name]:.4f}" if isinstance(row[name], float) else str(row[name]) for name in columns)
        for row in rows
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "metrics.tsv", "\n".join(lines) + "\n")
    with_lesions = [row for row in rows if float(str(row["volume_reference_mm3"])) > 0]
    log.info("%d pairs, %d with reference lesions; %s", len(rows), len(with_lesions), folder / "metrics.tsv")
    from .scores import RULES

    for name in ("dice", *(f"lesion_f1_{rule}" for rule in RULES)):
        if with_lesions:
            mean = sum(float(str(row[name])) for row in with_lesions) / len(with_lesions)
            log.info("mean %s over pairs with reference lesions: %.3f", name, mean)
