"""Whether a landing of the past holds: its commit, patch, reviews, checks and note."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gitmill.core.audit.event import Fault, takes_back
from gitmill.core.document import Document
from gitmill.core.plans.plan import FrozenPlan, PlannedStage, StageType
from gitmill.core.runlog import Log, read_log
from gitmill.core.verdict import VerdictWord
from gitmill.errors import BadDocumentError, GitFailedError, MissingObjectError
from gitmill.git.notes import read_note
from gitmill.git.objects import read_commit
from gitmill.landing.evidence import not_as_reviewed, note_for
from gitmill.mill import Mill
from gitmill.plans.policy import policy_at
from gitmill.store import layout
from gitmill.store.audit.report import Landed
from gitmill.store.snapshot import Snapshot
from gitmill.workspace.run_checks import landing_checks
from gitmill.workspace.work import patch_of


def judge_landing(mill: Mill, one: Landed) -> Iterator[Fault]:
    """Yield what does not hold of a landing.

    Raises `MissingObjectError` or `GitFailedError` where that cannot be told in this clone.
    """
    snapshot = Snapshot(mill.store.backend, one.commit, {})
    yield from _candidate(mill, one)
    for problem in not_as_reviewed(mill, one.item, one.onto):
        yield Fault("wrong-patch", problem)
    yield from _reviews(mill, one, snapshot)
    yield from _checks(mill, one)
    yield from _note(mill, one, snapshot)


def off_target(mill: Mill, target: str, commits: Iterable[str]) -> set[str]:
    """Return which commits are not reachable from a ref, asked of git once for all of them."""
    wanted = set(commits)
    asked = "\n".join([*sorted(wanted), f"^{target}", ""]).encode()
    found = mill.repository.git.out("rev-list", "--stdin", stdin=asked)
    return wanted & set(found.split())


def _candidate(mill: Mill, one: Landed) -> Iterator[Fault]:
    name, commit = one.candidate[:10], read_commit(mill.store.backend, one.candidate)
    if commit.parents[:1] != (one.onto,):
        yield Fault("wrong-candidate", f"{name} does not stand on {one.onto[:10]}")
    if f"Gitmill-Item: {one.item.id}" not in commit.message.splitlines():
        yield Fault("wrong-candidate", f"{name} does not name {one.item.id}")


def _reviews(mill: Mill, one: Landed, snapshot: Snapshot) -> Iterator[Fault]:
    item, plan = one.item, _plan(snapshot, one.item.plan)
    logs = dict(_logs(snapshot.run_logs(item.id)))
    for entry in item.reviewed:
        log = logs.get(entry.run)
        if log is None or log.verdict is not VerdictWord.PASS or log.work != entry.commit:
            yield Fault("not-reviewed", f"run log {entry.run} is no passed review of the work")
        if entry.commit != item.work:
            what = f"approved was {entry.commit[:10]}, the work is {item.work[:10]}"
            yield Fault("not-reviewed", what)
    if not item.reviewed:
        yield Fault("not-reviewed", "nobody reviewed it")
    opposite = takes_back(item)  # approved as a whole by who asked for it
    for stage in _reviewers(plan) if plan is not None and not opposite else ():
        count = sum(entry.stage == stage.name for entry in item.reviewed)
        if count < max(1, stage.approvals):
            yield Fault("not-reviewed", f"{stage.name} approved it {count} times")
    try:
        made = patch_of(mill, item.base, item.work)
    except (MissingObjectError, GitFailedError):
        return  # swept away since it landed; what landed is held against the review itself
    if any(entry.patch != made for entry in item.reviewed):
        yield Fault("wrong-patch", f"the reviewed patch is not that of {item.work[:10]}")


def _plan(snapshot: Snapshot, hash12: str) -> FrozenPlan | None:
    """Return a frozen plan; where it is missing or none, that was told when it was written."""
    data = snapshot.read(layout.plan_path(hash12)) if hash12 else None
    try:
        return FrozenPlan.parse(data.decode("utf-8", "replace")) if data is not None else None
    except BadDocumentError:
        return None


def _logs(documents: Iterable[Document]) -> Iterator[tuple[int, Log]]:
    for document in documents:
        try:
            log = read_log(document)
        except BadDocumentError:
            continue
        yield log.number, log


def _reviewers(plan: FrozenPlan) -> list[PlannedStage]:
    """Return the reviews on the way that passes lead, from the first stage to the last."""
    way: list[PlannedStage] = []
    names, name = {stage.name for stage in plan.stages}, plan.first.name
    while name in names and all(stage.name != name for stage in way):
        way.append(plan.stage(name))
        name = way[-1].edges.get(VerdictWord.PASS, "")
    return [stage for stage in way if stage.type is StageType.AGENT and not stage.is_authoring]


def _checks(mill: Mill, one: Landed) -> Iterator[Fault]:
    """Every check of the target as it was, and every command of the item, passed on that tree."""
    wanted = landing_checks(policy_at(mill, one.onto), one.before)
    passed = {(found.command, found.inputs) for found in one.passes}
    told = {str(check.get("name")): check for check in one.item.checked}
    if not wanted:
        yield Fault("missing-check", "there was nothing to land it by")
    for check in wanted:
        flaky = told.get(check.name, {}).get("flaky") is True
        if check.name not in told:
            yield Fault("missing-check", f"it does not say how check {check.name} ended")
        elif not flaky and (check.command, check.inputs) not in passed:
            what = f"check {check.name} has no recorded pass on the tree of {one.candidate[:10]}"
            yield Fault("missing-check", what)


def _note(mill: Mill, one: Landed, snapshot: Snapshot) -> Iterator[Fault]:
    name, backend = one.candidate[:10], mill.store.backend
    found = read_note(backend, layout.NOTES, one.candidate)
    if found is None:
        if backend.ref(layout.NOTES) is None:
            raise MissingObjectError(f"there is no {layout.NOTES} in this clone")
        yield Fault("note", f"{name} has no note")
        return
    meant = note_for(
        mill, snapshot, one.item, onto=one.onto, candidate=one.candidate, checks=one.item.checked
    )
    if found == meant:
        return
    try:
        ours, theirs = Document.from_bytes(meant), Document.from_bytes(found)
        keys = sorted(ours.fields.keys() | theirs.fields.keys())
        parts = [key for key in keys if ours.value(key) != theirs.value(key)]
    except BadDocumentError:
        parts = []
    yield Fault("note", f"the note on {name} says otherwise: {', '.join(parts) or 'its text'}")
