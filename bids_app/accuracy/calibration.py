"""How far a lesion's probability can be believed: temperature and offsets, fitted and checked on simulated participants.

``python -m bids_app.accuracy.calibration [--write]`` prints the figures, draws ``docs/reliability.png`` and, with ``--write``,
puts the three numbers on the model card of the weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize

from ..cards import SHIPPED, Calibration, read_card
from ..evaluate.scores import hits_iou20, overlaps
from ..operating import Operating
from ..processes import process_pool
from ..segment import Segmenter
from ..space import CONNECTED, FloatArray
from .simulated import SUBSETS, make_participant

#: Simulated participants to fit on and to check on; numbers far from those of the other figures.
PARTICIPANTS = 200
FIRST_FIT, FIRST_CHECK = 200_000, 300_000
#: Noise at the bottleneck that is compared, as a share of the spread of the features.
NOISES = (0.1, 0.3, 1.0)
BINS = 6
#: One sequence in half of the participants, several in the others.
SHOWN = tuple(one for pair in zip((("T2Sag",), ("T2starAx",)) * 2, SUBSETS[1:], strict=True) for one in pair)


@dataclass(frozen=True)
class Found:
    """One piece that the network marked.

    Attributes
    ----------
    mean : float
        Mean probability.
    true : bool
        Whether it overlaps a lesion by an IoU of at least 0.2.
    spread : tuple of float
        Standard deviation of the mean under each of `NOISES`.
    sequences : int
        How many cover it.
    """

    mean: float
    true: bool
    spread: tuple[float, ...]
    sequences: int = 1


def found_of(number: int, weights: Path, noises: Sequence[float] = NOISES) -> list[Found]:
    """Return all pieces in one simulated participant, however weak they are on average; sequences change from one to the next."""
    torch.set_num_threads(1)
    segmenter = Segmenter(torch.device("cpu"), weights)
    person = make_participant(number)
    crop = person.with_only(SHOWN[number % len(SHOWN)])
    segmenter.operating = Operating(segmenter.operating.threshold)
    _, instances, lesions = segmenter.find(crop)
    if not lesions:
        return []
    spreads = [segmenter.spread(crop, instances, lesions, noise) for noise in noises]
    true = [
        bool(hits_iou20(overlaps(instances == one.index, person.lesion, CONNECTED)).any()) for one in lesions
    ]
    return [
        Found(
            one.mean_probability,
            true[row],
            tuple(spread[one.index] for spread in spreads),
            len(one.sequences),
        )
        for row, one in enumerate(lesions)
    ]


def fit(found: Sequence[Found]) -> Calibration:
    """Return the calibration under which what was found is most likely."""
    means, true = _arrays(found)
    odds, several = _odds(means), np.array([one.sequences > 1 for one in found])

    def loss(parameters: FloatArray) -> float:
        offsets = np.where(several, parameters[2], parameters[1])
        return _loss(odds / np.exp(parameters[0]) + offsets, true)

    best = optimize.minimize(loss, np.zeros(3), method="Nelder-Mead", options={"maxiter": 2000})
    return Calibration(float(np.exp(best.x[0])), float(best.x[1]), float(best.x[2]))


def calibration_error(probability: FloatArray, true: NDArray[np.bool_], bins: int = BINS) -> float:
    """Return the expected calibration error over bins with equally many pieces."""
    parts = np.array_split(np.argsort(probability, kind="stable"), bins)
    return float(
        sum(len(part) * abs(probability[part].mean() - true[part].mean()) for part in parts if len(part))
        / len(true)
    )


def separation(score: FloatArray, true: NDArray[np.bool_]) -> float:
    """Return the chance that a true piece has a higher score than a false one (area under the ROC curve)."""
    good, bad = score[true], score[~true]
    return float(((good[:, None] > bad).mean() + (good[:, None] >= bad).mean()) / 2)


def report(
    fitted: Sequence[Found], checked: Sequence[Found], calibration: Calibration, operating: Operating
) -> Iterator[str]:
    """Yield the figures."""
    means, true = _arrays(checked)
    after = _calibrated(checked, calibration)
    yield f"simulated participants: {len(fitted)} pieces to fit on, {len(checked)} others to check on ({true.mean():.0%} true)"
    yield (
        f"  temperature {calibration.temperature:.3f}, offset {calibration.offset:+.3f}, "
        f"{calibration.offset_several:+.3f} where several sequences cover a piece"
    )
    for title, values in (("mean probability as it is", means), ("calibrated", after)):
        brier = np.square(values - true).mean()
        error = calibration_error(values, true)
        yield f"  {title}\texpected calibration error {error:.3f}\tBrier {brier:.3f}\tlog loss {_loss(_odds(values), true):.3f}"
    passed = np.array([one.mean >= operating.least(one.sequences) for one in checked])
    several = np.array([one.sequences > 1 for one in checked])
    for where, which in (("one sequence", passed & ~several), ("several sequences", passed & several)):
        if which.any():
            said, share = after[which].mean(), true[which].mean()
            yield f"  the {which.sum()} of {where} that pass for a lesion\tcalibrated {said:.2f} on average\t{share:.2f} true"
    yield f"  true against false by the mean probability\tarea {separation(means, true):.3f}"
    for column, noise in enumerate(NOISES):
        spread = np.array([one.spread[column] for one in checked])
        area = separation(-spread, true)
        yield f"  true against false by steadiness, noise {noise:g}\tarea {area:.3f}\tmedian {np.median(spread):.4f}"


def draw(checked: Sequence[Found], calibration: Calibration, path: Path) -> None:
    """Draw the reliability plot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    means, true = _arrays(checked)
    after = _calibrated(checked, calibration)
    figure = Figure(figsize=(4.5, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#767676", linestyle=":", label="what it says is what happens")
    for values, colour, marker, label in (
        (means, "#E69F00", "s", "mean probability"), (after, "#0072B2", "o", "calibrated"),
    ):  # fmt: skip
        parts = [part for part in np.array_split(np.argsort(values, kind="stable"), BINS) if len(part)]
        shares = [true[part].mean() for part in parts]
        errors = [np.sqrt(share * (1 - share) / len(part)) for share, part in zip(shares, parts, strict=True)]
        said = [values[part].mean() for part in parts]
        axes.errorbar(
            said, shares, errors, color=colour, marker=marker, linewidth=1.2, capsize=2, label=label
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="what the probability says", ylabel="share of true lesions")
    axes.set_title(f"{len(checked)} pieces in simulated participants", fontsize=9)
    axes.legend(fontsize=8, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": ""})


def main(argv: list[str] | None = None) -> int:
    """Fit, check, draw, and write the card where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.accuracy.calibration", description=__doc__)
    parser.add_argument("--weights", type=Path, default=SHIPPED / "lesion.safetensors")
    parser.add_argument(
        "--participants", type=int, default=PARTICIPANTS, help="to fit on, and as many to check on"
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--plot", type=Path, default=Path("docs/reliability.png"))
    parser.add_argument("--write", action="store_true", help="put the result on the model card")
    options = parser.parse_args(argv)
    work = partial(found_of, weights=options.weights)
    with process_pool(options.workers) as pool:
        fitted, checked = (
            [one for found in pool.map(work, range(first, first + options.participants)) for one in found]
            for first in (FIRST_FIT, FIRST_CHECK)
        )
    calibration = fit(fitted)
    operating = read_card(options.weights).operating()
    sys.stdout.writelines(line + "\n" for line in report(fitted, checked, calibration, operating))
    draw(checked, calibration, options.plot)
    if options.write:
        write(options.weights.with_suffix(".json"), calibration, fitted, checked)
    return 0


def write(card: Path, calibration: Calibration, fitted: Sequence[Found], checked: Sequence[Found]) -> None:
    """Put a calibration on a model card."""
    means, true = _arrays(checked)
    after = _calibrated(checked, calibration)
    record = json.loads(card.read_text(encoding="utf-8"))
    digest = record.pop("sha256")
    record["calibration"] = {
        "temperature": round(calibration.temperature, 4),
        "offset": round(calibration.offset, 4),
        "offset_several": round(calibration.offset_several, 4),
        "of": "mean probability of a lesion",
        "fitted_on": f"{len(fitted)} pieces in simulated participants unlike those of training",
        "checked_on": f"{len(checked)} pieces in others",
        "expected_calibration_error": round(calibration_error(after, true), 4),
        "expected_calibration_error_before": round(calibration_error(means, true), 4),
    }
    card.write_text(json.dumps(record | {"sha256": digest}, indent=2) + "\n", encoding="utf-8")


def _arrays(found: Sequence[Found]) -> tuple[FloatArray, NDArray[np.bool_]]:
    return np.array([one.mean for one in found]), np.array([one.true for one in found], bool)


def _calibrated(found: Sequence[Found], calibration: Calibration) -> FloatArray:
    return np.array([calibration.of(one.mean, one.sequences) for one in found])


def _odds(probability: FloatArray) -> FloatArray:
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _loss(odds: FloatArray, true: NDArray[np.bool_]) -> float:
    return float(np.logaddexp(0, np.where(true, -odds, odds)).mean())


if __name__ == "__main__":
    sys.exit(main())
