"""A submodule's pointer: any change of it asks a person, and one that nobody can fetch is refused."""

from __future__ import annotations

import shutil

import pytest

from gitmill.mill import Mill
from gitmill.workspace.submodules import missing_commits
from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox

ALLOW = ("-c", "protocol.file.allow=always")


@pytest.fixture
def lib(sandbox: Sandbox) -> Repo:
    return sandbox.repo("lib", files={"lib.txt": "1\n"})


@pytest.fixture
def repo(sandbox: Sandbox, lib: Repo) -> Repo:
    repo = sandbox.repo(files={"a.txt": "a\n"})
    repo.git(*ALLOW, "submodule", "--quiet", "add", str(lib.path), "vendor/lib")
    repo.git("commit", "-q", "-m", "with lib")
    assert gitmill(repo.path, "init").code == 0
    return repo


def pointing(repo: Repo, commit: str, path: str = "vendor/lib") -> list[str]:
    """Return what is wrong with a change that lets a path point to a commit."""
    base = repo.git("rev-parse", "HEAD")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    work = repo.git("commit-tree", "-m", "moved", "-p", base, repo.git("write-tree"))
    repo.git("reset", "-q")
    mill = Mill.open(repo.path)
    return [finding.message for finding in missing_commits(mill, work, mill.changes(base, work))]


def test_a_commit_that_the_clone_has_from_its_remote_is_fine(repo: Repo, lib: Repo):
    newer = lib.commit({"lib.txt": "2\n"})
    assert pointing(repo, newer) == [
        f"the submodule vendor/lib points to {newer[:10]}, which its clone does not have: "
        "fetch it there, or point to another commit"
    ]
    Repo(repo.path / "vendor/lib").git("fetch", "-q")
    assert pointing(repo, newer) == []


def test_a_commit_that_only_this_clone_has_is_refused(repo: Repo):
    own = Repo(repo.path / "vendor/lib").commit({"lib.txt": "mine\n"})
    assert pointing(repo, own) == [
        f"the submodule vendor/lib points to {own[:10]}, which no branch of its remote has: "
        "push it first"
    ]


def test_a_repository_that_nothing_names_is_refused(repo: Repo, lib: Repo):
    assert pointing(repo, lib.git("rev-parse", "HEAD"), "other") == [
        "other is a repository of its own, which .gitmodules does not name"
    ]


def test_a_submodule_that_was_never_cloned_is_refused(repo: Repo, lib: Repo):
    newer = lib.commit({"lib.txt": "2\n"})
    repo.git("submodule", "--quiet", "deinit", "-f", "vendor/lib")
    shutil.rmtree(repo.git_dir / "modules")
    assert (
        "there is no clone of it: run `git submodule update --init vendor/lib`"
        in (pointing(repo, newer)[0])
    )


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc", "a/../../x"])
def test_a_name_leads_nowhere_else(repo: Repo, lib: Repo, name: str):
    text = (repo.path / ".gitmodules").read_text().replace('"vendor/lib"', f'"{name}"')
    (repo.path / ".gitmodules").write_text(text)
    repo.git("add", ".gitmodules")
    found = pointing(repo, lib.commit({"lib.txt": "2\n"}))
    assert found == ["vendor/lib is a repository of its own, which .gitmodules does not name"]


def test_a_task_that_removes_a_submodule_asks(repo: Repo):
    task = new_task(
        repo.path, "Away", "git rm -q --cached vendor/lib || true; rm -rf vendor; rm .gitmodules"
    )
    said = gitmill(repo.path, "run")
    assert said.code == 3, said.err
    assert "submodule vendor/lib needs your approval" in said.err
    assert gitmill(repo.path, "task", "approve", task).code == 0
