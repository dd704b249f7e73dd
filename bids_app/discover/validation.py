"""The verdict of the BIDS validator on the input, where one is installed: passed on as warnings, for it is not what decides."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

from ..options import Options
from ..records import Problem

log = logging.getLogger(__name__)

PROGRAM = "bids-validator-deno"
#: 10,000 files take 20 s.
TIMEOUT_S = 900.0
_NEXT = "Images are read all the same; --skip-bids-validation leaves the check out."


def validate(options: Options) -> list[Problem]:
    """Return what the validator calls an error, one problem for each kind.

    It looks at whole datasets only, so a run of chosen participants does without; so does one with ``--skip-bids-validation``,
    and one on a machine without the validator.
    """
    program = shutil.which(PROGRAM)
    if options.skip_bids_validation or options.participant_label or program is None:
        return []
    try:
        done = subprocess.run(
            [program, str(options.bids_dir), "--format", "json", "--ignoreWarnings"],
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        issues = json.loads(done.stdout)["issues"]["issues"]
        kinds: dict[str, list[str]] = defaultdict(list)
        for issue in issues:
            if issue.get("severity", "error") == "error":
                kinds[str(issue["code"])].append(Path(str(issue.get("location", ""))).name)
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("The BIDS validator gave no verdict (%s).", error)
        return []
    return [
        Problem(f"BIDS validator: {code} ({len(files)}{f', such as {files[0]}' if files[0] else ''}).", _NEXT)
        for code, files in sorted(kinds.items())
    ]
