"""The trace that git writes of its own commands. Format: api-trace2 of git's technical docs."""

from __future__ import annotations

import json
import re
from pathlib import Path

TRACE = "GIT_TRACE2_EVENT"  # the variable that makes git log its commands to a file
_LIMIT = 16 << 20  # bytes


def mentions(trace: Path, *names: str) -> bool:
    """Whether a git command in a trace had one of these names as a word of its arguments."""
    alternatives = "|".join(re.escape(name) for name in names if name)
    if not alternatives:
        return False
    wanted = re.compile(rf"(?:^|[\s/:=])(?:{alternatives})(?:$|[\s/:=])", re.IGNORECASE)
    try:
        with trace.open("rb") as file:
            lines = file.read(_LIMIT).splitlines()
    except OSError:
        return False
    for line in lines:
        if b'"event":"start"' not in line:
            continue
        try:
            command = " ".join(json.loads(line)["argv"])
        except (ValueError, KeyError, TypeError):
            continue  # cut short by a kill, or not written by git
        if wanted.search(command):
            return True
    return False
