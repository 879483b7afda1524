"""A build that changes nothing ends its item if every command criterion holds."""

from __future__ import annotations

import pytest

from tests.support.cli import begun, gitmill, new_task
from tests.support.repos import Repo, Sandbox


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    return begun(sandbox, files={"a.txt": "a\n"})


def shown(repo: Repo, task: str) -> dict:
    return gitmill(repo.path, "task", "show", task, "--json").json


def test_a_build_that_changes_nothing_is_done_with_the_passed_criteria_as_evidence(repo: Repo):
    more = ("--criterion", "$ test -e a.txt", "--criterion", "prose")
    task = new_task(repo.path, "Nothing", "true", *more)
    said = gitmill(repo.path, "run")
    assert said.code == 0, said.err
    found = shown(repo, task)
    item, (log,) = found["item"], found["attempts"]
    assert (item["status"], item["stage"]) == ("done", "build")
    assert item["reason"] == "nothing to do: its criteria hold already"
    assert [stage["stage"] for stage in log["stages"]] == ["build"]
    assert [(c["command"], c["passed"]) for c in log["checks"]] == [("test -e a.txt", True)]
    assert log["tree"] == repo.tree("main")
    assert "work" not in log
    assert "work" not in item or not item["work"]
    assert repo.git("for-each-ref", "refs/gitmill/work", "refs/gitmill/rescue") == ""


def test_a_build_that_changes_nothing_while_a_criterion_fails_is_returned(repo: Repo):
    repo.commit({".gitmill/config.toml": "[limits]\nreturns = 1\n"})
    task = new_task(repo.path, "Lazy", "true", "--criterion", "$ test -e wanted")
    assert gitmill(repo.path, "run").code == 1
    found = shown(repo, task)
    assert found["item"]["status"] == "blocked"
    assert found["attempts"][0]["stages"][-1]["stage"] == "sanity"


@pytest.mark.slow
def test_a_build_that_changes_nothing_without_a_command_criterion_is_returned(repo: Repo):
    repo.commit({".gitmill/config.toml": "[checks]\ntest = 'true'\n[limits]\nreturns = 1\n"})
    task = new_task(repo.path, "Lazy", "true", "--criterion", "only prose")
    assert gitmill(repo.path, "run").code == 1
    assert shown(repo, task)["item"]["status"] == "blocked"


@pytest.mark.slow
def test_earlier_work_that_is_taken_back_can_leave_nothing_to_do(repo: Repo):
    repo.commit({".gitmill/config.toml": "[checks]\ntest = '! grep -q bad a.txt'\n"})
    script = 'test "$GITMILL_ATTEMPT" = 1 && echo bad >> a.txt || echo a > a.txt'
    task = new_task(repo.path, "Unneeded", script, "--criterion", "$ grep -q a a.txt")
    assert gitmill(repo.path, "run").code == 0
    assert shown(repo, task)["item"]["status"] == "done"


@pytest.mark.slow
def test_a_red_target_does_not_hold_back_an_end_without_work(repo: Repo):
    repo.commit({".gitmill/config.toml": "[checks]\ntest = 'false'\n"})
    task = new_task(repo.path, "Nothing", "true")
    assert gitmill(repo.path, "run").code == 0
    assert shown(repo, task)["item"]["status"] == "done"
