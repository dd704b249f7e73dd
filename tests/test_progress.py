"""A bar where somebody looks at a terminal, lines elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

BAR = """
import logging, sys, time
from bids_app import cli
from bids_app.progress import progress
cli._set_up_log(0)
with progress(3, "units") as advance:
    for number in range(3):
        logging.getLogger("bids_app").info("line %d", number)
        advance()
        time.sleep(0.3)
"""


def test_a_bar_on_a_terminal_with_the_lines_above_it():
    mine, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", BAR], stderr=theirs, cwd=Path(__file__).parents[1])
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(mine, 4096)
        except OSError:
            break
    os.close(mine)
    assert process.wait() == 0
    text = shown.decode()
    assert "3/3" in text
    for number in range(3):
        assert re.search(rf"^[^\n]*INFO line {number}\s*$", text, re.MULTILINE)


def test_no_bar_in_a_file():
    done = subprocess.run([sys.executable, "-c", BAR], capture_output=True, text=True, check=True)
    assert [line.split(" ", 1)[1] for line in done.stderr.splitlines()] == [
        "INFO line 0",
        "INFO line 1",
        "INFO line 2",
    ]
    assert done.stdout == ""
