"""The git directory of a worktree: git works in it as anywhere, and leaves no trace outside."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from gitmill.git import private_git
from gitmill.git.pool import Pool
from gitmill.git.private_git import Refs
from gitmill.git.repo import Repository
from gitmill.git.worktrees import Slot
from tests.support.repos import Repo, Sandbox

BRANCH = "gitmill/t-1"
ODD = 'it\'s "a" b\\c #é' + "n" * 180


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    return sandbox.repo(files={"a.txt": "a\n", "src/b.txt": "b\n", ".gitignore": "*.log\n"})


@pytest.fixture
def own(sandbox: Sandbox) -> Iterator[Callable[..., Repo]]:
    """Makes a worktree of a repository at a commit, with a git directory of its own."""
    slots: list[Slot] = []

    def make(repo: Repo, commit: str = "HEAD", target: str = "main", remote: str = "") -> Repo:
        for slot in slots:
            slot.release()
        repository, pool = Repository.open(repo.path), sandbox.root / "pool"
        slots[:] = [Pool(pool, repository.common).acquire("build", lambda *_: None)]
        start = repo.git("rev-parse", commit)
        slots[0].prepare(start)
        tags = repository.tags_below(start)
        refs = Refs(BRANCH, target, repo.git("rev-parse", target), remote, tags)
        private_git.make(
            slots[0].path, repository.common, start, refs,
            index=slots[0].side / "index", lent=pool / "lent", formats=repository.formats,
        )  # fmt: skip
        slots[0].mark_used()
        return Repo(slots[0].path)

    yield make
    for slot in slots:
        slot.release()


def everything(repo: Repo) -> object:
    """Every ref and object of a repository, and what steers git there."""
    files = [path for path in repo.git_dir.glob("*") if path.is_file() and path.name != "index"]
    return (
        repo.git("for-each-ref"),
        sorted(repo.git("cat-file", "--batch-all-objects", "--batch-check").splitlines()),
        {path.name: path.read_bytes() for path in files},
        sorted((repo.git_dir / "hooks").iterdir()),
        repo.git("status", "--porcelain"),
        repo.git("reflog", "show", "HEAD"),
    )


def refs_of(repo: Repo) -> list[str]:
    return repo.git("for-each-ref", "--format=%(refname)").splitlines()


def test_it_is_a_folder_with_head_on_a_branch_at_the_commit_and_a_clean_status(repo, own):
    repo.commit({"c.txt": "c\n"})
    worktree = own(repo, "HEAD~1")
    assert worktree.git_dir.is_dir()
    assert worktree.git("symbolic-ref", "HEAD") == f"refs/heads/{BRANCH}"
    assert worktree.git("rev-parse", "HEAD") == repo.git("rev-parse", "HEAD~1")
    assert worktree.git("rev-parse", "main") == repo.git("rev-parse", "main")
    assert worktree.git("status", "--porcelain") == ""
    assert worktree.git("diff", "--stat", "main").startswith(" c.txt")
    assert worktree.git("rev-parse", "--git-common-dir") == ".git"
    assert worktree.git("fsck", "--no-dangling") == ""


def test_the_target_is_there_as_a_remote_has_it_and_no_other_ref(repo, own):
    for ref in ("refs/heads/other", "refs/notes/gitmill", "refs/heads/gitmill/state",
                "refs/remotes/origin/other", "refs/gitmill/work/t-2"):  # fmt: skip
        repo.git("update-ref", ref, "HEAD")
    repo.write({"a.txt": "mine\n"})
    repo.git("stash")
    worktree = own(repo, remote="origin")
    assert refs_of(worktree) == [
        f"refs/heads/{BRANCH}", "refs/heads/main", "refs/remotes/origin/HEAD",
        "refs/remotes/origin/main",
    ]  # fmt: skip
    assert worktree.git("rev-parse", "--abbrev-ref", "origin/HEAD") == "origin/main"
    assert worktree.git("merge-base", "HEAD", "origin/main") == repo.git("rev-parse", "HEAD")
    assert worktree.git("remote") == ""


def test_a_target_of_several_parts_has_its_whole_name(repo, own):
    repo.git("branch", "release/1.x")
    worktree = own(repo, target="release/1.x", remote="up/stream")
    assert worktree.git("symbolic-ref", "refs/remotes/up/stream/HEAD") == (
        "refs/remotes/up/stream/release/1.x"
    )
    assert "refs/remotes/up/stream/release/1.x" in refs_of(worktree)


def test_only_tags_that_the_commit_reaches_are_there(repo, own):
    repo.git("tag", "v1")
    repo.git("tag", "-a", "-m", "two", "v2")
    repo.commit({"c.txt": "c\n"})
    repo.git("tag", "-a", "-m", "later", "v3")
    worktree = own(repo, "HEAD~1")
    assert worktree.git("tag").split() == ["v1", "v2"]
    assert worktree.git("describe") == "v2"
    assert worktree.git("rev-parse", "v2^{}") == repo.git("rev-parse", "HEAD~1")


def test_a_shallow_clone_stays_one(repo, own, sandbox):
    repo.commit({"c.txt": "c\n"})
    subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{repo.path}", "shallow"],
                   cwd=sandbox.root, check=True)  # fmt: skip
    worktree = own(Repo(sandbox.root / "shallow"))
    assert worktree.git("rev-parse", "--is-shallow-repository") == "true"
    assert len(worktree.git("log", "--format=%h").split()) == 1
    assert worktree.git("fsck", "--no-dangling") == ""


def test_what_decides_the_bytes_of_files_is_as_in_the_repository(repo, own):
    (repo.git_dir / "info/exclude").write_text("secret.txt\n")
    (repo.git_dir / "info/attributes").write_text("*.up filter=up\n*.crlf text\n")
    repo.git("config", "filter.up.clean", "tr a-z A-Z; : 'a \"b\" \\c'")
    repo.git("config", "filter.up.smudge", "tr A-Z a-z")
    repo.git("config", "core.autocrlf", "input")
    with (repo.git_dir / "config").open("a") as file:
        file.write("[core]\n\tsymlinks\n")  # which is true
    worktree = own(repo)
    worktree.write({"secret.txt": "x\n", "x.up": "low\n", "y.crlf": "y\r\n"})
    worktree.git("add", "-A")
    assert worktree.git("ls-files", "--", "*.txt", "*.up", "*.crlf").split() == [
        "a.txt", "src/b.txt", "x.up", "y.crlf",
    ]  # fmt: skip
    assert worktree.git("show", ":x.up") == "LOW"
    assert worktree.git("cat-file", "-s", ":y.crlf") == "2"
    for key in ("filter.up.clean", "filter.up.smudge", "core.autocrlf"):
        assert worktree.git("config", "--local", key) == repo.git("config", key)
    assert worktree.git("config", "--type=bool", "core.symlinks") == "true"


def test_what_runs_programs_or_holds_credentials_is_not_there(repo, own):
    settings = {
        "alias.st": "!touch pwned", "core.fsmonitor": "touch pwned", "core.hooksPath": "hooks",
        "core.sshCommand": "ssh -i key", "core.worktree": str(repo.path), "core.pager": "p",
        "credential.helper": "store", "http.https://example.com/.extraheader": "secret-1",
        "remote.origin.url": "https://me:secret-2@example.com/a.git", "merge.own.driver": "m",
        "url.https://me:secret-3@example.com/.insteadOf": "x:", "diff.external": "d",
        "user.signingKey": "k", "include.path": "more",
    }  # fmt: skip
    for key, value in settings.items():
        repo.git("config", key, value)
    hook = repo.git_dir / "hooks/post-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch pwned\n")
    hook.chmod(0o755)
    worktree = own(repo, remote="origin")
    config = (worktree.git_dir / "config").read_text()
    found = worktree.git("config", "--local", "--name-only", "--list").splitlines()
    assert {key.lower() for key in settings}.isdisjoint(key.lower() for key in found)
    assert "secret" not in config
    worktree.commit({"x.txt": "x\n"})
    assert not (worktree.path / "pwned").exists()


def test_git_works_and_leaves_no_trace(repo, own):
    repo.commit({"c.txt": "c\n"}, "second")
    before = everything(repo)
    worktree = own(repo)
    worktree.write({"x.txt": "x\n"})
    worktree.git("add", ".")
    worktree.git("mv", "a.txt", "moved.txt")
    worktree.git("rm", "-q", "src/b.txt")
    worktree.git("commit", "-q", "-m", "mine")
    worktree.write({"c.txt": "changed\n"})
    worktree.git("stash")
    worktree.git("stash", "pop")
    worktree.git("commit", "-q", "-a", "--amend", "-m", "amended")
    worktree.git("tag", "-a", "-m", "nine", "v9")
    worktree.git("branch", "other")
    worktree.git("rebase", "-q", "--force-rebase", "HEAD~2")
    worktree.git("worktree", "add", "-q", "../beside", "other")
    worktree.git("update-ref", "refs/heads/main", "HEAD")
    worktree.git("config", "user.email", "evil@example.com")
    worktree.git("gc", "-q", "--prune=now")
    assert worktree.git("describe", "other") == "v9"
    assert worktree.git("log", "--format=%s", "main").split() == ["amended", "second", "first"]
    assert worktree.git("status", "--porcelain") == ""
    assert worktree.git("fsck", "--no-dangling") == ""
    assert everything(repo) == before


def test_submodules_work_and_leave_no_trace(repo, own, sandbox):
    sub = sandbox.repo("sub", files={"s.txt": "s\n"})
    allow = ("-c", "protocol.file.allow=always")
    repo.git(*allow, "submodule", "add", "-q", str(sub.path), "sub")
    repo.commit({}, "sub")
    worktree = own(repo)
    before = everything(repo)
    modules = sorted((repo.git_dir / "modules/sub").rglob("*"))
    worktree.git(*allow, "submodule", "update", "--init", "-q")
    assert (worktree.path / "sub/s.txt").read_text() == "s\n"
    assert worktree.git("submodule", "status").startswith(f" {sub.git('rev-parse', 'HEAD')} sub")
    Repo(worktree.path / "sub").git("commit", "-q", "--allow-empty", "-m", "mine")
    assert everything(repo) == before
    assert sorted((repo.git_dir / "modules/sub").rglob("*")) == modules


def formats() -> Iterator[tuple[str, str]]:
    yield "sha256", "files"
    helped = subprocess.run(["git", "init", "-h"], capture_output=True, text=True, check=False)
    if "--ref-format" in helped.stdout:
        yield from (("sha1", "reftable"), ("sha256", "reftable"))


@pytest.mark.parametrize("kind", list(formats()), ids=" ".join)
def test_repositories_of_other_formats_have_one_too(sandbox: Sandbox, own, kind: tuple[str, str]):
    repo = sandbox.repo(object_format=kind[0], ref_format=kind[1], files={"a.txt": "a\n"})
    repo.git("tag", "-a", "-m", "one", "v1")
    worktree = own(repo, remote="origin")
    assert worktree.git("rev-parse", "main") == repo.git("rev-parse", "main")
    assert worktree.git("describe") == "v1"
    assert len(worktree.commit({"x.txt": "x\n"})) == len(repo.git("rev-parse", "HEAD"))
    assert worktree.git("fsck", "--no-dangling") == ""


@pytest.mark.parametrize("relative", [False, True])
def test_a_clone_that_borrows_objects_itself_lends_them_on(repo, own, sandbox, *, relative: bool):
    subprocess.run(["git", "clone", "-q", "--shared", str(repo.path), "shared"],
                   cwd=sandbox.root, check=True)  # fmt: skip
    shared = Repo(sandbox.root / "shared")
    alternates = shared.git_dir / "objects/info/alternates"
    if relative:
        way = os.path.relpath(repo.git_dir / "objects", shared.git_dir / "objects")
        alternates.write_text(f"# a comment\n{way}\n")
    worktree = own(shared)
    assert worktree.git("show", "HEAD:a.txt") == "a"
    assert worktree.git("fsck", "--no-dangling") == ""


def test_any_name_of_a_folder_and_of_a_branch_will_do(sandbox: Sandbox, own):
    repo = sandbox.repo(ODD, files={"a.txt": "a\n", 'ä b/"c"': "c\n"})
    branch = "b'\"é/" + "n" * 200
    repo.git("branch", branch)
    worktree = own(repo, target=branch, remote="origin")
    assert worktree.git("rev-parse", f"origin/{branch}") == repo.git("rev-parse", "HEAD")
    assert worktree.git("status", "--porcelain") == ""
    assert worktree.git("fsck", "--no-dangling") == ""
    worktree.commit({"x.txt": "x\n"})


def test_a_split_index_is_whole_in_it(repo, own):
    repo.git("config", "core.splitIndex", "true")
    repo.git("update-index", "--split-index")
    worktree = own(repo)
    assert worktree.git("ls-files").split() == [".gitignore", "a.txt", "src/b.txt"]
    assert worktree.git("status", "--porcelain") == ""


SPOILED = {
    "deleted": "rm -rf .git",
    "a file": "rm -rf .git; echo 'gitdir: /nowhere' > .git",
    "an empty file": "rm -rf .git; : > .git",
    "a link to a folder": "rm -rf .git; mkdir elsewhere; ln -s elsewhere .git",
    "a link outside": "mv .git OUTSIDE; ln -s OUTSIDE .git",
    "a link to nothing": "rm -rf .git; ln -s /nowhere .git",
    "a FIFO": "rm -rf .git; mkfifo .git",
    "a folder without permissions": "mkdir .git/x; chmod 0 .git",
    "an empty folder": "rm -rf .git; mkdir .git",
    "full of FIFOs": "rm -rf .git; mkdir .git; cd .git; mkfifo HEAD config index objects refs",
    "a repository of its own": "rm -rf .git; git init -q .; git commit -q --allow-empty -m own",
    "in the middle of a rebase": "echo x > a.txt; git commit -qam x;"
    " git rebase -q -x false HEAD~1 || true",
    "with locks": "touch .git/index.lock .git/HEAD.lock .git/config.lock",
    "with another work tree": "git config core.worktree /; git config core.bare true",
    "with hooks": "mkdir -p .git/hooks; printf '#!/bin/sh\\ntouch pwned' > .git/hooks/post-checkout;"
    " chmod +x .git/hooks/post-checkout; git config core.fsmonitor 'touch pwned'",
}


@pytest.mark.parametrize("how", SPOILED)
def test_the_next_use_of_the_worktree_is_clean_whatever_it_became(repo, own, sandbox, how: str):
    worktree = own(repo)
    before = everything(repo)
    outside = sandbox.root / "outside"
    script = SPOILED[how].replace("OUTSIDE", str(outside))
    subprocess.run(["sh", "-ec", script], cwd=worktree.path, check=True)
    again = own(repo)
    assert again.path == worktree.path
    assert again.git_dir.is_dir()
    assert not again.git_dir.is_symlink()
    assert again.git("status", "--porcelain", "--ignored") == ""
    assert again.git("rev-parse", "HEAD") == repo.git("rev-parse", "HEAD")
    assert sorted(path.name for path in again.path.iterdir()) == [
        ".git", ".gitignore", "a.txt", "src",
    ]  # fmt: skip
    assert outside.exists() is (how == "a link outside")  # what a link leads to is not removed
    assert everything(repo) == before
