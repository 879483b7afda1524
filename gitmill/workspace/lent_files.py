"""The ignored files of a checkout that its `.worktreeinclude` lends to trees, in git's patterns.

Other tools of this kind read the same file. An agent cannot lend itself files: the one in the
checkout counts, and a change of it needs a person's approval.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from gitmill.config import INCLUDE
from gitmill.errors import UnusableRepositoryError
from gitmill.files import is_plain_below
from gitmill.git.checkout import git_at
from gitmill.git.repo import Checkout
from gitmill.git.worktrees import Slot
from gitmill.hints import Gitmill, Hint
from gitmill.store import secret_search

_MOST, _BYTES = 2000, 200_000_000  # files, and bytes of all together
_SEARCHED = 1_000_000  # bytes of a file that is searched for secrets


def lend(slot: Slot, checkout: Path) -> None:
    """Copy the lent files into a prepared worktree, at the places where its rules ignore them.

    Raises `UnusableRepositoryError` if the patterns match too much.
    """
    paths = list(lent(checkout))
    if not paths:
        return
    stdin = "".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape")
    done = slot.git.run("check-ignore", "-z", "--stdin", stdin=stdin, check=False)
    for path in done.text.split("\0")[:-1]:
        if not is_plain_below(slot.path, path):
            continue  # a link that a set-up has made there could lead out of the worktree
        copy = slot.path / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(checkout / path, copy)


def lent(checkout: Path) -> Iterator[str]:
    """Yield the paths of the lent files: regular, and not tracked."""
    if not (checkout / INCLUDE).is_file():
        return
    argv = ("ls-files", "-z", "-o", "-i", f"--exclude-from={checkout / INCLUDE}")
    total = 0
    listed = git_at(Checkout(checkout, "")).run(*argv, check=False).text.split("\0")[:-1]
    for count, path in enumerate(listed):
        file = checkout / path
        if file.is_symlink() or not file.is_file():
            continue
        total += file.stat().st_size
        if count >= _MOST or total > _BYTES:
            raise UnusableRepositoryError(
                f"{INCLUDE} lends more than {_MOST:,} files or {_BYTES / 1e6:.0f} MB",
                hints=[
                    Hint("name less in it; for a folder with dependencies there is "
                         "`[worktree] share`; then", Gitmill("run"))
                ],
            )  # fmt: skip
        yield path


def with_secrets(checkout: Path) -> Iterator[str]:
    """Yield the lent files that hold a secret."""
    for path in lent(checkout):
        with (checkout / path).open("rb") as file:
            text = file.read(_SEARCHED).decode("utf-8", "replace")
        if secret_search.search(text):
            yield path
