"""Worktrees: prepared to exactly one commit, read back exactly, even after a kill in between."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gitmill.errors import GitFailedError, GitKilledError, SlotBusyError
from gitmill.git import trees
from gitmill.git.differ import Differ
from gitmill.git.executable import Git
from gitmill.git.libgit2 import Libgit2
from gitmill.git.locks import try_lock
from gitmill.git.pool import Pool
from gitmill.git.quarantine import Quarantine
from gitmill.git.worktrees import BUILD_PRODUCTS, Slot
from tests.support.repos import Repo

FILES = {
    "a.txt": "a\n",
    "src/b.txt": "b\n",
    "src/deep/c.txt": "c\n",
    ".gitignore": "*.log\n/out/\n",
}


@pytest.fixture
def repo(sandbox):
    return sandbox.repo(files=FILES)


@pytest.fixture
def backend(repo):
    return Libgit2(repo.git_dir, fsync=False)


@pytest.fixture
def pool(repo):
    return Pool(repo.path.parent / "pool", repo.git_dir)


@pytest.fixture
def slot(repo, pool):
    slot = acquire(pool)
    slot.prepare(repo.git("rev-parse", "HEAD"))
    yield slot
    slot.release()


def nothing(slot, holder, commit):
    raise AssertionError(f"nothing is to be rescued, not {holder} in {slot.path}")


def acquire(pool, rescue=nothing):
    return pool.acquire("build", rescue)


def take(slot, repo, backend, ignore=()):
    """Return the paths with content of the tree that is taken, as git shows it."""
    tree = taken(slot, backend, repo.tree("HEAD"), ignore)
    assert repo.git("cat-file", "-t", tree) == "tree"
    return {
        path: (entry.mode, backend.read(entry.oid)[1] if entry.mode != "160000" else entry.oid)
        for path, entry in trees.walk(backend, tree)
    }


def taken(slot, backend, base, ignore=()):
    objects = Quarantine(slot.side / "reading", backend)
    try:
        return objects.admit(base, slot.take_tree(objects, base, ignore))
    finally:
        objects.close()


def standing(**changes):
    files = {path: ("100644", text.encode()) for path, text in FILES.items()}
    for path, change in changes.items():
        if change is None:
            del files[path]
        else:
            files[path] = ("100644", change.encode()) if isinstance(change, str) else change
    return files


def all_files(folder):
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    )


def run(slot, script):
    """What an agent does there, with the git of its environment."""
    subprocess.run(["/bin/sh", "-ec", script], cwd=slot.path, check=True, capture_output=True)


# The pool


def test_a_slot_is_a_detached_worktree_at_a_commit(repo, slot):
    assert all_files(slot.path) == sorted([*FILES, ".git"])
    there = Repo(slot.path)
    assert there.git("rev-parse", "HEAD") == repo.git("rev-parse", "HEAD")
    assert there.git("rev-parse", "--abbrev-ref", "HEAD") == "HEAD"
    assert there.git("status", "--porcelain") == ""
    assert repo.git("status", "--porcelain") == ""
    assert repo.git("branch", "--format=%(refname)") == "refs/heads/main"


def test_slots_are_used_again(repo, pool):
    head = repo.git("rev-parse", "HEAD")
    one, two = acquire(pool), acquire(pool)
    assert [one.path.name, two.path.name] == ["build-1", "build-2"]
    one.prepare(head)
    inode = (one.path / "a.txt").stat().st_ino
    one.release()
    again = acquire(pool)
    assert again.path == one.path
    again.prepare(head)
    assert (again.path / "a.txt").stat().st_ino == inode  # nothing was written twice
    assert pool.acquire("clean", nothing).path.name == "clean-1"
    assert len(repo.git("worktree", "list").splitlines()) == 2


def test_a_slot_of_another_process_is_left_alone(repo, pool):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom gitmill.git.locks import try_lock\n"
        f"assert try_lock(Path({str(pool.folder / 'build-1.lock')!r})) is not None\n"
        "print('held', flush=True)\ntime.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path.cwd())
    assert holder.stdout.readline() == b"held\n"
    slot = acquire(pool)
    assert slot.path.name == "build-2"
    with pytest.raises(SlotBusyError, match="another process uses the worktree build-1"):
        pool.acquire_named("build-1")
    holder.kill()
    holder.communicate()
    assert acquire(pool).path.name == "build-1"


def test_a_named_slot_is_never_acquired_by_kind(repo, pool):
    own = pool.acquire_named("take-t-k3f9x")
    own.prepare(repo.git("rev-parse", "HEAD"))
    own.release()
    assert acquire(pool).path.name == "build-1"
    assert pool.acquire_named("take-t-k3f9x").path == own.path


# A clean slate

MESS = {
    "untracked and ignored files": "echo x > new.txt; echo x > x.log; mkdir out; echo x > out/y",
    "changed, staged and deleted files": "echo x > a.txt; git add a.txt; rm src/b.txt; git rm -q .gitignore",
    "a file became a folder": "rm a.txt; mkdir a.txt; echo x > a.txt/x",
    "a folder became a file": "rm -r src; echo x > src",
    "a folder became a link": "rm -r src; ln -s /tmp src",
    "the worktree is on a branch": "git switch -q -c mine; echo x > a.txt; git commit -qam x",
    "HEAD is another commit": "git commit -q --allow-empty -m x; git commit -q --allow-empty -m y",
    "a conflict": "git switch -q -c one; echo 1 > a.txt; git commit -qam 1; git switch -q --detach main; "
                  "echo 3 > a.txt; git commit -qam 3; ! git merge one",
    "a rebase under way": "echo 1 > a.txt; git commit -qam 1; GIT_SEQUENCE_EDITOR='sed -i s/pick/edit/' git rebase -q -i HEAD~1",
    "a bisect under way": "git commit -q --allow-empty -m x; git bisect start HEAD HEAD~1",
    "a stash": "echo x > a.txt; git stash -q",
    "another repository inside": "git init -q sub; echo x > sub/x; git -C sub add x; git -C sub commit -qm x",
    "flags in the index": "echo x > a.txt; git update-index --assume-unchanged a.txt; git update-index --skip-worktree src/b.txt; rm src/b.txt",
    "a sparse checkout": "git sparse-checkout set src",
    "modes": "chmod +x a.txt; chmod -w src/b.txt",
    "read-only folders": "mkdir -p cache/deep; touch cache/deep/x; chmod 555 cache/deep cache",
    "a stale lock": 'touch "$(git rev-parse --git-dir)/index.lock" "$(git rev-parse --git-dir)/HEAD.lock"',
    "no .git file": "rm .git; echo x > a.txt",
    "a false .git file": "echo gitdir: /nowhere > .git",
    "a folder as .git": "rm .git; git init -q; git add -A; git commit -qm mine",
    "a link as .git": "rm .git; ln -s /tmp .git",
    "a link where we write": "ln -s ../precious .git.new",
    "no entry of git": 'rm -r "$(git rev-parse --git-dir)"',
    "a broken HEAD": 'echo x > "$(git rev-parse --git-dir)/HEAD"',
    "a broken index": 'echo x > "$(git rev-parse --git-dir)/index"',
    "a pruned worktree": "rm .git; git --git-dir=../../repo/.git worktree prune",
    "a removed worktree": "git worktree remove --force .",
    "a locked worktree": "git worktree lock .",
}  # fmt: skip


@pytest.mark.parametrize("mess", MESS)
def test_all_leftovers_of_the_last_use_are_removed(repo, pool, mess):
    (repo.path.parent / "precious").write_text("precious\n")
    head, other = repo.git("rev-parse", "HEAD"), repo.commit({"a.txt": "2\n", "new": "n\n"})
    slot = acquire(pool)
    slot.prepare(head)
    run(slot, MESS[mess])
    refs = repo.git("for-each-ref")
    slot.release()
    for commit in (head, other):
        slot = acquire(pool)
        slot.prepare(commit)
        there = Repo(slot.path)
        assert there.git("rev-parse", "HEAD") == commit
        assert there.git("rev-parse", "--abbrev-ref", "HEAD") == "HEAD"
        assert there.git("status", "--porcelain", "--ignored") == ""
        # no rebase, bisect or merge under way: that would be said here
        where, what = there.git("status").splitlines()
        assert where.startswith(("HEAD detached at", "Not currently on any branch."))
        assert what == "nothing to commit, working tree clean"
        files = repo.git("ls-tree", "-r", "--name-only", commit).splitlines()
        assert all_files(slot.path) == sorted([*files, ".git"])
        for name in files:
            assert (slot.path / name).read_text() == repo.git(
                "cat-file", "blob", f"{commit}:{name}"
            ) + "\n"
        slot.release()
    assert repo.git("for-each-ref") == refs
    assert (repo.path.parent / "precious").read_text() == "precious\n"
    assert len(repo.git("worktree", "list").splitlines()) == 2


def test_a_link_in_place_of_the_worktree_is_not_followed(repo, pool):
    slot = acquire(pool)
    slot.prepare(repo.git("rev-parse", "HEAD"))
    theirs = repo.path.parent / "theirs"
    theirs.mkdir()
    (theirs / "work.txt").write_text("precious\n")
    for leads in (theirs, theirs / "work.txt", theirs / "nowhere"):
        shutil.rmtree(slot.path, ignore_errors=True)
        slot.path.unlink(missing_ok=True) if slot.path.is_symlink() else None
        slot.path.symlink_to(leads)
        slot.prepare(repo.git("rev-parse", "HEAD"))
        assert not slot.path.is_symlink()
        assert all_files(slot.path) == sorted([*FILES, ".git"])
        assert all_files(theirs) == ["work.txt"]
        assert (theirs / "work.txt").read_text() == "precious\n"


def test_files_made_by_a_setup_can_stay(repo, slot):
    run(slot, "mkdir .venv; echo 1 > .venv/x; mkdir -p -- -dash; echo 2 > -dash/y; echo 3 > x.log")
    slot.prepare(repo.git("rev-parse", "HEAD"), keep=[".venv/", "-dash/"])
    assert all_files(slot.path) == sorted([*FILES, ".git", ".venv/x", "-dash/y"])
    slot.prepare(repo.git("rev-parse", "HEAD"))
    assert all_files(slot.path) == sorted([*FILES, ".git"])


def test_temporary_files_go_with_the_next_use(repo, slot):
    (slot.tmp / "x").write_text("x")
    assert not slot.tmp.is_relative_to(slot.path)
    slot.prepare(repo.git("rev-parse", "HEAD"))
    assert list(slot.tmp.iterdir()) == []


def test_a_discarded_slot_leaves_nothing_behind(repo, slot):
    slot.discard()
    assert not slot.path.exists()
    assert len(repo.git("worktree", "list").splitlines()) == 1
    assert (
        list(
            (repo.git_dir / "worktrees").iterdir() if (repo.git_dir / "worktrees").exists() else []
        )
        == []
    )
    slot.discard()


# Killed half-way


def test_a_killed_worktree_add_is_cleared_away(repo, pool):
    """It leaves an entry that is locked as initializing, which `prune` skips, and a half tree."""
    slot = acquire(pool)
    slot.prepare(repo.git("rev-parse", "HEAD"))
    (slot.admin / "locked").write_text("initializing\n")
    (slot.admin / "index.lock").touch()
    (slot.path / "a.txt").unlink()
    (slot.side / "admin").unlink()
    slot.release()
    repo.git("worktree", "prune")
    slot = acquire(pool)
    slot.prepare(repo.git("rev-parse", "HEAD"))
    assert all_files(slot.path) == sorted([*FILES, ".git"])
    assert len(repo.git("worktree", "list").splitlines()) == 2
    assert "locked" not in repo.git("worktree", "list")


def test_a_worktree_add_that_is_killed_for_real(sandbox):
    files = {f"{n}/{m}.txt": f"{n}{m}\n" * 50 for n in range(20) for m in range(30)}
    repo = sandbox.repo("large", files=files)
    head = repo.git("rev-parse", "HEAD")
    for wait in (0.002, 0.01, 0.03):
        pool = Pool(repo.path.parent / "pool", repo.git_dir)
        adding = subprocess.Popen(
            ["git", "worktree", "add", "-q", "--detach", str(pool.folder / "build-1"), head],
            cwd=repo.path, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            adding.wait(wait)
        except subprocess.TimeoutExpired:
            os.killpg(adding.pid, signal.SIGKILL)
            adding.wait()
        slot = acquire(pool)
        slot.prepare(head)
        assert Repo(slot.path).git("status", "--porcelain", "--ignored") == ""
        assert len(all_files(slot.path)) == len(files) + 1
        slot.discard()
        slot.release()


def test_a_pool_behind_a_link_is_cleared_away_too(repo):
    folder = repo.path.parent / "real"
    folder.mkdir()
    (repo.path.parent / "link").symlink_to(folder)
    pool = Pool(repo.path.parent / "link/pool", repo.git_dir)
    for _ in range(2):
        slot = acquire(pool)
        slot.prepare(repo.git("rev-parse", "HEAD"))
        (slot.admin / "locked").write_text("initializing\n")
        (slot.side / "admin").unlink()
        shutil.rmtree(slot.path)
        slot.release()
    slot = acquire(pool)
    slot.prepare(repo.git("rev-parse", "HEAD"))
    assert len(list((repo.git_dir / "worktrees").iterdir())) == 1


@pytest.mark.parametrize("lost", ["admin", "index"])
def test_a_slot_whose_files_of_ours_were_lost_is_made_again(repo, pool, lost):
    slot = acquire(pool)
    slot.prepare(repo.git("rev-parse", "HEAD"))
    (slot.side / lost).unlink()
    run(slot, "echo x > a.txt; echo y > new.txt")
    slot.prepare(repo.git("rev-parse", "HEAD"))
    assert all_files(slot.path) == sorted([*FILES, ".git"])
    assert (slot.path / "a.txt").read_text() == "a\n"


def test_the_work_of_a_killed_process_is_handed_over_once(repo, pool, backend):
    head = repo.git("rev-parse", "HEAD")
    slot = acquire(pool)
    slot.prepare(head, holder="t-k3f9x")
    run(slot, "echo mine > a.txt")
    (slot.side / "index.lock").touch()  # of a take_tree that was killed
    slot.release()
    saved = []

    def rescue(slot, holder, commit):
        saved.append((slot.path.name, holder, commit, take(slot, repo, backend)))

    slot = acquire(pool, rescue)
    assert saved == [("build-1", "t-k3f9x", head, standing(**{"a.txt": "mine\n"}))]
    slot.release()
    acquire(pool).release()
    assert len(saved) == 1


def test_work_of_a_slot_without_holder_is_not_rescued(repo, pool):
    slot = acquire(pool)
    slot.prepare(repo.git("rev-parse", "HEAD"), holder="t-k3f9x")
    slot.clear_holder()
    slot.release()
    acquire(pool).release()


def test_a_slot_whose_rescue_failed_stays_for_later(repo, pool, backend):
    slot = acquire(pool)
    slot.prepare(repo.git("rev-parse", "HEAD"), holder="t-k3f9x")
    run(slot, "echo mine > a.txt")
    slot.release()

    def fail(slot, holder, commit):
        raise GitFailedError("disk full")

    other = acquire(pool, fail)
    assert other.path.name == "build-2"
    errors, saved = [], []
    pool.rescue_all(
        fail, lambda slot, error: errors.append((slot.path.name, error.message)), dead=()
    )
    assert errors == [("build-1", "disk full")]
    pool.rescue_all(
        lambda slot, holder, commit: saved.append((holder, take(slot, repo, backend)["a.txt"])),
        nothing, dead=(),
    )  # fmt: skip
    assert saved == [("t-k3f9x", ("100644", b"mine\n"))]
    pool.rescue_all(nothing, nothing, dead=())
    assert acquire(pool).path.name == "build-1"


def test_work_of_the_living_is_not_rescued(repo, pool):
    slot = acquire(pool)
    slot.prepare(repo.git("rev-parse", "HEAD"), holder="t-k3f9x")
    pool.rescue_all(nothing, nothing, dead=())
    assert (slot.side / "holder").exists()


# The tree that stands there

DONE = {
    "nothing": ("true", {}),
    "edited, added, deleted": (
        "echo x >> a.txt; echo n > new.txt; rm src/b.txt",
        {"a.txt": "a\nx\n", "new.txt": "n\n", "src/b.txt": None},
    ),
    "staged, then changed back": ("echo x > a.txt; git add a.txt; echo a > a.txt", {}),
    "staged and gone": ("echo n > new.txt; git add new.txt; rm new.txt", {}),
    "committed": ("echo x > a.txt; git commit -qam mine", {"a.txt": "x\n"}),
    "committed on a branch": (
        "git switch -q -c mine; echo x > a.txt; git commit -qam mine; echo y > new.txt",
        {"a.txt": "x\n", "new.txt": "y\n"},
    ),
    "committed, then back": ("echo x > a.txt; git commit -qam m; git checkout -q HEAD~1", {}),
    "stashed": ("echo x > a.txt; git stash -q", {}),
    "stashed, more work": ("echo x > a.txt; git stash -q; echo y > new.txt", {"new.txt": "y\n"}),
    "reset": ("git reset -q --hard; echo y > new.txt", {"new.txt": "y\n"}),
    "removed from the index": ("git rm -q --cached a.txt", {}),
    "ignored in the index": (
        "echo x > a.txt; git update-index --assume-unchanged a.txt; "
        "echo x > src/b.txt; git update-index --skip-worktree src/b.txt",
        {"a.txt": "x\n", "src/b.txt": "x\n"},
    ),
    "no .git": ("echo x > a.txt; rm .git", {"a.txt": "x\n"}),
    "no .git, and pruned": (
        "echo x > a.txt; rm .git; git --git-dir=../../repo/.git worktree prune",
        {"a.txt": "x\n"},
    ),
    "a repository of its own": (
        "rm .git; git init -q; echo x > a.txt; git add -A; git commit -qm mine",
        {"a.txt": "x\n"},
    ),
    "a lock left behind": (
        'echo x > a.txt; touch "$(git rev-parse --git-dir)/index.lock"',
        {"a.txt": "x\n"},
    ),
    "in the middle of a rebase": (
        "echo x > a.txt; git commit -qam m; "
        "GIT_SEQUENCE_EDITOR='sed -i s/pick/edit/' git rebase -q -i HEAD~1; echo y > new.txt",
        {"a.txt": "x\n", "new.txt": "y\n"},
    ),
    "ignored files": ("echo x > x.log; mkdir out; echo x > out/y", {}),
    "ignored, but added by force": ("echo x > x.log; git add -f x.log", {}),
    "no longer ignored": (
        "rm .gitignore; echo x > x.log",
        {".gitignore": None, "x.log": "x\n"},
    ),
    "a file became a folder": (
        "rm a.txt; mkdir a.txt; echo x > a.txt/x",
        {"a.txt": None, "a.txt/x": "x\n"},
    ),
    "a folder became a file": (
        "rm -r src; echo x > src",
        {"src/b.txt": None, "src/deep/c.txt": None, "src": "x\n"},
    ),
    "a deep folder became a file": (
        "rm -r src/deep; echo x > src/deep; rm src/b.txt",
        {"src/b.txt": None, "src/deep/c.txt": None, "src/deep": "x\n"},
    ),
    "a folder became a link": (
        "rm -r src; ln -s /etc src",
        {"src/b.txt": None, "src/deep/c.txt": None, "src": ("120000", b"/etc")},
    ),
    "modes": ("chmod +x a.txt", {"a.txt": ("100755", b"a\n")}),
    "links": (
        "ln -s a.txt link; ln -s nowhere dead; rm src/b.txt; ln -s ../a.txt src/b.txt",
        {"link": ("120000", b"a.txt"), "dead": ("120000", b"nowhere"),
         "src/b.txt": ("120000", b"../a.txt")},
    ),
    "an empty folder and a pipe": ("mkdir empty; mkfifo pipe", {}),
    "everything gone": ("git rm -qr .", dict.fromkeys(FILES)),
    "a repository without a commit inside": (
        "git init -q sub; echo x > sub/x; git -C sub add x; mkdir sub/in; echo y > sub/in/y",
        {"sub/x": "x\n", "sub/in/y": "y\n"},
    ),
    "a sparse checkout": (
        "git sparse-checkout set src; echo x > src/b.txt; mkdir docs; echo d > docs/d",
        {"src/b.txt": "x\n", "docs/d": "d\n"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("done", DONE)
def test_the_tree_of_the_worktree_is_returned(repo, slot, backend, done):
    script, changes = DONE[done]
    before = repo.git("status", "--porcelain", "--branch")
    run(slot, script)
    standing_there = all_files(slot.path)
    assert take(slot, repo, backend) == standing(**changes)
    assert take(slot, repo, backend) == standing(**changes)
    left = [path for path in all_files(slot.path) if not path.startswith("sub/.git/")]
    assert left == [path for path in standing_there if not path.startswith("sub/.git/")]
    assert repo.git("status", "--porcelain", "--branch") == before


def test_a_repository_inside_is_one_entry(repo, slot, backend):
    run(slot, "git init -q sub; cd sub; echo x > x; git add x; git commit -qm x")
    inner = Repo(slot.path / "sub").git("rev-parse", "HEAD")
    assert take(slot, repo, backend) == standing(sub=("160000", inner))


@pytest.mark.parametrize(
    "name", ["-dash", "new\nline", "tab\t", 'quo"te', "ä ö", " ", "a\\b", ":x", "*"]
)
def test_files_of_any_name_are_included(repo, slot, backend, name):
    (slot.path / name).write_text("x")
    (slot.path / "src" / name).mkdir()
    (slot.path / "src" / name / name).write_text("y")
    assert take(slot, repo, backend) == standing(**{name: "x", f"src/{name}/{name}": "y"})


@pytest.mark.skipif(sys.platform != "linux", reason="file names are UTF-8 there")
def test_a_file_whose_name_is_not_utf_8_is_included(repo, slot, backend):
    (slot.path / "latin\udce9").write_text("x")
    repo.write({"latin\udcff": "y"})
    assert take(slot, repo, backend) == standing(**{"latin\udce9": "x"})


def test_build_products_are_left_out_unless_tracked(repo, pool, backend):
    head = repo.commit({"node_modules/kept.js": "1\n", "gen/kept": "1\n"})
    slot = acquire(pool)
    slot.prepare(head)
    run(
        slot,
        "echo 2 > node_modules/kept.js; echo x > node_modules/new.js; mkdir -p src/__pycache__ .venv/bin;"
        "echo x > src/__pycache__/a.pyc; echo x > .venv/bin/python; echo x > .coverage; echo x > b.pyc;"
        "echo 2 > gen/kept; echo x > gen/new; mkdir x.egg-info; echo x > x.egg-info/PKG-INFO",
    )
    taken = take(slot, repo, backend, ignore=["gen/"])
    assert taken == standing(**{"node_modules/kept.js": "2\n", "gen/kept": "2\n"})
    assert "node_modules/" in BUILD_PRODUCTS
    run(slot, "rm -r node_modules gen")
    assert take(slot, repo, backend, ignore=["gen/"]) == standing()


def test_line_ends_are_converted_as_the_user_has_set_them(repo, pool, backend):
    head = repo.commit({".gitattributes": "*.txt text eol=crlf\n"})
    slot = acquire(pool)
    slot.prepare(head)
    assert (slot.path / "a.txt").read_bytes() == b"a\r\n"
    (slot.path / "a.txt").write_bytes(b"a\r\nb\r\n")
    assert take(slot, repo, backend)["a.txt"] == ("100644", b"a\nb\n")


def test_a_change_of_the_same_size_and_time_is_seen(repo, slot, backend):
    path = slot.path / "a.txt"
    times = path.stat()
    path.write_text("b\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert take(slot, repo, backend) == standing(**{"a.txt": "b\n"})


def test_the_tree_is_relative_to_the_commit_checked_out(repo, slot, backend):
    """What moved on the target meanwhile is no change of the agent's."""
    old = repo.tree()
    repo.commit({"a.txt": "moved\n"})
    run(slot, "echo x > new.txt")
    tree = taken(slot, backend, old)
    assert [change.path for change in Differ(backend).changes(old, tree)] == ["new.txt"]


def test_a_socket_is_no_reason_to_fail(repo, slot, backend, monkeypatch):
    monkeypatch.chdir(slot.path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        assert take(slot, repo, backend) == standing()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_cannot_be_read_is_an_error(repo, slot, backend):
    (slot.path / "secret").write_text("x")
    (slot.path / "secret").chmod(0)
    with pytest.raises(GitFailedError):
        taken(slot, backend, repo.tree())


def test_a_slot_is_whole_although_the_checkout_is_sparse(repo, pool, backend):
    repo.git("sparse-checkout", "set", "--sparse-index", "src/deep")
    slot = acquire(pool)
    for _ in range(2):
        slot.prepare(repo.git("rev-parse", "HEAD"))
        assert all_files(slot.path) == [".git", *sorted(standing())]
        assert not (slot.admin / "config.worktree").exists()
        run(slot, "mkdir -p docs; echo d > docs/d; echo x > src/b.txt")
        assert take(slot, repo, backend) == standing(**{"docs/d": "d\n", "src/b.txt": "x\n"})
    assert repo.git("sparse-checkout", "list") == "src/deep"


def test_the_index_of_a_slot_is_one_file_although_the_users_is_split(repo, pool, backend):
    repo.git("config", "core.splitIndex", "true")
    slot = acquire(pool)
    for _ in range(2):
        slot.prepare(repo.git("rev-parse", "HEAD"))
        run(slot, "echo x > src/b.txt")
        assert take(slot, repo, backend) == standing(**{"src/b.txt": "x\n"})
    assert not list(slot.admin.glob("sharedindex*"))


def test_hooks_and_filters_of_the_agent_do_not_run(repo, slot, backend):
    hook = repo.git_dir / "hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {repo.path.parent}/ran\n")
    hook.chmod(0o755)
    run(slot, "git config core.fsmonitor 'touch ../../ran; false'")
    assert take(slot, repo, backend) == standing()
    slot.prepare(repo.commit({"a.txt": "2\n"}))
    assert not (repo.path.parent / "ran").exists()


def test_a_lock_ends_with_its_last_holder(repo, pool):
    slot = acquire(pool)
    path = pool.folder / "build-1.lock"
    child = subprocess.Popen(["sleep", "60"], pass_fds=(slot.lock,))
    slot.release()
    assert try_lock(path) is None  # what an agent left running still writes there
    child.kill()
    child.wait()
    descriptor = try_lock(path)
    assert descriptor is not None
    os.close(descriptor)
    assert isinstance(slot, Slot)


def test_a_users_prune_at_any_time_costs_a_worktree_and_no_more(repo, pool):
    """Its `.git` is gone, so that git's entry for it goes with each prune, or in the middle."""
    code = (
        "import subprocess, sys\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    subprocess.run(['git', 'worktree', 'prune'], cwd=sys.argv[1])\n"
    )
    prune = subprocess.Popen([sys.executable, "-c", code, repo.path], stdout=subprocess.PIPE)
    head = repo.git("rev-parse", "HEAD")
    try:
        assert prune.stdout.readline() == b"ready\n"
        for _ in range(40):
            slot = acquire(pool)
            slot.prepare(head)
            assert (slot.path / "a.txt").read_text() == "a\n"
            (slot.path / ".git").unlink()
            slot.reset_entry(head)
            slot.release()
    finally:
        prune.kill()
        prune.wait()
        prune.stdout.close()


def test_entries_that_appear_and_disappear_cause_no_error(repo, pool):
    """Other processes add and remove worktrees of their own meanwhile."""
    code = (
        "import os, shutil, sys\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    os.makedirs(sys.argv[1] + '/other')\n"
        "    open(sys.argv[1] + '/other/gitdir', 'w').write('/nowhere/.git\\n')\n"
        "    shutil.rmtree(sys.argv[1] + '/other')\n"
    )
    folder = repo.git_dir / "worktrees"
    others = subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE)
    try:
        assert others.stdout.readline() == b"ready\n"
        slot = acquire(pool)
        for _ in range(300):
            slot.discard()
        slot.release()
    finally:
        others.kill()
        others.wait()
        others.stdout.close()


def test_a_git_whose_child_was_killed_is_a_killed_git(sandbox):
    """`git worktree add` starts `git reset`, and exits with 128 and the signal of its child."""
    repo = sandbox.repo("child", files={".gitattributes": "*.k filter=kill\n", "a.k": "a\n"})
    repo.git("config", "filter.kill.smudge", "kill -9 $PPID")
    add = ("worktree", "add", "-q", "--detach", str(sandbox.root / "tree"), "HEAD")
    for check in (True, False):
        with pytest.raises(GitKilledError, match="`git worktree` was killed by signal 9"):
            Git(repo.git_dir).run(*add, check=check)
