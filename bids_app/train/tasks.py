"""What can be trained: the lesion model, and the two stages of the built-in cord localiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..model.network import NetworkConfig
from ..sequences import DARK, SLOTS
from ..simulate.contrast import VISIBILITY
from ..simulate.draw import Draw
from ..simulate.nothing import make_cord_patch
from ..simulate.overview import make_overview
from ..simulate.patches import PRESENCE, Patch, make_patch, shortened
from ..space import SPACING_MM
from .samples import Example, Keep, cord_example, lesion_example

#: T1w is acquired seldom and shows few lesions: its encoder would hardly ever see one.
make_lesion_patch = partial(
    make_patch, presence={**PRESENCE, "T1": 0.35}, visibility={**VISIBILITY, "T1": 0.5}
)

#: The lesion model works at 1 mm along the cord; so do the samples that it learns from.
ALONG = 2


@dataclass(frozen=True)
class Shortened:
    """Makes patches as ``make`` does, with ``along`` neighbours along the cord taken together."""

    make: Callable[[int], Patch]
    along: int

    def __call__(self, seed: int) -> Patch:
        """Make one."""
        return shortened(self.make(seed), self.along)


@dataclass(frozen=True, eq=False)
class Task:
    """A network, what it learns from, and how a batch of it looks."""

    network: NetworkConfig
    make: Callable[[int], Patch]
    collate: Callable[[list[Patch], Draw, Keep, bool], Example]
    about: str


TASKS: dict[str, Task] = {
    "lesion": Task(
        # Half of the cost lies at full resolution, where little is to be learned: hence few channels there.
        NetworkConfig(len(SLOTS), (16, 32, 96, 160), ("lesion", "cord", "grey"), along=ALONG, dark=DARK),
        make_lesion_patch,
        partial(lesion_example, spacing_mm=ALONG * SPACING_MM),
        "lesions (and the cord) in the common space, from any subset of sequences",
    ),
    "cord": Task(
        NetworkConfig(1, (16, 32, 64), ("cord",), along=ALONG, intensity="zscore"),
        make_cord_patch,
        cord_example,
        "the cord in a 24 mm crop at 0.5 mm, from one image of any sequence",
    ),
    "overview": Task(
        NetworkConfig(1, (16, 32, 64, 96), ("cord",), intensity="zscore"),
        make_overview,
        cord_example,
        "where the cord is in a whole image at 2 mm, from one image of any sequence",
    ),
}
