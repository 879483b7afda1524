"""Another process gets in between gitmill and git's merge: all of the landing, or nothing."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.landing.test_half_way import everything
from tests.support.cli import begun, gitmill, new_task
from tests.support.repos import Repo, Sandbox


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = begun(sandbox, files={"a.txt": "a\n", "b.txt": "b\n"})
    new_task(repo.path, "Change", "echo landed >> a.txt; mkdir new; echo new > new/file.txt")
    assert gitmill(repo.path, "run", "--through", "approved").code == 0
    return repo


# The real git, but once the user's process is faster than its fast-forward.
GIT = """#!/bin/sh
case " $* " in *" --ff-only "*)
    if mkdir "$0.done" 2> /dev/null; then
        (unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE; PATH={path}; cd {repo}; {script}) || exit 9
    fi;;
esac
exec {git} "$@"
"""


def racing(repo: Repo, script: str) -> dict[str, str]:
    """Return an environment in which the user runs a script just before git's fast-forward."""
    program = repo.path.parent / "bin/git"
    program.parent.mkdir()
    path, git = os.environ["PATH"], shutil.which("git")
    program.write_text(GIT.format(path=path, git=git, repo=repo.path, script=script))
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{path}"}


def no_traces(repo: Repo) -> bool:
    return not any((repo.git_dir / "gitmill" / name).exists() for name in ("moving", "originals"))


# A lock, the name in the message.
LOCKS = {"the index": "index.lock", "the branch": "refs/heads/main.lock", "HEAD": "HEAD.lock"}


@pytest.mark.parametrize(
    "what",
    [pytest.param(what, marks=[pytest.mark.slow] * (what != "the branch")) for what in LOCKS],
)
def test_a_lock_that_comes_after_the_try_leaves_the_checkout_as_it_was(repo: Repo, what: str):
    before, lock = everything(repo), repo.git_dir / LOCKS[what]
    said = gitmill(repo.path, "queue", "land", env=racing(repo, f"touch {lock}"))
    assert (said.code, f"    {lock}, " in said.err) == (3, True), said.err
    lock.unlink()
    assert everything(repo) == before
    assert no_traces(repo)
    assert gitmill(repo.path, "queue", "land").code == 0
    assert repo.git("status", "--porcelain") == ""


@pytest.mark.slow
def test_an_index_that_the_user_holds_for_a_moment_is_waited_for(repo: Repo):
    script = "touch .git/index.lock; (sleep 0.3; rm .git/index.lock) > /dev/null 2>&1 &"
    said = gitmill(repo.path, "queue", "land", env=racing(repo, script))
    assert said.code == 0, said.err
    assert repo.git("status", "--porcelain") == ""


@pytest.mark.parametrize(
    "script",
    [
        "echo own >> b.txt; git commit -qam own",
        pytest.param(
            "git update-ref refs/heads/main $(git commit-tree -p main -m own main^{tree})",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_commit_of_the_user_in_that_moment_wins_and_the_landing_begins_again(
    repo: Repo, script: str
):
    said = gitmill(repo.path, "queue", "land", env=racing(repo, script))
    assert said.code == 0, said.err
    assert repo.git("log", "--format=%s", "main").split()[:2] == ["Change", "own"]
    assert repo.git("status", "--porcelain") == ""
    assert no_traces(repo)


@pytest.mark.slow
def test_a_change_of_the_user_in_that_moment_stays_and_is_named(repo: Repo):
    before = repo.git("rev-parse", "main")
    said = gitmill(repo.path, "queue", "land", env=racing(repo, "echo own >> a.txt"))
    assert (said.code, "a.txt" in said.err, "as it was" in said.err) == (3, True, True), said.err
    assert (repo.path / "a.txt").read_text() == "a\nown\n"
    assert (repo.git("rev-parse", "main"), repo.git("diff", "--name-only")) == (before, "a.txt")
    assert no_traces(repo)
    repo.git("checkout", "-q", "a.txt")
    assert gitmill(repo.path, "queue", "land").code == 0


@pytest.mark.slow
def test_an_index_that_a_running_process_holds_is_left_to_it(repo: Repo):
    """`queue land` names it; once the process has ended, the same command lands."""
    script = 'set -C; > "$0"; echo held; read -r go; rm "$0"'
    lock = repo.git_dir / "index.lock"
    argv = ["/bin/sh", "-c", script, str(lock)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"held\n"
        before = everything(repo)
        said = gitmill(repo.path, "queue", "land")
        assert (said.code, f"    {lock}, " in said.err) == (3, True), said.err
        assert everything(repo) == before
        assert lock.exists()
        user.communicate(b"\n", timeout=10)
    assert gitmill(repo.path, "queue", "land").code == 0
    assert repo.git("status", "--porcelain") == ""


@pytest.mark.slow
def test_packed_refs_that_stay_locked_are_named_after_the_landing(repo: Repo):
    lock = repo.git_dir / "packed-refs.lock"
    lock.touch()
    said = gitmill(repo.path, "queue", "land")
    assert said.code == 0, said.err
    assert repo.git("status", "--porcelain") == ""
    assert (repo.path / "a.txt").read_text() == "a\nlanded\n"
    said = gitmill(repo.path, "queue", "land")
    assert said.err.startswith("error[ref-moved]: a lock keeps git from moving refs/gitmill/")
    assert f"    {lock}, " in said.err
    lock.unlink()
    assert gitmill(repo.path, "recover").code == 0
    assert repo.git("for-each-ref", "refs/gitmill/candidate") == ""
