"""What a command did to a folder shared with the checkout and could not, as its output shows."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator

from gitmill.workspace.shared_folders import SharedFolder

_READ_ONLY = re.compile(rb"Read-only file system|EROFS")
_BUSY = re.compile(rb"Device or resource busy|EBUSY")  # something is mounted there


def explained(
    output: bytes, script: bytes, folders: Collection[SharedFolder], *, layers: bool
) -> Iterator[str]:
    """Yield for each folder that refused a write why, and the way out.

    `script` is the text of the command: a message often lacks the folder. `layers`: this machine
    has a layer for what a tree writes to such a folder.
    """
    for path in _named(_READ_ONLY, output, script, folders):
        newer = "" if layers else ", or install bubblewrap 0.11, which shows each tree a copy"
        yield (
            f"{path} is shared with the checkout, and read-only here: let `[worktree] setup` "
            f"make one for the tree{newer}"
        )
    for path in removed(output, folders):
        yield (
            f"{path} is shared with the checkout: it can be emptied, but neither removed nor "
            "replaced; a command of `[worktree] setup` that removes it runs without it"
        )


def removed(output: bytes, folders: Collection[SharedFolder]) -> Collection[str]:
    """Return the folders that a command tried to remove."""
    return _named(_BUSY, output, b"", folders)


def _named(
    refusal: re.Pattern[bytes], output: bytes, script: bytes, folders: Collection[SharedFolder]
) -> Collection[str]:
    if not folders:
        return ()
    lines = b"\n".join(line for line in output.split(b"\n") if refusal.search(line))
    if not lines:
        return ()
    for text in (lines, script):
        if found := [folder.path for folder in folders if _names(text, folder.path)]:
            return found
    return ()


def _names(text: bytes, path: str) -> bool:
    """Whether a text names a folder; from a folder above it may leave out the rest of its path."""
    name = os.fsencode(path.rpartition("/")[2])
    return re.search(rb"(?<![\w.-])" + re.escape(name) + rb"(?![\w.-])", text) is not None
