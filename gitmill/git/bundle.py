"""Bundles: refs and everything they reach in one self-contained file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gitmill.errors import GitFailedError
from gitmill.failpoints import chokepoint
from gitmill.git.executable import Git


def write(git: Git, path: Path, refs: Mapping[str, str]) -> None:
    """Write refs into a new bundle and verify it; the file appears complete or not at all.

    Raises `GitFailedError`, also if a ref has moved in the meantime.
    """
    new = path.with_name(f".{path.name}.new")
    for leftover in (new, new.with_name(f"{new.name}.lock")):
        leftover.unlink(missing_ok=True)  # of a process killed at this point
    try:
        names = "".join(f"{ref}\n" for ref in refs).encode("utf-8", "surrogateescape")
        git.run("bundle", "create", "-q", str(new), "--stdin", stdin=names)
        if not holds(git, new, refs):
            raise GitFailedError(f"the new bundle for {path} does not hold the expected refs")
        _flush(new)
        with chokepoint(f"write {path.name}"):
            new.rename(path)
    finally:
        new.unlink(missing_ok=True)
    _flush(path.parent)


def holds(git: Git, path: Path, refs: Mapping[str, str]) -> bool:
    """Whether a file is a bundle with exactly these refs that this repository could fetch from."""
    if git.run("bundle", "verify", "-q", str(path), check=False).returncode != 0:
        return False
    lines = git.out("bundle", "list-heads", str(path)).split("\n")
    return {name: oid for oid, _, name in (line.partition(" ") for line in lines)} == dict(refs)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
