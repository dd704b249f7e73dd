"""Where pages lie, and what stands on them: light, so that a run that redoes nothing loads no plotting."""

from __future__ import annotations

import html
import re
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
