"""The user's checkout: it follows the branch, or stays unchanged."""

from __future__ import annotations

import os
import subprocess
import threading

import psutil
import pytest

from gitmill.errors import CheckoutBlockedError
from gitmill.git import trees
from gitmill.git.checkout import (
    checkout_of,
    current_branch,
    fast_forward,
    git_at,
    refuse_busy,
    refuse_overlap,
    resume,
)
from gitmill.git.differ import Differ
from gitmill.git.libgit2 import Libgit2
from gitmill.git.locks import try_lock
from gitmill.git.repo import Checkout, Repository
from gitmill.git.undo_fast_forward import keep_originals, undo_fast_forward
from tests.support.hints import shown
from tests.support.repos import Repo

MAIN = "refs/heads/main"
FILES = {
    "a.txt": "a\n",
    "b.txt": "b\n",
    "src/c.txt": "c\n",
    "gone.txt": "gone\n",
    "dist/kept.txt": "kept\n",
}
# What lands: an edit, an addition in a new folder, in an ignored one, of an ignored file, a removal.
CHANGES = {
    "a.txt": b"landed\n",
    "docs/new.txt": b"new\n",
    "build/in/kept.txt": b"kept\n",
    "dist/kept.txt": b"landed\n",
    "x.log": b"log\n",
    "gone.txt": None,
}


@pytest.fixture
def repo(sandbox):
    repo = sandbox.repo(files=FILES)
    repo.commit({".gitignore": "*.log\nbuild/\ndist/\n"})
    return repo


@pytest.fixture
def lock(tmp_path):
    descriptor = try_lock(tmp_path / "land.lock")
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def candidate(repo):
    return commit_on(repo, repo.git("rev-parse", "HEAD"), CHANGES)


def commit_on(repo, parent, changes):
    backend = Libgit2(repo.git_dir, fsync=False)
    tree = trees.edit(backend, repo.tree(parent), changes)
    return repo.git("commit-tree", tree, "-p", parent, "-m", "candidate")


def place_of(repo):
    return checkout_of(Repository.open(repo.path), MAIN, pool=repo.path.parent / "pool")


def run(repo, script):
    subprocess.run(["/bin/sh", "-ec", script], cwd=repo.path, check=True, capture_output=True)


def everything(repo):
    """All that a user could miss: files, index, HEAD, refs, stash, what git says is under way."""
    files = {
        str(path.relative_to(repo.path)): path.read_bytes()
        for path in repo.path.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(repo.path).parts
    }
    asked = ("status", "--porcelain", "--branch", "--ignored", "-uall"), ("ls-files", "-s", "-v")
    asked += ("for-each-ref",), ("rev-parse", "HEAD"), ("stash", "list"), ("symbolic-ref", "HEAD")
    return files, [repo.git(*args, check=False) for args in asked]


def refused(call, *args, **kwargs):
    with pytest.raises(CheckoutBlockedError) as blocked:
        call(*args, **kwargs)
    return blocked.value


# Following


def test_a_clean_checkout_follows(repo, candidate, lock):
    place = place_of(repo)
    refuse_overlap(place, CHANGES)
    fast_forward(place, candidate, lock=lock)
    assert repo.git("rev-parse", "main") == candidate
    assert repo.git("status", "--porcelain", "--ignored") == ""
    assert (repo.path / "a.txt").read_text() == "landed\n"
    assert not (repo.path / "gone.txt").exists()
    assert repo.git("symbolic-ref", "HEAD") == MAIN
    fast_forward(place, candidate, lock=lock)  # again changes nothing


ELSEWHERE = {
    "changed": "echo mine > b.txt",
    "staged": "echo mine > b.txt; git add b.txt",
    "staged and changed": "echo mine > b.txt; git add b.txt; echo more >> b.txt",
    "deleted": "rm b.txt src/c.txt",
    "added": "echo mine > mine.txt; git add mine.txt",
    "untracked beside a new file": "mkdir docs; echo mine > docs/mine.txt",
    "ignored beside a new file": "mkdir build; echo mine > build/mine.txt",
    "ignored beside a changed file": "echo mine > dist/mine.txt",
    "renamed": "git mv b.txt c.txt",
    "hidden from git": "git update-index --assume-unchanged b.txt; echo mine > b.txt",
    "stashed": "echo mine > a.txt; git stash -q",
}


@pytest.mark.parametrize("what", ELSEWHERE)
def test_changes_elsewhere_stay(repo, candidate, lock, what):
    run(repo, ELSEWHERE[what])
    files, told = everything(repo)
    place = place_of(repo)
    refuse_overlap(place, CHANGES)
    fast_forward(place, candidate, lock=lock)
    after, told_after = everything(repo)
    landed = {path: data for path, data in CHANGES.items() if data is not None}
    assert after == {path: data for path, data in files.items() if path != "gone.txt"} | landed
    assert repo.git("rev-parse", "main") == candidate
    assert told[0].splitlines()[1:] == told_after[0].splitlines()[1:]  # the same own changes
    assert told[4] == told_after[4]


# Standing still

OVERLAPS = {
    "changed": ("echo mine > a.txt", ["a.txt"]),
    "staged": ("echo mine > a.txt; git add a.txt", ["a.txt"]),
    "staged, then changed back": ("echo m > a.txt; git add a.txt; echo a > a.txt", ["a.txt"]),
    "deleted": ("rm a.txt", ["a.txt"]),
    "changed what is removed": ("echo mine > gone.txt", ["gone.txt"]),
    "untracked in the way": ("mkdir docs; echo mine > docs/new.txt", ["docs/new.txt"]),
    "untracked, the same content": ("mkdir docs; echo new > docs/new.txt", ["docs/new.txt"]),
    "a file where a folder comes": ("echo mine > docs", ["docs"]),
    "a folder where a file was": ("rm a.txt; mkdir a.txt; echo m > a.txt/x", ["a.txt", "a.txt/x"]),
    "an ignored file in the way": ("echo mine > x.log", ["x.log"]),
    "an ignored file in an ignored folder": (
        "mkdir -p build/in; echo m > build/in/kept.txt", ["build/in/kept.txt"],
    ),
    "an ignored file where a folder comes": ("mkdir build; echo m > build/in", ["build/in"]),
    "an ignored link where a folder comes": ("mkdir build; ln -s /tmp build/in", ["build/in"]),
    "a folder where an ignored file comes": (
        "mkdir -p build/in/kept.txt; echo m > build/in/kept.txt/m", ["build/in/kept.txt"],
    ),
    "a tracked file in an ignored folder": ("echo m > dist/kept.txt", ["dist/kept.txt"]),
    "a link in the way": ("ln -s /tmp docs", ["docs"]),
    "a file as the ignored folder": ("mkdir x.log; echo mine > x.log/mine", ["x.log"]),
    "added": ("mkdir docs; echo m > docs/new.txt; git add docs", ["docs/new.txt"]),
    "renamed": ("git mv a.txt moved.txt", ["a.txt"]),
    "a mode": ("chmod +x a.txt", ["a.txt"]),
    "several": ("echo m > a.txt; echo m > gone.txt; echo m > x.log; mkdir -p build/in docs;"
                "echo m > build/in/kept.txt; echo m > docs/new.txt; rm b.txt",
                ["a.txt", "build/in/kept.txt", "docs/new.txt", "gone.txt", "x.log"]),
}  # fmt: skip


@pytest.mark.parametrize("what", OVERLAPS)
def test_an_overlap_is_named_and_nothing_is_changed(repo, candidate, lock, what):
    script, named = OVERLAPS[what]
    run(repo, script)
    before, place = everything(repo), place_of(repo)
    error = refused(refuse_overlap, place, CHANGES)
    assert error.message == (
        f"your own changes in {repo.path} overlap with the landing; nothing was changed"
    )
    assert list(error.evidence) == named
    assert shown(error.hints) == ("commit or move them away, then `gitmill queue land`",)
    assert everything(repo) == before


def test_many_overlaps_are_counted(repo):
    names = [f"{n}.txt" for n in range(8)]
    repo.write(dict.fromkeys(names, "mine\n"))
    error = refused(refuse_overlap, place_of(repo), names)
    assert error.evidence == (*names[:5], "and 3 more")


def test_odd_names_are_compared_as_they_are(repo):
    names = ["new\nline", "ä ö", 'quo"te', "-dash", " -> ", "latin\udce9"]
    repo.write(dict.fromkeys(names, "mine\n"))
    assert refused(refuse_overlap, place_of(repo), ["ä ö"]).evidence == ("ä ö",)
    assert refused(refuse_overlap, place_of(repo), [" -> "]).evidence == (" -> ",)
    refuse_overlap(place_of(repo), ["line", "new", "quo", "dash"])


def test_settings_that_hide_files_from_the_user_hide_none_from_us(repo):
    for key in ("status.showUntrackedFiles", "core.untrackedCache", "status.renames"):
        repo.git("config", key, "no" if "show" in key else "true")
    repo.git("config", "status.relativePaths", "true")
    repo.write({"docs/new.txt": "mine\n"})
    assert refused(refuse_overlap, place_of(repo), CHANGES).evidence == ("docs/new.txt",)


# What git itself refuses must leave everything as it was too; the user may be quicker than we are.

UNDER_WAY = {
    "changed": "echo mine > a.txt",
    "staged": "echo mine > a.txt; git add a.txt",
    "untracked in the way": "mkdir docs; echo mine > docs/new.txt",
    "an ignored file in the way": "echo mine > x.log",
    "hidden from git": "git update-index --assume-unchanged a.txt; echo mine > a.txt",
    "hidden by skip-worktree": "git update-index --skip-worktree a.txt; echo mine > a.txt",
    "a merge under way": "git switch -q -c o; echo 1 > b.txt; git commit -qam 1; git switch -q main;"
                         "git merge -q --no-commit --no-ff o",
    "a cherry-pick under way": "git switch -q -c o; echo 1 > b.txt; git commit -qam 1;"
                               "git switch -q main; git cherry-pick -n o; git rev-parse o > .git/CHERRY_PICK_HEAD",
    "a lock": "touch .git/index.lock",
}  # fmt: skip


@pytest.mark.parametrize("setting", ["", "merge.autoStash", "rebase.autoStash"])
@pytest.mark.parametrize("what", UNDER_WAY)
def test_a_refused_fast_forward_changes_nothing(repo, candidate, lock, what, setting):
    run(repo, UNDER_WAY[what])
    if setting:
        repo.git("config", setting, "true")
    before = everything(repo)
    error = refused(fast_forward, place_of(repo), candidate, lock=lock)
    said = "a lock keeps git from updating" if what == "a lock" else "git could not fast-forward"
    assert error.message == f"{said} {repo.path}, which is as it was"
    assert error.evidence
    assert everything(repo) == before


@pytest.mark.parametrize("name", ["index.lock", "HEAD.lock", "refs/heads/main.lock"])
def test_a_fast_forward_waits_for_a_lock_of_the_users_git(repo, candidate, lock, name):
    file = repo.git_dir / name
    file.touch()
    timer = threading.Timer(0.3, file.unlink)
    timer.start()
    fast_forward(place_of(repo), candidate, lock=lock)
    timer.join()
    assert repo.git("rev-parse", "main") == candidate
    assert repo.git("status", "--porcelain") == ""


@pytest.mark.parametrize("name", ["HEAD.lock", "refs/heads/main.lock"])
def test_a_fast_forward_whose_branch_cannot_move_writes_no_file(repo, candidate, lock, name):
    run(repo, "echo mine > b.txt; echo mine > staged.txt; git add staged.txt")
    before = everything(repo)
    (repo.git_dir / name).touch()
    refused(fast_forward, place_of(repo), candidate, lock=lock)
    (repo.git_dir / name).unlink()
    assert everything(repo) == before


def test_a_commit_that_is_no_descendant_is_refused(repo, candidate, lock):
    other = repo.commit({"b.txt": "moved\n"})
    before = everything(repo)
    refused(fast_forward, place_of(repo), candidate, lock=lock)
    assert everything(repo) == before
    assert repo.git("rev-parse", "main") == other


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("branch.main.mergeOptions", "--squash"),
        ("branch.main.mergeOptions", "--no-ff"),
        ("branch.main.mergeOptions", "-s ours"),
        ("branch.main.mergeOptions", "--no-commit --autostash"),
        ("merge.ff", "false"),
        ("merge.verifySignatures", "true"),
        ("merge.autoStash", "true"),
        ("merge.stat", "true"),
        ("pull.rebase", "true"),
        ("core.hooksPath", "hooks"),
        ("user.useConfigOnly", "true"),
    ],
)
def test_the_users_settings_for_merges_do_not_matter(
    repo, candidate, lock, monkeypatch, key, value
):
    repo.git("config", key, value)
    if key.startswith("user"):
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    fast_forward(place_of(repo), candidate, lock=lock)
    assert repo.git("rev-parse", "main") == candidate
    assert repo.git("status", "--porcelain") == ""
    assert repo.git("stash", "list") == ""


def test_hooks_do_not_run(repo, candidate, lock):
    for name in ("post-merge", "pre-merge-commit", "reference-transaction", "post-checkout"):
        hook = repo.git_dir / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {repo.path.parent}/ran\nexit 1\n")
        hook.chmod(0o755)
    fast_forward(place_of(repo), candidate, lock=lock)
    assert repo.git("rev-parse", "main") == candidate
    assert not (repo.path.parent / "ran").exists()


# Which checkout it is


def test_the_checkout_of_a_branch_may_be_another_worktree(repo, candidate, lock):
    repo.git("switch", "-q", "-c", "other")
    assert place_of(repo) is None
    linked = Repo(repo.path.parent / "lin ked\nü")
    repo.git("worktree", "add", "-q", str(linked.path), "main")
    place = place_of(repo)
    assert place == Checkout(linked.path, MAIN)
    (linked.path / "b.txt").write_text("mine\n")
    (repo.path / "a.txt").write_text("mine\n")
    before = everything(repo)[0]
    refuse_overlap(place, CHANGES)
    fast_forward(place, candidate, lock=lock)
    assert linked.git("status", "--porcelain") == " M b.txt"
    assert linked.git("rev-parse", "HEAD") == candidate
    assert everything(repo)[0] == before
    (linked.path / "a.txt").write_text("mine\n")
    assert refused(refuse_overlap, place, CHANGES).evidence == ("a.txt",)


def test_a_worktree_of_the_pool_is_no_checkout(repo):
    repo.git("switch", "-q", "-c", "other")
    pool = repo.path.parent / "pool"
    (repo.path.parent / "link").symlink_to(pool)
    repo.git("worktree", "add", "-q", str(pool / "build-1"), "main")
    opened = Repository.open(repo.path)
    for folder in (pool, repo.path.parent / "link"):
        assert checkout_of(opened, MAIN, pool=folder) is None
    assert checkout_of(opened, MAIN, pool=repo.path.parent / "poo") is not None


def test_a_submodule_is_a_checkout_too(sandbox, repo, lock):
    outer = sandbox.repo("outer")
    outer.git(
        "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repo.path), "sub"
    )
    sub = Repo(outer.path / "sub")
    head = sub.git("rev-parse", "HEAD")
    new = sub.git("commit-tree", sub.tree(), "-p", head, "-m", "x")
    place = place_of(sub)
    assert place == Checkout(sub.path, MAIN)
    fast_forward(place, new, lock=lock)
    assert sub.git("rev-parse", "main") == new


def test_the_current_branch(repo):
    opened = Repository.open(repo.path)
    assert current_branch(opened) == "main"
    repo.git("switch", "-q", "-c", "feature/ü")
    assert current_branch(opened) == "feature/ü"
    repo.git("switch", "-q", "--detach")
    assert current_branch(opened) == ""
    assert place_of(repo) is None
    assert git_at(Checkout(repo.path, "")).out("rev-parse", "HEAD") == repo.git("rev-parse", "HEAD")


# A branch that is busy


def begin_rebase(repo):
    repo.commit({"b.txt": "1\n"})
    repo.git("-c", "sequence.editor=sed -i s/pick/edit/", "rebase", "-q", "-i", "HEAD~1")


def begin_apply(repo):
    repo.git("branch", "base")
    repo.commit({"b.txt": "1\n"})
    repo.git("switch", "-q", "base")
    repo.commit({"b.txt": "2\n"})
    repo.git("switch", "-q", "main")
    repo.git("rebase", "-q", "--apply", "base", check=False)


def begin_bisect(repo):
    repo.commit({"b.txt": "1\n"})
    repo.git("bisect", "start", "HEAD", "HEAD~1")


@pytest.mark.parametrize(
    ("begin", "doing"),
    [(begin_rebase, "rebase"), (begin_apply, "rebase"), (begin_bisect, "bisect")],
)
@pytest.mark.parametrize("where", ["main", "linked"])
def test_a_branch_in_a_rebase_or_bisect_is_left_alone(repo, begin, doing, where):
    place = repo
    if where == "linked":
        repo.git("switch", "-q", "-c", "elsewhere")
        place = Repo(repo.path.parent / "linked")
        repo.git("worktree", "add", "-q", str(place.path), "main")
    begin(place)
    opened = Repository.open(repo.path)
    error = refused(refuse_busy, opened, MAIN)
    assert error.message == f"main is in the middle of a {doing}; nothing was changed"
    assert shown(error.hints) == (f"finish the {doing}, then `gitmill queue land`",)
    refuse_busy(opened, "refs/heads/other")
    place.git(doing, "reset" if doing == "bisect" else "--abort")
    refuse_busy(opened, MAIN)


# Killed between the index and the branch


def test_a_fast_forward_that_was_killed_is_finished(repo, candidate, lock):
    old = repo.git("rev-parse", "HEAD")
    place = place_of(repo)
    (repo.path / "b.txt").write_text("mine\n")
    repo.git("read-tree", "-m", "-u", old, candidate)
    assert repo.git("rev-parse", "HEAD") == old
    assert resume(place, old, candidate, lock=lock)
    assert repo.git("rev-parse", "main") == candidate
    assert repo.git("status", "--porcelain") == " M b.txt"


def test_one_that_had_not_begun_or_has_ended_is_not_touched(repo, candidate, lock):
    old = repo.git("rev-parse", "HEAD")
    place, before = place_of(repo), everything(repo)
    assert not resume(place, old, candidate, lock=lock)
    assert everything(repo) == before
    (repo.path / "a.txt").write_text("landed\n")
    repo.git("add", "a.txt")  # a part of it by hand
    before = everything(repo)
    assert not resume(place, old, candidate, lock=lock)
    assert everything(repo) == before
    repo.git("checkout", "-q", "HEAD", "--", "a.txt")
    fast_forward(place, candidate, lock=lock)
    before = everything(repo)
    assert not resume(place, old, candidate, lock=lock)
    assert everything(repo) == before


# Killed before the index


def test_files_that_a_killed_fast_forward_has_written_are_restored(repo, candidate, lock):
    """As a whole, as a half and as nothing; what somebody wrote since is theirs."""
    (repo.path / "b.txt").write_text("mine\n")
    old, before = repo.git("rev-parse", "HEAD"), everything(repo)
    changed = changes_of(repo, old, candidate)
    (repo.path / "a.txt").write_text("landed\n")
    (repo.path / "docs").mkdir()
    (repo.path / "docs/new.txt").write_text("ne")
    (repo.path / "gone.txt").unlink()
    (repo.path / "dist/kept.txt").write_text("")
    place, backend = place_of(repo), Libgit2(repo.git_dir)
    torn = undo_fast_forward(place, backend, changed).paths
    assert set(torn) == {"a.txt", "docs/new.txt", "gone.txt", "dist/kept.txt"}
    assert everything(repo) == before
    assert undo_fast_forward(place, backend, changed).paths == ()
    fast_forward(place, candidate, lock=lock)
    assert repo.git("status", "--porcelain") == " M b.txt"


def test_a_folder_that_replaced_a_file_and_the_reverse_are_restored(repo, lock):
    old = repo.git("rev-parse", "HEAD")
    repo.git("switch", "-q", "-c", "turned")
    repo.git("rm", "-q", "a.txt", "src/c.txt")
    (repo.path / "a.txt/deep").mkdir(parents=True)
    new = repo.commit({"a.txt/deep/in.txt": "in\n", "src": "a file\n"})
    repo.git("switch", "-q", "main")
    before, changed = everything(repo), changes_of(repo, old, new)
    (repo.path / "a.txt").unlink()
    (repo.path / "a.txt/deep").mkdir(parents=True)
    (repo.path / "a.txt/deep/in.txt").write_text("in\n")
    (repo.path / "src/c.txt").unlink()
    (repo.path / "src").rmdir()
    (repo.path / "src").write_text("a f")
    undo_fast_forward(place_of(repo), Libgit2(repo.git_dir), changed)
    assert everything(repo) == before
    (repo.path / "a.txt").unlink()
    (repo.path / "a.txt").mkdir()
    (repo.path / "a.txt/mine.txt").write_text("mine\n")
    assert undo_fast_forward(place_of(repo), Libgit2(repo.git_dir), changed).paths == ()
    assert (repo.path / "a.txt/mine.txt").exists()


def test_files_that_the_user_has_written_since_are_not_restored(repo, candidate):
    old = repo.git("rev-parse", "HEAD")
    (repo.path / "a.txt").write_text("landed, and more\n")
    (repo.path / "gone.txt").write_text("mine\n")
    (repo.path / "dist/kept.txt").write_text("landed\n")
    repo.git("add", "-f", "dist/kept.txt")
    before = everything(repo)
    assert (
        undo_fast_forward(
            place_of(repo), Libgit2(repo.git_dir), changes_of(repo, old, candidate)
        ).paths
        == ()
    )
    assert everything(repo) == before


def test_a_half_done_file_is_known_behind_filters_and_line_ends(repo, candidate):
    repo.git("config", "core.autocrlf", "true")
    old = repo.git("rev-parse", "HEAD")
    (repo.path / "a.txt").write_bytes(b"landed\r\n")
    changed = changes_of(repo, old, candidate)
    assert undo_fast_forward(place_of(repo), Libgit2(repo.git_dir), changed).paths == ("a.txt",)
    assert (repo.path / "a.txt").read_text().split() == ["a"]


def changes_of(repo: Repo, old: str, new: str) -> list[trees.Change]:
    backend = Libgit2(repo.git_dir)
    olds, news = (repo.git("rev-parse", f"{commit}^{{tree}}") for commit in (old, new))
    return list(Differ(backend).changes(olds, news))


# A filter that hangs


def test_a_filter_that_hangs_is_ended_with_git_and_what_git_has_written_is_taken_back(
    repo, candidate, lock, tmp_path
):
    repo.git("config", "filter.hangs.smudge", f"echo $$ > {tmp_path}/pid; exec sleep 600")
    repo.git("config", "filter.hangs.required", "true")
    (repo.git_dir / "info").mkdir(exist_ok=True)
    (repo.git_dir / "info/attributes").write_text("x.log filter=hangs\n")
    (repo.path / "b.txt").write_text("mine\n")
    old, before, place = repo.git("rev-parse", "HEAD"), everything(repo), place_of(repo)
    changed = changes_of(repo, old, candidate)
    keep_originals(tmp_path / "originals", place, changed)
    error = refused(fast_forward, place, candidate, lock=lock, limit=1.0)
    assert "after 1 seconds" in error.message
    assert everything(repo) != before
    pid = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert not list(repo.git_dir.glob("*.lock"))
    done = undo_fast_forward(place, Libgit2(repo.git_dir), changed, tmp_path / "originals")
    assert "a.txt" in done.paths
    assert done.left == ()
    assert everything(repo) == before
