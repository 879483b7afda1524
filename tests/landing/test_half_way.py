"""A fast-forward of the user's checkout that fails half-way: the checkout is as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gitmill.git.repo import Checkout
from gitmill.git.undo_fast_forward import keep_originals
from gitmill.landing.move_checkout import MOVING, ORIGINALS
from gitmill.mill import Mill
from tests.landing.test_land import START
from tests.support.cli import begun, gitmill, new_task
from tests.support.repos import Repo, Sandbox

FILES = {
    "a.txt": "1\n2\n3\n",
    "m/early.txt": "early\n",
    "m/gone.txt": "gone\n",
    "turned": "a file\n",
    "wide.bin": "wide\n",
    "z/late.bin": "late\n",
    "mine.txt": "mine\n",
    "also.txt": "also\n",
}
SCRIPT = (
    "echo 4 >> a.txt; echo more >> m/early.txt; rm m/gone.txt turned; mkdir turned new;"
    "echo in > turned/in.txt; echo new > new/file.txt; head -c {size} /dev/zero | tr '\\0' w >"
    " wide.bin; echo more >> z/late.bin"
)
DIRT = (
    "echo own >> mine.txt; echo staged >> also.txt; git add also.txt; echo more >> also.txt;"
    "echo untracked > untracked.txt; mkdir ignored; echo kept > ignored/x.log;"
    "echo added > added.txt; git add added.txt"
)


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = begun(sandbox, files=FILES | {".gitignore": "*.log\n"})
    repo.commit({".gitattributes": "*.bin filter=f\n"})
    return repo


def approved(repo: Repo, *, size: int = 1000) -> str:
    task = new_task(repo.path, "Change", SCRIPT.format(size=size))
    result = gitmill(repo.path, "run", task, "--through", "approved")
    assert result.code == 0, result.err
    return task


def everything(repo: Repo) -> object:
    """All that a user could miss, to the byte."""
    found: dict[str, object] = {}
    for path in sorted(repo.path.rglob("*")):
        name = str(path.relative_to(repo.path))
        if name.split("/", maxsplit=1)[0] != ".git":
            found[name] = path.read_bytes() if path.is_file() else "folder"
    asked = ("status", "--porcelain", "--branch", "--ignored", "-uall"), ("ls-files", "-s", "-v")
    asked += ("diff", "--cached"), ("rev-parse", "HEAD"), ("stash", "list")
    return found, [repo.git(*args, check=False) for args in asked]


def sh(repo: Repo, script: str) -> None:
    subprocess.run(["/bin/sh", "-ec", script], cwd=repo.path, check=True, capture_output=True)


# What is in the way, how it goes away, and what the message names.
FAIL = "git config filter.f.required true; git config filter.f.clean cat;"
FAULTS = {
    "the ref is locked": ("touch .git/refs/heads/main.lock", "main.lock"),
    "HEAD is locked": ("touch .git/HEAD.lock", "HEAD.lock"),
    "ORIG_HEAD is locked": ("touch .git/ORIG_HEAD.lock", "ORIG_HEAD.lock"),
    "the index is locked": ("touch .git/index.lock", "index.lock"),
    "a smudge filter fails late": (
        FAIL + "git config filter.f.smudge 'f() { case $1 in z*) exit 7; esac; cat; }; f %f'",
        "z/late.bin",
    ),
    "a smudge filter is missing": (FAIL + "git config filter.f.smudge no-such-filter", "wide.bin"),
    "a merge is not concluded": ("git rev-parse HEAD > .git/MERGE_HEAD", "merge"),
    "a cherry-pick is not concluded": ("git rev-parse HEAD > .git/CHERRY_PICK_HEAD", "cherry-pick"),
    "a revert is not concluded": ("git rev-parse HEAD > .git/REVERT_HEAD", "revert"),
    "a second work tree": ("git worktree add -q -f ../second main", "second"),
    "a folder that cannot be written": ("chattr +i z", "z/late.bin"),
    "a file that cannot be written": ("chattr +i z/late.bin", "z/late.bin"),
}
CURE = (
    "rm -f .git/refs/heads/main.lock .git/*.lock .git/MERGE_HEAD .git/CHERRY_PICK_HEAD"
    " .git/REVERT_HEAD; git config --remove-section filter.f || true;"
    "chattr -i z z/late.bin || true; git worktree remove -f ../second || true"
)


def can_forbid(folder: Path) -> bool:
    file = folder / "probe"
    file.touch()
    done = subprocess.run(["chattr", "+i", str(file)], capture_output=True, check=False)
    subprocess.run(["chattr", "-i", str(file)], capture_output=True, check=False)
    return done.returncode == 0


FAST = {"the ref is locked", "a smudge filter fails late"}


@pytest.mark.parametrize(
    ("fault", "dirty"),
    [
        pytest.param(
            fault, dirty, id=f"{fault}, {'dirty' if dirty else 'pristine'}",
            marks=[pytest.mark.slow] * (fault not in FAST or not dirty),
        )
        for fault in FAULTS
        for dirty in (False, True)
    ],
)  # fmt: skip
def test_what_fails_half_way_leaves_the_checkout_as_it_was(repo: Repo, fault, dirty):
    if "chattr" in FAULTS[fault][0] and not can_forbid(repo.path.parent):
        pytest.skip("this file system has no immutable files")
    task = approved(repo)
    if dirty:
        sh(repo, DIRT)
    script, named = FAULTS[fault]
    sh(repo, script)
    before = everything(repo)
    try:
        result = gitmill(repo.path, "queue", "land")
        after = everything(repo)
    finally:
        sh(repo, CURE)
    assert result.code == 3, result.err
    assert named in result.err
    assert "as it was" in result.err or "nothing was changed" in result.err
    assert "your own changes" not in result.err
    assert after == before
    assert not (repo.git_dir / "gitmill/moving").exists()
    assert not (repo.git_dir / "gitmill/originals").exists()
    result = gitmill(repo.path, "queue", "land")
    assert result.code == 0, result.err
    assert gitmill(repo.path, "task", "show", task, "--json").json["item"]["status"] == "landed"
    assert (repo.path / "turned/in.txt").exists()
    own = repo.git("status", "--porcelain").splitlines()
    assert len(own) == (4 if dirty else 0), own


LAYOUTS = {
    "sparse": "git sparse-checkout set --no-cone '/*' '!/m/'",
    "split index": "git update-index --split-index",
    "a submodule, its pointer moves": "",
}


@pytest.mark.parametrize(
    "layout",
    [pytest.param(name, marks=[pytest.mark.slow] * bool(LAYOUTS[name])) for name in LAYOUTS],
)
def test_other_layouts_are_as_they_were_and_land_with_the_named_command(repo: Repo, layout: str):
    more = ""
    if not LAYOUTS[layout]:
        lib = Sandbox(repo.path.parent).repo("lib", files={"lib.txt": "1\n"})
        repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(lib.path))
        repo.git("commit", "-qm", "with lib")
        newer = lib.commit({"lib.txt": "2\n"})
        Repo(repo.path / "lib").git("fetch", "-q")
        more = "; (cd lib; git checkout -q origin/main)"
    task = new_task(repo.path, "Change", SCRIPT.format(size=1000) + more)
    gitmill(repo.path, "run", task, "--through", "approved")
    if more:
        assert gitmill(repo.path, "task", "approve", task).code == 0
        assert gitmill(repo.path, "run", task, "--through", "approved").code == 0
    sh(repo, LAYOUTS[layout])
    sh(repo, "echo own >> mine.txt; echo staged >> also.txt; git add also.txt")
    sh(repo, FAULTS["a smudge filter fails late"][0])
    before = everything(repo)
    said = gitmill(repo.path, "queue", "land")
    assert (said.code, "z/late.bin" in said.err, "as it was" in said.err) == (3, True, True), said
    assert everything(repo) == before
    sh(repo, CURE)
    said = gitmill(repo.path, "queue", "land")
    assert said.code == 0, said.err
    own = ["M  also.txt", " M mine.txt", *([" M lib"] if more else [])]
    status = repo.git("status", "--porcelain", "--ignore-submodules=none").splitlines()
    assert sorted(line.strip() for line in status) == sorted(line.strip() for line in own)
    assert (repo.path / "m").exists() is (layout != "sparse")
    assert bool(list(repo.git_dir.glob("sharedindex.*"))) is (layout == "split index")
    if more:  # a checkout moves the pointer; the user's own submodule is where it was
        assert repo.git("rev-parse", "main:lib") == newer


# Killed half-way, with the user's own commit before or after. What git has done by then: files
# alone, or the index too, or half of a file.


def first_files(repo: Repo, candidate: str) -> None:
    sh(
        repo,
        f"rm a.txt; git show {candidate}:a.txt > a.txt; rm m/gone.txt; mkdir new; printf ne > new/file.txt",
    )


def all_but_the_branch(repo: Repo, candidate: str) -> None:
    sh(repo, f"git read-tree -m -u HEAD {candidate}")


def started(repo: Repo, task: str) -> str:
    argv = [sys.executable, "-c", START, str(repo.path), task]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "got", [pytest.param(first_files, marks=pytest.mark.slow), all_but_the_branch]
)
@pytest.mark.parametrize(
    "users_commit",
    ["none", pytest.param("elsewhere", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(
    "older", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "by an older gitmill"]
)
def test_a_kill_half_way_is_taken_back_whoever_won_the_branch(repo: Repo, got, users_commit, older):
    """With own changes staged, it is not finished, and the user's commit may have won."""
    task = approved(repo)
    sh(repo, DIRT)
    candidate = started(repo, task)
    place = Checkout(repo.path, "refs/heads/main")
    if not older:
        changed = Mill.open(repo.path).changes(repo.git("rev-parse", "main"), candidate)
        keep_originals(repo.git_dir / "gitmill" / ORIGINALS, place, changed)
    (repo.git_dir / "gitmill" / MOVING).write_text(candidate)
    if users_commit != "none":
        commit = repo.git("commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "user's own")
    before = everything(repo)
    got(repo, candidate)
    if users_commit != "none":
        repo.git("update-ref", "refs/heads/main", commit)
    result = gitmill(repo.path, "recover")
    assert result.code == 0, result.err
    after = everything(repo)
    if older:  # nobody knows which folders were there
        after[0].pop("new", None)
    assert after[0] == before[0]
    assert after[1][0].splitlines()[1:] == before[1][0].splitlines()[1:]
    assert after[1][1:3] == before[1][1:3]
    assert not (repo.git_dir / "gitmill" / ORIGINALS).exists()
    assert not (repo.git_dir / "gitmill" / MOVING).exists()
    assert gitmill(repo.path, "queue", "land").code == 0


def test_recover_takes_back_what_an_older_gitmill_left_staged(repo: Repo):
    """It had aborted the landing without a mark, and the user has committed something since."""
    task = approved(repo)
    sh(repo, "touch .git/refs/heads/main.lock")
    assert gitmill(repo.path, "queue", "land").code == 3
    sh(
        repo,
        f"{CURE}; echo own >> mine.txt; git commit -qam own; echo staged >> also.txt; git add .",
    )
    before = everything(repo)
    log = gitmill(repo.path, "log", task, "--json").json["events"]
    candidate = next(e["candidate"] for e in log if e["event"] == "land-started")
    onto = repo.git("rev-parse", f"{candidate}^")
    sh(repo, f"git read-tree -m -u {onto} {candidate}")
    result = gitmill(repo.path, "recover")
    assert result.code == 0, result.err
    assert "had left staged; they are saved as refs/gitmill/rescue/" in result.out + result.err
    after = everything(repo)
    after[0].pop("new", None)
    assert after == before
    assert gitmill(repo.path, "queue", "land").code == 0


# A disk that fills up in the middle. The checkout is a linked work tree on a small disk of its own.
FULL = """
set -e
mount -t tmpfs -o size=1m tmpfs "$DISK"
cd "$REPO"
git switch -q --detach
git worktree add -q "$DISK/main" main
cd "$DISK/main"
echo own >> mine.txt; echo staged >> also.txt; git add also.txt
tree() { git status --porcelain; git ls-files -s; find . -name .git -prune -o -type f -exec sha256sum {} + | sort; }
tree > "$WORD/before"
code=0; "$PYTHON" -m gitmill queue land > "$WORD/said" 2>&1 || code=$?
echo $code >> "$WORD/said"
tree > "$WORD/after"
mount -o remount,size=20m "$DISK"
"$PYTHON" -m gitmill queue land > "$WORD/again" 2>&1
git status --porcelain > "$WORD/status"
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_disk_that_fills_up_in_the_middle_leaves_the_checkout_as_it_was(repo: Repo):
    approved(repo, size=1_500_000)
    word, disk = repo.path.parent / "word", repo.path.parent / "disk"
    word.mkdir()
    disk.mkdir()
    env = os.environ | {
        "DISK": str(disk), "REPO": str(repo.path), "WORD": str(word), "PYTHON": sys.executable,
    }  # fmt: skip
    argv = ["unshare", "-m", "sh", "-c", FULL]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=120)
    said = (word / "said").read_text()
    assert done.returncode == 0, done.stderr + said
    assert said.endswith("\n3\n"), said
    assert "wide.bin" in said
    assert (word / "after").read_text() == (word / "before").read_text()
    assert (word / "status").read_text().splitlines() == ["M  also.txt", " M mine.txt"]
