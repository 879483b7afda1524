"""A person as builder, and a person's decisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import begun, gitmill, new_task
from tests.support.repos import Repo, Sandbox


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    policy = {".gitmill/config.toml": "[checks]\ntest = '! grep -q bad a.txt'\n"}
    return begun(sandbox, files={"a.txt": "a\n"}, then=policy)


def status(repo: Repo, task: str) -> tuple[str, str]:
    item = gitmill(repo.path, "task", "show", task, "--json").json["item"]
    return item["status"], item.get("stage", "")


def test_a_person_builds_and_the_same_gates_judge(repo: Repo):
    said = gitmill(repo.path, "task", "new", "By hand", "--criterion", "$ grep -q mine a.txt")
    task = said.out.strip()
    taken = gitmill(repo.path, "task", "take", task)
    assert taken.code == 0
    folder = Path(taken.out.strip())
    assert gitmill(repo.path, "task", "path", task).out == taken.out
    assert gitmill(repo.path, "run").code == 5  # nobody else gets it meanwhile
    assert gitmill(repo.path, "recover").code == 0
    (folder / "a.txt").write_text("bad\n")
    assert gitmill(repo.path, "task", "submit", task).code == 0
    assert status(repo, task) == ("ready", "build")
    folder = Path(gitmill(repo.path, "task", "take", task).out.strip())
    (folder / "a.txt").write_text("mine\n")
    Repo(folder).git("commit", "-q", "-am", "my own commit")
    assert gitmill(repo.path, "task", "submit", task, "-m", "Wrote it.").code == 0
    assert not folder.exists()
    assert gitmill(repo.path, "run").code == 0
    assert status(repo, task)[0] == "landed"
    message = repo.git("log", "-1", "--format=%B", "main")
    assert message == f"By hand\n\nWrote it.\n\nGitmill-Item: {task}\n"
    assert 'built_by: "Ada <ada@example.com>"' in repo.git("notes", "--ref=gitmill", "show", "main")


def test_submit_without_take_says_what_to_type(repo: Repo):
    task = new_task(repo.path, "Nobody's", "true")
    assert gitmill(repo.path, "task", "submit", task).plain() == (
        1,
        "",
        "error[not-ready]: T1 has no worktree: no person has taken it\n"
        "hint: take it with `gitmill task take T1`\n",
    )


def test_a_lost_lease_loses_no_work(repo: Repo):
    task = new_task(repo.path, "Lost", "true")
    folder = Path(gitmill(repo.path, "task", "take", task).out.strip())
    (folder / "a.txt").write_text("mine\n")
    assert gitmill(repo.path, "task", "block", task, "-m", "wait").code == 0
    said = gitmill(repo.path, "task", "submit", task)
    assert said.code == 4
    assert f"your work is still in {folder}" in said.err
    assert (folder / "a.txt").read_text() == "mine\n"


def test_high_risk_waits_at_the_gate_and_a_person_lets_it_pass(repo: Repo):
    task = new_task(repo.path, "Risky", "echo x >> a.txt", "--risk", "high")
    assert gitmill(repo.path, "run").code == 3
    assert status(repo, task) == ("waiting", "approve")
    assert "+x" in gitmill(repo.path, "task", "diff", task).out
    assert gitmill(repo.path, "task", "approve", task, "-m", "looked at it").code == 0
    assert gitmill(repo.path, "run").code == 0
    assert status(repo, task)[0] == "landed"
    assert repo.git("notes", "--ref=gitmill", "show", "main").count('"by": ') == 2


def test_a_protected_path_waits_for_a_person_before_any_check_runs(repo: Repo):
    script = "mkdir -p .github; echo x > .github/w.yml"
    task = new_task(repo.path, "Workflow", script)
    assert gitmill(repo.path, "run").code == 3
    assert status(repo, task) == ("waiting", "sanity")
    assert gitmill(repo.path, "task", "approve", task).code == 0
    assert status(repo, task) == ("ready", "checks")
    assert gitmill(repo.path, "run").code == 0
    assert status(repo, task)[0] == "landed"


def test_a_script_cannot_change_the_policy_that_judges_it(repo: Repo):
    script = "rm -f .gitmill/config.toml; echo bad >> a.txt"
    task = new_task(repo.path, "Own gates", script)
    assert gitmill(repo.path, "run").code == 3
    assert status(repo, task) == ("waiting", "sanity")
    assert gitmill(repo.path, "task", "approve", task).code == 0
    said = gitmill(repo.path, "run")
    assert '"check test failed"' in said.err  # the target's check, which the work has removed
    assert status(repo, task) == ("waiting", "sanity")  # the next attempt asks again


@pytest.mark.slow
def test_used_up_attempts_block_and_retry_gives_them_back(repo: Repo):
    task = new_task(repo.path, "Fails", "exit 3")
    assert gitmill(repo.path, "run").code == 1
    shown = gitmill(repo.path, "task", "show", task, "--json").json
    assert len(shown["attempts"]) == 3
    assert shown["item"]["reason"] == ("all 3 attempts at build are used up: the script exited 3")
    assert gitmill(repo.path, "task", "edit", task, "--script", "echo x >> a.txt").code == 0
    assert gitmill(repo.path, "task", "retry", task).code == 0
    assert gitmill(repo.path, "run").code == 0
    assert status(repo, task)[0] == "landed"


def test_edits_of_what_a_claim_froze_are_refused_while_it_counts(repo: Repo):
    task = new_task(repo.path, "Frozen", "echo x >> a.txt", "--criterion", "prose")
    assert gitmill(repo.path, "run").code == 3
    said = gitmill(repo.path, "task", "edit", task, "--criterion", "$ true")
    assert said.plain() == (
        1,
        "",
        "error[illegal-transition]: T1 is waiting, so its criteria, script and paths cannot "
        "change\n"
        'hint: block it first: `gitmill task block T1 -m "why"`\n'
        "hint: then `gitmill task edit T1 …` and `gitmill task retry T1`\n",
    )
    assert gitmill(repo.path, "task", "edit", task, "--title", "Other", "--priority", "0").code == 0


def test_dependencies_order_work_and_a_cancelled_one_blocks(repo: Repo):
    first = new_task(repo.path, "First", "echo 1 > one.txt", "--priority", "4")
    second = new_task(repo.path, "Second", "cat one.txt > two.txt", "--after", first)
    assert gitmill(repo.path, "task", "edit", first, "--after", second).plain() == (
        1,
        "",
        "error[bad-dependency]: T1 cannot come after T2: they would wait for each other\n"
        "    T1 after T2 after T1\n"
        "hint: see `gitmill task show T2`\n",
    )
    assert gitmill(repo.path, "run").code == 0
    assert repo.git("show", "main:two.txt") == "1"
    third = new_task(repo.path, "Third", "true")
    fourth = new_task(repo.path, "Fourth", "true", "--after", third)
    assert gitmill(repo.path, "task", "cancel", third).code == 0
    gitmill(repo.path, "run")
    assert status(repo, fourth)[0] == "blocked"


def test_paths_that_were_not_declared_send_the_change_back(repo: Repo):
    task = new_task(repo.path, "Strays", "echo x >> a.txt; echo y > b.txt", "--path", "a.txt")
    assert gitmill(repo.path, "run").code == 1
    shown = gitmill(repo.path, "task", "show", task, "--json").json
    assert "b.txt is outside of the declared paths" in shown["attempts"][0]["summary"]


@pytest.mark.slow
def test_reopen_begins_again_from_the_target_as_it_is_now(repo: Repo):
    task = new_task(repo.path, "Again", "echo x >> a.txt")
    assert gitmill(repo.path, "run").code == 0
    assert gitmill(repo.path, "task", "reopen", task).code == 0
    assert gitmill(repo.path, "run").code == 0
    assert repo.git("show", "main:a.txt").count("x") == 2
