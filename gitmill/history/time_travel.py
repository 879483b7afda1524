"""The state as it was at one of its commits: found by what a user types, and what then counted."""

from __future__ import annotations

from gitmill.core.plans.plan import FrozenPlan
from gitmill.errors import NotAStateCommitError, NothingToDoError
from gitmill.git.objects import read_commit
from gitmill.mill import Mill
from gitmill.plans.frozen import read_plan
from gitmill.store import history, layout
from gitmill.store.snapshot import Snapshot

_LOG = "see its commits with `gitmill log`"
_SHORTEST = 4  # digits, as git has it


def at_commit(mill: Mill, typed: str) -> history.Entry:
    """Let every read of this mill be of one state commit, and return that; writing is refused.

    `typed` is any revision of git's that names a commit of the state branch, or the beginning of
    one's id. Raises `NotAStateCommitError`.
    """
    tip = mill.store.snapshot(writing=False).commit
    commit = _commit(mill, typed, tip)
    git = mill.repository.git
    if git.run("merge-base", "--is-ancestor", commit, tip, check=False).returncode != 0:
        raise NotAStateCommitError(
            f"{typed} is {commit[:10]}, which is not a commit of the state branch", hints=[_LOG]
        )
    entry = next(history.entries(mill.repository.reader, commit))
    if entry.record is None and not read_commit(mill.repository.reader, commit).parents:
        raise NotAStateCommitError(
            f"{commit[:10]} is the empty beginning, before there was any state", hints=[_LOG]
        )
    mill.store.at_commit(commit)
    return entry


def _commit(mill: Mill, typed: str, tip: str) -> str:
    git = mill.repository.git
    argv = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{typed}^{{commit}}")
    found = git.run(*argv, check=False)
    if found.returncode == 0:
        return found.text.strip()
    ids = git.out("rev-list", tip).splitlines() if len(typed) >= _SHORTEST else []
    # git may not know which object is meant where one of them alone is a state commit
    close = [one for one in ids if one.startswith(typed.lower())]
    if len(close) == 1:
        return close[0]
    if close:
        shown = [one[: len(typed) + 6] for one in close[:6]]
        raise NotAStateCommitError(
            f"{typed} begins {len(close)} state commits", evidence=shown, hints=[_LOG]
        )
    raise NotAStateCommitError(f"there is no commit {typed}", hints=[_LOG])


def plan_then(mill: Mill, snapshot: Snapshot) -> FrozenPlan:
    """Return the frozen plan that was used last before a state commit.

    The target's tip is not recorded with each state commit, its plans are. Raises
    `NothingToDoError` when none had been used by then.
    """
    for entry in history.entries(mill.repository.reader, snapshot.commit):
        used = entry.record.plan if entry.record else ""
        if used and snapshot.read(layout.plan_path(used)) is not None:
            return read_plan(snapshot, used)
    raise NothingToDoError(
        "no loop had run by then, so nothing tells what counted", hints=["see `gitmill log`"]
    )
