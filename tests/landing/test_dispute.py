"""A landing that does not read back as it was tested stops everything, and a person settles it."""

from __future__ import annotations

import pytest

from gitmill.cli.command_line import sentence
from gitmill.errors import LandingBrokenError
from gitmill.flows.land_queue import land_queue
from gitmill.mill import Mill
from gitmill.store.snapshot import Snapshot
from tests.support.cli import begun, gitmill, new_task
from tests.support.repos import Repo, Sandbox

pytestmark = pytest.mark.forges  # the target was moved behind gitmill's back


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    policy = {".gitmill/config.toml": "[checks]\ntest = 'test ! -e broken'\n"}
    return begun(sandbox, files={"a.txt": "a\n"}, then=policy)


def disputed(repo: Repo) -> tuple[str, LandingBrokenError]:
    """Land a task while another program takes the target back in the moment after the landing."""
    task = new_task(repo.path, "Change a", "echo x >> a.txt")
    assert gitmill(repo.path, "run", task, "--through", "approved").code == 0
    before = repo.git("rev-parse", "main")
    mill = Mill.open(repo.path)
    commit = mill.store.commit

    def taken_back(*builds, **how) -> Snapshot:
        after = commit(*builds, **how)
        if after.item(task).status.value == "landed":
            repo.git("update-ref", "refs/heads/main", before)
        return after

    mill.store.commit = taken_back
    with pytest.raises(LandingBrokenError) as caught:
        land_queue(mill, lambda _: None)
    return task, caught.value


def item(repo: Repo, task: str) -> dict:
    return gitmill(repo.path, "task", "show", task, "--json").json["item"]


def events(repo: Repo) -> list[str]:
    return repo.git("log", "--format=%s", "gitmill/state").splitlines()


def test_it_is_recorded_with_a_pause_in_one_move_and_nothing_else_lands(repo: Repo):
    task, error = disputed(repo)
    landed = item(repo, task)["landed"]
    assert error.message == f"{task} did not land as it was tested; the queue is paused"
    assert error.evidence == (f"{landed[:10]} is not on refs/heads/main",)
    ways = [sentence(hint) for hint in error.hints]
    assert ways == [
        f"see what landed: `git show {landed[:10]}`",
        f"if it may stay: `gitmill task approve {task}`, then `gitmill queue resume`",
        f"if not: `gitmill undo {task}`, or build it again: `gitmill task reopen {task}`",
    ]
    why = f"{task} did not land as it was tested: {landed[:10]} is not on refs/heads/main"
    assert events(repo)[:3] == [
        f"queue paused: {why}",
        f"{task}: disputed, it did not land as it was tested",
        f"{task}: landed as {landed[:10]}",
    ]
    assert (item(repo, task)["status"], item(repo, task)["disputed"]) == ("waiting", landed)
    status = gitmill(repo.path, "status").out
    assert "waiting 1" in status
    assert "landed today 0" in status
    doctor = gitmill(repo.path, "doctor").out
    assert why in doctor
    assert f"`gitmill task approve {task}`" in doctor
    other = new_task(repo.path, "Change b", "echo y > b.txt")
    said = gitmill(repo.path, "run", other)
    assert why in said.err
    assert item(repo, other)["status"] == "queued"
    refused = gitmill(repo.path, "queue", "land")
    assert refused.code == 3
    assert why in refused.err


@pytest.mark.slow
def test_a_person_upholds_it_and_the_queue_goes_on(repo: Repo):
    task, _ = disputed(repo)
    landed = item(repo, task)["landed"]
    for verb in ("return", "answer"):
        refused = gitmill(repo.path, "task", verb, task, "-m", "no")
        assert refused.code == 1
        assert f"the landing of {task} is disputed" in refused.err
    repo.git("update-ref", "refs/heads/main", landed)
    assert gitmill(repo.path, "task", "approve", task).code == 0
    assert (item(repo, task)["status"], item(repo, task)["disputed"]) == ("landed", "")
    assert gitmill(repo.path, "queue", "resume").code == 0
    repo.git("reset", "-q", "--hard")
    other = new_task(repo.path, "Change b", "echo y > b.txt")
    assert gitmill(repo.path, "run", other).code == 0
    assert item(repo, other)["status"] == "landed"
    assert gitmill(repo.path, "fsck").code == 0


def test_a_person_reverts_it(repo: Repo):
    task, _ = disputed(repo)
    repo.git("update-ref", "refs/heads/main", item(repo, task)["landed"])
    repo.git("reset", "-q", "--hard")
    assert gitmill(repo.path, "queue", "resume").code == 0
    assert gitmill(repo.path, "undo", task).code == 0
    assert (item(repo, task)["status"], item(repo, task)["disputed"]) == ("waiting", "")
    assert item(repo, task)["reverted"] == repo.git("rev-parse", "main")
    assert repo.git("show", "main:a.txt") == "a"
    assert gitmill(repo.path, "fsck").code == 0


@pytest.mark.slow
def test_a_person_has_it_built_again(repo: Repo):
    task, _ = disputed(repo)
    repo.git("reset", "-q", "--hard")
    assert gitmill(repo.path, "task", "reopen", task).code == 0
    assert (item(repo, task)["status"], item(repo, task)["landed"]) == ("ready", "")
    assert gitmill(repo.path, "queue", "resume").code == 0
    assert gitmill(repo.path, "run", task).code == 0
    assert item(repo, task)["status"] == "landed"


def test_under_the_first_rules_the_item_stays_landed_and_the_queue_is_paused(repo: Repo):
    """As in a repository that an earlier gitmill began."""
    message = repo.git("log", "-1", "--format=%B", "gitmill/state").replace("Gitmill-Rules: 2", "")
    tree, parent = repo.git("rev-parse", "gitmill/state^{tree}"), "gitmill/state^"
    first = repo.git("commit-tree", tree, "-p", parent, "-m", message.strip() + "\n")
    repo.git("update-ref", "refs/heads/gitmill/state", first)
    task, error = disputed(repo)
    assert item(repo, task)["status"] == "landed"
    assert "queue is paused" in error.message
    assert sentence(error.hints[1]) == "if it may stay: `gitmill queue resume`"
    assert f"{task} did not land as it was tested" in gitmill(repo.path, "doctor").out
    assert gitmill(repo.path, "run").code != 0
