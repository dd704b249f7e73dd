"""Model cards: what is said of weights, read without loading them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import EnvironmentFault
from .files import checksum
from .operating import Operating

#: Where the weights that ship lie.
SHIPPED = Path(__file__).with_name("weights")


@dataclass(frozen=True)
class Calibration:
    """From the mean probability of a lesion to how often such a lesion is a true one, in simulated participants.

    Attributes
    ----------
    temperature, offset, offset_several : float
        The log odds of the mean probability are divided by the first, and the second is added, or the third where two or
        more sequences cover the lesion.
    """

    temperature: float
    offset: float
    offset_several: float

    def of(self, mean: float, sequences: int) -> float:
        """Return the calibrated probability of a lesion that so many sequences cover."""
        mean = min(max(mean, 1e-6), 1 - 1e-6)
        odds = math.log(mean / (1 - mean)) / self.temperature
        odds += self.offset_several if sequences > 1 else self.offset
        return 1 / (1 + math.exp(-odds))


@dataclass(frozen=True, eq=False)
class Card:
    """A model card and the checksum of the weights beside it.

    Attributes
    ----------
    name : str
        File name of the weights.
    record : mapping
        The card as it is written.
    sha256 : str
        Of the file of weights as it is.
    """

    name: str
    record: Mapping[str, Any]
    sha256: str

    def describe(self) -> dict[str, str]:
        """Return name, checksum and notice of the weights, for sidecars and reports."""
        return {
            "name": str(self.record.get("name", self.name)),
            "file": self.name,
            "sha256": self.sha256,
            "data": str(self.record.get("data", "")),
            "notice": str(self.record.get("notice", "")),
        }

    @property
    def calibration(self) -> Calibration | None:
        """How often a lesion of these weights is a true one; None where that was not measured."""
        found = self.record.get("calibration")
        names = ("temperature", "offset", "offset_several")
        return Calibration(*(float(found[name]) for name in names)) if found else None

    def operating(self, threshold: float | None = None) -> Operating:
        """Return the card's setting. A threshold of the user's own is taken at its word: the mean then counts for nothing."""
        point = self.record.get("operating_point", {})
        minimum_mm3 = float(point.get("minimum_volume_mm3", 0.0))
        if threshold is not None:
            return Operating(threshold, minimum_mm3)
        one = point.get("least_mean", 0.0)
        return Operating(
            float(point.get("threshold", 0.5)),
            minimum_mm3,
            float(one),
            float(point.get("least_mean_several", one)),
        )


def read_card(weights: Path) -> Card:
    """Read the card of a file of weights.

    Raises
    ------
    EnvironmentFault
        A file is missing or unreadable, or the weights are not those that the card describes.
    """
    path = weights.with_suffix(".json")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        digest = checksum(weights)
        if digest != record["sha256"]:
            raise EnvironmentFault(
                f"The weights {weights.name} are not those that {path.name} describes: their SHA-256 differs."
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unusable(weights, error) from error
    return Card(weights.name, record, digest)


def unusable(weights: Path, error: Exception) -> EnvironmentFault:
    """Return the fault that says why weights cannot be used."""
    reason = " ".join(str(error).split())[:200]
    return EnvironmentFault(
        f"The weights {weights.name} cannot be used ({reason}).",
        "A .safetensors file with its .json card beside it is needed.",
    )


def localiser_version(folder: Path = SHIPPED) -> str:
    """Return what is recorded as the origin of a mask of the built-in localiser: it changes with its weights."""
    digests = [checksum(folder / f"{name}.safetensors")[:12] for name in ("overview", "cord")]
    return f"mscord built-in localiser ({', '.join(digests)})"
