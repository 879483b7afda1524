"""One event of one item: legal, by the holder of the claim, and as small as its change."""

from __future__ import annotations

import pytest

from gitmill.core.document import Document
from gitmill.core.lifecycle import Event
from gitmill.core.trailers import parse_message
from gitmill.errors import BadDocumentError, IllegalTransitionError, LeasedError, RefMovedError
from gitmill.flows.intake import NewTask, new_task
from gitmill.mill import Mill
from gitmill.store.events import Step
from tests.support.cli import gitmill
from tests.support.repos import Repo, Sandbox


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo()
    assert gitmill(repo.path, "init").code == 0
    return repo


@pytest.fixture
def mill(repo: Repo) -> Mill:
    return Mill.open(repo.path)


@pytest.fixture
def task(mill: Mill) -> str:
    return new_task(mill, NewTask(title="T", criteria=["$ true"]), ready=True).id


def claim(mill: Mill, task: str, token: str = "c1") -> None:
    lease = mill.lease("me", 60, claim=token)
    mill.apply(task, step(Event.CLAIMED, claim=token, stage="build", fields={"lease": lease}))


def step(event: Event, **more: object) -> Step:
    return Step(**({"event": event, "subject": event.value, "by": "me"} | more))


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
    assert (record.at, record.to, record.stage, record.claim) == ("ready", "running", "build", "c1")
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
    with pytest.raises(LeasedError, match="only the holder of the lease can say landed"):
        mill.apply(task, step(Event.LANDED))
    with pytest.raises(RefMovedError, match="has moved on"):
        mill.apply(task, step(Event.CLAIMED, claim="c1", after="another"))
    with pytest.raises(BadDocumentError, match="priority must be a whole number from 0"):
        mill.apply(task, step(Event.EDITED, fields={"priority": 9}))
    assert repo.git("rev-parse", "gitmill/state") == tip


def test_unknown_keys_and_comments_of_a_persons_file_stay(repo: Repo, mill: Mill, task: str):
    path = f"tasks/{task[2:4]}/{task}.md"
    text = repo.git("show", f"gitmill/state:{path}").replace(
        "priority: 2", "priority: 2 # not urgent\nmine: [a, b]"
    )
    blob = repo.git("hash-object", "-w", "--stdin", stdin=(text + "\n").encode())
    index = {"GIT_INDEX_FILE": str(repo.path.parent / "index")}
    import os
    import subprocess

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", *args], cwd=repo.path, env=os.environ | index, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        return done.stdout.strip()

    git("read-tree", "gitmill/state")
    git("update-index", "--cacheinfo", f"100644,{blob},{path}")
    commit = git("commit-tree", "-p", "gitmill/state", "-m", "by hand", git("write-tree"))
    git("update-ref", "refs/heads/gitmill/state", commit)
    mill.apply(task, step(Event.EDITED, fields={"priority": 1}))
    after = repo.git("show", f"gitmill/state:{path}")
    assert "priority: 1 # not urgent\nmine: [a, b]\n" in after
