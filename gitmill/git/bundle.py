"""Bundles: refs and everything they reach in one self-contained file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gitmill import files
from gitmill.errors import GitFailedError
from gitmill.git.executable import Git


def write(git: Git, path: Path, refs: Mapping[str, str]) -> None:
    """Write refs into a new bundle and verify it; the file appears complete or not at all.

    Raises `GitFailedError`, also if a ref has moved in the meantime.
    """
    for leftover in files.leftovers(path.parent, of=path.name):
        leftover.unlink(missing_ok=True)  # a bundle is large, and no other process writes this one
    names = "".join(f"{ref}\n" for ref in refs).encode("utf-8", "surrogateescape")
    with files.replacing(path, durable=True) as new:
        git.run("bundle", "create", "-q", str(new), "--stdin", stdin=names)
        if not holds(git, new, refs):
            raise GitFailedError(f"the new bundle for {path} does not hold the expected refs")


def holds(git: Git, path: Path, refs: Mapping[str, str]) -> bool:
    """Whether a file is a bundle with exactly these refs that this repository could fetch from."""
    if git.run("bundle", "verify", "-q", str(path), check=False).returncode != 0:
        return False
    lines = git.out("bundle", "list-heads", str(path)).split("\n")
    return {name: oid for oid, _, name in (line.partition(" ") for line in lines)} == dict(refs)
