"""The operating point: what passes for a lesion."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Operating:
    """From what on something is a lesion.

    The more sequences a network sees, the lower and the more reliable its probabilities are: so what several sequences
    cover passes with a lower mean.

    Attributes
    ----------
    threshold : float
        Lowest probability of a voxel.
    minimum_volume_mm3 : float
    least_mean, least_mean_several : float
        Lowest mean probability of a lesion's voxels where one sequence covers it, and where two or more do.
    """

    threshold: float
    minimum_volume_mm3: float = 0.0
    least_mean: float = 0.0
    least_mean_several: float = 0.0

    def words(self) -> str:
        """Return the lowest mean probability, as it stands in a sentence."""
        one, several = f"{self.least(1):g}", f"{self.least(2):g}"
        return one if one == several else f"{one} ({several} where several sequences cover it)"

    def least(self, sequences: int) -> float:
        """Return the lowest mean probability of a lesion that so many sequences cover; the threshold bounds it, too."""
        return max(self.threshold, self.least_mean_several if sequences > 1 else self.least_mean)
