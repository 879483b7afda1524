"""A check that is red without the work is nobody's fault: items wait until the target moves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gitmill.mill import Mill
from gitmill.plans.policy import policy_at
from gitmill.workspace.run_checks import Check, check_definition
from gitmill.workspace.without_work import FILE
from tests.support.cli import begun, gitmill, new_task
from tests.support.repos import Repo, Sandbox

GREEN = "test ! -e broken"


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    return begun(sandbox, files={"a.txt": "a\n"})


def policy(repo: Repo, more: str = "", **commands: str) -> None:
    lines = [f"{name} = {json.dumps(command)}" for name, command in commands.items()]
    repo.commit({".gitmill/config.toml": "\n".join(["[checks]", *lines, more, ""])}, "policy")


def item(repo: Repo, task: str) -> dict:
    return gitmill(repo.path, "task", "show", task, "--json").json["item"]


def attempts(repo: Repo, task: str) -> list[dict]:
    return gitmill(repo.path, "task", "show", task, "--json").json["attempts"]


def events(repo: Repo, task: str) -> list[str]:
    found = gitmill(repo.path, "log", task, "--json").json["events"]
    return [event["event"] for event in found[::-1]]


def lines(repo: Repo, name: str) -> int:
    path = repo.path.parent / name
    return len(path.read_text().splitlines()) if path.exists() else 0


def red_main(repo: Repo) -> str:
    """Make the check `test` red on the target, and count its runs."""
    policy(repo, test=f"echo run >> {repo.path.parent}/runs; {GREEN}")
    return repo.commit({"broken": "yes\n"}, "break it")


# -- an attempt ------------------------------------------------------------------------------------


def test_an_item_behind_a_red_target_keeps_its_work_and_stands_at_the_checks(repo: Repo):
    tip = red_main(repo)
    task = new_task(repo.path, "Change", "echo b >> a.txt")
    said = gitmill(repo.path, "run")
    assert said.code == 3
    assert "`test` is red on main" in said.err
    after = item(repo, task)
    assert (after["status"], after["stage"]) == ("ready", "checks")
    assert after["reason"] == "red-target: `test` is red on main"
    assert after["red_target"] == {"check": "test", "commit": tip}
    assert repo.git("rev-parse", f"refs/gitmill/work/{task}") == after["work"]
    assert after["counters"] == {}
    assert events(repo, task)[-1] == "released"
    (log,) = attempts(repo, task)
    assert log["on_target"] == {"check": "test", "commit": tip, "status": 1, "ended": "exited"}
    assert log["verdict"] == "return"
    assert lines(repo, "runs") == 3  # with the work, and twice without it


def test_nothing_runs_again_before_the_target_moves_and_then_the_work_goes_on(repo: Repo):
    red_main(repo)
    task = new_task(repo.path, "Change", f"echo b >> a.txt; echo x >> {repo.path.parent}/built")
    repo.unfence()
    gitmill(repo.path, "run")
    runs = lines(repo, "runs")
    assert gitmill(repo.path, "run").code == 3
    assert lines(repo, "runs") == runs
    repo.commit({"broken": None}, "mend it")
    assert gitmill(repo.path, "run").code == 0
    assert item(repo, task)["status"] == "landed"
    assert item(repo, task)["builder"] == "shell"
    assert lines(repo, "built") == 1
    assert repo.git("show", "main:a.txt") == "a\nb"


@pytest.mark.slow
def test_a_target_that_moves_and_stays_red_is_asked_again_without_a_new_build(repo: Repo):
    red_main(repo)
    task = new_task(repo.path, "Change", "echo b >> a.txt")
    gitmill(repo.path, "run")
    tip = repo.commit({"other": "x\n"})
    assert gitmill(repo.path, "run").code == 3
    after = item(repo, task)
    assert after["red_target"]["commit"] == after["base"] == tip
    assert (after["stage"], after["counters"], after["attempt"]) == ("checks", {}, 2)


@pytest.mark.slow
def test_work_that_conflicts_after_the_wait_goes_back_to_its_builder(repo: Repo):
    red_main(repo)
    task = new_task(repo.path, "Change", "echo b > a.txt")
    gitmill(repo.path, "run")
    repo.commit({"broken": None, "a.txt": "other\n"})
    assert gitmill(repo.path, "run").code == 0
    assert events(repo, task).count("returned") == 1
    assert repo.git("show", "main:a.txt") == "b"


@pytest.mark.slow
def test_work_that_is_on_the_target_after_the_wait_is_done(repo: Repo):
    red_main(repo)
    task = new_task(repo.path, "Change", "echo b >> a.txt")
    gitmill(repo.path, "run")
    repo.commit({"broken": None, "a.txt": "a\nb\n"})
    assert gitmill(repo.path, "run").code == 0
    after = item(repo, task)
    assert (after["status"], after["reason"]) == ("done", "already on the target")


@pytest.mark.slow
def test_a_red_target_that_the_work_turns_green_holds_nothing_back(repo: Repo):
    red_main(repo)
    task = new_task(repo.path, "Fix", "rm broken")
    assert gitmill(repo.path, "run").code == 0
    assert item(repo, task)["status"] == "landed"
    assert "released" not in events(repo, task)


@pytest.mark.slow
def test_a_check_that_is_green_without_the_work_is_the_works_fault_and_asked_once(repo: Repo):
    policy(
        repo, "[limits]\nreturns = 2\n",
        test=f"echo run >> {repo.path.parent}/runs; ! grep -q bad a.txt",
    )  # fmt: skip
    task = new_task(repo.path, "Bad", "echo bad$GITMILL_ATTEMPT >> a.txt")
    assert gitmill(repo.path, "run").code == 1
    assert item(repo, task)["status"] == "blocked"
    assert events(repo, task).count("returned") == 2
    assert lines(repo, "runs") == 3 + 1


@pytest.mark.slow
def test_a_check_that_is_red_without_the_work_only_once_is_the_works_fault(repo: Repo):
    runs = repo.path.parent / "runs"
    flaky = f'echo run >> {runs}; ! grep -q bad a.txt && test "$(wc -l < {runs})" -gt 2'
    policy(repo, "[limits]\nreturns = 1\n", test=flaky)
    task = new_task(repo.path, "Bad", "echo bad >> a.txt")
    assert gitmill(repo.path, "run").code == 1
    assert events(repo, task)[-1] == "blocked"


@pytest.mark.slow
def test_a_red_criterion_is_always_the_works_fault(repo: Repo):
    repo.commit({".gitmill/config.toml": "[limits]\nreturns = 1\n"})
    task = new_task(repo.path, "Bad", "echo b >> a.txt", "--criterion", "$ test -e wanted")
    assert gitmill(repo.path, "run").code == 1
    assert item(repo, task)["status"] == "blocked"


@pytest.mark.slow
def test_answers_that_are_lost_are_asked_for_again(repo: Repo):
    red_main(repo)
    new_task(repo.path, "Change", "echo b >> a.txt")
    gitmill(repo.path, "run")
    (repo.git_dir / "gitmill" / FILE).write_text("{broken")
    fixer = new_task(repo.path, "Other", "echo c >> a.txt")
    before = lines(repo, "runs")
    assert gitmill(repo.path, "run", fixer).code == 3
    assert lines(repo, "runs") == before + 3


# -- further items ---------------------------------------------------------------------------------


def test_no_further_item_is_built_behind_a_red_target(repo: Repo):
    red_main(repo)
    first = new_task(repo.path, "First", "echo b >> a.txt")
    second = new_task(repo.path, "Second", "echo c > c.txt")
    said = gitmill(repo.path, "run")
    assert said.code == 3
    assert said.err.count("`test` is red on main") >= 1
    assert f"ask again with `gitmill run {first}`" in said.err
    assert item(repo, first)["attempt"] == 1
    assert (item(repo, second)["attempt"], item(repo, second)["status"]) == (0, "ready")
    dry = gitmill(repo.path, "run", "--dry-run")
    assert dry.code == 5
    status = gitmill(repo.path, "status")
    assert "red target: `test` is red on main" in status.out
    assert "--fixes-check test" in status.err
    assert gitmill(repo.path, "status", "--json").json["red"] == ["test"]


@pytest.mark.slow
def test_an_item_that_a_person_names_is_built_behind_a_red_target(repo: Repo):
    red_main(repo)
    new_task(repo.path, "First", "echo b >> a.txt")
    second = new_task(repo.path, "Second", "echo c > c.txt")
    gitmill(repo.path, "run")
    assert gitmill(repo.path, "run", second).code == 3
    assert item(repo, second)["stage"] == "checks"


@pytest.mark.slow
def test_a_fixer_is_built_and_lands_and_all_others_go_on_in_the_same_run(repo: Repo):
    red_main(repo)
    first = new_task(repo.path, "First", "echo b >> a.txt")
    second = new_task(repo.path, "Second", "echo c > c.txt")
    gitmill(repo.path, "run")
    fixer = new_task(repo.path, "Fix", "rm broken", "--fixes-check", "test")
    assert item(repo, fixer)["fixes_check"] == "test"
    said = gitmill(repo.path, "run")
    assert said.code == 0, said.err
    assert [item(repo, task)["status"] for task in (fixer, first, second)] == ["landed"] * 3
    assert events(repo, first).count("claimed") == 3  # build, checks, review
    assert "red" not in gitmill(repo.path, "status").out


@pytest.mark.slow
def test_a_fixer_that_leaves_its_check_red_goes_back_to_its_builder(repo: Repo):
    red_main(repo)
    fixer = new_task(
        repo.path, "Fix", 'test "$GITMILL_ATTEMPT" = 1 && echo x >> a.txt || rm broken',
        "--fixes-check", "test",
    )  # fmt: skip
    assert gitmill(repo.path, "run").code == 0
    assert events(repo, fixer).count("returned") == 1
    assert item(repo, fixer)["status"] == "landed"


def test_a_fixer_of_a_check_that_the_policy_does_not_have_is_refused(repo: Repo):
    policy(repo, test="true", lint="true")
    said = gitmill(repo.path, "task", "new", "Fix", "--fixes-check", "tset")
    assert said.code == 2
    assert "the policy has no check tset" in said.err
    assert "its checks: test, lint" in said.err
    task = gitmill(repo.path, "task", "new", "Fix", "--fixes-check", "lint").out.strip()
    assert gitmill(repo.path, "task", "edit", task, "--fixes-check", "none").code == 2
    assert gitmill(repo.path, "task", "edit", task, "--fixes-check", "").code == 0
    assert "fixes_check" not in repo.git("show", f"gitmill/state:tasks/{task[2:4]}/{task}.md")


@pytest.mark.slow
def test_naming_an_item_asks_again_for_a_check_whose_machine_was_at_fault(repo: Repo):
    service = repo.path.parent / "service"
    policy(repo, test=f"test -e {service}")
    task = new_task(repo.path, "Change", "echo b >> a.txt")
    gitmill(repo.path, "run")
    assert item(repo, task)["stage"] == "checks"
    service.touch()
    assert gitmill(repo.path, "run").code == 3
    assert gitmill(repo.path, "run", task).code == 0
    assert item(repo, task)["status"] == "landed"


@pytest.mark.slow
def test_a_named_item_behind_a_check_that_is_still_red_is_tried_once(repo: Repo):
    red_main(repo)
    task = new_task(repo.path, "Change", "echo b >> a.txt")
    gitmill(repo.path, "run")
    before = lines(repo, "runs")
    assert gitmill(repo.path, "run", task).code == 3
    assert lines(repo, "runs") == before + 3
    assert item(repo, task)["attempt"] == 2


# -- the prompt ------------------------------------------------------------------------------------


def test_the_first_prompt_of_a_builder_names_the_checks_and_which_are_red(repo: Repo):
    agent = '[agents.mine]\ncommand = ["sh", "-c", "echo b >> a.txt"]\n'
    mode = '[modes.ours]\nroles = {builder = "mine", reviewer = "rules"}\n'
    red_main(repo)
    commands = f'[checks]\nlint = "true"\ntest = "{GREEN}"\n'
    repo.commit({".gitmill/config.toml": f'mode = "ours"\n{commands}{agent}{mode}'})
    task = gitmill(repo.path, "task", "new", "First", "--ready").out.strip()
    said = gitmill(repo.path, "run", "--dry-run", "--json")
    assert "- lint: `true`\n- test: `test ! -e broken`\n" in said.json["would"][0]["prompt"]
    gitmill(repo.path, "run")
    assert item(repo, task)["stage"] == "checks"
    fixer = gitmill(repo.path, "task", "new", "Fix", "--fixes-check", "test", "--ready").out.strip()
    said = gitmill(repo.path, "run", fixer, "--dry-run", "--json")
    shown = "- test: `test ! -e broken` (`test` is red on main, without your change)"
    assert shown in said.json["would"][0]["prompt"]


# -- people, and code that would like to wait ------------------------------------------------------


@pytest.mark.slow
def test_work_that_a_person_submits_behind_a_red_target_is_kept_as_well(repo: Repo):
    red_main(repo)
    task = gitmill(repo.path, "task", "new", "By hand", "--criterion", "$ true").out.strip()
    taken = gitmill(repo.path, "task", "take", task)
    assert taken.code == 0, taken.err
    folder = Path(taken.out.strip())
    (folder / "a.txt").write_text("mine\n")
    said = gitmill(repo.path, "task", "submit", task)
    assert said.code == 0, said.err
    assert (item(repo, task)["stage"], item(repo, task)["builder"]) == (
        "checks", "Ada <ada@example.com>",
    )  # fmt: skip
    assert not folder.exists()
    repo.commit({"broken": None})
    assert gitmill(repo.path, "run").code == 0
    assert item(repo, task)["builder"] == "Ada <ada@example.com>"
    assert repo.git("show", "main:a.txt") == "mine"


@pytest.mark.slow
def test_an_answer_that_code_without_a_sandbox_forges_is_not_believed(repo: Repo):
    policy(repo, "[limits]\nreturns = 1\n", test="! grep -q bad a.txt")
    repo.unfence()
    answer = {"passed": False, "status": 1, "ended": "exited", "machine": False}
    known = {}
    mill = Mill.open(repo.path)
    check = Check("test", "! grep -q bad a.txt", 600)
    tip = repo.git("rev-parse", "main")
    definition = check_definition(mill, policy_at(mill, tip), check, tip)
    known[f"{repo.tree('main')}-{definition}"] = answer | {"at": "2026-01-02T03:04:05Z"}
    forged = repo.path.parent / "forged"
    forged.write_text(json.dumps(known))
    script = f"echo bad >> a.txt; cp {forged} {repo.git_dir}/gitmill/{FILE}"
    task = new_task(repo.path, "Bad", script)
    gitmill(repo.path, "run")
    assert "released" not in events(repo, task)
    forged.replace(repo.git_dir / "gitmill" / FILE)  # it would have been believed
    other = new_task(repo.path, "Bad", "echo bad >> a.txt")
    assert gitmill(repo.path, "run", other).code == 3
    assert events(repo, other)[-1] == "released"


@pytest.mark.slow
def test_the_log_and_the_board_say_why_an_item_waits(repo: Repo):
    red_main(repo)
    task = new_task(repo.path, "Change", "echo b >> a.txt")
    gitmill(repo.path, "run")
    assert f"{task}: checks released, red on the target (shell)" in gitmill(repo.path, "log").out
    assert "red-target: `test` is red on main" in gitmill(repo.path, "status").out
    assert "red-target: `test` is red on main" in repo.git("show", "gitmill/state:README.md")
