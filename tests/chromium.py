"""A real browser for tests: the distribution's Chromium with a software WebGL, no network.

``python tests/chromium.py PAGE PICTURE [SELECTOR]`` takes a picture of a page, or of a part of it, as in the documentation.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

#: WebGL on the processor; the sandbox needs rights that containers lack, and the pages are our own.
_ARGUMENTS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]


@contextmanager
def browser() -> Iterator[Any]:
    """Yield a browser; the test is skipped, with a message, where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    program = (
        os.environ.get("MSCORD_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    )
    if not program:
        pytest.skip(
            "no Chromium is installed (Debian: apt-get install chromium; elsewhere set MSCORD_CHROMIUM)"
        )
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, args=_ARGUMENTS)
        try:
            yield running
        finally:
            running.close()


class Visit:
    """A page opened from disk, and what went wrong on it."""

    def __init__(self, browser: Any, path: Path, **settings: Any) -> None:
        self.trouble: list[str] = []
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 1000}} | settings)
        self.page = context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("request", self._request)
        self.page.goto(path.as_uri())

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.trouble.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.trouble.append(f"asked for {request.url}")

    def part(self, name: str) -> Any:
        """Return a part of the first viewer."""
        return self.page.locator(f'.viewer [data-part="{name}"]').first

    def start_viewer(self) -> None:
        """Scroll to the first viewer and wait until it runs."""
        self.page.locator(".viewer").first.scroll_into_view_if_needed()
        self.page.wait_for_selector(".viewer.running", timeout=120_000)


def picture(page: Path, target: Path, selector: str = "") -> None:
    """Take a picture of what the screen shows, or of a part of the page; a viewer in sight is started first."""
    with browser() as running:
        seen = Visit(running, page)
        if selector:
            part = seen.page.locator(selector).first
            part.scroll_into_view_if_needed()
        if (
            seen.page.locator(f"{selector or 'body'}.viewer, {selector or 'body'} .viewer").count()
            and selector
        ):
            seen.start_viewer()
            seen.page.wait_for_timeout(500)
        (part if selector else seen.page).screenshot(path=target, type="jpeg", quality=85)


if __name__ == "__main__":
    picture(Path(sys.argv[1]).resolve(), Path(sys.argv[2]), *sys.argv[3:4])
