"""A walk over a folder that other people's code has filled, before any program reads its files.

git hangs on a FIFO by the name of `.gitattributes`, and hashes whatever size a file claims to have.
The walk opens folders only, follows no link, and ends at a limit.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from gitmill.git.worktree_entries import remove

MAX_ENTRIES = 2_000_000
MAX_DEPTH = 200  # folders; each one on the way is open
MAX_PATH = 3000  # bytes; Linux accepts 4096 for the whole path of a file
MAX_SECONDS = 120.0
LARGE = 100_000_000  # bytes
RULES = frozenset({".gitattributes", ".gitignore", ".gitmodules"})  # files that direct git
_KINDS = {
    stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}  # fmt: skip


@dataclass
class Walked:
    """What a walk has found; paths are relative to its folder.

    `special` has FIFOs, sockets and devices with the kind of each, `rules` the files that direct
    git and are not regular, `large` the files changed since the given time with more than `LARGE`
    bytes. `changed` counts all files changed since then. `exceeded` is the limit at which the walk
    ended, empty if it saw everything.
    """

    special: dict[str, str] = field(default_factory=dict)
    rules: list[str] = field(default_factory=list)
    large: dict[str, int] = field(default_factory=dict)
    changed: int = 0
    entries: int = 0
    exceeded: str = ""


def walk(
    folder: Path, *, since: int | None = None, tick: Callable[[], object] = lambda: None
) -> Walked:
    """Walk over all files of a folder, except `.git` at its top.

    `since` is a change time in nanoseconds; without it, changed files are not counted. `tick` is
    called now and then, and may raise.
    """
    found, began = Walked(), time.monotonic()
    with closing(_entries(folder, found)) as entries:
        for path, entry, parent in entries:
            found.entries += 1
            if found.entries % 1000 == 0:
                tick()
                if time.monotonic() - began > MAX_SECONDS:
                    found.exceeded = f"reading it takes longer than {MAX_SECONDS:.0f} s"
            if found.entries > MAX_ENTRIES:
                found.exceeded = f"it has more than {MAX_ENTRIES:,} files and folders"
            if found.exceeded:
                break
            _note(found, path, entry, parent, since)
    return found


def _note(
    found: Walked, path: str, entry: os.DirEntry[str], parent: int, since: int | None
) -> None:
    is_file = entry.is_file(follow_symlinks=False)
    if (is_file and since is None) or (
        not is_file and entry.name not in RULES and _is_folder_or_link(entry)
    ):
        return  # the folder knows its kind: most files need no stat
    try:
        info = os.stat(entry.name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    is_new = since is None or info.st_ctime_ns > since
    kind = stat.S_IFMT(info.st_mode)
    if entry.name in RULES and kind != stat.S_IFREG and is_new:
        found.rules.append(path)
    elif kind in _KINDS:
        found.special[path] = _KINDS[kind]
    elif kind == stat.S_IFREG and is_new:
        found.changed += 1
        if info.st_size > LARGE:
            found.large[path] = info.st_size


def _is_folder_or_link(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) or entry.is_symlink()


class _Folder:
    """An open folder of a walk, and the entries of it that are left."""

    def __init__(self, prefix: str, name: str | Path, parent: int | None = None) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self.prefix = prefix
        self.descriptor = os.open(name, flags, dir_fd=parent)
        self.rest = os.scandir(self.descriptor)

    def close(self) -> None:
        self.rest.close()
        os.close(self.descriptor)


def _entries(
    folder: Path, found: Walked
) -> Generator[tuple[str, os.DirEntry[str], int], None, None]:
    """Yield each entry with its path and the descriptor of its folder, which is open meanwhile."""
    stack = [_Folder("", folder)]
    try:
        while stack:
            at = stack[-1]
            entry = next(at.rest, None)
            if entry is None:
                stack.pop().close()
                continue
            if not at.prefix and entry.name == ".git":
                continue
            path = f"{at.prefix}{entry.name}"
            yield path, entry, at.descriptor
            if not entry.is_dir(follow_symlinks=False):
                continue
            if len(stack) > MAX_DEPTH or len(os.fsencode(path)) > MAX_PATH:
                found.exceeded = f"its folders are nested too deep: {path[:100]}…"
                return
            try:
                stack.append(_Folder(f"{path}/", entry.name, at.descriptor))
            except PermissionError:
                found.exceeded = f"the folder {path} cannot be read"
                return
            except OSError:  # it vanished, or is a link now
                continue
    finally:
        for at in stack:
            at.close()


def defuse(folder: Path) -> bool:
    """Remove what git could hang on; return whether the walk saw everything.

    A special file has no content, and a file that directs git is no use to it unless it is regular.
    """
    found = walk(folder)
    for path in (*found.special, *found.rules):
        remove_below(folder, path)
    return not found.exceeded


def remove_below(folder: Path, path: str) -> None:
    """Remove what is at a path below a folder; no link on the way is followed."""
    at = folder
    for part in path.split("/")[:-1]:
        at /= part
        if at.is_symlink():
            return
    remove(folder / path)
