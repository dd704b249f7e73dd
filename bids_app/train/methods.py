"""The ways of learning from incomplete sequences that are compared, a few lines apart."""

from __future__ import annotations

from dataclasses import dataclass

from ..sequences import SLOTS
from ..simulate.draw import Draw

T2SAG = SLOTS.index("T2Sag")
#: The method that the others are compared with.
BASELINE = "t2sag-baseline"


@dataclass(frozen=True)
class Method:
    """How a network is trained.

    Attributes
    ----------
    about : str
    t2sag_only : bool
        Samples show their T2Sag alone, and all have one.
    noise : float
        Standard deviation of Gaussian noise added to the features at the bottleneck.
    frozen : bool
        The encoder of T2Sag comes from ``--init`` and is not changed.
    apart_for : float
        Share of the steps in which samples show one sequence at a time: every encoder first learns alone.
    """

    about: str
    t2sag_only: bool = False
    noise: float = 0.0
    frozen: bool = False
    apart_for: float = 0.0

    @property
    def sharing(self) -> str:
        """What the encoders share, see `NetworkConfig`: one that is frozen, learns alone or becomes frozen shares nothing."""
        return "nothing" if self.frozen or self.t2sag_only or self.apart_for else "kernels"

    @property
    def starting_for(self) -> float:
        """Share of the steps that are an easier start: labels are limited to what the shown sequences show."""
        return self.apart_for


METHODS: dict[str, Method] = {
    "mean-imputation": Method("mean imputation of the features of missing sequences"),
    "t2sag-baseline": Method("T2Sag alone", t2sag_only=True),
    "feature-augmentation": Method("T2Sag alone, with noise on the features", t2sag_only=True, noise=0.1),
    "frozen-encoder": Method("mean imputation around the frozen encoder of a T2Sag baseline", frozen=True),
    "pretrained-encoders": Method("mean imputation after every encoder learned alone", apart_for=0.4),
}


@dataclass(frozen=True)
class Dropout:
    """Sequence dropout: what a sample shows of the sequences it has. At least one is always kept.

    Attributes
    ----------
    alone : float
        Chance that T2Sag is shown alone, where there are others.
    single : float
        Else: chance of one sequence, whichever.
    without : float
        Else: chance that T2Sag is left out, where there are others.
    subset : float
        Else: chance of a random subset.
    """

    alone: float = 0.35
    single: float = 0.3
    without: float = 0.2
    subset: float = 0.4

    def __call__(self, slots: tuple[int, ...], draw: Draw) -> list[int]:
        """Choose rows of a sample whose images have these slots."""
        rows = list(range(len(slots)))
        if len(rows) == 1:
            return rows
        if T2SAG in slots and draw.chance(self.alone):
            return [slots.index(T2SAG)]
        if draw.chance(self.single):
            return [draw.integer(0, len(slots) - 1)]
        if T2SAG in slots and draw.chance(self.without):
            rows.remove(slots.index(T2SAG))
        if len(rows) > 1 and draw.chance(self.subset):
            count = draw.integer(1, len(rows) - 1)
            while len(rows) > count:
                rows.pop(draw.integer(0, len(rows) - 1))
        return rows


def t2sag_alone(slots: tuple[int, ...], draw: Draw) -> list[int]:
    """Choose the row of T2Sag; nothing where there is none."""
    del draw
    return [slots.index(T2SAG)] if T2SAG in slots else []


def one_alone(slots: tuple[int, ...], draw: Draw) -> list[int]:
    """Choose a single row."""
    return [draw.integer(0, len(slots) - 1)]
