"""Repositories as people have them: from `init` to landed, and the user's own files as they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.cli import gitmill
from tests.support.repos import Repo, Sandbox

FILES: dict[str, str | bytes | None] = {"a/a.txt": "a\n", "b/b.txt": "b\n", "c.txt": "c\n"}


def landed(folder: Path, script: str, *more: str, env: dict[str, str] | None = None) -> None:
    """Let a task with this script land."""
    arguments = ["task", "new", "Task", "--script", script, "--ready"]
    for criterion in more or ("$ true",):
        arguments += ["--criterion", criterion]
    said = gitmill(folder, *arguments, env=env)
    assert said.code == 0, said.err
    said = gitmill(folder, "run", env=env)
    assert said.code == 0, said.err
    assert "\nlanded t-" in said.err


@pytest.fixture(params=["auto", pytest.param("off", marks=pytest.mark.slow)])
def repo(sandbox: Sandbox, request: pytest.FixtureRequest) -> Repo:
    repo = sandbox.repo(files=FILES)
    repo.git("config", "gitmill.sandbox", request.param)
    return repo


def test_a_split_index(repo: Repo):
    repo.git("config", "core.splitIndex", "true")
    repo.git("update-index", "--split-index")
    assert list(repo.git_dir.glob("sharedindex.*"))
    assert gitmill(repo.path, "init").code == 0
    landed(repo.path, "echo n >> a/a.txt; git add -A; git commit -qm inner", "$ grep -q n a/a.txt")
    landed(repo.path, "echo n >> b/b.txt", "$ git diff --quiet HEAD && grep -q n a/a.txt")
    assert repo.git("status", "--porcelain", "-uno") == ""
    assert list(repo.git_dir.glob("sharedindex.*"))


@pytest.mark.parametrize("kind", ["--cone", "--no-cone", "--sparse-index"])
def test_a_sparse_checkout_stays_sparse_and_the_trees_under_test_are_whole(repo: Repo, kind: str):
    repo.git("sparse-checkout", "set", kind, "a")
    assert repo.git("config", "extensions.worktreeConfig") == "true"
    assert gitmill(repo.path, "init").code == 0
    script = "test -f b/b.txt; mkdir d; echo n | tee -a b/b.txt a/a.txt d/d.txt"
    landed(repo.path, script, "$ test -f c.txt && grep -q n b/b.txt && grep -q n d/d.txt")
    assert (repo.path / "a/a.txt").read_text() == "a\nn\n"
    assert not any((repo.path / name).exists() for name in ("b", "d"))
    assert repo.git("status", "--porcelain", "-uno") == ""
    assert repo.git("show", "main:b/b.txt") == "b\nn"


def test_a_work_tree_that_core_worktree_names(sandbox: Sandbox):
    folder = sandbox.root / "repo"
    tree = Repo(folder / "tree")
    tree.path.mkdir(parents=True)
    Repo(folder).git("init", "-q")
    Repo(folder).git("config", "core.worktree", "../tree")
    (folder / "beside.txt").write_text("mine\n")
    tree.commit({"a.txt": "a\n"})
    for place in (tree.path, folder, folder / ".git"):
        assert gitmill(place, "init").code == 0
    landed(folder, "echo n >> a.txt")
    assert (tree.path / "a.txt").read_text() == "a\nn\n"
    assert tree.git("status", "--porcelain", "-uno") == ""
    assert (folder / "beside.txt").read_text() == "mine\n"


def home_with_dotfiles(sandbox: Sandbox) -> tuple[Path, Repo, dict[str, str]]:
    """Return a home, a bare repository of its dotfiles, and what leads git to both."""
    home = Path(os.environ["HOME"])
    dots = Repo(home / ".dots.git")
    (home / "unreadable").mkdir(mode=0)  # nothing has to look for untracked files
    for number in range(20):
        (home / f"photos/{number}").mkdir(parents=True)
        (home / f"photos/{number}/p.txt").write_text("private\n")
    Repo(home).git("init", "-q", "--bare", os.fspath(dots.path))
    env = {"GIT_DIR": os.fspath(dots.path), "GIT_WORK_TREE": os.fspath(home)}
    (home / ".profile").write_text("one\n")
    git = (f"--git-dir={dots.path}", f"--work-tree={home}")
    dots.git(*git, "add", os.fspath(home / ".profile"))
    dots.git(*git, "commit", "-q", "-m", "first")
    return home, dots, env


def test_a_home_with_dotfiles_that_only_the_environment_names(sandbox: Sandbox):
    home, dots, env = home_with_dotfiles(sandbox)
    assert gitmill(home, "init").code == 1
    assert gitmill(home, "init", env=env).code == 0
    landed(home, "echo two >> .profile; test ! -e photos", "$ test ! -e photos", env=env)
    assert (home / ".profile").read_text() == "one\ntwo\n"
    landed(dots.path, "echo three >> .profile")  # `init` has noted the work tree
    assert (home / ".profile").read_text() == "one\ntwo\nthree\n"
    git = (f"--git-dir={dots.path}", f"--work-tree={home}")
    assert dots.git(*git, "status", "--porcelain", "-uno") == ""


def test_a_home_with_dotfiles_that_core_worktree_names(sandbox: Sandbox):
    home, dots, _ = home_with_dotfiles(sandbox)
    dots.git("config", "core.bare", "false")
    dots.git("config", "core.worktree", os.fspath(home))
    assert gitmill(dots.path, "init").code == 0
    landed(dots.path, "echo two >> .profile; test ! -e photos")
    assert (home / ".profile").read_text() == "one\ntwo\n"


def test_what_the_user_has_changed_in_a_home_blocks_the_landing(sandbox: Sandbox):
    home, _, env = home_with_dotfiles(sandbox)
    assert gitmill(home, "init", env=env).code == 0
    (home / ".config").mkdir(exist_ok=True)
    (home / ".config/new").write_text("mine\n")
    said = gitmill(home, "task", "new", "New", "--script", "mkdir .config; echo x > .config/new",
                   "--criterion", "$ true", "--ready", env=env)  # fmt: skip
    assert said.code == 0, said.err
    said = gitmill(home, "run", env=env)
    assert said.code == 3
    assert "    .config/new" in said.err
    assert (home / ".config/new").read_text() == "mine\n"


def test_the_environment_of_a_hook_leads_to_no_other_repository(sandbox: Sandbox):
    repo, other = sandbox.repo("repo", files=FILES), sandbox.repo("other", files=FILES)
    env = {"GIT_DIR": os.fspath(other.git_dir), "GIT_WORK_TREE": os.fspath(other.path),
           "GIT_INDEX_FILE": os.fspath(other.git_dir / "index")}  # fmt: skip
    assert gitmill(repo.path, "init", env=env).code == 0
    landed(repo.path, "echo n >> c.txt", env=env)
    assert repo.git("show", "main:c.txt") == "c\nn"
    assert other.git("branch", "--list", "gitmill/*") == ""


def test_bare_repositories_with_worktrees_and_linked_worktrees(sandbox: Sandbox):
    origin, project = sandbox.repo("origin", files=FILES), sandbox.root / "project"
    project.mkdir()
    origin.git("clone", "-q", "--bare", os.fspath(origin.path), os.fspath(project / ".bare"))
    (project / ".git").write_text("gitdir: ./.bare\n")
    Repo(project).git("worktree", "add", "-q", "-b", "wip", "wip", "main")
    Repo(project).git("worktree", "add", "-q", "main")
    assert gitmill(project / "wip", "init").code == 0
    landed(project / "wip", "echo n >> c.txt")
    assert (project / "main/c.txt").read_text() == "c\nn\n"
    assert Repo(project / "main").git("status", "--porcelain", "-uno") == ""
    assert (project / "wip/c.txt").read_text() == "c\n"


def test_a_nested_repository_lands_in_itself(sandbox: Sandbox):
    outer = sandbox.repo("outer", files=FILES)
    inner = sandbox.repo("outer/inner", files=FILES)
    before = outer.git("status", "--porcelain")
    assert gitmill(inner.path / "a", "init").code == 0
    landed(inner.path / "a", "echo n >> c.txt")
    assert inner.git("show", "main:c.txt") == "c\nn"
    assert outer.git("status", "--porcelain") == before
    assert outer.git("branch", "--list", "gitmill/*") == ""


def test_a_task_of_the_outer_repository_leaves_the_inner_one(sandbox: Sandbox):
    outer = sandbox.repo("outer", files=FILES)
    inner = sandbox.repo("outer/inner", files={"x.txt": "x\n"})
    assert gitmill(outer.path, "init").code == 0
    landed(outer.path, "echo n >> c.txt; test ! -e inner")
    assert outer.git("ls-tree", "--name-only", "main").split() == ["a", "b", "c.txt"]
    assert inner.git("status", "--porcelain") == ""
