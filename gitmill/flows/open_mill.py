"""Open the mill of a folder for a command, now or as of a state commit."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from gitmill.mill import Mill

if TYPE_CHECKING:
    from gitmill.store.history import Entry
    from gitmill.store.write_lock import WriteLock


def open_mill(folder: Path, *, report: Callable[[str], None], writes: bool = True) -> Mill:
    """Open the repository that a folder is in.

    Hand edits of the state branch are applied before the first write, and immediately if the
    command `writes`; `report` receives a sentence for each. Raises `NotARepositoryError`.
    """

    def apply_hand_edits(mill: Mill, lock: WriteLock | None = None) -> None:
        from gitmill.people.hand_edits import reconcile  # noqa: PLC0415  (most commands write nothing)

        for sentence in reconcile(mill, lock):
            report(sentence)

    def allowed_secrets(mill: Mill) -> Collection[str]:
        from gitmill.workspace.secret_scan import allowed_now  # noqa: PLC0415  (rarely needed)

        return allowed_now(mill)

    mill = Mill.open(folder, before_write=apply_hand_edits, allowed_secrets=allowed_secrets)
    if writes and mill.store.is_begun():
        mill.keep_pool()
        apply_hand_edits(mill)
    return mill


def open_past(folder: Path, revision: str) -> tuple[Mill, Entry]:
    """Open the repository that a folder is in as of a state commit, for reading only.

    Returns the mill and the history entry of that commit. Raises `NotAStateCommitError`.
    """
    from gitmill.history.time_travel import at_commit  # noqa: PLC0415  (only with `--at`)

    mill = Mill.open(folder)
    return mill, at_commit(mill, revision)


def private_folder(folder: Path) -> Path:
    """Return gitmill's own folder in the git directory. Raises `NotARepositoryError`."""
    from gitmill.git.repo import Repository  # noqa: PLC0415  (only bug reports)

    return Repository.open(folder).private
