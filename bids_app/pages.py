"""Where pages lie, and what stands on them: light, so that a run that redoes nothing loads no plotting."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path

#: A unit's part of a page, between the marks that its template sets.
_SECTION = re.compile(
    r'(?s)(?=<section class="unit" id="[^"]*" data-unit="([^"]*)">)(.*?</section><!-- unit -->)'
)


def page_of(participant: str, output_dir: Path) -> Path:
    """Return where the page of a participant lies."""
    # A label is letters and digits; whatever else a name holds must not lead out of the output folder.
    return output_dir / f"sub-{re.sub(r'[^0-9A-Za-z+_-]', '_', participant)}.html"


def sections_of(page: Path) -> dict[str, str]:
    """Return the sections of a page by the names of their units; none where there is no page."""
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    return {html.unescape(name): section for name, section in _SECTION.findall(text)}


#: What lists of participants need of a page stands at its beginning, as JSON.
_OVERVIEW = re.compile(r'<script type="application/json" id="overview">(.*?)</script>', re.DOTALL)
#: No overview is larger.
_MOST_BYTES = 4_000_000


def overview_of(page: Path) -> dict[str, Mapping[str, object]]:
    """Return by the names of units what lists of participants show: ``thumbnail`` (a ``data:`` URI), ``alt`` and ``remarks``.

    Nothing where there is no page, or it has none. Only the beginning of the page is read.
    """
    text = ""
    try:
        with page.open(encoding="utf-8") as stream:
            while "</script>" not in text and len(text) < _MOST_BYTES and (more := stream.read(1 << 16)):
                text += more
        found = _OVERVIEW.search(text)
        units = json.loads(found[1]) if found else {}
    except (OSError, ValueError):
        return {}
    return {str(name): unit for name, unit in units.items() if isinstance(unit, dict)}
