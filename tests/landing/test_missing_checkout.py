"""A linked work tree of the target is moved, deleted or removed before its task has landed."""

from __future__ import annotations

import subprocess

import pytest

from tests.landing.test_races import no_traces, racing
from tests.support.cli import begun, gitmill, new_task
from tests.support.repos import Repo, Sandbox


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    """Its main work tree is on another branch; the approved task changes every file."""
    repo = begun(sandbox, files={"a.txt": "a\n", "b.txt": "b\n"})
    new_task(repo.path, "Change", "echo landed | tee a.txt b.txt > /dev/null")
    assert gitmill(repo.path, "run", "--through", "approved").code == 0
    repo.git("switch", "-q", "-c", "wip")
    repo.git("worktree", "add", "-q", "../linked", "main")
    return repo


@pytest.fixture
def linked(repo: Repo) -> Repo:
    return Repo(repo.path.parent / "linked")


def test_one_that_was_renamed_holds_the_landing(repo: Repo, linked: Repo):
    """Otherwise the branch would move under it, and it would show the change as reverted."""
    new = Repo(linked.path.rename(repo.path.parent / "new place"))
    said = gitmill(repo.path, "run")
    repair = f"git worktree repair '{new.path}'"
    assert said.code == 3
    assert said.err.startswith("queued t-")
    assert said.err.partition("\n")[2] == (
        f"error[checkout-blocked]: the work tree of main was moved from {linked.path} to "
        f"{new.path}; nothing was changed\n"
        f"hint: let git know: `{repair}`, then `gitmill queue land`\n"
        "next: `gitmill queue land`\n"
    )
    assert new.git("status", "--porcelain") == ""
    subprocess.run(["/bin/sh", "-c", repair], cwd=repo.path, check=True)
    assert gitmill(repo.path, "queue", "land").code == 0
    assert (new.path / "a.txt").read_text() == "landed\n"
    assert new.git("status", "--porcelain") == ""


@pytest.mark.slow
@pytest.mark.parametrize("change", ["moved", "deleted"])
def test_one_that_disappears_during_the_run_holds_the_landing_once(
    repo: Repo, linked: Repo, change: str
):
    far = Repo(repo.path.parent / "far/away")
    far.path.parent.mkdir()
    changed = {"moved": f"mv {linked.path} {far.path}", "deleted": f"rm -r {linked.path}"}
    repo.unfence()  # the task's own script does it
    new_task(repo.path, "Second", f"echo second > c.txt; {changed[change]}")
    said = gitmill(repo.path, "run")
    assert said.code == 3
    assert said.err.partition("error")[2] == (
        f"[checkout-blocked]: the work tree of main is not in {linked.path} any more; "
        "nothing was changed\n"
        "hint: if you have moved it: `git worktree repair NEW-PATH`\n"
        "hint: if you have deleted it: `git worktree prune`\n"
        "hint: then `gitmill queue land`\n"
        "next: `gitmill queue land`\n"
    )
    if change == "moved":
        repo.git("worktree", "repair", str(far.path))
    else:
        repo.git("worktree", "prune")
    assert gitmill(repo.path, "queue", "land").code == 0
    assert repo.git("show", "main:c.txt") == "second"
    if change == "moved":
        assert (far.path / "c.txt").read_text() == "second\n"
        assert far.git("status", "--porcelain") == ""


@pytest.mark.slow
def test_one_that_is_removed_before_the_landing_does_not_matter(repo: Repo, linked: Repo):
    repo.git("worktree", "remove", "--force", str(linked.path))
    assert gitmill(repo.path, "queue", "land").code == 0
    assert repo.git("show", "main:a.txt") == "landed"


@pytest.mark.parametrize(
    "late", ["before git's merge", pytest.param("in it", marks=pytest.mark.slow)]
)
def test_one_that_is_removed_in_the_middle_is_no_reason_to_fail(
    repo: Repo, linked: Repo, late: str
):
    """`gitmill` was started in it, and verifies the landing afterwards."""
    remove = f"git -C {repo.path} worktree remove --force {linked.path}"
    env = {} if late == "in it" else racing(repo, remove)
    if late == "in it":  # git has begun to write files
        (repo.git_dir / "info/attributes").write_text("b.txt filter=f\n")
        repo.git("config", "filter.f.smudge", f"cat; env -u GIT_DIR -u GIT_WORK_TREE {remove}")
    said = gitmill(linked.path, "queue", "land", env=env)
    assert said.code == 0, said.err
    assert repo.git("show", "main:a.txt") == "landed"
    assert not (linked.path / "a.txt").exists()
    assert no_traces(repo)
    assert gitmill(repo.path, "fsck").code == 0
