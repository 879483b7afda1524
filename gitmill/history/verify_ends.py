"""Verify how items ended without a landing of their own, and landings that were reverted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from gitmill.core.ids import Kind, derived_id
from gitmill.core.item import REVERT
from gitmill.errors import GitFailedError, MissingObjectError
from gitmill.git.executable import Git
from gitmill.git.objects import Commit, encode_commit, read_commit
from gitmill.git.replay import Conflict, replay
from gitmill.history.verify_targets import Target
from gitmill.mill import Mill
from gitmill.store.audit.report import AlreadyThere, AuditReport, Made, Reverse, Reverted
from gitmill.workspace.work import patch_of

_NOBODY = "gitmill <gitmill@invalid> 0 +0000"


def verify_ends(mill: Mill, report: AuditReport) -> None:
    """Verify reverts, the work of tasks that revert, and work that was on the target already."""
    onto = {landing.candidate: landing.onto for landing in report.replayed.landed}
    for end in report.reverts:
        with _absence(report, end.commit, end.item):
            _reverted(mill, report, end)
    for made in report.reverses:
        if report.items[made.item].work != made.work:
            continue  # it was made again: what this try made never lands, and may be pruned
        with _absence(report, made.commit, made.item):
            _reverse(mill, report, made, onto)
    for there in report.already_there:
        with _absence(report, there.commit, there.item.id):
            _already(mill, report, there)
    for work in report.made:
        with suppress(MissingObjectError, GitFailedError):  # pruned, as work that never lands is
            _made(mill, report, work)


@contextmanager
def _absence(report: AuditReport, commit: str, item: str) -> Iterator[None]:
    """Note objects that were pruned since; that is no fault."""
    try:
        yield
    except (MissingObjectError, GitFailedError) as error:
        report.notice("wrong-end", commit, f"its commits are not in this clone: {error}", item)


def _reverted(mill: Mill, report: AuditReport, end: Reverted) -> None:
    """Require a commit on the target that names what landed, and touches a file of it."""
    by, landed = end.by[:10] or "no commit", end.landed[:10]
    if not end.by:
        report.fault("wrong-end", end.commit, f"it names no commit that reverts {landed}", end.item)
        return
    commit = read_commit(mill.store.backend, end.by)
    target = Target(mill, end.target)
    if target.found and not target.has(end.by) and not target.was_at(end.by):
        what = f"{by}, which reverts {landed}, is not on {end.target}"
        report.fault("wrong-end", end.commit, what, end.item)
    named = f"This reverts commit {end.landed[:7]}" in commit.message
    source = f"{REVERT}:{end.item}:{end.landed}"
    task = report.items.get(derived_id(Kind.TASK, source))
    ours = task is not None and task.source == source and task.landed == end.by
    if not (named or ours):
        what = f"{by} does not say that it reverts {landed}"
        report.fault("wrong-end", end.commit, what, end.item)
        return
    there, back = _paths(mill, end.landed), _paths(mill, end.by)
    if there.isdisjoint(back):
        what = f"{by} changes none of the files of {landed}"
        report.fault("wrong-end", end.commit, what, end.item)


def _paths(mill: Mill, oid: str) -> set[str]:
    """Return the paths that a commit changes."""
    parents = read_commit(mill.store.backend, oid).parents
    return {change.path for change in mill.changes(parents[0], oid)} if parents else set()


def _reverse(mill: Mill, report: AuditReport, made: Reverse, onto: Mapping[str, str]) -> None:
    """Reverse the landed commit again, on the same commit of the target."""
    backend = mill.store.backend
    before = onto.get(made.landed) or read_commit(backend, made.landed).parents[0]
    expected = _replayed(
        mill, base=made.landed, tree=read_commit(backend, before).tree, onto=made.onto
    )
    if expected != read_commit(backend, made.work).tree:
        what = f"its work does not undo {made.landed[:10]}"
        report.fault("wrong-end", made.commit, what, made.item)


def _already(mill: Mill, report: AuditReport, end: AlreadyThere) -> None:
    """Replay the work again: the tree of the target must stay as it is."""
    backend, item = mill.store.backend, end.item
    if not end.onto:
        what = "it names no commit of the target that has its work already"
        report.fault("wrong-end", end.commit, what, item.id)
        return
    target = Target(mill, end.target)
    if target.found and not target.has(end.onto) and not target.was_at(end.onto):
        what = f"{end.onto[:10]}, which has its work already, is not on {end.target}"
        report.fault("wrong-end", end.commit, what, item.id)
    tree = read_commit(backend, item.work).tree
    replayed = _replayed(mill, base=item.base, tree=tree, onto=end.onto)
    if replayed != read_commit(backend, end.onto).tree:
        what = f"its work {item.work[:10]} was not on {end.onto[:10]} already"
        report.fault("wrong-end", end.commit, what, item.id)


def _made(mill: Mill, report: AuditReport, made: Made) -> None:
    """Compare the patch that a run log names with that of its work."""
    if made.patch != patch_of(mill, made.base, made.work):
        named = f"the patch {made.patch[:10]}" if made.patch else "no patch"
        what = f"its run log names {named}, which is not that of {made.work[:10]}"
        report.fault("wrong-patch", made.commit, what, made.item)


def _replayed(mill: Mill, *, base: str, tree: str, onto: str) -> str:
    """Return the tree of a change from a commit to a tree, replayed; empty if it conflicts.

    What git writes for it goes to a temporary folder, and is removed.
    """
    with tempfile.TemporaryDirectory(prefix="gitmill-fsck-") as folder:
        objects = Path(folder, "objects")
        objects.mkdir()
        git = Git(mill.repository.common, objects=objects, offline=True)
        commit = Commit(tree, (base,), _NOBODY, _NOBODY, "replayed\n")
        tip = git.out("hash-object", "-w", "-t", "commit", "--stdin", stdin=encode_commit(commit))
        result = replay(
            git, base=base, tip=tip.strip(), onto=onto, scratch=Path(folder), committer=_NOBODY
        )
        if isinstance(result, Conflict):
            return ""
        return git.out("rev-parse", f"{result.tip}^{{tree}}").strip()
