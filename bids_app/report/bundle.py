"""The viewer's program, NiiVue, as it ships with the package: ``vendor/`` holds it unchanged, with licence and checksum."""

from __future__ import annotations

import base64
import gzip
import hashlib
from functools import lru_cache
from pathlib import Path

from ..files import read_json

VENDOR = Path(__file__).with_name("vendor")
PROGRAM = "niivue.umd.js"


@lru_cache(maxsize=1)
def packed_program() -> str:
    """Return NiiVue's program, compressed, base64: a third of its size, and no word of it can end the element it stands in."""
    data = (VENDOR / PROGRAM).read_bytes()
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode("ascii")


def version() -> str:
    """Return the version of NiiVue."""
    entry = read_json(VENDOR / "manifest.json")[PROGRAM]
    assert isinstance(entry, dict)
    return str(entry["version"])


def script_hash(script: str) -> str:
    """Return what a content security policy calls a script: only this one runs on the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'"
