"""What a review of the flows found, each as a scenario that went wrong once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.cli import begun, gitmill, new_task
from tests.support.repos import Repo, Sandbox


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    return begun(sandbox, files={"a.txt": "a\n"})


def item(repo: Repo, task: str) -> dict:
    return gitmill(repo.path, "task", "show", task, "--json").json["item"]


def test_taking_again_gives_back_the_worktree_as_it_was_left(repo: Repo):
    task = new_task(repo.path, "Mine", "true")
    folder = Path(gitmill(repo.path, "task", "take", task).out.strip())
    (folder / "mine.txt").write_text("work\n")
    assert gitmill(repo.path, "task", "take", task).out.strip() == str(folder)
    assert gitmill(repo.path, "task", "block", task, "-m", "wait").code == 0
    assert gitmill(repo.path, "task", "retry", task).code == 0
    assert gitmill(repo.path, "task", "take", task).code == 0
    assert (folder / "mine.txt").read_text() == "work\n"
    assert gitmill(repo.path, "task", "submit", task).code == 0
    assert gitmill(repo.path, "run").code == 0
    assert repo.git("show", "main:mine.txt") == "work"


def test_nothing_lands_when_nothing_could_go_red_any_more(repo: Repo):
    repo.commit({".gitmill/config.toml": "[checks]\ntest = 'true'\n"})
    said = gitmill(repo.path, "task", "new", "T", "--script", "echo x > x", "--ready")
    task = said.out.strip()
    assert gitmill(repo.path, "run").code == 3  # rules cannot check it
    assert gitmill(repo.path, "task", "approve", task).code == 0
    tip = repo.commit({".gitmill/config.toml": "[limits]\naborts = 1\n"})
    gitmill(repo.path, "queue", "land")
    assert repo.git("rev-parse", "main") == tip
    assert item(repo, task)["status"] == "blocked"


def test_reopening_is_no_way_around_ready(repo: Repo):
    task = gitmill(repo.path, "task", "new", "T", "--script", "true").out.strip()
    assert gitmill(repo.path, "task", "cancel", task).code == 0
    said = gitmill(repo.path, "task", "reopen", task)
    assert (said.code, "error[not-ready]" in said.err) == (1, True)


@pytest.mark.parametrize(
    "keep", [pytest.param("", marks=pytest.mark.slow), "keep = ['built.out']\n"]
)
def test_a_set_up_is_there_for_every_use_and_never_lands(repo: Repo, keep: str):
    repo.commit(
        {
            ".gitmill/config.toml": "[checks]\ntest = 'test -e built.out'\n"
            f"[worktree]\nsetup = ['echo b > built.out']\n{keep}"
        }
    )
    for number in range(2):
        new_task(repo.path, f"T{number}", f"echo {number} > f{number}",
                 "--criterion", "$ test -e built.out")  # fmt: skip
    said = gitmill(repo.path, "run")
    assert said.code == 0, said.err
    assert "built.out" not in repo.git("ls-tree", "--name-only", "main")
    assert "f1" in repo.git("ls-tree", "--name-only", "main")


def test_a_removed_worktree_of_the_target_is_no_checkout(repo: Repo):
    task = new_task(repo.path, "T", "echo x > x")
    repo.git("switch", "-q", "-c", "dev")
    other = repo.path.parent / "other"
    repo.git("worktree", "add", "-q", str(other), "main")
    shutil.rmtree(other)
    said = gitmill(repo.path, "run")
    assert said.code == 0, said.err
    assert item(repo, task)["status"] == "landed"


def test_which_branch_a_script_switches_to_does_not_matter(repo: Repo):
    repo.unfence()
    repo.git("switch", "-q", "-c", "dev")
    task = new_task(repo.path, "T", "git checkout -q main; echo x > x; git add x; git stash -q; "
                    "git stash pop -q")  # fmt: skip
    said = gitmill(repo.path, "run")
    assert said.code == 0, said.err
    assert item(repo, task)["status"] == "landed"


def test_lists_can_be_emptied_so_that_a_cancelled_dependency_frees(repo: Repo):
    first = new_task(repo.path, "First", "true")
    task = new_task(repo.path, "T", "echo x > x", "--after", first)
    assert gitmill(repo.path, "task", "cancel", first).code == 0
    assert gitmill(repo.path, "run").code == 5
    assert item(repo, task)["status"] == "blocked"
    assert gitmill(repo.path, "task", "edit", task, "--after", "").code == 0
    assert gitmill(repo.path, "task", "retry", task).code == 0
    assert gitmill(repo.path, "run").code == 0


@pytest.mark.slow
def test_an_edited_script_does_not_build_on_what_the_old_one_did(repo: Repo):
    task = new_task(repo.path, "T", "echo x >> old.txt", "--criterion", "$ test -e new.txt")
    assert gitmill(repo.path, "run").code == 1
    assert gitmill(repo.path, "task", "edit", task, "--script", "echo x > new.txt").code == 0
    assert gitmill(repo.path, "task", "retry", task).code == 0
    assert gitmill(repo.path, "run").code == 0
    assert "old.txt" not in repo.git("ls-tree", "--name-only", "main")


def test_what_sanity_refused_is_kept_by_no_ref(repo: Repo):
    key = "ghp_" + "a1B2" * 10
    task = new_task(repo.path, "T", f"echo {key[:10]}''{key[10:]} > conf.txt")
    assert gitmill(repo.path, "run").code == 1
    assert item(repo, task)["status"] == "blocked"
    refs = repo.git("for-each-ref", "--format=%(objectname)").split()
    assert all(key not in repo.git("log", "-p", "--all", ref) for ref in refs[:1])
    assert repo.git("for-each-ref", "refs/gitmill/work", "refs/gitmill/rescue") == ""


@pytest.mark.forges
def test_a_damaged_item_does_not_keep_others_from_running(repo: Repo):
    first = new_task(repo.path, "First", "echo x > x", "--priority", "0")
    second = new_task(repo.path, "Second", "echo y > y")
    path = f"tasks/{first[2:4]}/{first}.md"
    text = repo.git("show", f"gitmill/state:{path}").replace("---\nid", '---\nplan: "0"\nid')
    from gitmill.core.trailers import EventRecord
    from gitmill.mill import Mill
    from gitmill.store.transaction import StateCommit

    record = EventRecord(event="board", id="e", by="test")
    Mill.open(repo.path).store.commit(
        lambda _: StateCommit("by hand", record, {path: text.encode()})
    )
    assert gitmill(repo.path, "run").code == 1
    assert item(repo, second)["status"] == "landed"
    assert item(repo, first)["status"] == "blocked"
