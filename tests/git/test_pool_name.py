"""The folder of a repository's worktrees goes with it, and with no other repository."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gitmill.git.pool_name import KEPT, keep_name, pool_name
from gitmill.git.repo import Repository
from tests.support.repos import Repo, Sandbox


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "pools"


def named(repo: Path, root: Path, token: str) -> str:
    """Record the name of a repository's folder and return it."""
    keep_name(Repository.open(repo), root, token)
    return pool_name(Repository.open(repo), root)


@pytest.fixture
def repo(sandbox: Sandbox, root: Path) -> Repo:
    repo = sandbox.repo()
    assert named(repo.path, root, "aa") == Repository.open(repo.path).name
    return repo


def test_a_moved_repository_keeps_its_name_and_can_move_again(repo: Repo, root: Path):
    name, folder = named(repo.path, root, "ab"), repo.path
    for place in ("second", "third"):
        folder = folder.rename(repo.path.parent / place)
        assert pool_name(Repository.open(folder), root) == name
        assert named(folder, root, "ac") == name
    assert [path.name for path in root.iterdir()] == [name]


def test_a_copy_gets_a_name_of_its_own_and_the_original_keeps_its_name(repo: Repo, root: Path):
    name, copy = named(repo.path, root, "ab"), repo.path.parent / "copy"
    shutil.copytree(repo.path, copy, symlinks=True)
    assert named(copy, root, "bb") == Repository.open(copy).name
    assert named(repo.path, root, "ac") == name
    shutil.rmtree(repo.path)
    assert named(copy, root, "bc") == Repository.open(copy).name


def test_a_new_repository_at_the_old_place_does_not_get_the_folder(repo: Repo, root: Path):
    name, moved = named(repo.path, root, "ab"), repo.path.rename(repo.path.parent / "moved")
    assert named(moved, root, "ac") == name
    new = Sandbox(repo.path.parent).repo(repo.path.name)
    assert named(new.path, root, "bb") == f"{name}-2"
    assert named(moved, root, "ad") == name


def test_a_lost_record_is_made_again_at_the_same_place(repo: Repo, root: Path):
    name = named(repo.path, root, "ab")
    shutil.rmtree(repo.git_dir / "gitmill")
    assert named(repo.path, root, "bb") == name


@pytest.mark.parametrize("kept", ["{name} bb", "{name}", "../{name} aa", "", "{name} aa\n"])
def test_a_name_without_the_token_of_the_folder_does_not_count(
    repo: Repo, sandbox: Sandbox, root: Path, kept: str
):
    """Who brings a repository must not choose whose trusted commands count in it."""
    name, other = named(repo.path, root, "ab"), sandbox.repo("other")
    shutil.rmtree(repo.path)
    (other.git_dir / "gitmill").mkdir()
    (other.git_dir / "gitmill" / KEPT).write_text(kept.format(name=name))
    assert pool_name(Repository.open(other.path), root) == Repository.open(other.path).name
    assert named(other.path, root, "cc") == Repository.open(other.path).name
