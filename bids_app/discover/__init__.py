"""The first room: which images there are, what each was taken for, and which belong together.

Everything is decided from names, sidecars and headers, so that a dry run shows what a run would do.
"""

from .dry_run import describe
from .gather import discover
from .places import check_places, place_checks

__all__ = ["check_places", "describe", "discover", "place_checks"]
