"""Numbered points where a test can kill the process: before or after each outside effect.

Every ref move, process start and file replacement passes through `chokepoint`. With
`GITMILL_FAILPOINT=before:7` (or `after:7`) the process kills itself before (or after) the seventh.
The tests count upwards until a run finishes without being killed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

VARIABLE = "GITMILL_FAILPOINT"
_numbers = count(1)


@contextmanager
def chokepoint(what: str) -> Iterator[None]:
    """Mark one outside effect. Without a failpoint this only reads a variable."""
    wanted = os.environ.get(VARIABLE)
    if wanted is None:
        yield
        return
    number = next(_numbers)
    _die_if(wanted, f"before:{number}", what)
    yield
    _die_if(wanted, f"after:{number}", what)


def _die_if(wanted: str, point: str, what: str) -> None:
    if wanted == point:
        sys.stderr.write(f"failpoint {point} {what}\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
