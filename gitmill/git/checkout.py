"""The user's checkout of a branch: fast-forwarded after a landing, or left untouched."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from gitmill.errors import CheckoutBlockedError, MissingObjectError
from gitmill.git.executable import Git
from gitmill.git.objects import Backend
from gitmill.git.repo import Checkout, Repository
from gitmill.git.trees import Change
from gitmill.git.worktree_entries import remove
from gitmill.hints import Gitmill, Hint, Shell

_STARTUP = 2.0  # seconds within which a fast-forward takes the index lock, and usually all locks
_OLD = 5.0  # seconds
_PATIENCE, _RETRY = 1.0, 0.02  # seconds to wait for a lock of the user's git, and between two tries
_LOCKED = ".lock': File exists"


def checkout_of(repository: Repository, ref: str, *, pool: Path) -> Checkout | None:
    """Return the work tree that has a branch checked out, None if there is none.

    Worktrees below `pool` are gitmill's: the branch an agent switched to there does not count.
    """
    for checkout in repository.checkouts():
        if checkout.branch == ref and pool.resolve() not in checkout.path.resolve().parents:
            return checkout
    return None


def current_branch(repository: Repository) -> str:
    """Return the branch checked out in the user's work tree, empty if HEAD is detached."""
    if repository.top is None:
        return ""
    git = git_at(Checkout(repository.top, ""))
    done = git.run("symbolic-ref", "-q", "HEAD", check=False)
    return done.text.strip().removeprefix("refs/heads/") if done.returncode == 0 else ""


def refuse_busy(repository: Repository, ref: str) -> None:
    """Raise `CheckoutBlockedError` if any work tree is in a rebase or bisect of the branch."""
    folders = [repository.common]
    with suppress(FileNotFoundError):  # no worktrees, or the last one was removed just now
        folders += (repository.common / "worktrees").iterdir()
    for folder in folders:
        for name in ("rebase-merge/head-name", "rebase-apply/head-name", "BISECT_START"):
            try:
                branch = (folder / name).read_text("utf-8", "replace").strip()
            except OSError:
                continue
            if branch in (ref, ref.removeprefix("refs/heads/")):
                operation = "bisect" if name.startswith("BISECT") else "rebase"
                raise CheckoutBlockedError(
                    f"{ref.removeprefix('refs/heads/')} is in the middle of a {operation}; "
                    "nothing was changed",
                    hints=[Hint(f"finish the {operation}, then", Gitmill("queue", "land"))],
                )


def git_at(checkout: Checkout, *, locks: Sequence[int] = (), options: Sequence[str] = ()) -> Git:
    """Return git for one of the user's work trees, with that work tree's own index."""
    git_dir = checkout.path / ".git"
    if not git_dir.is_dir():
        link = git_dir.read_text("utf-8", "surrogateescape")
        git_dir = Path(link.removeprefix("gitdir: ").strip())
    return Git(git_dir, work_tree=checkout.path, locks=locks, options=options)


def refuse_overlap(checkout: Checkout, changed: Iterable[str]) -> None:
    """Raise `CheckoutBlockedError`, naming the files, if the user's own changes overlap.

    The user's own changes are files that differ from the index or HEAD, and untracked or ignored
    files at a path that the landing would write.
    """
    git, paths = git_at(checkout), set(changed)
    folders = {
        "/".join(path.split("/")[:n]) for path in paths for n in range(1, path.count("/") + 1)
    }
    own = set(_own_changes(git, checkout.path, paths))
    blocked = sorted(
        path for path in own if path in paths or path in folders or _is_below(path, paths)
    )
    if blocked:
        shown = blocked[:5] + ([f"and {len(blocked) - 5} more"] if len(blocked) > 5 else [])
        raise CheckoutBlockedError(
            f"your own changes in {checkout.path} overlap with the landing; nothing was changed",
            evidence=shown,
            hints=[Hint("commit or move them away, then", Gitmill("queue", "land"))],
        )


def _is_below(path: str, paths: set[str]) -> bool:
    parts = path.rstrip("/").split("/")
    return any("/".join(parts[:n]) in paths for n in range(1, len(parts)))


def _own_changes(git: Git, top: Path, paths: set[str]) -> Iterable[str]:
    out = git.run(
        "status", "--porcelain=v1", "-z", "--no-renames",
        "--untracked-files=all", "--ignored=matching", "--ignore-submodules=none",
    ).text  # fmt: skip
    for line in out.split("\0"):
        kind, name = line[:2], line[3:]
        if kind == "!!" and name.endswith("/"):
            # an entirely ignored folder: the landing blocks only at paths that exist in it
            yield from (_obstacle(top, path) for path in paths if f"{path}/".startswith(name))
        else:
            yield name.rstrip("/")


def _obstacle(top: Path, path: str) -> str:
    """Return the path, or the parent of it that is not a folder; empty if nothing exists there."""
    parts = path.split("/")
    for n in range(1, len(parts) + 1):
        file = top.joinpath(*parts[:n])
        if file.is_symlink() or (file.exists() and (n == len(parts) or not file.is_dir())):
            return "/".join(parts[:n])
    return ""


def fast_forward(
    checkout: Checkout, commit: str, *, lock: int, options: Sequence[str] = ()
) -> None:
    """Move the checkout's branch, index and files to a descendant, or raise and move nothing.

    The git process inherits the file descriptor `lock`: if this process is killed, others that wait
    for the lock still wait until the move has ended. `options` are git's, such as `FLUSH`. It waits
    a moment for the locks of the user's own git. Raises `CheckoutBlockedError` with git's own
    reason.
    """
    # the user's merge options might include --squash, which moves the files and not the branch
    no_options = f"branch.{checkout.branch.removeprefix('refs/heads/')}.mergeOptions="
    git, give_up = git_at(checkout, locks=(lock,), options=options), time.monotonic() + _PATIENCE
    while True:
        done = git.run(
            "-c", "merge.stat=false", "-c", no_options,
            "merge", "-q", "--ff-only", "--no-autostash", "--no-verify-signatures",
            "--no-overwrite-ignore", commit, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            return
        if "update_ref failed" in done.error:
            _take_back(git, commit, give_up)
        if _LOCKED not in done.error or time.monotonic() > give_up:
            raise CheckoutBlockedError(
                f"git could not fast-forward {checkout.path}",
                evidence=done.error.splitlines()[:6],
                hints=[Hint("see", Shell("git status"), "there, then", Gitmill("queue", "land"))],
            )
        time.sleep(_RETRY)


def _take_back(git: Git, commit: str, give_up: float) -> None:
    """Bring index and files back to HEAD after a fast-forward to a commit that HEAD did not follow.

    git moves HEAD last, and fails there when the user's own commit was faster or holds a lock.
    Files that the user has changed since stay as they are.
    """
    while True:
        done = git.run("read-tree", "-m", "-u", commit, "HEAD", check=False)
        if _LOCKED not in done.error or time.monotonic() > give_up:
            return
        time.sleep(_RETRY)


def resume(
    checkout: Checkout, old: str, new: str, *, lock: int, options: Sequence[str] = ()
) -> bool:
    """Finish a fast-forward that was killed after it wrote the index; return whether it moved.

    In that state the index already equals the new commit while HEAD is still the old one: no user
    of git creates it by accident, and continuing loses nothing.
    """
    git = git_at(checkout)
    if git.out("rev-parse", "HEAD") != old:
        return False
    if git.run("diff-index", "--cached", "--quiet", new, "--", check=False).returncode != 0:
        return False
    fast_forward(checkout, new, lock=lock, options=options)
    return True


def clear_locks(checkout: Checkout, common: Path, began: float, aside: Path) -> None:
    """Move aside the locks that a killed fast-forward has left in a checkout.

    `began` is the time it began, in seconds since the epoch. A lock from that time belongs to the
    fast-forward, because no other process can have taken it since. An old lock on a ref has no
    owner, because git holds such a lock for milliseconds. Call this only if that git process is
    known to be dead.
    """
    git_dir = git_at(checkout).git_dir
    ref_locks = [(git_dir, "HEAD.lock"), (git_dir, "ORIG_HEAD.lock")]
    ref_locks.append((common, f"{checkout.branch}.lock"))
    for folder, name in [(git_dir, "index.lock"), *ref_locks]:
        with suppress(FileNotFoundError):
            taken = (folder / name).stat().st_mtime
            old = name != "index.lock" and time.time() - taken >= _OLD
            if old or taken < began + _STARTUP:
                aside.mkdir(parents=True, exist_ok=True)
                (folder / name).rename(aside / f"{name.replace('/', '-')}-{time.time_ns()}")


def restore_files(
    checkout: Checkout, backend: Backend, old: str, changed: Iterable[Change]
) -> tuple[str, ...]:
    """Undo a fast-forward from `old` that was killed before it wrote the index; return the paths.

    It can leave a file as in the new commit, half written, or missing. Such files are restored from
    `old`; any other content was written by someone else since, and stays. Call this only for a
    fast-forward that had begun: then the user had changed none of these paths.
    """
    git, top = git_at(checkout), checkout.path
    staged = set(git.run("diff-index", "--cached", "--name-only", "-z", old, "--").text.split("\0"))
    dirty = set(_own_changes(git, top, {change.path for change in changed}))
    unfinished = [change for change in changed if change.path in dirty]
    torn = [
        change
        for change in unfinished
        if change.path not in staged and _is_torn(git, top / change.path, backend, change)
    ]
    for change in torn:
        if os.path.lexists(top / change.path):  # false below a file that replaced a folder
            remove(top / change.path)
    torn += [
        change
        for change in unfinished
        if change.new is None and _remove_empty_folders(top / change.path)
    ]
    known = "".join(f"{change.path}\0" for change in torn if change.old is not None)
    if known:
        names = known.encode(errors="surrogateescape")
        git.run("checkout-index", "-f", "-z", "--stdin", stdin=names, check=False)
    return tuple(change.path for change in torn)


def _remove_empty_folders(path: Path) -> bool:
    """Remove a folder that replaced a file, if it holds only folders; return whether it is gone."""
    if path.is_symlink() or not path.is_dir():
        return False
    for parent, _, files in os.walk(path, topdown=False):
        if files:
            return False
        with suppress(OSError):  # holds a link to a folder, or a file just created
            Path(parent).rmdir()
    return not path.exists()


def _is_torn(git: Git, path: Path, backend: Backend, change: Change) -> bool:
    """Whether a killed fast-forward can have left a path in its present condition."""
    if not os.path.lexists(path):
        return True
    if change.new is None or not (path.is_symlink() or path.is_file()):
        return False
    try:
        new = backend.read(change.new.oid)[1]
    except MissingObjectError:  # a submodule
        return False
    if path.is_symlink():
        return os.fsencode(os.readlink(path)) == new  # noqa: PTH115  (as bytes)
    # Compare as git would store it: filters and line endings can change it in the work tree.
    argv = ("hash-object", f"--path={change.path}", "--stdin")
    data = path.read_bytes()
    return new.startswith(data) or git.out(*argv, stdin=data) == change.new.oid
