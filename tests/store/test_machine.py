"""Any events in any order lead to the same state as a model in a plain dict."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gitmill.core.document import Document
from gitmill.core.ids import Kind, new_id
from gitmill.core.lifecycle import OVERRULES, TRANSITIONS, WORKERS, WORKING, Event
from gitmill.core.trailers import EventRecord
from gitmill.errors import IllegalTransitionError, LeasedError, RefMovedError
from gitmill.git import trees
from gitmill.git.objects import read_commit
from gitmill.git.repo import Repository
from gitmill.store import history, layout
from gitmill.store.events import draft_created, draft_step, timestamp
from gitmill.store.transaction import StateCommit, Store
from tests.support.seeds import times
from tests.support.steps import step

START = datetime(2026, 1, 2, tzinfo=UTC)
BEGINS = (Event.CLAIMED, Event.LAND_STARTED)
KEEPS = (*BEGINS, Event.EDITED, Event.SPLIT)
events = st.sampled_from([event for event in Event if event is not Event.CREATED])
fields = st.fixed_dictionaries({}, optional={
    "priority": st.integers(0, 4),
    "labels": st.none() | st.lists(st.text(max_size=5), max_size=2),
    "reason": st.none() | st.text(max_size=9),
    "counters": st.none() | st.dictionaries(st.sampled_from(["build", "review"]), st.integers(0, 9)),
})  # fmt: skip


class Machine(RuleBasedStateMachine):
    """One repository, and in `model` what each item must be: fields, then the events so far."""

    ids = Bundle("ids")
    snapshots = Bundle("snapshots")

    def __init__(self, folder):
        super().__init__()
        subprocess.run(["git", "init", "-q", folder], check=True)
        self.folder = folder
        self.numbers = count()
        self.model = {}
        self.story = {}
        self.commits = 2
        self.work = {}
        self.restart()
        self.store.begin()
        first = StateCommit("format", EventRecord("upgraded", "f"), {layout.FORMAT_FILE: b"1\n"})
        self.store.commit(lambda _: first, new=True)

    def now(self):
        return START + timedelta(minutes=self.commits)

    @rule()
    def restart(self):
        """Another process: nothing that is kept in memory counts."""
        self.store = Store(Repository.open(self.folder), self.now)

    @rule(
        target=ids,
        random=st.binary(min_size=12, max_size=12),
        title=st.text("ab\u00e9 :#'\"", min_size=1),
    )
    def create(self, random, title):
        event = f"e{next(self.numbers)}"
        made = []

        def build(snapshot):
            made[:] = [new_id(Kind.TASK, random, snapshot.items)]
            told = {
                "id": made[0], "kind": "task", "title": title, "status": "draft", "event": event,
                "created": timestamp(self.now()), "since": timestamp(self.now()),
            }  # fmt: skip
            self.new = told
            document = Document.new(told, "body\n", layout.item_path(made[0]))
            return draft_created(document, made[0], event_id=event, by="me", extra={})

        self.store.commit(build)
        assert made[0] not in self.model
        self.model[made[0]] = self.new
        self.story[made[0]] = [("created", event, "")]
        self.commits += 1
        return made[0]

    @rule(target=snapshots, item=ids)
    def look(self, item):
        """Somebody reads the state and takes time to decide."""
        return item, self.model[item]["event"], self.store.snapshot()

    @rule(
        item=ids, event=events, more=fields, by=st.sampled_from(["worker", "late", "person"]),
        run=st.booleans(), stage=st.none() | st.sampled_from(["build", "review"]),
    )  # fmt: skip
    def happens(self, item, event, more, by, run, stage):
        self.apply(item, event, more, by=by, run=run, stage=stage)

    @rule(item=ids, event=st.sampled_from(Event), more=fields, run=st.booleans())
    def happens_rightly(self, item, event, more, run):
        """An event that the table has, by whom it has to be: random ones seldom get far."""
        at = self.model[item]["status"]
        legal = sorted(e for (s, e) in TRANSITIONS if s is not None and s.value == at)
        event = legal[list(Event).index(event) % len(legal)]
        by = "worker" if at in WORKING and event not in OVERRULES else "person"
        self.apply(item, event, more, by=by, run=run, stage=None)

    @precondition(lambda self: self.model)
    @rule(seen=consumes(snapshots), event=events, more=fields)
    def happens_late(self, seen, event, more):
        """A decision on what was read before; it counts only if nothing has happened since."""
        item, after, snapshot = seen
        before = self.store.snapshot().commit
        if self.model[item]["event"] == after:
            self.apply(item, event, more, by="person", run=False, stage=None, after=after)
            return
        with pytest.raises((RefMovedError, LeasedError, IllegalTransitionError)):
            self.step(item, event, more, after=after)
        assert self.store.snapshot().commit == before
        assert snapshot.item(item).event == after  # what was read never changes

    @rule(item=ids)
    def work_is_done(self, item):
        """A ref moves in the same commit."""
        commit = self.store.snapshot().commit
        ref = f"{layout.WORK}{item}"
        self.step(item, Event.EDITED, {}, refs={ref: commit})
        self.happened(item, Event.EDITED, {}, "", run=False, stage=None)
        self.work[ref] = commit

    @rule(times=st.integers(1, 3))
    def nothing_happens(self, times):
        for _ in range(times):
            self.store.commit(lambda _: None)

    def apply(self, item, event, more, *, by, run, stage, after=None):
        told = self.model[item]
        holder = (told.get("lease") or {}).get("claim")
        claim = {"worker": holder or "c-none", "late": "c-late", "person": None}[by]
        if event in BEGINS:
            claim = f"c{next(self.numbers)}"
            until = timestamp(self.now() + timedelta(hours=1))
            more = more | {"lease": {"claim": claim, "who": "w", "until": until}}
        if self.allowed(told["status"], event, holder, claim):
            self.step(item, event, more, claim=claim, run=run, stage=stage, after=after)
            self.happened(item, event, more, claim or "", run=run, stage=stage)
            return
        before = self.store.snapshot().commit
        with pytest.raises((LeasedError, IllegalTransitionError)):
            self.step(item, event, more, claim=claim, run=run, stage=stage, after=after)
        assert self.store.snapshot().commit == before

    def allowed(self, status, event, holder, claim):
        """The rules once more, in other words than the code's."""
        if not any(s is not None and s.value == status and e is event for s, e in TRANSITIONS):
            return False
        if event in BEGINS:
            return True
        if claim is not None:
            return claim == holder
        return event in OVERRULES or (status not in WORKING and event not in WORKERS)

    def step(self, item, event, more, *, claim=None, run=False, stage=None, after=None, refs=None):
        number = next(self.numbers)
        self.event = f"e{number}"
        log = ("build", Document.new({"item": item}, f"{number}\n")) if run else None
        number_of_log = {"attempt": self.model[item].get("attempt", 0) + 1} if run else {}
        one = step(
            event, fields=more | number_of_log, stage=stage, claim=claim, after=after, run=log,
            refs=refs or {},
        )  # fmt: skip
        self.store.commit(
            lambda snapshot: draft_step(
                self.store.backend, snapshot, item, one, event_id=self.event, now=self.now()
            )
        )

    def happened(self, item, event, more, claim, *, run, stage):
        old = self.model[item]
        (status,) = [
            to
            for (at, e), to in TRANSITIONS.items()
            if at is not None and at.value == old["status"] and e is event
        ]
        new = old | more | {"event": self.event, "status": status.value}
        if status.value != old["status"]:
            new["since"] = timestamp(START + timedelta(minutes=self.commits))
        if event not in KEEPS:
            new["lease"] = None
        if stage is not None:
            new["stage"] = stage
        if run:
            new["attempt"] = old.get("attempt", 0) + 1
        empty = (None, "", [], {})  # such a field is left out
        self.model[item] = {key: value for key, value in new.items() if value not in empty}
        self.story[item].append((event.value, self.event, claim))
        self.commits += 1

    @invariant()
    def the_branch_says_what_the_model_says(self):
        if not hasattr(self, "store"):
            return
        snapshot = Store(Repository.open(self.folder), self.now).snapshot(writing=False)
        assert snapshot.broken == {}
        found = {
            name: {key: item.document.value(key) for key in item.document.fields}
            for name, item in snapshot.items.items()
        }
        assert found == self.model
        assert {self.store.snapshot().items[name].status.value for name in self.model} == {
            told["status"] for told in self.model.values()
        }

    def teardown(self):
        """Each item's story is a chain; each commit is one event; evidence and refs are there."""
        store = Store(Repository.open(self.folder), self.now)
        tip = store.snapshot().commit
        entries = list(history.entries(store.backend, tip))
        assert len(entries) == self.commits
        for item, events_ in self.story.items():
            records = [e.record for e in reversed(entries) if e.record and e.record.item == item]
            assert [(r.event, r.id, r.claim) for r in records] == events_
            ids = [event_id for _, event_id, _ in events_]
            assert [r.after for r in records] == ["", *ids[:-1]]
            assert [r.status_before for r in records[1:]] == [r.to for r in records[:-1]]
            assert records[-1].to == self.model[item]["status"]
            runs = store.snapshot().files(layout.runs_folder(item))
            assert len(runs) == self.model[item].get("attempt", 0)
            tree = read_commit(store.backend, tip).tree
            blobs = {trees.find(store.backend, tree, path).oid for path in runs}
            assert blobs == {r.evidence for r in records if r.evidence}
        assert store.backend.refs(layout.WORK) == dict(sorted(self.work.items()))
        done = subprocess.run(
            ["git", "-C", self.folder, "fsck", "--strict", "--no-dangling"],
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, b"")


def test_any_sequence_of_events_leads_to_the_state_of_the_model(tmp_path):
    folders = count()
    run_state_machine_as_test(
        lambda: Machine(tmp_path / str(next(folders))),
        settings=settings(max_examples=times(5), stateful_step_count=25, deadline=None),
    )
