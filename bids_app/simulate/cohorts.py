"""Who has which sequences in a simulated dataset."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """One participant of a cohort: the cohort's letter and the sequences."""

    cohort: str
    sequences: tuple[str, ...]


def walsh2024() -> list[Member]:
    """Return the composition of the dataset of Walsh et al. 2024: 247 participants.

    The poster gives the number of participants with each sequence (T2Sag 247, STIR 137, T2starAx 119, T1 63, T2Ax 52,
    MP2RAGE 36) and what the two cohorts that are tested on have (A: T2starAx and T2Ax; C: T2starAx and T1). Who else
    has what is not known: here B has STIR, some of it MP2RAGE, and the rest is spread so that the numbers are right.
    """
    a = [Member("A", ("T2Sag", *(("STIR",) if n < 5 else ()), "T2starAx", "T2Ax")) for n in range(52)]
    b = [
        Member(
            "B",
            ("T2Sag", "STIR") + (("T2starAx",) if n < 4 else ()) + (("MP2RAGE",) if n >= 132 - 36 else ()),
        )
        for n in range(132)
    ]
    c = [Member("C", ("T2Sag", "T2starAx", "T1")) for _ in range(63)]
    return a + b + c


COHORTS = {"walsh2024": walsh2024}
