"""Repositories that many tests begin with: made once in each process that tests, then copied."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Hashable
from functools import cache
from pathlib import Path

_made: dict[Hashable, Path] = {}


def copied(key: Hashable, make: Callable[[Path], object], place: Path) -> None:
    """Copy to `place` what `make` puts into the folder that it is given, once for each key.

    The key has to say all that the result depends on, but for the environment.
    """
    whole = (key, _environment())
    if whole not in _made:
        folder = Path(tempfile.mkdtemp(dir=_root())) / "repo"
        make(folder)
        _made[whole] = folder
    shutil.copytree(_made[whole], place, symlinks=True)
    # The copies are other files than those that the index has seen.
    subprocess.run(["git", "update-index", "-q", "--refresh"], cwd=place, check=False)


@cache
def _root() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="gitmill-templates-"))
    atexit.register(shutil.rmtree, folder)
    return folder


def _environment() -> Hashable:
    """Return what git and gitmill are told, without the folders that each test has of its own."""
    config = Path(os.environ.get("GIT_CONFIG_GLOBAL", os.devnull)).read_text("utf-8", "replace")
    lines = [line for line in config.splitlines() if not line.startswith(("\twrit", "\tread"))]
    told = {name: value for name, value in os.environ.items()
            if name.startswith(("GIT", "PATH")) and name != "GIT_CONFIG_GLOBAL"}  # fmt: skip
    return tuple(lines), tuple(sorted(told.items())), os.geteuid()
