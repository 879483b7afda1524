"""A command that cannot start is the machine's fault only if it cannot start without the work."""

from __future__ import annotations

import json

import pytest

from tests.support.cli import begun, gitmill, new_task
from tests.support.repos import Repo, Sandbox
from tests.support.seeds import rest_slow


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    return begun(sandbox, files={"a.txt": "a\n", "tool": "#!/bin/sh\necho tool\n"})


def policy(repo: Repo, text: str = "", **commands: str) -> None:
    lines = [f"{name} = {json.dumps(command)}" for name, command in commands.items()]
    repo.commit({".gitmill/config.toml": "\n".join(["[checks]", *lines, text, ""])}, "policy")


def item(repo: Repo, task: str) -> dict:
    return gitmill(repo.path, "task", "show", task, "--json").json["item"]


def events(repo: Repo, task: str) -> list[str]:
    found = gitmill(repo.path, "log", task, "--json").json["events"]
    return [event["event"] for event in found[::-1]]


def test_a_tool_that_is_missing_stops_the_run_once_and_costs_nothing(repo: Repo):
    policy(repo, test="no-such-tool --all")
    task = new_task(repo.path, "First", "echo b >> a.txt")
    other = new_task(repo.path, "Second", "echo c >> a.txt")
    said = gitmill(repo.path, "run")
    assert said.code == 1
    assert "error[cannot-start]: check test (`no-such-tool --all`) exited 127, on main" in said.err
    assert "no-such-tool" in said.err.partition("exited 127")[2]
    assert "hint: install what it needs" in said.err
    after = item(repo, task)
    assert (after["status"], after["stage"], after["counters"]) == ("ready", "checks", {})
    assert "red_target" not in after or after["red_target"] is None
    assert events(repo, other) == ["created", "readied"]


@pytest.mark.slow
def test_the_next_run_goes_on_at_the_checks_once_the_tool_is_there(repo: Repo, sandbox: Sandbox):
    tool = sandbox.root / "bin" / "some-tool"
    policy(repo, f"[worktree.env]\nPATH = '{tool.parent}:/usr/bin:/bin'\n", test="some-tool")
    task = new_task(repo.path, "First", f"echo b >> a.txt; echo x >> {sandbox.root}/built")
    repo.unfence()
    assert gitmill(repo.path, "run").code == 1
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    assert gitmill(repo.path, "run").code == 0
    assert item(repo, task)["status"] == "landed"
    assert (sandbox.root / "built").read_text() == "x\n"


POSES = [
    "printf 'exit 127\\n' > tool",  # poses as a missing tool
    "printf 'exit 126\\n' > tool",
    "rm tool; echo b >> a.txt",  # deletes the tool
    "printf '#!/no/such/interpreter\\n' > tool; chmod +x tool",
]


@pytest.mark.parametrize("script", rest_slow(POSES, 1))
def test_work_that_poses_as_a_fault_of_the_machine_pays_for_it(repo: Repo, script: str):
    policy(repo, "[limits]\nreturns = 1\n", test="sh ./tool")
    if "interpreter" in script:
        repo.git("update-index", "--chmod=+x", "tool")
        repo.git("checkout", "--", "tool")
        policy(repo, "[limits]\nreturns = 1\n", test="./tool")
    task = new_task(repo.path, "Bad", script)
    assert gitmill(repo.path, "run").code == 1
    assert item(repo, task)["status"] == "blocked"
    assert "returned" in events(repo, task)
    assert "released" not in events(repo, task)


@pytest.mark.slow
def test_work_that_leaves_a_criterion_unable_to_start_pays_for_it(repo: Repo):
    repo.commit({".gitmill/config.toml": "[limits]\nreturns = 1\n"})
    for command in ("$ ./wanted", "$ sh ./wanted"):
        task = new_task(repo.path, "Lazy", "echo b >> a.txt", "--criterion", command)
        assert gitmill(repo.path, "run", task).code == 1
        assert "released" not in events(repo, task)


@pytest.mark.slow
def test_a_criterion_whose_program_is_not_installed_stops_the_run(repo: Repo):
    task = new_task(repo.path, "First", "echo b >> a.txt", "--criterion", "$ no-such-tool")
    said = gitmill(repo.path, "run")
    assert (said.code, "error[cannot-start]" in said.err) == (1, True)
    assert (item(repo, task)["stage"], item(repo, task)["counters"]) == ("checks", {})


@pytest.mark.slow
def test_a_fixer_whose_check_needs_a_file_that_it_forgets_pays_for_it(repo: Repo):
    policy(repo, "[limits]\nreturns = 1\n", test="./ci.sh")
    task = new_task(repo.path, "Fix", "echo b >> a.txt", "--fixes-check", "test")
    assert gitmill(repo.path, "run").code == 1
    assert item(repo, task)["status"] == "blocked"


# -- set-up ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_set_up_that_fails_without_the_work_stops_the_run_and_costs_nothing(repo: Repo):
    policy(repo, "[worktree]\nsetup = ['no-such-installer']\n", test="true")
    task = new_task(repo.path, "First", "echo b >> a.txt")
    said = gitmill(repo.path, "run")
    assert (said.code, "error[set-up-failed]" in said.err) == (1, True)
    assert item(repo, task)["counters"] == {}


def test_a_set_up_that_the_work_breaks_returns_it_and_the_builder_can_repair_it(repo: Repo):
    policy(repo, "[worktree]\nsetup = ['sh ./tool']\n", test="true")
    script = 'test "$GITMILL_ATTEMPT" = 1 && echo "exit 3" > tool || echo b >> a.txt'
    task = new_task(repo.path, "Bad", script)
    said = gitmill(repo.path, "run")
    assert said.code == 0, said.err
    assert events(repo, task).count("returned") == 1
    shown = gitmill(repo.path, "task", "show", task, "--json").json
    (finding,) = shown["attempts"][0]["findings"]
    assert finding["message"].startswith("check worktree.setup (`sh ./tool`) exited 3")
    assert shown["item"]["status"] == "landed"
    assert repo.git("show", "main:tool") == "#!/bin/sh\necho tool"


@pytest.mark.slow
def test_a_set_up_that_breaks_at_the_checks_for_all_keeps_the_work(repo: Repo, sandbox: Sandbox):
    mark = sandbox.root / "mark"
    policy(repo, f"[worktree]\nsetup = ['test ! -e {mark}']\n", test="true")
    repo.unfence()
    task = new_task(repo.path, "First", f"echo b >> a.txt; touch {mark}")
    said = gitmill(repo.path, "run")
    assert (said.code, "error[set-up-failed]" in said.err) == (1, True)
    assert (item(repo, task)["stage"], item(repo, task)["counters"]) == ("checks", {})
    mark.unlink()
    assert gitmill(repo.path, "run").code == 0
    assert item(repo, task)["status"] == "landed"


@pytest.mark.slow
def test_a_candidate_that_breaks_the_set_up_of_the_target_is_ejected(repo: Repo):
    policy(repo, test="true")
    task = new_task(repo.path, "Bad", "echo bad > bad")
    assert gitmill(repo.path, "run", "--through", "approved").code == 0
    policy(repo, "[worktree]\nsetup = ['test ! -e bad']\n", test="true")
    assert gitmill(repo.path, "queue", "land").code == 3
    assert events(repo, task)[-1] == "ejected"


@pytest.mark.slow
def test_a_set_up_that_fails_on_the_target_too_ends_the_landing_at_no_cost(repo: Repo):
    policy(repo, test="true")
    task = new_task(repo.path, "Good", "echo b >> a.txt")
    assert gitmill(repo.path, "run", "--through", "approved").code == 0
    policy(repo, "[worktree]\nsetup = ['exit 9']\n", test="true")
    said = gitmill(repo.path, "queue", "land")
    assert (said.code, "error[set-up-failed]" in said.err) == (1, True)
    assert (item(repo, task)["status"], events(repo, task)[-1]) == ("queued", "land-aborted")
    assert "aborts" not in item(repo, task)["counters"]


# -- before a run ----------------------------------------------------------------------------------


def test_doctor_finds_a_missing_program_and_a_red_target_before_a_run(repo: Repo):
    policy(repo, "[worktree]\nsetup = ['no-installer -q']\n", test="no-such-tool")
    said = gitmill(repo.path, "doctor")
    assert "check test begins with no-such-tool, which is not on PATH" in said.out
    assert "set-up 1 begins with no-installer, which is not on PATH" in said.out
    new_task(repo.path, "First", "echo b >> a.txt", "--criterion", "$ missing-one")
    assert "begins with missing-one, which is not on PATH" in gitmill(repo.path, "doctor").out


def test_doctor_names_a_check_that_is_red_on_the_target(repo: Repo):
    policy(repo, test="false")
    new_task(repo.path, "First", "echo b >> a.txt")
    gitmill(repo.path, "run")
    said = gitmill(repo.path, "doctor")
    assert "`test` is red on main" in said.out
    assert "--fixes-check test" in said.out
