"""A linked work tree that was moved, deleted or removed, while git still has an entry or not."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from gitmill.errors import CheckoutBlockedError
from gitmill.git.repo import Checkout, Repository
from gitmill.git.worktree_entries import entries
from gitmill.hints import Gitmill, Hint, Shell


def refuse_missing(
    repository: Repository, ref: str, *, pool: Path, before: Collection[Path]
) -> None:
    """Raise `CheckoutBlockedError` if a work tree of the branch has been moved.

    Moved under it, the branch would leave it behind, as if the landed change had been reverted
    there. One that is not there, and was there `before`, can have been moved anywhere; any other
    one was deleted.
    """
    for entry, folder in entries(repository.common):
        if folder.exists() or pool.resolve() in folder.parents or not _is_on(entry, ref):
            continue
        branch, new = ref.removeprefix("refs/heads/"), _new_place(entry, folder)
        if new is not None:
            command = f"git worktree repair {shlex.quote(os.fspath(new))}"
            raise CheckoutBlockedError(
                f"the work tree of {branch} was moved from {folder} to {new}; nothing was changed",
                hints=[Hint("let git know:", Shell(command), ", then", Gitmill("queue", "land"))],
            )
        if folder in before:
            raise CheckoutBlockedError(
                f"the work tree of {branch} is not in {folder} any more; nothing was changed",
                hints=[
                    Hint("if you have moved it:", Shell("git worktree repair NEW-PATH")),
                    Hint("if you have deleted it:", Shell("git worktree prune")),
                    Hint("then", Gitmill("queue", "land")),
                ],
            )


def _is_on(entry: Path, ref: str) -> bool:
    with suppress(OSError):  # half made, or removed just now
        return (entry / "HEAD").read_text("utf-8", "replace").strip() == f"ref: {ref}"
    return False


def _new_place(entry: Path, folder: Path) -> Path | None:
    """Return where a work tree is now, if it was only renamed."""
    link = b"gitdir: " + os.fsencode(entry)
    with suppress(OSError):
        for beside in folder.parent.iterdir():
            with suppress(OSError):
                if (beside / ".git").is_file() and (beside / ".git").read_bytes().strip() == link:
                    return beside
    return None


def is_removed(repository: Repository, checkout: Checkout) -> bool:
    """Whether a linked work tree is gone, and git has no entry for it."""
    if checkout.path.exists() or checkout.git_dir is not None:
        return False
    return all(folder != checkout.path for _, folder in entries(repository.common))
