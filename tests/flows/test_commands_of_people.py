"""Checks, criteria and scripts as people write them mean what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitmill import shells
from gitmill.errors import HiddenFailureError
from gitmill.flows.compile import require_seen_failures
from gitmill.flows.doctor import examine
from gitmill.flows.run import RunRequest, run
from gitmill.mill import Mill
from tests.support.cli import gitmill, new_task
from tests.support.hints import shown
from tests.support.repos import Repo, Sandbox

POLICY = ".gitmill/config.toml"
PYTHON = '#!/usr/bin/env python3\nopen("py.txt", "w").write("hello\\n")\n'


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo(files={"a.txt": "a\n", POLICY: "[limits]\nattempts = 1\n"})
    assert gitmill(repo.path, "init").code == 0
    return repo


def status(repo: Repo, task: str) -> str:
    return gitmill(repo.path, "task", "show", task, "--json").json["item"]["status"]


def worked(repo: Repo, script: str, *criteria: str) -> str:
    """Run a task and return the status that it has then."""
    more = [word for one in criteria for word in ("--criterion", one)]
    task = new_task(repo.path, "A task", script, *more)
    gitmill(repo.path, "run", task)
    return status(repo, task)


def test_a_pipe_hides_no_failure_of_a_check(repo: Repo):
    """The check is green on the target; its output goes through a program that succeeds."""
    repo.commit({POLICY: "[limits]\nattempts = 1\n[checks]\ntest = 'test ! -e b.txt | cat'\n"})
    assert worked(repo, "echo b > b.txt") == "blocked"
    assert worked(repo, "echo c > c.txt") == "landed"


@pytest.mark.parametrize("criterion", ["$ test -e none | cat", "$ false; true"])
def test_a_criterion_fails_with_any_of_its_commands(repo: Repo, criterion: str):
    assert worked(repo, "echo b > b.txt", criterion) == "blocked"


def test_what_only_bash_understands_runs_under_bash(repo: Repo):
    script = "x=(1 2 3); [[ ${#x[@]} == 3 ]] && echo b >> a.txt"
    assert worked(repo, script, "$ diff <(echo a; echo b) a.txt") == "landed"


def test_a_script_in_a_file_runs_under_its_own_program(repo: Repo, tmp_path: Path):
    (tmp_path / "fix.py").write_text(PYTHON)
    assert worked(repo, f"@{tmp_path / 'fix.py'}", "$ grep -q hello py.txt") == "landed"


def test_a_script_whose_program_is_missing_says_so(repo: Repo):
    task = new_task(repo.path, "A task", "#!/nowhere/python9\nprint()")
    gitmill(repo.path, "run", task)
    item = gitmill(repo.path, "task", "show", task, "--json").json["item"]
    assert item["status"] == "blocked"
    assert "/nowhere/python9" in gitmill(repo.path, "task", "show", task).out


def test_the_policy_can_name_another_shell(repo: Repo):
    policy = "[limits]\nattempts = 1\n[worktree]\nshell = 'sh -eu'\n[checks]\ntest = '{}'\n"
    repo.commit({POLICY: policy.format('test -z "${BASH_VERSION:-}"; test -z "${1:-}"')})
    assert worked(repo, 'echo "${BASH_VERSION:-none}" > b.txt', "$ grep -qx none b.txt") == "landed"
    assert worked(repo, 'echo "$NOT_SET_ANYWHERE" > c.txt') == "blocked"


def test_a_shell_of_the_policy_must_be_trusted(repo: Repo, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("GITMILL_TRUST")
    repo.commit({POLICY: "[worktree]\nshell = 'sh -e'\n"})
    gitmill(repo.path, "task", "new", "A task", "--script", "echo b > b.txt",
            "--criterion", "$ true", "--ready")  # fmt: skip
    said = gitmill(repo.path, "run")
    assert "worktree.shell" in said.err + said.out
    assert gitmill(repo.path, "config", "trust").code == 0
    assert gitmill(repo.path, "run").code == 0


def test_a_shell_that_is_not_installed_stops_the_run_once(repo: Repo):
    repo.commit({POLICY: "[worktree]\nshell = 'no-such-shell -e'\n[checks]\ntest = 'true'\n"})
    task = new_task(repo.path, "A task", "echo b > b.txt")
    said = gitmill(repo.path, "run")
    what = "error[cannot-start]: the shell `no-such-shell -e` of the policy is not installed"
    assert (said.code, said.err.count(what)) == (1, 1)
    item = gitmill(repo.path, "task", "show", task, "--json").json["item"]
    assert (item["status"], item["attempt"]) == ("ready", 0), "it costs no attempt"
    assert "no-such-shell" in gitmill(repo.path, "doctor").out


@pytest.mark.parametrize("line", ["'unclosed", "   "])
def test_a_shell_that_is_no_command_line_is_refused(repo: Repo, line: str):
    repo.commit({POLICY: f'[worktree]\nshell = "{line}"\n'})
    said = gitmill(repo.path, "loop", "check")
    assert "worktree.shell must be a program with its options" in said.err


# -- a machine without bash ------------------------------------------------------------------------


@pytest.fixture
def piped(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Mill:
    repo.commit({POLICY: "[checks]\ntest = 'true | cat'\n"})
    monkeypatch.setattr(shells, "_program", lambda: ("/bin/sh",))
    monkeypatch.setattr(shells, "_sees_pipes", lambda: False)
    return Mill.open(repo.path)


def test_a_pipe_that_nothing_sees_is_refused_before_it_runs(repo: Repo, piped: Mill):
    task = new_task(repo.path, "A task", "echo b > b.txt")
    with pytest.raises(HiddenFailureError, match="test has a pipe"):
        run(piped, RunRequest(), lambda _: None, lambda _: None)
    item = gitmill(repo.path, "task", "show", task, "--json").json["item"]
    assert (item["status"], item["counters"]) == ("ready", {}), "it costs no attempt"


def test_doctor_and_the_check_of_a_loop_name_it_with_the_way_out(repo: Repo, piped: Mill):
    (found,) = [
        one.diagnosis for one in examine(repo.path)
        if one.name == "checks" and one.diagnosis.hints
    ]  # fmt: skip
    assert found.text == "check test has a pipe, and /bin/sh sees a failure only at its end"
    assert "cat out.txt" in shown(found.hints)[0]
    with pytest.raises(HiddenFailureError, match="check test has a pipe"):
        require_seen_failures(piped)


# -- paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", ["app/[id]/page.tsx", "app/[id]/", r"app/\[id\]/page.tsx"])
def test_a_path_with_brackets_declares_itself(repo: Repo, declared: str):
    repo.commit({"app/[id]/page.tsx": "1\n"})
    task = new_task(repo.path, "A route", 'echo 2 > "app/[id]/page.tsx"', "--path", declared)
    gitmill(repo.path, "run", task)
    assert status(repo, task) == "landed"
    other = new_task(repo.path, "Another", "echo 2 > a.txt", "--path", declared)
    gitmill(repo.path, "run", other)
    assert status(repo, other) == "blocked"
