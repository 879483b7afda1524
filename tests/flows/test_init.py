"""What `init` leaves in the repository's own git configuration."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox
from tests.support.seeds import rest_slow


@pytest.mark.forges
def test_git_says_nothing_of_notes_before_there_is_one_and_carries_them_after(sandbox: Sandbox):
    repo = sandbox.repo()
    assert gitmill(repo.path, "init").code == 0
    assert gitmill(repo.path, "init").code == 0
    assert heard(repo, "log", "-1", "--format=%s") == "first\n"
    heard(repo, "commit", "-q", "--amend", "--no-edit")
    (repo.path / ".gitmill/config.toml").unlink()
    new_task(repo.path, "Two", "echo two > two.txt")
    assert gitmill(repo.path, "run").code == 0
    heard(repo, "commit", "-q", "--amend", "-m", "Two and more")
    assert heard(repo, "log", "-1", "--format=%s %N").startswith("Two and more ---\nitem: ")
    assert repo.git("config", "--get-all", "notes.displayRef").count("\n") == 0


def heard(repo: Repo, *args: str) -> str:
    """Run git and return all that it says to its user."""
    done = subprocess.run(
        ["git", *args], cwd=repo.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
    )
    return done.stdout.decode()


# -- the target ------------------------------------------------------------------------------------


@pytest.fixture
def origin(sandbox: Sandbox) -> Repo:
    origin = sandbox.repo("origin")
    origin.commit({"README.md": "hello again\n"})
    return origin


def cloned(origin: Repo, *options: str) -> Repo:
    clone = Repo(origin.path.parent / "clone")
    origin.git("clone", "-q", *options, origin.path.as_uri(), str(clone.path))
    return clone


def target_of(repo: Repo) -> str:
    said = gitmill(repo.path, "init")
    assert said.code == 0, said.err
    return said.err.splitlines()[0].partition("work lands on ")[2]


def test_the_target_is_the_default_branch_of_the_remote_not_the_branch_of_the_user(origin: Repo):
    clone = cloned(origin)
    clone.git("switch", "-q", "-c", "wip/thing")
    assert target_of(clone) == "main, the default branch of origin"
    assert clone.git("branch", "--show-current") == "wip/thing"
    assert target_of(clone) == "main"  # known


def test_without_a_head_of_the_remote_its_only_or_usual_branch_is_the_target(origin: Repo):
    origin.git("branch", "-m", "trunk")
    clone = cloned(origin)
    clone.git("remote", "set-head", "origin", "--delete")
    clone.git("switch", "-q", "-c", "wip")
    assert target_of(clone) == "trunk, the only branch of origin"
    origin.git("branch", "feature")
    other = Repo(origin.path.parent / "other")
    origin.git("clone", "-q", origin.path.as_uri(), str(other.path))
    other.git("remote", "set-head", "origin", "--delete")
    other.git("switch", "-q", "feature")
    assert target_of(other) == "trunk, the usual name, and origin has it"


def test_without_a_remote_the_usual_branch_is_the_target_or_the_one_of_the_user(sandbox: Sandbox):
    repo = sandbox.repo("one")
    repo.git("switch", "-q", "-c", "feature/x")
    assert target_of(repo) == "main, the only usual name of a default branch here"
    repo = sandbox.repo("two")
    repo.git("branch", "-m", "release/1.x")
    assert target_of(repo) == "release/1.x, the branch that you are on"


@pytest.mark.parametrize("remote", rest_slow(["origin", "upstream"], 1))
def test_a_detached_shallow_checkout_without_branches_lands_on_the_branch_of_its_remote(
    origin: Repo, remote: str
):
    clone = cloned(origin, "--depth=1", f"--origin={remote}")
    clone.git("switch", "-q", "--detach")
    clone.git("branch", "-q", "-D", "main")
    head = clone.git("rev-parse", "HEAD")
    assert target_of(clone) == f"main, the default branch of {remote}"
    new_task(clone.path, "Two", "echo two > two.txt")
    said = gitmill(clone.path, "run")
    assert said.code == 0, said.err
    assert clone.git("show", "main:two.txt") == "two"
    assert clone.git("rev-parse", "HEAD") == head
    assert clone.git("symbolic-ref", "-q", "HEAD", check=False) == ""
    assert clone.git("rev-parse", f"{remote}/main") == head


def test_a_board_with_a_target_works_where_only_the_remote_has_its_branch(origin: Repo):
    assert gitmill(origin.path, "init", "--target", "main").code == 0
    new_task(origin.path, "Two", "echo two > two.txt")
    clone = cloned(origin, "--depth=1")
    clone.git("fetch", "-q", "origin", "gitmill/state:gitmill/state")
    clone.git("switch", "-q", "--detach")
    clone.git("branch", "-q", "-D", "main")
    tip = clone.git("rev-parse", "HEAD")
    for verb in ("status", "doctor", "run --dry-run"):  # they only read
        assert gitmill(clone.path, *verb.split()).code == 0, verb
    assert clone.git("branch", "--list", "main") == ""
    said = gitmill(clone.path, "run", env={"GITMILL_TRUST": "1"})
    assert said.code == 0, said.err
    assert clone.git("rev-parse", "main^", "HEAD").split() == [tip, tip]


def test_no_hint_changes_the_target_of_a_board_that_a_clone_lacks_the_branch_of(origin: Repo):
    assert gitmill(origin.path, "init", "--target", "main").code == 0
    clone = cloned(origin, "--depth=1")
    clone.git("fetch", "-q", "origin", "gitmill/state:gitmill/state")
    clone.git("switch", "-q", "--detach")
    clone.git("branch", "-q", "-D", "main")
    clone.git("update-ref", "-d", "refs/remotes/origin/main")
    for verb in ("run", "init"):
        said = gitmill(clone.path, verb)
        assert said.code == 1
        assert "hint: fetch it with `git fetch origin main:main`" in said.err
        assert "--target" not in said.err


def test_a_detached_head_without_an_obvious_branch_asks_for_its_name(sandbox: Sandbox):
    repo = sandbox.repo("one")
    repo.git("branch", "-m", "release/1.x")
    repo.git("switch", "-q", "--detach")
    said = gitmill(repo.path, "init")
    assert said.code == 1
    assert "hint: name the branch: `gitmill init --target BRANCH`" in said.err
    said = gitmill(repo.path, "init", "--target", "nowhere")
    assert "there is no branch nowhere" in said.err
    assert "first commit" not in said.err


def test_another_target_later_is_part_of_a_true_history(sandbox: Sandbox):
    """The branch keeps its format, which the event names all the same."""
    repo = sandbox.repo(files={"a.txt": "a\n"})
    repo.git("branch", "other")
    assert gitmill(repo.path, "init").code == 0
    assert gitmill(repo.path, "init", "--target", "other").code == 0
    assert gitmill(repo.path, "fsck").code == 0
