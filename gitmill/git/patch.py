"""The identity of a change, independent of its position in the files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from gitmill.git.executable import Git
from gitmill.git.objects import raw, text

# Most are the defaults of plumbing commands; explicit, they override any configuration of any
# version of git. --text and --diff-algorithm also exclude attributes. The algorithm is that of
# merges, so that these hunks are the hunks that were merged.
_NEUTRAL = (
    "--no-renames", "--ignore-submodules=none", "--submodule=short", "--no-relative", "-O/dev/null",
    "--text", "--no-ext-diff", "--no-textconv", "--no-color", "--no-indent-heuristic",
    "--diff-algorithm=histogram", "-U0", "--inter-hunk-context=0", "--no-abbrev",
)  # fmt: skip

_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_NO_NEWLINE = b"\\"


@dataclass(frozen=True, slots=True)
class _Change:
    """One path that differs; modes have six octal digits, and the id of an absent file is zeros.

    `status` is git's letter: `A`dded, `D`eleted, `M`odified, `T`ype changed. Renames are not
    detected: they are a deletion and an addition.
    """

    path: str
    old_mode: str
    new_mode: str
    old: str
    new: str
    status: str


def patch_identity(git: Git, old: str, new: str) -> str:
    """Return a hash that two changes share only if they are equal, byte for byte.

    The hash covers the paths, the modes before and after, and per file the added and removed lines
    in order, with white space, line endings and a missing last newline. Line numbers and context
    lines do not count, so a replay over other people's edits keeps the identity. A file with zero
    bytes in its changed lines counts as a whole, before and after.

    `git patch-id` is not enough: by default it ignores white space, so an indentation that changes
    the meaning passes; with `--verbatim` it hashes the context lines, so an edit three lines away
    makes another patch; and in both cases it applies the user's attributes.
    """
    out = git.run("diff-tree", "-r", "--patch-with-raw", "-z", *_NEUTRAL, old, new, "--").stdout
    changes, patch = _changes(out)
    sections = _sections(patch)
    digest = hashlib.sha256()
    for change in changes:
        # Git shows a type change as the deletion of one file and the addition of another.
        lines = b"".join(next(sections) for _ in range(2 if change.status == "T" else 1))
        whole = f"{change.old} {change.new}" if b"\0" in lines else ""
        head = (change.path, change.old_mode, change.new_mode, whole, str(len(lines)))
        digest.update(raw("\0".join(head)) + b"\0" + lines)
    return digest.hexdigest()


def _changes(out: bytes) -> tuple[list[_Change], bytes]:
    """Parse the raw entries at the start of an output; return them and the patch that follows."""
    changes, at = [], 0
    while out.startswith(b":", at):
        end = out.index(b"\0", at)
        last = out.index(b"\0", end + 1)
        old_mode, new_mode, old, new, status = out[at + 1 : end].decode().split(" ")
        changes.append(_Change(text(out[end + 1 : last]), old_mode, new_mode, old, new, status))
        at = last + 1
    return changes, out[at + 1 :]


def _sections(patch: bytes) -> Iterator[bytes]:
    """Yield the removed and added lines of each `diff --git`, with git's missing-newline marks.

    A hunk states its number of lines, so none of them is mistaken for a header.
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
