"""Room 5, report: one self-contained HTML page per participant and one per dataset, for people who judge by eye.

`page` writes the page of a participant, `unit` gathers what it says of one unit, `pictures`, `alignment` and `viewer` what it
shows, and `remarks` what should be looked at; `arrays` reads the volumes, `choose` picks the slices and `draw` makes the
pictures; `bundle` holds the viewer's program. `dataset` writes the page of all participants.
"""

from __future__ import annotations

from .dataset import write_dataset_page
from .page import ReportRun, write_report

__all__ = ["ReportRun", "write_dataset_page", "write_report"]
