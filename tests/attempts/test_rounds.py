"""Rounds with agents that have sessions: their prompts, and which agents may review."""

from __future__ import annotations

import json

import pytest

import gitmill.agents
from gitmill.core.lifecycle import Status
from gitmill.flows.run import RunRequest, run
from gitmill.mill import Mill
from tests.support.cli import gitmill as cli
from tests.support.cli import new_task
from tests.support.repos import Repo, Sandbox

PASS = {"verdict": "pass", "summary": "fine"}
POLICY = """\
mode = "ours"
[checks]
test = "true"
[modes.ours]
roles = {builder = "talker", %s}
%s
"""


EVERYBODY = 'reviewer = "talker", troubleshooter = "talker", consultant = "talker"'


@pytest.fixture
def agents(sandbox: Sandbox, tmp_path, monkeypatch):
    """`talker` is an agent, and so is each name given: all are the same program."""
    folder = tmp_path / "more"
    folder.mkdir()
    monkeypatch.setattr(gitmill.agents, "__path__", [*gitmill.agents.__path__, str(folder)])
    monkeypatch.setenv("TALKER", str(folder))

    def make(*names: str) -> None:
        for name in ("talker", *names):
            (folder / f"{name}.py").write_text(
                f"from dataclasses import replace\nfrom tests.support.talker import *\n"
                f"from tests.support import talker\nROLES = frozenset({{'*'}})\n"
                f"def run(attempt, execute):\n"
                f"    named = {{**attempt.settings, 'name': {name!r} + '-' + attempt.role}}\n"
                f"    return talker.run(replace(attempt, settings=named), execute)\n"
            )

    make.folder = folder
    return make


def plays(agents, name: str, *steps: dict) -> None:
    (agents.folder / f"{name}.json").write_text(json.dumps(steps))


def asked(agents, name: str) -> list[dict]:
    files = sorted(agents.folder.glob(f"{name}.asked-*"))
    return [json.loads(file.read_text()) for file in files]


def start(
    sandbox: Sandbox, roles: str = 'reviewer = "talker"', more: str = "", **files: str
) -> Repo:
    policy = POLICY % (roles, more)
    repo = sandbox.repo(files={".gitmill/config.toml": policy, "a.txt": "a\n"} | files)
    assert cli(repo.path, "init").code == 0
    return repo


def go(repo: Repo) -> Mill:
    mill = Mill.open(repo.path)
    run(mill, RunRequest(), lambda line: None, lambda line: None)
    return mill


@pytest.mark.slow
def test_findings_go_back_to_the_session_that_built_and_the_reviewer_answers_for_each(
    sandbox: Sandbox, agents
):
    agents()
    repo = start(sandbox, **{"AGENTS.md": "Tabs, never spaces.\n"})
    plays(agents, "talker-builder",
          {"verdict": PASS, "write": {"a.txt": "1\n"}}, {"verdict": PASS, "write": {"a.txt": "2\n"}})  # fmt: skip
    returned = {
        "verdict": "return",
        "summary": "no",
        "findings": [{"message": "write 2", "file": "a.txt"}],
    }
    plays(agents, "talker-reviewer", {"verdict": returned}, {"verdict": PASS},
          {"verdict": PASS | {"earlier": [{"number": 1, "resolved": True, "comment": "it is 2"}]}})  # fmt: skip
    task = new_task(repo.path, "Numbers", "", "--criterion", "Is it a good number?")
    mill = go(repo)
    assert mill.snapshot().item(task).status is Status.LANDED
    first, second = asked(agents, "talker-builder")
    assert first["session"] == ""
    assert "Tabs, never spaces." in first["prompt"]
    assert second["session"] == "s-talker-builder-0"
    assert "1. [medium] a.txt: write 2" in second["prompt"]
    assert "Tabs, never spaces." not in second["prompt"]
    judged, again, repaired = asked(agents, "talker-reviewer")
    assert (judged["session"], again["session"]) == ("", "")
    assert "1. [medium] a.txt: write 2" in again["prompt"]
    assert repaired["session"] == "s-talker-reviewer-1"
    assert "has no answer to finding 1" in repaired["prompt"]
    logs = cli(repo.path, "task", "show", task, "--json").json["attempts"]
    assert [(log["stage"], log["verdict"]) for log in logs] == [
        ("build", "pass"), ("review", "return"), ("build", "pass"), ("review", "pass"),
    ]  # fmt: skip
    shown = repo.git("show", f"gitmill/state:runs/{task[2:4]}/{task}/004-review.md")
    assert 'earlier: [{"number": 1, "resolved": true, "comment": "it is 2"}]' in shown


@pytest.mark.slow
def test_approvals_by_different_agents_none_of_them_the_author(sandbox: Sandbox, agents):
    agents("one", "two")
    repo = start(
        sandbox, 'reviewer = ["talker", "one", "two"]',
        'approvals = {review = 2}\ndistinct_from = {review = ["author", "review"]}',
    )  # fmt: skip
    plays(agents, "talker-builder", {"verdict": PASS, "write": {"a.txt": "1\n"}})
    plays(agents, "one-reviewer", {"verdict": PASS})
    plays(agents, "two-reviewer", {"verdict": PASS})
    task = new_task(repo.path, "Numbers", "")
    mill = go(repo)
    item = mill.snapshot().item(task)
    assert item.status is Status.LANDED
    assert [entry.by.partition("@")[0] for entry in item.reviewed] == ["one", "two"]
    assert len(asked(agents, "talker-builder")) == 1
    assert not asked(agents, "talker-reviewer")


@pytest.mark.slow
def test_a_failed_build_is_examined_and_the_next_builder_gets_the_advice(sandbox: Sandbox, agents):
    agents()
    repo = start(sandbox, EVERYBODY)
    plays(agents, "talker-builder", {"verdict": {"verdict": "fail", "summary": "no compiler"}},
          {"verdict": PASS, "write": {"a.txt": "2\n"}})  # fmt: skip
    plays(agents, "talker-troubleshooter",
          {"verdict": PASS | {"findings": [{"message": "the compiler is in /opt"}]}})  # fmt: skip
    plays(agents, "talker-reviewer", {"verdict": PASS})
    task = new_task(repo.path, "Compile", "")
    assert go(repo).snapshot().item(task).status is Status.LANDED
    (look,) = asked(agents, "talker-troubleshooter")
    assert "stage build ended as `completed` by talker@" in look["prompt"]
    assert ": no compiler" in look["prompt"]
    assert "1. [medium] the compiler is in /opt" in asked(agents, "talker-builder")[1]["prompt"]
    assert cli(repo.path, "fsck").code == 0


@pytest.mark.slow
def test_an_impossible_task_ends_with_the_consultant(sandbox: Sandbox, agents):
    agents()
    repo = start(sandbox, EVERYBODY)
    fail = {"verdict": {"verdict": "fail", "summary": "no"}}
    plays(agents, "talker-builder", fail, fail, fail)
    plays(agents, "talker-troubleshooter", {"verdict": PASS}, fail)
    plays(agents, "talker-consultant",
          {"verdict": {"verdict": "impossible", "summary": "write it anew"}})  # fmt: skip
    task = new_task(repo.path, "Compile", "")
    item = go(repo).snapshot().item(task)
    assert (item.status, item.reason) == (Status.BLOCKED, "write it anew")
    assert len(asked(agents, "talker-consultant")) == 1
    assert cli(repo.path, "fsck").code == 0


def test_a_dry_run_prints_the_prompt_and_moves_nothing(sandbox: Sandbox):
    repo = sandbox.repo(files={
        ".gitmill/config.toml": 'mode = "ours"\n[checks]\ntest = "true"\n[modes.ours]\n'
        'roles = {builder = "coder", reviewer = "rules"}\n[agents.coder]\ncommand = ["coder"]\n'
        'model = "large"\n',
        "CONTRIBUTING.md": "Write tests.\n",
    })  # fmt: skip
    assert cli(repo.path, "init").code == 0
    first = new_task(repo.path, "One", "", "--criterion", "It is fine")
    second = new_task(repo.path, "Two", "")
    before = repo.git("for-each-ref")
    result = cli(repo.path, "run", first, "--dry-run")
    assert (result.code, repo.git("for-each-ref")) == (0, before)
    assert result.out.splitlines()[:5] == [
        f"{first}  One",
        "  stages  build → sanity → checks",
        "  agent   coder (workspace, model large)",
        f"  moves   refs/heads/gitmill/state, refs/gitmill/work/{first}, refs/gitmill/rescue/{first}/",
        f"  lands   refs/heads/main, refs/notes/gitmill, refs/gitmill/candidate/{first}",
    ]
    assert "    - It is fine\n" in result.out
    assert "    Write tests.\n" in result.out
    assert result.err == "nothing was done\nnext: `gitmill run`\n"
    both = cli(repo.path, "run", "--dry-run", "--through", "approved", "--json").json["would"]
    assert [(one["item"], one["landing"]) for one in both] == [(first, []), (second, [])]
    assert not (repo.path / ".git/worktrees").exists()
    assert cli(repo.path, "task", "cancel", first).code == 0
    assert cli(repo.path, "task", "cancel", second).code == 0
    nothing = cli(repo.path, "run", "--dry-run")
    assert (nothing.code, nothing.out) == (5, "")
