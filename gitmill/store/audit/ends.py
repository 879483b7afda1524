"""Audit what an event records of commits: work and tree, candidates, landings, reverts."""

from __future__ import annotations

from collections.abc import Iterator

from gitmill.core.audit.event import AuditedEvent, Fault
from gitmill.core.audit.expected import end_without_work
from gitmill.core.item import Item
from gitmill.core.lifecycle import Event, Status
from gitmill.core.pipeline import already_there
from gitmill.core.runlog import Log
from gitmill.errors import GitFailedError, MissingObjectError
from gitmill.git.objects import Backend, Commit, read_commit
from gitmill.store.audit.records import Records
from gitmill.store.audit.replayed import Landed
from gitmill.store.audit.report import (
    AlreadyThere,
    AuditReport,
    Made,
    NewLanding,
    Reverse,
    Reverted,
)


class EndsAudit:
    """Checks an event by itself; notes in the report what needs the whole repository."""

    def __init__(self, backend: Backend, out: AuditReport, records: Records) -> None:
        self._backend = backend
        self._out = out
        self._records = records
        self._candidates = {landed.candidate: landed for landed in out.replayed.landed}

    def faults(self, turn: AuditedEvent, at: str, target: str) -> Iterator[Fault]:
        """Yield the faults of an event in the state commit `at`; `target` is its full name."""
        if turn.run is not None and turn.record.version >= 2:
            running = turn.before is not None and turn.before.status is Status.RUNNING
            if running and turn.run.work and not turn.run.tree:
                yield Fault("wrong-work", "its run log does not name the tree of its work")
            yield from self._made(turn.run)
            if turn.run.claim and turn.run.work and turn.run.tree:
                self._out.made.append(Made(
                    commit=at, item=turn.after.id, base=turn.run.base, work=turn.run.work,
                    patch=turn.run.patch,
                ))  # fmt: skip
        if turn.before is None:
            return
        if turn.event is Event.LAND_STARTED:
            yield from _candidate(turn, turn.after)
            landing = turn.after.landing
            if landing is not None and landing.target != target and turn.record.version >= 2:
                yield Fault("wrong-target", f"it lands on {landing.target}, the target is {target}")
        elif turn.event is Event.LANDED:
            yield from _candidate(turn, turn.before)
            yield from self._landed(turn, turn.before, at)
        else:
            self._note(turn, turn.before, at, target)

    def _note(self, turn: AuditedEvent, before: Item, at: str, target: str) -> None:
        run, extra = turn.run, turn.record.extra
        if turn.event is Event.REVERTED:
            self._out.replayed.reverted.add(before.landed)
            self._out.reverts.append(Reverted(
                commit=at, item=before.id, landed=before.landed,
                by=extra.get("Reverted-By", ""), target=target,
            ))  # fmt: skip
        elif run is not None and "Reverts" in extra:
            self._out.reverses.append(Reverse(
                commit=at, item=before.id, landed=extra["Reverts"], onto=run.base, work=run.work
            ))  # fmt: skip
        elif run is not None and end_without_work(turn) is already_there:
            self._out.already_there.append(
                AlreadyThere(commit=at, item=before, onto=run.base, target=target)
            )
        elif run is None and _ended_in_queue(turn, before):
            onto = extra.get("Onto", "")
            self._out.already_there.append(
                AlreadyThere(commit=at, item=before, onto=onto, target=target)
            )

    def _made(self, run: Log) -> Iterator[Fault]:
        """Compare the tree of a run log with the commit that it names, while that is not pruned."""
        commit = self._read(run.work or run.base) if run.tree else None
        if commit is not None and commit.tree != run.tree:
            named = "work" if run.work else "base"
            yield Fault("wrong-work", f"the tree {run.tree[:10]} is not that of its {named}")
        if commit is not None and run.work and commit.parents != (run.base,):
            yield Fault("wrong-work", f"its work is not one commit on {run.base[:10] or 'a base'}")

    def _read(self, oid: str) -> Commit | None:
        try:
            return read_commit(self._backend, oid) if oid else None
        except (MissingObjectError, GitFailedError):
            return None

    def _landed(self, turn: AuditedEvent, before: Item, at: str) -> Iterator[Fault]:
        item, landing = turn.after, before.landing
        if landing is not None and item.landed != landing.candidate:
            tested = landing.candidate[:10]
            yield Fault("wrong-candidate", f"it landed {item.landed[:10]}, but tested {tested}")
        if (other := self._candidates.get(item.landed)) is not None:
            yield Fault("landed-twice", f"{item.landed[:10]} landed before, as {other.item_id}")
        tree = read_commit(self._backend, item.landed).tree
        landed = self._candidates[item.landed] = Landed(
            commit=at, item_id=item.id, candidate=item.landed,
            onto=landing.onto if landing else "", target=landing.target if landing else "",
            patches=frozenset(entry.patch for entry in item.reviewed),
        )  # fmt: skip
        self._out.replayed.landed.append(landed)
        passes = tuple(check for _, check in sorted(self._records.passes(tree).items()))
        self._out.landings.append(NewLanding(
            landed=landed, before=before, item=item, passes=passes
        ))  # fmt: skip


def _ended_in_queue(turn: AuditedEvent, before: Item) -> bool:
    """Whether the event ends an item whose work the queue found on the target already."""
    return turn.event is Event.FINISHED and bool(before.work) and turn.record.version >= 2


def _candidate(turn: AuditedEvent, item: Item) -> Iterator[Fault]:
    """Compare the candidate in the trailers with that of the item."""
    extra, landing = turn.record.extra, item.landing
    named = extra.get("Candidate", ""), extra.get("Onto", "")
    expected = (landing.candidate, landing.onto) if landing else ("", "")
    if named != expected:
        candidate = expected[0][:10] or "none"
        yield Fault(
            "wrong-candidate", f"it names the candidate {named[0][:10]}, the item's is {candidate}"
        )
