"""gitmill's own files, when the code of an attempt without a sandbox writes them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gitmill.mill import Mill
from gitmill.workspace.trust import store_file
from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox

POLICY = "[limits]\nattempts = 1\n"


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo(files={".gitmill/config.toml": POLICY, "a.txt": "a\n"})
    repo.unfence()
    assert gitmill(repo.path, "init").code == 0
    return repo


@pytest.fixture
def trusted(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the trusted commands, with one that a person has typed."""
    monkeypatch.delenv("GITMILL_TRUST")
    assert gitmill(repo.path, "config", "trust").code == 0
    new_task(repo.path, "Typed", "echo typed > t.txt")
    return store_file(Mill.open(repo.path))


def item(repo: Repo, task: str) -> dict[str, object]:
    return gitmill(repo.path, "task", "show", task, "--json").json["item"]


def hold(repo: Repo, script: str) -> str:
    """Run a hostile script on its own, on the user's repository; return why it is held."""
    task = new_task(
        repo.path, "Hostile", f"echo x > x.txt\nexport GIT_DIR={repo.git_dir}\n{script}"
    )
    gitmill(repo.path, "run", task, "--through", "approved")
    found = item(repo, task)
    assert found["status"] == "waiting", found
    return str(found["reason"])


def digest(command: str) -> str:
    return hashlib.sha256(command.encode()).hexdigest()


def test_a_command_that_an_agent_trusts_is_not_trusted(repo: Repo, trusted: Path):
    before = trusted.read_bytes()
    reason = hold(repo, f"echo {digest('rm -rf /')} >> {trusted}")
    assert "the list of trusted commands" in reason
    assert digest("rm -rf /") not in trusted.read_text()
    assert trusted.read_bytes().startswith(before)


@contextmanager
def running(repo: Repo, task: str, begun: Path) -> Iterator[None]:
    """Run a task in another process, from its beginning to its end."""
    argv = [sys.executable, "-m", "gitmill", "run", task, "--through", "approved"]
    process = subprocess.Popen(argv, cwd=repo.path, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not begun.exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        yield
    finally:
        process.wait(60)


@pytest.mark.slow
def test_a_command_that_a_person_types_meanwhile_stays_trusted(repo: Repo, trusted: Path):
    word = repo.path.parent / "word"
    word.mkdir()
    wait = f"touch {word}/begun; until test -e {word}/go; do sleep 0.02; done"
    task = new_task(repo.path, "Mild", f"echo x > x.txt\n{wait}")
    with running(repo, task, word / "begun"):
        new_task(repo.path, "Later", "echo later > l.txt")
        (word / "go").touch()
    assert item(repo, task)["status"] == "approved"
    assert digest("echo later > l.txt") in trusted.read_text()


def test_a_command_that_only_another_person_wrote_is_not_trusted(repo: Repo, trusted: Path):
    """Its item is in the state, and no person of this machine has decided on it."""
    new_task(repo.path, "Theirs", "echo theirs > l.txt")
    trusted.write_text("".join(f"{line}\n" for line in trusted.read_text().split()[:-2]))
    reason = hold(repo, f"echo {digest('echo theirs > l.txt')} >> {trusted}")
    assert "the list of trusted commands" in reason
    assert digest("echo theirs > l.txt") not in trusted.read_text()


def test_another_folder_with_trusted_commands_is_not_believed(repo: Repo, trusted: Path):
    """An agent makes one of its own and names it in the repository."""
    other, kept = trusted.parents[1] / "other", repo.git_dir / "gitmill/pool"
    before = kept.read_bytes()
    reason = hold(
        repo,
        f"mkdir {other}; echo {digest('rm -rf /')} > {other}/trusted;"
        f" printf %s 'aa {repo.git_dir}' > {other}/repository; printf %s 'other aa' > {kept}",
    )
    assert f"{kept} was changed; it was restored" in reason
    assert kept.read_bytes() == before
    assert digest("rm -rf /") not in trusted.read_text()


def test_a_list_of_trusted_commands_that_is_a_link_is_restored(repo: Repo, trusted: Path):
    mine = repo.path.parent / "mine"
    mine.write_text(digest("rm -rf /") + "\n")
    reason = hold(repo, f"rm {trusted}; ln -s {mine} {trusted}")
    assert "was replaced by a link or another special file" in reason
    assert not trusted.is_symlink()
    assert digest("rm -rf /") not in trusted.read_text()
    assert mine.read_text() == digest("rm -rf /") + "\n"


def test_a_link_is_refused_where_no_attempt_runs(repo: Repo, trusted: Path):
    mine = repo.path.parent / "mine"
    trusted.rename(mine)
    trusted.symlink_to(mine)
    refused = gitmill(repo.path, "config", "trust")
    assert refused.code == 1
    assert f"error[planted-file]: {trusted} is not a regular file" in refused.err
    assert f"`ls -ld {trusted}`, then remove it" in refused.err


FORGE = (
    "i=$(mktemp -u); export GIT_INDEX_FILE=$i; git read-tree gitmill/state;"
    " c=$(git commit-tree -m forged -p gitmill/state $(git write-tree));"
    " git update-ref refs/heads/gitmill/state $c; unset GIT_INDEX_FILE"
)
PRIVATE = '"$(git rev-parse --git-common-dir)"/gitmill'


@pytest.mark.parametrize("forge", [": >", "echo $c refs/heads/gitmill/state >"])
def test_a_rewritten_journal_is_restored_and_not_believed(repo: Repo, forge: str):
    reason = hold(repo, f"{FORGE}; {forge} {PRIVATE}/journal")
    assert "gitmill's journal was changed; it was restored" in reason
    assert "forged" not in repo.git("log", "--format=%s", "gitmill/state")
    assert gitmill(repo.path, "fsck").code == 0


def test_a_value_that_is_only_in_the_journal_is_not_believed(repo: Repo):
    """Gitmill writes no commit without an event to the state branch."""
    reason = hold(repo, f"{FORGE}; echo $c refs/heads/gitmill/state >> {PRIVATE}/journal")
    assert "refs/heads/gitmill/state was moved" in reason
    assert "forged" not in repo.git("log", "--format=%s", "gitmill/state")


@pytest.mark.parametrize("name", ["journal", "write.lock", "live", "cooling.json"])
def test_links_among_gitmills_own_files_are_removed(repo: Repo, name: str):
    elsewhere = repo.path.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("mine\n")
    to = elsewhere if name == "live" else elsewhere / "file"
    reason = hold(repo, f"rm -rf {PRIVATE}/{name}; ln -s {to} {PRIVATE}/{name}")
    assert ("journal was changed" if name == "journal" else "a link") in reason
    assert not (repo.git_dir / "gitmill" / name).is_symlink()
    assert [path.name for path in elsewhere.iterdir()] == ["file"]
    assert (elsewhere / "file").read_text() == "mine\n"


def test_a_fifo_in_the_place_of_a_file_does_not_hang_the_next_command(repo: Repo):
    names = ("spent.json", "cooling.json", "seen.json", "moving", "board.json", "not-enforced")
    paths = " ".join(f"{PRIVATE}/{name}" for name in names)
    hold(repo, f"rm -f {paths}; mkfifo {paths}")
    assert gitmill(repo.path, "status").code in (0, 3)


def test_a_fifo_that_no_attempt_removed_hangs_no_command(repo: Repo):
    """Left by an attempt whose gitmill was killed: nothing was compared then."""
    new_task(repo.path, "One", "echo 1 > b.txt")
    for name in ("spent.json", "cooling.json", "seen.json", "board.json", "not-enforced"):
        path = repo.git_dir / "gitmill" / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    assert gitmill(repo.path, "status").code == 0
    assert gitmill(repo.path, "run").code == 0


def test_a_cool_down_that_an_agent_ends_is_restored(repo: Repo):
    cooling = repo.git_dir / "gitmill/cooling.json"
    text = '{"claude": {"kind": "overloaded", "why": "x", "until": "2099-01-01T00:00:00Z", "times": 1}}'
    cooling.write_text(text)
    assert "cooling.json was changed" in hold(repo, f"rm {PRIVATE}/cooling.json")
    assert cooling.read_text() == text


def test_what_an_agent_calls_verified_is_verified_again(repo: Repo):
    new_task(repo.path, "One", "echo 1 > b.txt")
    assert gitmill(repo.path, "run").code == 0
    assert gitmill(repo.path, "fsck").code == 0
    same = "cp -p $f $f.old; tr 0-9 1-90 < $f.old > $f; touch -r $f.old $f; rm $f.old"
    script = f"echo x > x.txt\nexport GIT_DIR={repo.git_dir}\nf={PRIVATE}/verified.json; {same}"
    new_task(repo.path, "Hostile", script)
    gitmill(repo.path, "run", "--through", "approved")
    said = gitmill(repo.path, "fsck", "--json").json
    assert (said["holds"], said["verified_before"]) == (True, 0)
    new_task(repo.path, "Quiet", "echo 2 > c.txt")
    gitmill(repo.path, "run", "--through", "approved")
    assert gitmill(repo.path, "fsck", "--json").json["verified_before"] == said["commits"]
