"""Opening: any folder of any work tree leads to the same repository."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime

import pytest

from gitmill.errors import (
    GitMissingError,
    MissingObjectError,
    NotARepositoryError,
    UnusableRepositoryError,
)
from gitmill.git.libgit2 import Libgit2
from gitmill.git.plumbing import Plumbing
from gitmill.git.repo import Checkout, Repository
from tests.support.hints import shown
from tests.support.repos import Repo

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def repo(sandbox):
    return sandbox.repo(files={"src/a.txt": "a\n"})


def append(path, text):
    with path.open("a") as file:
        file.write(text)


def facts(opened):
    return opened.common, opened.digits, opened.bare, opened.top


def test_a_repository_is_the_same_from_every_folder(repo):
    expected = (repo.git_dir, 40, False, repo.path)
    assert facts(Repository.open(repo.path)) == expected
    assert facts(Repository.open(repo.path / "src")) == expected
    link = repo.path.parent / "link"
    link.symlink_to(repo.path / "src")
    assert facts(Repository.open(link)) == expected


def test_a_linked_worktree_has_the_same_repository(repo):
    linked = repo.path.parent / "linked"
    repo.git("worktree", "add", "-q", "-b", "topic", str(linked))
    opened, main = Repository.open(linked / "src"), Repository.open(repo.path)
    assert facts(opened) == (repo.git_dir, 40, False, linked)
    assert (opened.private, opened.name) == (main.private, main.name)
    checkouts = [Checkout(repo.path, "refs/heads/main"), Checkout(linked, "refs/heads/topic")]
    assert opened.checkouts() == main.checkouts() == checkouts
    assert opened.objects.ref("refs/heads/topic") == repo.git("rev-parse", "main")


def test_inside_of_the_git_directory_it_is_found_too(repo):
    assert facts(Repository.open(repo.git_dir))[:3] == (repo.git_dir, 40, False)


@pytest.mark.parametrize("name", ["new\nline", "ä ö", "-dash", "latin\udce9", "a\u2028b"])
def test_any_folder_name(sandbox, name):
    repo = sandbox.repo(name)
    opened = Repository.open(repo.path)
    assert facts(opened) == (repo.git_dir, 40, False, repo.path)
    assert opened.checkouts() == [Checkout(repo.path, "refs/heads/main")]
    assert opened.reader.ref("refs/heads/main") == repo.git("rev-parse", "HEAD")
    assert set(opened.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.u")


def test_a_submodule_is_a_repository_of_its_own(sandbox, repo):
    outer = sandbox.repo("outer")
    outer.git(
        "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repo.path), "sub"
    )
    sub = outer.path / "sub"
    opened = Repository.open(sub / "src")
    assert facts(opened) == (outer.git_dir / "modules/sub", 40, False, sub)
    assert opened.checkouts() == [Checkout(sub, "refs/heads/main")]
    assert Repository.open(outer.path).checkouts() == [Checkout(outer.path, "refs/heads/main")]


def test_a_git_directory_elsewhere(repo):
    work, linked = repo.path.parent / "work", repo.path.parent / "linked"
    repo.git("clone", "-q", "--separate-git-dir", str(repo.path.parent / "meta"), ".", str(work))
    Repo(work).git("worktree", "add", "-q", "--detach", str(linked))
    opened = Repository.open(work)
    assert facts(opened) == (repo.path.parent / "meta", 40, False, work)
    assert opened.checkouts() == [Checkout(work, "refs/heads/main"), Checkout(linked, "")]
    # from there nobody can tell where the main work tree is; it is not taken for this one
    assert Repository.open(linked).checkouts() == [Checkout(linked, "")]


def test_missing_worktrees_are_no_checkouts(repo):
    linked = repo.path.parent / "linked"
    repo.git("worktree", "add", "-q", "-b", "topic", str(linked))
    repo.git("worktree", "lock", str(linked))
    linked.rename(repo.path.parent / "moved")
    assert Repository.open(repo.path).checkouts() == [Checkout(repo.path, "refs/heads/main")]


def test_a_bare_repository_is_found_and_refused(repo):
    bare = repo.path.parent / "bare.git"
    repo.git("clone", "-q", "--bare", ".", str(bare))
    opened = Repository.open(bare)
    assert facts(opened) == (bare, 40, True, None)
    assert opened.checkouts() == []
    with pytest.raises(UnusableRepositoryError) as refused:
        opened.require_usable()
    assert refused.value.message == "this repository is bare; gitmill needs a checkout"
    assert shown(refused.value.hints) == ("clone it with `git clone`, then `gitmill init` there",)
    Repository.open(repo.path).require_usable()


def test_a_worktree_of_a_bare_repository_is_a_checkout(repo):
    bare, linked = repo.path.parent / "bare.git", repo.path.parent / "linked"
    repo.git("clone", "-q", "--bare", ".", str(bare))
    subprocess.run(["git", "-C", bare, "worktree", "add", "-q", linked, "main"], check=True)
    opened = Repository.open(linked)
    assert facts(opened) == (bare, 40, False, linked)
    assert opened.checkouts() == [Checkout(linked, "refs/heads/main")]
    opened.require_usable()


def test_no_repository_is_an_error_with_a_way_on(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(NotARepositoryError) as refused:
        Repository.open(folder)
    assert refused.value.message == f"{folder} is not in a git repository"
    assert refused.value.evidence[0].startswith("fatal: not a git repository")
    assert shown(refused.value.hints) == (
        "make one with `git init`, or name one with `gitmill -C DIR …`",
    )


def test_without_git_there_is_a_clear_error(repo, monkeypatch):
    opened = Repository.open(repo.path)
    monkeypatch.setenv("PATH", "/nowhere")
    for call in (lambda: Repository.open(repo.path), lambda: opened.git.out("version")):
        with pytest.raises(GitMissingError, match="there is no git on PATH"):
            call()


def test_a_git_that_is_too_old_is_named(repo, monkeypatch):
    fake = repo.path.parent / "bin"
    fake.mkdir()
    (fake / "git").write_text("#!/bin/sh\necho git version 2.37.1\n")
    (fake / "git").chmod(0o755)
    opened = Repository.open(repo.path)
    assert opened.version >= (2, 38)
    opened = Repository.open(repo.path)
    monkeypatch.setenv("PATH", str(fake), prepend=os.pathsep)
    with pytest.raises(GitMissingError) as refused:
        opened.require_usable()
    assert refused.value.message == "git 2.37.1 is too old"


# The environment of a hook must not lead elsewhere


ASTRAY = {
    "GIT_DIR": "other/.git",
    "GIT_WORK_TREE": "other",
    "GIT_INDEX_FILE": "other/.git/index",
    "GIT_COMMON_DIR": "other/.git",
    "GIT_OBJECT_DIRECTORY": "other/.git/objects",
    "GIT_NAMESPACE": "elsewhere",
    "GIT_PREFIX": "src/",
    "GIT_CONFIG": "other/.git/config",
    "GIT_CEILING_DIRECTORIES": "",
    "GIT_LITERAL_PATHSPECS": "1",
}


@pytest.mark.parametrize("backend", ["objects", "reader"])
@pytest.mark.parametrize("names", [[name] for name in ASTRAY] + [list(ASTRAY)])
def test_the_environment_leads_nowhere_else(sandbox, repo, monkeypatch, names, backend):
    other = sandbox.repo("other", files={"other.txt": "o\n"})
    expected = facts(Repository.open(repo.path))
    head, theirs = repo.git("rev-parse", "HEAD"), other.git("rev-parse", "HEAD")
    before = other.git("for-each-ref"), sorted(other.git_dir.rglob("*"))
    for name in names:
        value = ASTRAY[name]
        path = sandbox.root / value if value.startswith("other") else value
        monkeypatch.setenv(name, str(path or repo.path.parent))
    opened = Repository.open(repo.path)
    assert facts(opened) == expected
    found = getattr(opened, backend)
    assert found.ref("refs/heads/main") == head
    assert found.read(found.write("blob", b"mine"))[1] == b"mine"
    with pytest.raises(MissingObjectError):
        found.read(theirs)
    assert opened.checkouts() == [Checkout(repo.path, "refs/heads/main")]
    for name in names:
        monkeypatch.delenv(name)
    assert (other.git("for-each-ref"), sorted(other.git_dir.rglob("*"))) == before
    assert repo.git("status", "--porcelain") == ""


# Who works here


def test_the_user_is_the_one_that_git_would_name(repo, monkeypatch):
    opened = Repository.open(repo.path)
    assert opened.person == "Ada <ada@example.com>"
    assert opened.ident(NOW) == "Ada <ada@example.com> 1767323045 +0000"
    repo.git("config", "user.name", "Bea Ö")
    assert Repository.open(repo.path).person == "Bea Ö <ada@example.com>"
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Cy")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "cy@example.com")
    assert Repository.open(repo.path).person == "Cy <cy@example.com>"


def test_without_a_user_the_hint_names_the_settings(repo, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    repo.git("config", "user.useConfigOnly", "true")
    opened = Repository.open(repo.path)
    for ask in (lambda: opened.person, lambda: opened.ident(NOW)):
        with pytest.raises(UnusableRepositoryError) as refused:
            ask()
        assert refused.value.message == (
            "git does not know who you are, so nothing can be committed"
        )
        assert shown(refused.value.hints) == (
            'set `git config user.name "Your Name"`',
            "and `git config user.email you@example.com`",
        )


def test_preferences_come_from_git_config(repo):
    repo.git("config", "gitmill.worktreeRoot", "/a b/=\nc")
    repo.git("config", "--add", "gitmill.durability", "full")
    append(repo.git_dir / "config", "[gitmill]\n\tquiet\n[gitmillish]\n\tx = 1\n")
    found = Repository.open(repo.path).preferences
    sealed = ("bubblewrap", "readable")  # which all tests have in their global configuration
    assert {name: value for name, value in found.items() if name not in sealed} == {
        "worktreeroot": "/a b/=\nc",
        "durability": "full",
        "quiet": "",
    }


def test_two_repositories_with_the_same_folder_name_get_different_names(sandbox):
    one, other = sandbox.repo("x/my repo"), sandbox.repo("y/my repo")
    names = [Repository.open(repo.path).name for repo in (one, other)]
    assert all(name.startswith("my-repo-") and len(name) == 16 for name in names)
    assert names[0] != names[1]
    assert Repository.open(one.path).name == names[0]


# Which backend


def backend_of(repo):
    return type(Repository.open(repo.path).objects)


def test_libgit2_serves_where_it_can(sandbox, repo):
    assert backend_of(repo) is Libgit2
    repo.git("config", "extensions.worktreeConfig", "true")
    repo.git("config", "core.repositoryformatversion", "1")
    repo.git("config", "remote.origin.promisorish", "true")
    assert backend_of(repo) is Libgit2
    assert backend_of(sandbox.repo("sha256", object_format="sha256")) is Plumbing


@pytest.mark.parametrize(
    "config",
    [
        "[extensions]\n\trefstorage = reftable\n",
        "[extensions]\n\t# x\n\tObjectFormat = sha1\n\tnewThing = true\n",
        "[Extensions] partialClone = origin\n",
        '[remote "origin"]\n\tpromisor = true\n',
        '[remote "a]b"]\n\tpromisor=1\n',
    ],
)
def test_git_serves_repositories_that_libgit2_does_not_support(repo, config):
    append(repo.git_dir / "config", config)
    opened = Repository(repo.git_dir, digits=40, bare=False, top=repo.path)
    assert type(opened.objects) is Plumbing


def test_a_partial_clone_is_read_whole(sandbox, repo):
    repo.git("config", "uploadpack.allowFilter", "true")
    clone = Repo(sandbox.root / "clone")
    repo.git(
        "clone", "-q", "--no-checkout", "--filter=blob:none", repo.path.as_uri(), str(clone.path)
    )
    blob = repo.git("rev-parse", "HEAD:src/a.txt")
    assert backend_of(clone) is Plumbing
    assert Repository.open(clone.path).objects.read(blob) == ("blob", b"a\n")
