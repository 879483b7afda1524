"""What a change consists of, wherever in its files it stands."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from gitmill.git.executable import Git
from gitmill.git.objects import raw, text

# Most are what plumbing does anyway; said here, no configuration of any version of git counts.
# --text and --diff-algorithm also keep attributes out. The algorithm is the one of merges, so
# that the hunks here are the hunks that were merged.
_NEUTRAL = (
    "--no-renames", "--ignore-submodules=none", "--submodule=short", "--no-relative", "-O/dev/null",
    "--text", "--no-ext-diff", "--no-textconv", "--no-color", "--no-indent-heuristic",
    "--diff-algorithm=histogram", "-U0", "--inter-hunk-context=0", "--no-abbrev",
)  # fmt: skip

_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_NO_NEWLINE = b"\\"


@dataclass(frozen=True, slots=True)
class _Change:
    """One path that differs; modes in six octal digits and ids of zeros where there is no file.

    `status` is git's letter: `A`dded, `D`eleted, `M`odified, `T`ype changed. Renames are not
    looked for: they are a deletion and an addition.
    """

    path: str
    old_mode: str
    new_mode: str
    old: str
    new: str
    status: str


def patch_identity(git: Git, old: str, new: str) -> str:
    """Return a hash that two changes share only if they are the same, to the byte.

    The same are: the paths, the modes before and after, and per file the added and removed lines
    in their order, white space, line ends and a missing last newline included. Line numbers and
    the lines around do not count, so that a replay over somebody else's edits keeps the identity.
    A file with zero bytes in what changed must be the same as a whole, before and after.

    `git patch-id` would not do: by default it leaves out white space, so that an indentation which
    changes the meaning passes; with `--verbatim` it hashes the lines around, so that an edit
    three lines away makes another patch; and either way it goes by the user's attributes.
    """
    out = git.run("diff-tree", "-r", "--patch-with-raw", "-z", *_NEUTRAL, old, new, "--").stdout
    changes, patch = _changes(out)
    sections = _sections(patch)
    digest = hashlib.sha256()
    for change in changes:
        # Git shows a change of type as the deletion of one file and the addition of another.
        lines = b"".join(next(sections) for _ in range(2 if change.status == "T" else 1))
        whole = f"{change.old} {change.new}" if b"\0" in lines else ""
        head = (change.path, change.old_mode, change.new_mode, whole, str(len(lines)))
        digest.update(raw("\0".join(head)) + b"\0" + lines)
    return digest.hexdigest()


def _changes(out: bytes) -> tuple[list[_Change], bytes]:
    """Read the raw entries that an output begins with, and return what comes after them."""
    found, at = [], 0
    while out.startswith(b":", at):
        end = out.index(b"\0", at)
        last = out.index(b"\0", end + 1)
        old_mode, new_mode, old, new, status = out[at + 1 : end].decode().split(" ")
        found.append(_Change(text(out[end + 1 : last]), old_mode, new_mode, old, new, status))
        at = last + 1
    return found, out[at + 1 :]


def _sections(patch: bytes) -> Iterator[bytes]:
    """Return, per `diff --git`, the removed and added lines, marked where no newline ends one.

    A hunk says how many lines it has, so none of them is taken for a header.
    """
    sections: list[list[bytes]] = []
    lines = BytesIO(patch)
    for line in lines:
        if line.startswith(b"diff --git "):
            sections.append([])
        elif hunk := _HUNK.match(line):
            sections[-1] += _hunk(lines, sum(1 if n is None else int(n) for n in hunk.groups()))
        elif line.startswith(_NO_NEWLINE):
            sections[-1].append(line)
    return (b"".join(section) for section in sections)


def _hunk(lines: Iterator[bytes], count: int) -> Iterator[bytes]:
    while count:
        line = next(lines)
        count -= not line.startswith(_NO_NEWLINE)
        yield line
