"""Figures on real scans: false lesions, painted lesions that are found, and agreement between two runs of one cord."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .. import space
from ..segment import Segmenter
from . import lines
from .lines import Line
from .paint import Placed, draw_bands, paint, passes, place, volume_mm3
from .scans import (
    AXIAL,
    CHOICE,
    LESION_FREE,
    SAGITTAL,
    SEEN,
    T1W,
    TEST,
    Found,
    Scan,
    group_of,
    read_scan,
)

#: Fixed before any model was looked at.
SEED, EACH = 20_261_018, 30
BANDS = ((1.1, 1.2), (1.2, 1.3), (1.3, 1.6))
#: Between the ends of lesions that are painted together.
APART_MM = 15.0
#: A scan takes part from this much cord.
LEAST_CORD_MM = 30.0
#: A painted lesion counts as found from this share of its voxels, as NeuroPoly counts.
LEAST_SHARE = 0.10
#: So many of each band are painted into two runs of one cord.
RETESTED = 5
#: Large enough to be found, if the contrast is there.
LARGE_MM3, CLEAR = 30.0, 1.3
GROUPS = (TEST, CHOICE, SEEN)
KINDS = tuple(dict.fromkeys(LESION_FREE.values()))
MUST = {
    (SAGITTAL, "false"): "at most 1", (AXIAL, "false"): "0",
    (SAGITTAL, "large"): "0.9", (AXIAL, "large"): "0.95",
    BANDS[0]: "0.33", BANDS[1]: "0.67", "beside": "0.1", "retest": "14 of 15",
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What became of one painted lesion.

    Attributes
    ----------
    number : int
        Of the lesion in the list that is painted into every scan.
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
    volume_mm3: float
    covered: float
    iou: float
    marked_mm3: float

    @property
    def found(self) -> bool:
        """Whether enough of it is marked."""
        return self.covered >= LEAST_SHARE

    @property
    def large(self) -> bool:
        """Whether it is large and clear."""
        return self.volume_mm3 > LARGE_MM3 and self.contrast >= CLEAR


@dataclass
class Outcome:
    """What became of all lesions painted into a scan, and how many are marked beside them in so many passes."""

    results: list[Result] = field(default_factory=list)
    beside: int = 0
    passes: int = 0


def must(key: object, group: str) -> str:
    """Return what test people must reach."""
    return MUST.get(key, "") if group == TEST else ""  # type: ignore[call-overload]


def false_lesions(founds: Iterable[Found], segmenter: Segmenter) -> Iterator[str | Line]:
    """Yield what is marked on scans without lesions, scan by scan, and the lines of each kind and group."""
    yield "false lesions on scans that are taken to have none"
    counts: dict[str, int] = {}
    for found in founds:
        if found.mask is None:
            yield f"\t{found.stem}\t{group_of(found.stem)}\tno cord"
            continue
        probability, _, marked = segmenter.find(read_scan(found).crop)
        counts[found.stem] = len(marked)
        volume = sum(lesion.volume_mm3 for lesion in marked)
        yield (
            f"\t{found.stem}\t{group_of(found.stem)}\t{len(marked)}\t{volume:.0f} mm3"
            f"\thighest probability {probability.max():.2f}"
        )
    for group, kind, stems in _groups(counts):
        number = sum(counts[stem] for stem in stems)
        yield lines.total(f"false lesions, {kind}", group, number, stems, must((kind, "false"), group))


def _groups(stems: Iterable[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield group, kind, and the scans of both, where there are any."""
    stems = list(stems)
    for group in GROUPS:
        for kind in KINDS:
            some = [stem for stem in stems if group_of(stem) == group and LESION_FREE[stem] == kind]
            if some:
                yield group, kind, some


def paint_all(founds: Iterable[Found], segmenter: Segmenter) -> Iterator[tuple[str, Outcome]]:
    """Paint the same lesions into every scan; yields scan by scan what became of them."""
    drawn = draw_bands(SEED, BANDS, EACH)
    for found in founds:
        if found.mask is None:
            continue
        scan = read_scan(found)
        if cord_mm(scan) < LEAST_CORD_MM:
            continue
        placed = [place(scan, lesion) for lesion in drawn]
        yield found.stem, look(scan, placed, passes(placed, APART_MM), segmenter)


def cord_mm(scan: Scan) -> float:
    """Return how far the cord of a scan reaches along z."""
    return float(np.ptp(scan.grid.to_mm(np.argwhere(scan.cord).astype(float))[:, 2]))


def look(
    scan: Scan, placed: Sequence[Placed], shared_out: Sequence[Sequence[int]], segmenter: Segmenter
) -> Outcome:
    """Paint lesions into a scan, a few a pass, and look for them."""
    outcome = Outcome(passes=len(shared_out))
    z = scan.crop.grid.to_mm(space.crop_index(scan.crop.starts).astype(float))[..., 2]
    for numbers in shared_out:
        some = [placed[number] for number in numbers]
        volume, shares = paint(scan, some, darker=LESION_FREE[scan.name] == T1W)
        _, instances, marked = segmenter.find(scan.with_volume(volume.astype(np.float32)))
        filled = scan.to_crop(np.sum(shares, axis=0).astype(np.float32))
        for number, one, share in zip(numbers, some, shares, strict=True):
            # Half of the gap to the next lesion is this one's.
            near = np.abs(z - one.centre[2]) <= (one.lesion.length_mm + APART_MM) / 2
            truth = _where(filled * near)
            size = volume_mm3(share, scan.grid)
            outcome.results.append(
                Result(scan.name, number, one.lesion.contrast, size, *_overlap(instances, truth))
            )
        outcome.beside += sum(not (instances[filled > 0] == one.index).any() for one in marked)
    return outcome


def _where(share: NDArray[np.float32]) -> NDArray[np.bool_]:
    # Of a lesion shorter than the slices are thick, no voxel may be filled by half: it lies where it fills most.
    return np.asarray((share > 0) & (share >= 0.5 * share.max()))


def _overlap(instances: NDArray[np.int32], truth: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return the share covered, the best IoU, and the volume of what touches, for one painted lesion."""
    if not truth.any():
        return 0.0, 0.0, 0.0
    touching = [int(n) for n in np.unique(instances[truth]) if n]
    ious = [float((truth & (instances == n)).sum() / (truth | (instances == n)).sum()) for n in touching]
    marked = float(np.isin(instances, touching).sum()) * space.SPACING_MM**3 if touching else 0.0
    return float((instances[truth] > 0).mean()), max(ious, default=0.0), marked


def told(stem: str, outcome: Outcome) -> str:
    """Return what became of the lesions painted into one scan, band by band."""
    cells = [f"\t{stem}\t{group_of(stem)}"]
    for low, high in BANDS:
        some = [one for one in outcome.results if low <= one.contrast < high]
        found = [one for one in some if one.found]
        medians = "" if not found else (
            f" (IoU {np.median([one.iou for one in found]):.2f}, volume"
            f" {np.median([one.marked_mm3 / one.volume_mm3 for one in found]):.2f} times)"
        )  # fmt: skip
        cells.append(f"{low:g} to {high:g}: {len(found)} of {len(some)}{medians}")
    large = [one.found for one in outcome.results if one.large]
    cells.append(f"large and clear: {sum(large)} of {len(large)}")
    cells.append(f"beside them {outcome.beside} in {outcome.passes} passes")
    return "\t".join(cells)


def recall(outcomes: dict[str, Outcome]) -> Iterator[Line]:
    """Yield the lines of painted lesions by group: by kind what is large and clear; by band all; and what is marked beside."""
    for group, kind, stems in _groups(outcomes):
        results = [one for stem in stems for one in outcomes[stem].results]
        large = [one.found for one in results if one.large]
        title = f"painted, over {LARGE_MM3:g} mm3, contrast {CLEAR:g} and more, {kind}"
        yield lines.share(title, group, large, stems, must((kind, "large"), group))
        for low, high in BANDS:
            hits = [one.found for one in results if low <= one.contrast < high]
            yield lines.share(f"painted, contrast {low:g} to {high:g}, {kind}", group, hits, stems)
        yield _beside(kind, group, outcomes, stems)
    for group in GROUPS:
        stems = [s for s in outcomes if group_of(s) == group and LESION_FREE[s] in (SAGITTAL, AXIAL)]
        results = [one for stem in stems for one in outcomes[stem].results]
        for low, high in BANDS[:2] if stems else ():
            hits = [one.found for one in results if low <= one.contrast < high]
            title = f"painted, contrast {low:g} to {high:g}, T2-weighted"
            yield lines.share(title, group, hits, stems, must((low, high), group))
        if stems:
            rates = [outcomes[stem].beside / outcomes[stem].passes for stem in stems]
            title = "false lesions beside painted ones, a scan, T2-weighted"
            yield lines.mean(title, group, rates, stems, must("beside", group))


def _beside(kind: str, group: str, outcomes: dict[str, Outcome], stems: Sequence[str]) -> Line:
    count, looks = (sum(getattr(outcomes[stem], name) for stem in stems) for name in ("beside", "passes"))
    return lines.rate(f"false lesions beside painted ones, a pass, {kind}", group, count, looks, stems)


def retest(first: Found, second: Found, segmenter: Segmenter) -> Iterator[str | Line]:
    """Yield how far two runs of one cord agree, the same lesions painted at the same places of the world."""
    visit = first.stem.removeprefix("sub-").split("_acq-", maxsplit=1)[0].replace("_", " ")
    group, what = group_of(first.stem), f"two runs of {visit}, the same painted lesions: same answer"
    if first.mask is None or second.mask is None:
        yield f"\t{first.stem} and {second.stem}\tno cord"
        return
    a, b = read_scan(first), read_scan(second)
    bands = draw_bands(SEED, BANDS, EACH)
    drawn = [lesion for n in range(len(BANDS)) for lesion in bands[n * EACH :][:RETESTED]]
    placed = [place(a, lesion) for lesion in drawn]
    outcomes = [look(scan, placed, passes(placed, APART_MM), segmenter) for scan in (a, b)]
    both = list(zip(*(sorted(one.results, key=lambda r: r.number) for one in outcomes), strict=True))
    change = [
        2 * abs(x.marked_mm3 - y.marked_mm3) / (x.marked_mm3 + y.marked_mm3)
        for x, y in both
        if x.found and y.found
    ]
    found = [sum(pair[n].found for pair in both) for n in (0, 1)]
    yield (
        f"\t{first.stem} and {second.stem}\t{group}\tfound {found[0]} and {found[1]} of {len(both)}\t"
        + (f"volumes differ by {np.median(change):.0%} (median of {len(change)})" if change else "")
    )
    same = [x.found == y.found for x, y in both]
    yield lines.share(what, group, same, (first.stem, second.stem), must("retest", group))
