"""A repository that is moved or deleted while gitmill works in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gitmill.errors import RepositoryGoneError
from gitmill.git.worktree_entries import remove
from gitmill.git.worktrees import holder_of
from gitmill.hints import Blank, Gitmill, Hint
from gitmill.mill import Mill

_Identity = tuple[int, int] | None


@contextmanager
def unless_moved(mill: Mill) -> Iterator[None]:
    """Raise `RepositoryGoneError` instead of any error once the repository is gone.

    Which work trees there are is noted as well, for `refuse_missing`.
    """
    common, pool = mill.repository.common, mill.pool.folder
    before, _ = _identity(common), mill.work_trees
    try:
        yield
    except Exception as error:
        if _identity(common) == before and (common / "objects").exists():
            raise
        _remove_remains(common, before)
        raise _gone(mill.repository.top or common, pool) from error


def _identity(folder: Path) -> _Identity:
    try:
        facts = folder.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _remove_remains(common: Path, before: _Identity) -> None:
    """Remove what gitmill has written in the old place since: it would look like a repository."""
    with suppress(OSError):
        if _identity(common) != before and {path.name for path in common.iterdir()} <= {
            "gitmill", "lfs",
        }:  # fmt: skip
            remove(common / "gitmill")
            for folder in (common / "lfs", common, common.parent):
                with suppress(FileNotFoundError):
                    folder.rmdir()


def _gone(place: Path, pool: Path) -> RepositoryGoneError:
    holders = ((holder_of(side)[0], side.with_suffix("")) for side in sorted(pool.glob("*.d")))
    kept = [f"the files of {holder} are in {path}" for holder, path in holders if holder]
    return RepositoryGoneError(
        f"{place} was moved or deleted while gitmill worked in it",
        evidence=kept,
        hints=[Hint("if it was moved, go on there:", Gitmill("-C", Blank("DIR"), "run"))],
    )
