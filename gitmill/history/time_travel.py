"""Time travel: read the state as of one of its commits, named as git names revisions."""

from __future__ import annotations

from gitmill.core.plans.plan import FrozenPlan
from gitmill.errors import NotAStateCommitError, NothingToDoError
from gitmill.git.objects import read_commit
from gitmill.hints import Gitmill, Hint
from gitmill.mill import Mill
from gitmill.plans.frozen import read_plan
from gitmill.store import history, layout
from gitmill.store.snapshot import Snapshot

_LOG = Hint("see its commits with", Gitmill("log"))
_SHORTEST = 4  # digits of an abbreviated id, as in git


def at_commit(mill: Mill, typed: str) -> history.Entry:
    """Pin every read of this mill to one state commit and return its entry; writes are refused.

    `typed` is a git revision that names a commit of the state branch, or the beginning of its id.
    Raises `NotAStateCommitError`.
    """
    tip = mill.store.snapshot(writing=False).commit
    commit = state_commit(mill, typed, tip)
    git = mill.repository.git
    if git.run("merge-base", "--is-ancestor", commit, tip, check=False).returncode != 0:
        raise NotAStateCommitError(
            f"{typed} is {commit[:10]}, which is not a commit of the state branch", hints=[_LOG]
        )
    entry = next(history.entries(mill.repository.reader, commit))
    if entry.record is None and not read_commit(mill.repository.reader, commit).parents:
        raise NotAStateCommitError(
            f"{commit[:10]} is the empty root commit, before any state", hints=[_LOG]
        )
    mill.store.at_commit(commit)
    return entry


def state_commit(mill: Mill, typed: str, tip: str) -> str:
    """Return the commit that a revision names, or that alone begins with it below a state `tip`.

    It can be a commit of another branch. Raises `NotAStateCommitError` if there is none.
    """
    git = mill.repository.git
    argv = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{typed}^{{commit}}")
    parsed = git.run(*argv, check=False)
    if parsed.returncode == 0:
        return parsed.text.strip()
    commits = git.out("rev-list", tip).splitlines() if len(typed) >= _SHORTEST else []
    # An id that is ambiguous among all objects can still be unique among the state commits.
    matches = [commit for commit in commits if commit.startswith(typed.lower())]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise NotAStateCommitError(
            f"{typed} is ambiguous: {len(matches)} state commits begin with it",
            evidence=[commit[: len(typed) + 6] for commit in matches[:6]],
            hints=[_LOG],
        )
    raise NotAStateCommitError(f"there is no commit {typed}", hints=[_LOG])


def plan_as_of(mill: Mill, snapshot: Snapshot) -> FrozenPlan:
    """Return the frozen plan that was used last up to a state commit.

    State commits record their plan, but not the target's tip. Raises `NothingToDoError` when no
    plan had been used by then.
    """
    for entry in history.entries(mill.repository.reader, snapshot.commit):
        plan = entry.record.plan if entry.record else ""
        if plan and snapshot.read(layout.plan_path(plan)) is not None:
            return read_plan(snapshot, plan)
    raise NothingToDoError(
        "no loop had run by then, so no plan is recorded", hints=[Hint("see", Gitmill("log"))]
    )
