"""One event of one item: legal, by the holder of the claim, and as small as its change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from gitmill.core.document import Document
from gitmill.core.lifecycle import WORKING, Event
from gitmill.core.trailers import EventRecord, parse_message
from gitmill.errors import BadDocumentError, IllegalTransitionError, LeasedError, RefMovedError
from gitmill.flows.init import init
from gitmill.mill import Mill
from gitmill.people.intake import NewTask, new_task
from gitmill.store import layout
from gitmill.store.events import creation_time, draft_created, timestamp
from gitmill.store.layout import STATE
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit
from gitmill.workspace.leases import new_lease
from tests.support.hints import shown
from tests.support.items import FIELDS
from tests.support.repos import Repo, Sandbox
from tests.support.steps import step


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo()
    init(Mill.open(repo.path))
    return repo


@pytest.fixture
def mill(repo: Repo) -> Mill:
    return Mill.open(repo.path)


@pytest.fixture
def task(mill: Mill) -> str:
    return new_task(mill, NewTask(title="T", script="true", criteria=["$ true"]), ready=True).id


def claim(mill: Mill, task: str, token: str = "c1") -> None:
    lease = new_lease(mill, "me", 60, claim=token)
    mill.apply(task, step(Event.CLAIMED, claim=token, stage="build", fields={"lease": lease}))


def test_an_event_changes_only_the_lines_of_its_fields(repo: Repo, mill: Mill, task: str):
    mill.apply(task, step(Event.EDITED, fields={"priority": 0}))
    diff = repo.git("show", "-U0", "--format=", "gitmill/state").splitlines()
    changed = [line for line in diff if line[0] in "+-" and line[:3] not in ("+++", "---")]
    assert [line.partition(":")[0] for line in changed] == [
        "-event",
        "+event",
        "-priority",
        "+priority",
    ]


def test_trailers_are_the_event_and_name_the_one_before(repo: Repo, mill: Mill, task: str):
    before = mill.snapshot().item(task).event
    claim(mill, task)
    subject, record = parse_message(repo.git("log", "-1", "--format=%B", "gitmill/state"))
    assert subject == f"{task}: claimed"
    assert record is not None
    assert (record.item, record.event, record.after) == (task, "claimed", before)
    assert (record.status_before, record.to, record.stage, record.claim) == (
        "ready",
        "running",
        "build",
        "c1",
    )
    assert record.id == mill.snapshot().item(task).event


def test_a_run_log_is_the_evidence(repo: Repo, mill: Mill, task: str):
    claim(mill, task)
    log = Document.new({"item": task, "number": 1}, "")
    mill.apply(task, step(Event.ADVANCED, claim="c1", stage="review", run=("build", log)))
    _, record = parse_message(repo.git("log", "-1", "--format=%B", "gitmill/state"))
    assert record is not None
    path = f"runs/{task[2:4]}/{task}/001-build.md"
    assert record.evidence == repo.git("rev-parse", f"gitmill/state:{path}")
    item = mill.snapshot().item(task)
    assert (item.attempt, item.stage, item.lease) == (1, "review", None)


def test_a_worker_that_lost_its_claim_records_nothing(repo: Repo, mill: Mill, task: str):
    claim(mill, task)
    tip = repo.git("rev-parse", "gitmill/state")
    for wrong in ("c2", None):
        with pytest.raises(LeasedError):
            mill.apply(task, step(Event.ADVANCED, claim=wrong, stage="review"))
    assert repo.git("rev-parse", "gitmill/state") == tip
    mill.apply(task, step(Event.BLOCKED, fields={"reason": "a person"}))
    with pytest.raises((LeasedError, IllegalTransitionError)):
        mill.apply(task, step(Event.ADVANCED, claim="c1", stage="review"))
    assert mill.snapshot().item(task).status.value == "blocked"


def test_an_illegal_event_leaves_no_commit(repo: Repo, mill: Mill, task: str):
    tip = repo.git("rev-parse", "gitmill/state")
    with pytest.raises(IllegalTransitionError, match=f"{task} is ready, so it cannot be approved"):
        mill.apply(task, step(Event.APPROVED))
    with pytest.raises(LeasedError, match="only the holder of the lease can record landed"):
        mill.apply(task, step(Event.LANDED))
    with pytest.raises(RefMovedError, match="has moved on"):
        mill.apply(task, step(Event.CLAIMED, claim="c1", after="another"))
    with pytest.raises(BadDocumentError, match="priority must be a whole number from 0"):
        mill.apply(task, step(Event.EDITED, fields={"priority": 9}))
    assert repo.git("rev-parse", "gitmill/state") == tip


def by_hand(mill: Mill, task: str, change: Callable[[str], str]) -> None:
    path, record = layout.item_path(task), EventRecord(event="board", id="e", by="test")

    def build(snapshot: Snapshot) -> StateCommit:
        text = change((snapshot.read(path) or b"").decode())
        return StateCommit("by hand", record, {path: text.encode()})

    mill.store.commit(build)


def test_unknown_keys_and_comments_of_a_persons_file_stay(repo: Repo, mill: Mill, task: str):
    mine = "priority: 2 # not urgent\nmine: [a, b]\nmy note: |\n  # text\n\n  more\n"
    by_hand(mill, task, lambda text: text.replace("priority: 2\n", mine).replace("\n", "\r\n"))
    mill.apply(task, step(Event.EDITED, fields={"priority": 1, "labels": ["x"]}))
    after = mill.snapshot().read(layout.item_path(task)) or b""
    assert mine.replace(": 2", ": 1").replace("\n", "\r\n").encode() in after
    assert b'labels: ["x"]\r\n---\r\n' in after
    assert b"\n" not in after.replace(b"\r\n", b"")


def test_an_equal_value_in_a_different_notation_is_left_alone(mill: Mill, task: str):
    mine = "priority:   2\nlabels:\n- one\n- two\nreason: 'it is late'\n"
    by_hand(mill, task, lambda text: text.replace("priority: 2\n", mine))
    same = {"priority": 2, "labels": ["one", "two"], "reason": "it is late"}
    mill.apply(task, step(Event.EDITED, fields=same))
    assert mine in (mill.snapshot().read(layout.item_path(task)) or b"").decode()


KEYS = {
    Event.CLAIMED: {"status", "event", "since", "stage", "lease"},
    Event.APPROVED: {"status", "event", "since", "lease", "attempt", "reviewed"},
    Event.QUEUED: {"status", "event", "since"},
    Event.LAND_STARTED: {"status", "event", "since", "lease", "landing"},
    Event.LANDED: {"status", "event", "since", "lease", "landing", "landed"},
    Event.REOPENED: {"status", "event", "since", "landed"},
    Event.SPLIT: {"event"},
}


def test_each_event_of_a_life_changes_only_its_own_lines(repo: Repo, mill: Mill, task: str):
    oid = repo.git("rev-parse", "main")
    lease = new_lease(mill, "me", 60, claim="c1")
    yes = [{"commit": oid, "patch": "p", "by": "me", "run": 1}]
    landing = {"candidate": oid, "onto": oid, "target": "refs/heads/main"}
    life = [
        step(Event.CLAIMED, claim="c1", stage="build", fields={"lease": lease}),
        step(Event.APPROVED, claim="c1", fields={"reviewed": yes}, run=("build", Document(""))),
        step(Event.QUEUED),
        step(Event.LAND_STARTED, claim="c1", fields={"lease": lease, "landing": landing}),
        step(Event.LANDED, claim="c1", fields={"landing": None, "landed": oid}),
        step(Event.SPLIT),
        step(Event.REOPENED, fields={"landed": None, "work": None}),
    ]
    start = mill.now()
    for day, one in enumerate(life, 1):
        mill.now = lambda day=day: start + timedelta(days=day)
        mill.apply(task, one)
        diff = repo.git("show", "-U0", "--format=", STATE, "--", layout.item_path(task))
        lines = [line[1:] for line in diff.splitlines() if line[0] in "+-" and ":" in line]
        assert {line.partition(":")[0] for line in lines} == KEYS[one.event]
        _, record = parse_message(repo.git("log", "-1", "--format=%B", STATE))
        assert record is not None
        assert record.claim == (one.claim or "")
        item = mill.snapshot().item(task)
        assert (item.lease is not None) == (item.status in WORKING)


def test_the_lease_stays_during_work_and_ends_with_the_next_event(mill: Mill, task: str):
    claim(mill, task)
    mill.apply(task, step(Event.EDITED, fields={"priority": 0}))
    mill.apply(task, step(Event.EDITED, claim="c1", fields={"priority": 1}))
    assert mill.snapshot().item(task).lease.claim == "c1"
    mill.apply(task, step(Event.CANCELLED, fields={"reason": "not wanted"}))
    assert mill.snapshot().item(task).lease is None
    with pytest.raises(LeasedError) as late:
        mill.apply(task, step(Event.ADVANCED, claim="c1"))
    assert late.value.evidence == (f"{task} is free",)
    assert shown(late.value.hints) == (f"follow it with `gitmill log {task}`",)


def test_stage_and_plan_in_the_trailers_are_those_after_the_event(
    repo: Repo, mill: Mill, task: str
):
    def told() -> tuple[str, str]:
        record = parse_message(repo.git("log", "-1", "--format=%B", STATE))[1]
        assert record is not None
        return record.stage, record.plan

    lease = new_lease(mill, "me", 60, claim="c1")
    first = {"lease": lease, "plan": "1" * 12}
    mill.apply(task, step(Event.CLAIMED, claim="c1", stage="build", fields=first))
    assert told() == ("build", "1" * 12)
    mill.apply(task, step(Event.FAILED, claim="c1"))
    assert told() == ("build", "1" * 12)
    again = {"lease": lease, "plan": "2" * 12}
    mill.apply(
        task, step(Event.CLAIMED, claim="c2", stage="review", fields=again | {"lease": lease})
    )
    assert told() == ("review", "2" * 12)
    mill.apply(task, step(Event.BLOCKED))
    mill.apply(task, step(Event.REOPENED, fields={"stage": None, "plan": None}))
    assert told() == ("", "2" * 12)  # the plan that it ran under until now


def test_a_new_body_and_files_and_refs_come_in_the_same_commit(repo: Repo, mill: Mill, task: str):
    head, old = repo.git("rev-parse", "main"), repo.git("rev-parse", STATE)
    work = f"refs/gitmill/work/{task}"
    mill.apply(
        task,
        step(
            Event.EDITED, body="\nNew text.\n", files={"note.md": b"x\n", "format": b"1\n"},
            refs={work: head, "refs/gitmill/work/none": None},
        ),
    )  # fmt: skip
    assert repo.git("diff", "--name-only", old, STATE).splitlines() == [
        "note.md", layout.item_path(task),
    ]  # fmt: skip
    assert mill.snapshot().item(task).document.body == "\nNew text.\n"
    assert repo.git("rev-parse", work) == head
    mill.apply(task, step(Event.EDITED, refs={work: None}, files={"note.md": None}))
    assert repo.git("for-each-ref", "refs/gitmill/work") == ""
    assert mill.snapshot().read("note.md") is None


def test_of_two_events_decided_on_the_same_state_only_one_is_committed(mill: Mill, task: str):
    """Each names the event that it was decided on; the second one is told that it came late."""
    last = mill.snapshot().item(task).event
    mill.apply(task, step(Event.EDITED, after=last, fields={"priority": 0}))
    with pytest.raises(RefMovedError, match=f"{task} has moved on"):
        mill.apply(task, step(Event.EDITED, after=last, fields={"priority": 4}))
    assert mill.snapshot().item(task).priority == 0


def test_a_new_item_is_a_draft(mill: Mill):
    fields = FIELDS | {"status": "approved"}
    document = Document.new(fields, "", layout.item_path("t-k3f9x"))
    with pytest.raises(IllegalTransitionError, match="a new item is a draft, not approved"):
        draft_created(document, "t-k3f9x", event_id="e", by="me", extra={})
    with pytest.raises(BadDocumentError):
        draft_created(document.set("title", None), "t-k3f9x", event_id="e", by="me", extra={})


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30))])
def test_times_are_written_in_utc(zone: timezone):
    now = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC).astimezone(zone)
    assert timestamp(now) == "2026-01-02T03:04:05Z"
    assert creation_time(now) == "2026-01-02T03:04:05.678Z"
