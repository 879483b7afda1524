"""Which refs have moved while an agent's code ran, and who moved them.

The code shares the git directory with the user and with other attempts, and a comparison alone
cannot attribute a move. Reflogs can: each entry names a committer, and the code runs with a
committer of its own. Format: git-reflog(1).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from gitmill.git.tamper import GitDirSnapshot


class Actor(Enum):
    """Who moved a ref, if its reflog shows it."""

    AGENT = "the code that ran"
    OTHERS = "another program"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RefChange:
    """One ref that differs between two snapshots; None where it did not exist."""

    ref: str
    old: str | None
    new: str | None
    who: Actor


def moved_refs(
    common: Path, before: GitDirSnapshot, after: GitDirSnapshot, marker: str
) -> list[RefChange]:
    """Return the refs that differ, including `HEAD`, and who moved them.

    `marker` is the mail address of the code's own committer.
    """
    changes = [
        RefChange(ref, old, new, _who(common, ref, old, new, marker))
        for ref in sorted({*before.refs, *after.refs})
        if (old := before.refs.get(ref)) != (new := after.refs.get(ref))
    ]
    if before.head != after.head:
        old, new = (_shown(head) for head in (before.head, after.head))
        changes.append(RefChange("HEAD", old, new, _who(common, "HEAD", None, new, marker)))
    return changes


def _shown(head: bytes) -> str:
    return head.decode("utf-8", "replace").strip().removeprefix("ref: ")


def _who(common: Path, ref: str, old: str | None, new: str | None, marker: str) -> Actor:
    """Read the reflog back to the old value. A deleted ref and most tags have no reflog."""
    try:
        lines = (common / "logs" / ref).read_bytes()[-65536:].splitlines()
    except OSError:
        return Actor.UNKNOWN
    if new is None or not lines:
        return Actor.UNKNOWN
    if ref != "HEAD":
        # Later moves do not count; if no line ends at the new value, the ref's file was written.
        ends = [n for n, line in enumerate(lines, 1) if line.split(b" ")[1:2] == [new.encode()]]
        if not ends:
            return Actor.UNKNOWN
        lines = lines[: ends[-1]]
    for line in reversed(lines):
        if f"<{marker}>".encode() in line.partition(b"\t")[0]:
            return Actor.AGENT
        if ref == "HEAD" or line.startswith((old or "0" * len(new)).encode()):
            break  # the last entry of HEAD is the one that moved it
    return Actor.OTHERS
