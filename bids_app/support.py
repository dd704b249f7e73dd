"""Which sequences a lesion rests on, and how steady it is: the features of the encoders, decoded again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .cards import Calibration
from .model.predict import Variant
from .provenance import SEEDS
from .records import Lesion
from .sequences import SLOTS

#: The sequence that nearly every participant has, and most methods are made for.
ALONE = "T2Sag"
#: Passes with noise at the bottleneck, and its standard deviation as a share of that of the features.
PASSES = 4
NOISE = 1.0
_NOISY = "noise "


def variants_of(sequences: Sequence[str]) -> dict[str, Variant]:
    """Return what is decoded beside the full set: each sequence left out, T2Sag alone, and with noise.

    Parameters
    ----------
    sequences : sequence of str
        Those that fed the network.
    """
    slots = {name: SLOTS.index(name) for name in sequences}
    result = {}
    if len(slots) > 1:
        result = {f"without {name}": Variant(frozenset([slot])) for name, slot in slots.items()}
        # Of two sequences, one left out is the other alone.
        if ALONE in slots and len(slots) > 2:
            others = frozenset(slot for name, slot in slots.items() if name != ALONE)
            result[f"{ALONE} alone"] = Variant(others)
    return result | noisy(NOISE)


def noisy(noise: float) -> dict[str, Variant]:
    """Return passes with noise at the bottleneck; ``noise`` is a share of the spread of the features there."""
    return {
        f"{_NOISY}{number}": Variant(noise=noise, seed=SEEDS["noise"] + number) for number in range(PASSES)
    }


def means(
    instances: NDArray[np.int32], maps: Mapping[str, NDArray[np.float32]], numbers: Sequence[int]
) -> dict[int, dict[str, float]]:
    """Return for each lesion the mean probability inside it on each map.

    Parameters
    ----------
    instances : array, shape (48, 48, N)
        Lesion numbers.
    maps : mapping of str to array
        Probability of each variant, shape of ``instances``.
    numbers : sequence of int
    """
    inside = {number: instances == number for number in numbers}
    return {
        number: {name: float(values[where].mean()) for name, values in maps.items()}
        for number, where in inside.items()
    }


def told(lesion: Lesion, values: Mapping[str, float], calibration: Calibration | None) -> Lesion:
    """Return a lesion with its support, its steadiness and its calibrated probability.

    Parameters
    ----------
    lesion : Lesion
    values : mapping of str to float
        Its mean probability by variant, see `means`.
    calibration : Calibration or None
    """
    noisy = [value for name, value in values.items() if name.startswith(_NOISY)]
    return replace(
        lesion,
        support={name: value for name, value in values.items() if not name.startswith(_NOISY)},
        noise_sd=float(np.std(noisy)) if noisy else None,
        calibrated=calibration.of(lesion.mean_probability, len(lesion.sequences)) if calibration else None,
    )
