"""A command runs only if a person has typed, read or approved it on this machine."""

from __future__ import annotations

import pytest

from tests.support.cli import gitmill, new_task
from tests.support.hands import by_hand
from tests.support.repos import Repo, Sandbox

CONFIG = ".gitmill/config.toml"


@pytest.fixture(autouse=True)
def _strict(monkeypatch):
    monkeypatch.delenv("GITMILL_TRUST")


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo(
        files={CONFIG: '[checks]\ntest = "touch /tmp/never; true"\n', "a.txt": "a\n"}
    )
    assert gitmill(repo.path, "init").code == 0
    return repo


def status(repo: Repo, task: str) -> str:
    return gitmill(repo.path, "task", "show", task, "--json").json["item"]["status"]


def test_commands_of_the_repository_run_only_when_trusted(repo: Repo):
    task = new_task(repo.path, "One", "echo 1 > a.txt", "--criterion", "$ test -s a.txt")
    result = gitmill(repo.path, "run")
    assert (result.code, result.err) == (
        3,
        "error[untrusted]: a command is not trusted on this machine\n"
        "    checks.test: touch /tmp/never; true\n"
        "hint: read the shown commands, then `gitmill config trust`\n",
    )
    assert status(repo, task) == "ready"
    trusted = gitmill(repo.path, "config", "trust")
    assert (trusted.code, trusted.out) == (0, "trusted      checks.test: touch /tmp/never; true\n")
    assert gitmill(repo.path, "config", "trust").out.startswith("was trusted  checks.test")
    assert gitmill(repo.path, "run").code == 0
    assert status(repo, task) == "landed"


@pytest.mark.slow
def test_typed_commands_are_trusted_and_others_are_not(repo: Repo):
    assert gitmill(repo.path, "config", "trust").code == 0
    mine = new_task(repo.path, "Mine", "echo 1 > b.txt")
    theirs = new_task(repo.path, "Theirs", "echo 1 > c.txt")
    text = repo.git("show", f"gitmill/state:tasks/{theirs[2:4]}/{theirs}.md")
    by_hand(repo, {f"tasks/{theirs[2:4]}/{theirs}.md": text.replace("echo 1", "echo 2") + "\n"})
    result = gitmill(repo.path, "run")
    assert result.code == 3
    assert f"script of {theirs}: echo 2 > c.txt" in result.err
    assert f"`gitmill config trust {theirs}`" in result.err
    assert (status(repo, mine), status(repo, theirs)) == ("landed", "ready")
    assert gitmill(repo.path, "config", "trust", theirs).code == 0
    assert gitmill(repo.path, "run").code == 0
    assert repo.git("show", "main:c.txt") == "2"
    again = gitmill(repo.path, "task", "new", "Third", "--ready", "--script", "echo 3 > c.txt",
                    "--criterion", "$ test -e c.txt")  # fmt: skip
    assert again.code == 0
    assert gitmill(repo.path, "run").code == 0


def test_a_landing_runs_the_checks_of_the_target_at_that_time(repo: Repo):
    assert gitmill(repo.path, "config", "trust").code == 0
    task = new_task(repo.path, "One", "echo 1 > b.txt")
    assert gitmill(repo.path, "run", "--through", "approved").code == 0
    repo.commit({CONFIG: '[checks]\ntest = "echo new"\n'})
    result = gitmill(repo.path, "queue", "land")
    assert result.code == 3
    assert "checks.test: echo new" in result.err
    assert status(repo, task) == "queued"
    assert gitmill(repo.path, "run").code == 3
    assert gitmill(repo.path, "config", "trust").code == 0
    assert gitmill(repo.path, "queue", "land").code == 0
    assert status(repo, task) == "landed"


def test_a_set_up_and_the_command_of_an_agent_are_commands_too(repo: Repo):
    repo.commit({CONFIG: (
        '[checks]\ntest = "make"\n[worktree]\nsetup = ["make tools"]\n'
        '[modes.offline.roles]\nbuilder = "mine"\n[agents.mine]\ncommand = ["my", "agent"]\n'
    )})  # fmt: skip
    new_task(repo.path, "One", "")
    result = gitmill(repo.path, "run", "--json")
    assert result.code == 3
    assert '"error": "untrusted"' in result.err
    for shown in ("checks.test: make", "worktree.setup.1: make tools", "agents.mine: my agent"):
        assert shown in result.err


def test_the_variable_of_a_ci_job_trusts_every_command(repo: Repo):
    task = new_task(repo.path, "One", "echo 1 > a.txt")
    assert gitmill(repo.path, "run", env={"GITMILL_TRUST": "1"}).code == 0
    assert status(repo, task) == "landed"


def test_commands_that_init_proposes_are_trusted(sandbox: Sandbox):
    repo = sandbox.repo(files={"pyproject.toml": "[tool.ruff]\n", "a.py": "a = 1\n"})
    assert gitmill(repo.path, "init").code == 0
    repo.git("add", CONFIG)
    repo.git("commit", "-qm", "policy")
    assert gitmill(repo.path, "config", "trust").out.startswith("was trusted  checks.lint")


def test_approving_a_change_of_the_policy_trusts_its_commands(repo: Repo):
    assert gitmill(repo.path, "config", "trust").code == 0
    script = f"printf '[checks]\\ntest = \"echo two\"\\n' > {CONFIG}"
    task = new_task(repo.path, "Policy", script)
    assert gitmill(repo.path, "run").code == 3
    assert status(repo, task) == "waiting"
    assert gitmill(repo.path, "task", "approve", task).code == 0
    assert gitmill(repo.path, "run").code == 0
    assert status(repo, task) == "landed"
    assert "was trusted" in gitmill(repo.path, "config", "trust").out


@pytest.mark.parametrize("value", ["0", "", "no", "false", "2", " 1"])
def test_only_the_value_1_of_the_variable_trusts_every_command(repo: Repo, value: str):
    task = new_task(repo.path, "One", "echo 1 > a.txt")
    refused = gitmill(repo.path, "run", env={"GITMILL_TRUST": value})
    assert (refused.code, refused.err.splitlines()[0]) == (
        3, "error[untrusted]: a command is not trusted on this machine",
    )  # fmt: skip
    assert status(repo, task) == "ready"
