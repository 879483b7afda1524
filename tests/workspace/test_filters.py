"""Git LFS and git-crypt: real files for agents and checks, what the user's filters make lands."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox


def require(program: str) -> None:
    """Skip a test without a program; fail where it has to be installed."""
    if shutil.which(program):
        return
    if os.environ.get("CI"):
        pytest.fail(f"{program} is missing: apt-get install {program}")
    pytest.skip(f"{program} is not installed")


@pytest.fixture(params=["auto", pytest.param("off", marks=pytest.mark.slow)])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def large(sandbox: Sandbox, mode: str) -> Repo:
    """A repository with a file in the store of Git LFS, larger than sanity allows in git."""
    require("git-lfs")
    repo = sandbox.repo(files={"a.txt": "a\n", ".gitattributes": "*.bin filter=lfs -text\n"})
    repo.git("lfs", "install")
    repo.commit({"big.bin": os.urandom(3_000_000)})
    repo.git("config", "gitmill.sandbox", mode)
    assert gitmill(repo.path, "init").code == 0
    return repo


def test_files_of_lfs_are_real_and_new_ones_are_stored(large: Repo):
    script = "wc -c < big.bin > a.txt; head -c 2500000 /dev/urandom > two.bin"
    checks = ("--criterion", "$ test $(wc -c < two.bin) = 2500000 && grep 3000000 a.txt")
    shutil.rmtree(large.git_dir / "lfs/tmp", ignore_errors=True)
    new_task(large.path, "Two", script, *checks)
    said = gitmill(large.path, "run")
    assert said.code == 0, said.err
    assert "returned" not in said.err
    pointer = large.git("show", "main:two.bin")
    assert pointer.startswith("version https://git-lfs.github.com/spec/v1\n")
    oid = pointer.partition("sha256:")[2].split()[0]
    stored = large.git_dir / "lfs/objects" / oid[:2] / oid[2:4] / oid
    assert stored.read_bytes() == (large.path / "two.bin").read_bytes()
    assert large.git("status", "--porcelain", "-uno") == ""


def test_a_filter_that_is_not_installed_stops_the_run_once_and_costs_nothing(
    large: Repo, tmp_path: Path
):
    programs = tmp_path / "bin"
    programs.mkdir()
    for folder in filter(os.path.isdir, os.environ["PATH"].split(os.pathsep)):
        for program in Path(folder).iterdir():
            if program.name != "git-lfs" and not (programs / program.name).is_symlink():
                (programs / program.name).symlink_to(program)
    task = new_task(large.path, "One", "echo b >> a.txt")
    said = gitmill(large.path, "run", env={"PATH": os.fspath(programs)})
    assert said.code == 1
    assert "error[unusable-repository]: git cannot check out" in said.err
    assert "git-lfs: not found" in said.err
    assert gitmill(large.path, "task", "show", task, "--json").json["item"]["status"] == "ready"
    assert gitmill(large.path, "run").code == 0


def test_a_filter_that_only_the_work_cannot_pass_is_the_tasks_fault(large: Repo):
    lost = f"version https://git-lfs.github.com/spec/v1\\noid sha256:{'0' * 64}\\nsize 5\\n"
    task = new_task(large.path, "Lost", f"printf '{lost}' > lost.bin")
    said = gitmill(large.path, "run")
    assert said.code == 1
    assert "blocked" in said.err, said.err
    assert gitmill(large.path, "task", "show", task, "--json").json["item"]["status"] == "blocked"


@pytest.mark.slow
def test_files_of_git_crypt_are_readable_and_land_encrypted_and_the_key_stays_outside(
    sandbox: Sandbox, mode: str
):
    require("git-crypt")
    attributes = "s.txt filter=git-crypt diff=git-crypt\n"
    repo = sandbox.repo(files={"a.txt": "a\n", ".gitattributes": attributes})
    subprocess.run(["git-crypt", "init"], cwd=repo.path, check=True, capture_output=True)
    repo.commit({"s.txt": "hidden\n"})
    repo.git("config", "gitmill.sandbox", mode)
    assert gitmill(repo.path, "init").code == 0
    key = "$ test ! -e .git/git-crypt && git diff --quiet HEAD && grep more s.txt"
    new_task(repo.path, "More", "cat s.txt >> a.txt; echo more >> s.txt", "--criterion", key)
    new_task(repo.path, "Inside", "echo and >> s.txt; git add -A; git commit -qm inside")
    said = gitmill(repo.path, "run")
    assert said.code == 0, said.err
    assert "returned" not in said.err
    assert repo.git("show", "main:a.txt") == "a\nhidden"
    assert repo.git("cat-file", "blob", "main:s.txt").startswith("\0GITCRYPT\0")
    assert (repo.path / "s.txt").read_text() == "hidden\nmore\nand\n"
    assert repo.git("status", "--porcelain", "-uno") == ""
