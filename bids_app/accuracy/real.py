"""Figures on real scans: false lesions, painted lesions that are found, and agreement between two scans of one cord."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import space
from ..evaluate.scores import IOU_PERCENT
from ..segment import Segmenter
from .paint import Painted, draw_sets, paint, volume_mm3
from .scans import LESION_FREE, PAIRS, Scan

#: Fixed before any model was looked at.
SEED, SETS, EACH = 20_240_601, 5, 3
#: A painted lesion counts as found from this share of its voxels, as NeuroPoly counts.
LEAST_SHARE = 0.10


#: Who judges a scan, by its name: somebody who has not learned from it.
Judge = Callable[[str], Segmenter]


@dataclass(frozen=True)
class Result:
    """What became of one painted lesion.

    Attributes
    ----------
    covered : float
        Share of it that is marked.
    iou : float
        Best IoU with a marked lesion.
    marked_mm3 : float
        Volume of the marked lesions that touch it.
    """

    scan: str
    number: int
    contrast: float
    length_mm: float
    volume_mm3: float
    covered: float
    iou: float
    marked_mm3: float

    @property
    def found(self) -> bool:
        """Whether enough of it is marked."""
        return self.covered >= LEAST_SHARE


def false_lesions(scans: dict[str, Scan], judge: Judge) -> Iterator[str]:
    """Yield what is marked on scans without lesions."""
    yield "false lesions on scans that are taken to have none"
    total = 0
    for name, scan in scans.items():
        probability, _, lesions = judge(name).find(scan.crop)
        total += len(lesions)
        volume = sum(lesion.volume_mm3 for lesion in lesions)
        yield f"  {name}\t{len(lesions)}\t{volume:.0f} mm3\thighest probability {probability.max():.2f}"
    yield f"  total\t{total} in {len(scans)} scans"


def painted_lesions(scans: dict[str, Scan], judge: Judge) -> tuple[list[Result], int]:
    """Paint the same lesions into every scan; returns their fate, and how many lesions are marked beside them."""
    results, beside = [], 0
    for number, lesions in enumerate(draw_sets(SEED, SETS, EACH)):
        for scan in scans.values():
            found, wrong = _try(scan, lesions, judge(scan.name), number * EACH)
            results += found
            beside += wrong
    return results, beside


def _try(
    scan: Scan, lesions: Sequence[Painted], segmenter: Segmenter, first: int
) -> tuple[list[Result], int]:
    volume, shares = paint(scan, lesions, darker=LESION_FREE[scan.name] == "T1")
    _, instances, marked = segmenter.find(scan.with_volume(volume.astype(np.float32)))
    # Of a lesion shorter than the slices are thick, no voxel may be filled by half: it lies where it fills most.
    truths = [_where(scan.to_crop(share.astype(np.float32))) for share in shares]
    results = []
    for number, (lesion, share, truth) in enumerate(zip(lesions, shares, truths, strict=True)):
        size = volume_mm3(share, scan.grid)
        results.append(
            Result(
                scan.name,
                first + number,
                lesion.contrast,
                lesion.length_mm,
                size,
                *_overlap(instances, truth),
            )
        )
    all_truth = np.any(truths, axis=0)
    wrong = sum(not (all_truth & (instances == one.index)).any() for one in marked)
    return results, wrong


def _where(share: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray((share > 0) & (share >= 0.5 * share.max()))


def _overlap(instances: NDArray[np.int32], truth: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return the share covered, the best IoU, and the volume of what touches, for one painted lesion."""
    if not truth.any():
        return 0.0, 0.0, 0.0
    touching = [int(n) for n in np.unique(instances[truth]) if n]
    ious = [float((truth & (instances == n)).sum() / (truth | (instances == n)).sum()) for n in touching]
    marked = float(np.isin(instances, touching).sum()) * space.SPACING_MM**3 if touching else 0.0
    return float((instances[truth] > 0).mean()), max(ious, default=0.0), marked


def recall(results: Sequence[Result], beside: int, scans: int) -> Iterator[str]:
    """Yield recall by contrast, by size, and of what is clear: over 30 mm3 and contrast 1.3."""
    yield (
        f"painted lesions: {len(results)} in {scans} scans with {SETS} sets of {EACH} each "
        f"(found: {LEAST_SHARE:.0%} covered; by IoU: {IOU_PERCENT} %)"
    )
    groups: list[tuple[str, list[Result]]] = [
        (f"contrast {low:.2f} to {high:.2f}", [one for one in results if low <= one.contrast < high])
        for low, high in ((1.1, 1.2), (1.2, 1.3), (1.3, 1.45), (1.45, 1.6))
    ]
    groups += [
        (f"volume {low:g} to {high:g} mm3", [one for one in results if low <= one.volume_mm3 < high])
        for low, high in ((0, 30), (30, 100), (100, 1000))
    ]
    groups += [
        ("over 30 mm3 and contrast 1.3", [r for r in results if r.volume_mm3 > 30 and r.contrast >= 1.3]),
        ("all", list(results)),
    ]
    for name in dict.fromkeys(LESION_FREE.values()):
        groups.append(
            (f"{name}, over 30 mm3 and contrast 1.3", [
                r for r in results if LESION_FREE[r.scan] == name and r.volume_mm3 > 30 and r.contrast >= 1.3
            ])
        )  # fmt: skip
    for title, some in groups:
        yield f"  {title}\t{_share([one.found for one in some])}\tby IoU {_share([100 * one.iou >= IOU_PERCENT for one in some])}"
    yield f"  marked beside them\t{beside / (scans * SETS):.2f} a scan"


def _share(hits: Sequence[bool]) -> str:
    return f"{sum(hits)} of {len(hits)}" + (f" ({sum(hits) / len(hits):.2f})" if hits else "")


def retest(results: Iterable[Result]) -> Iterator[str]:
    """Yield how far two scans of the same cord with the same painted lesions agree."""
    by_scan: dict[str, dict[int, Result]] = {}
    for one in results:
        by_scan.setdefault(one.scan, {})[one.number] = one
    yield "two scans of one cord, the same lesions painted into both"
    for first, second in PAIRS:
        a, b = by_scan[first], by_scan[second]
        same = [a[n].found == b[n].found for n in a]
        both = [n for n in a if a[n].found and b[n].found]
        change = [
            2 * abs(a[n].marked_mm3 - b[n].marked_mm3) / (a[n].marked_mm3 + b[n].marked_mm3) for n in both
        ]
        median = f"{np.median(change):.0%}" if change else "n/a"
        yield (
            f"  {first} and {second}\tsame answer for {_share(same)}; "
            f"volume of those found in both differs by {median} (median)"
        )
