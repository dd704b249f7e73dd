"""Room 5, report: one self-contained HTML page per participant, for people who judge by eye.

`page` writes the page, `unit` gathers what it says of one unit and `pictures` what it shows; `arrays` reads
the volumes, `choose` picks the slices and `draw` makes the pictures.
"""

from __future__ import annotations

from .page import ReportRun, write_report

__all__ = ["ReportRun", "write_report"]
