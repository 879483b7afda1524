"""The three levels of a machine: bubblewrap with layers, bubblewrap with binds only, none."""

from __future__ import annotations

import os
from pathlib import Path

LAYERS, BINDS, NONE = LEVELS = ("layers", "binds", "none")
# What `gitmill.bubblewrap` names there.
PROGRAMS = {BINDS: f"{Path(__file__).parent}/bwrap_binds", NONE: "/no/such/bwrap"}


def take_level(level: str) -> str:
    """Make this test's machine one of a level; by default it has layers."""
    if level in PROGRAMS:
        with Path(os.environ["GIT_CONFIG_GLOBAL"]).open("a") as file:
            file.write(f"[gitmill]\n\tbubblewrap = {PROGRAMS[level]}\n")
    return level
