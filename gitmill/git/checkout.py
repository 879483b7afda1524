"""The user's checkout of a branch: followed by a fast-forward, or left exactly as it is."""

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

_BEGINS = 2.0  # seconds in which a fast-forward has taken the lock of the index, mostly all locks
_OLD = 5.0  # seconds


def checkout_of(repository: Repository, ref: str, *, pool: Path) -> Checkout | None:
    """Return the work tree that has a branch checked out, None when no one has.

    Worktrees below `pool` are ours: which branch an agent switched to there does not matter.
    """
    for place in repository.checkouts():
        if place.branch == ref and pool.resolve() not in place.path.resolve().parents:
            return place
    return None


def current_branch(repository: Repository) -> str:
    """Return the branch that HEAD of the user's work tree names, empty when it is detached."""
    if repository.top is None:
        return ""
    git = git_at(Checkout(repository.top, ""))
    done = git.run("symbolic-ref", "-q", "HEAD", check=False)
    return done.text.strip().removeprefix("refs/heads/") if done.returncode == 0 else ""


def refuse_busy(repository: Repository, ref: str) -> None:
    """Raise `CheckoutBlockedError` when a rebase or bisect of the branch is under way anywhere."""
    folders = [repository.common]
    with suppress(FileNotFoundError):  # there is none, or the last one went just now
        folders += (repository.common / "worktrees").iterdir()
    for folder in folders:
        for name in ("rebase-merge/head-name", "rebase-apply/head-name", "BISECT_START"):
            try:
                branch = (folder / name).read_text("utf-8", "replace").strip()
            except OSError:
                continue
            if branch in (ref, ref.removeprefix("refs/heads/")):
                doing = "bisect" if name.startswith("BISECT") else "rebase"
                raise CheckoutBlockedError(
                    f"{ref.removeprefix('refs/heads/')} is in the middle of a {doing}; "
                    "nothing was changed",
                    hints=[f"finish the {doing}, then `gitmill queue land`"],
                )


def git_at(place: Checkout, *, locks: Sequence[int] = (), options: Sequence[str] = ()) -> Git:
    """Return git on a work tree of the user's, with that work tree's own index."""
    git_dir = place.path / ".git"
    if not git_dir.is_dir():
        link = git_dir.read_text("utf-8", "surrogateescape")
        git_dir = Path(link.removeprefix("gitdir: ").strip())
    return Git(git_dir, work_tree=place.path, locks=locks, options=options)


def refuse_overlap(place: Checkout, changed: Iterable[str]) -> None:
    """Raise `CheckoutBlockedError`, naming the files, when the user's own changes stand in the way.

    Their own are: what differs from the index or HEAD, and untracked or ignored files at a path
    that the landing would write.
    """
    git, paths = git_at(place), set(changed)
    folders = {
        "/".join(path.split("/")[:n]) for path in paths for n in range(1, path.count("/") + 1)
    }
    own = set(_own_changes(git, place.path, paths))
    blocked = sorted(
        path for path in own if path in paths or path in folders or _below(path, paths)
    )
    if blocked:
        shown = blocked[:5] + ([f"and {len(blocked) - 5} more"] if len(blocked) > 5 else [])
        raise CheckoutBlockedError(
            f"your own changes in {place.path} overlap with what would land; nothing was changed",
            evidence=shown,
            hints=["commit or move them away, then `gitmill queue land`"],
        )


def _below(path: str, paths: set[str]) -> bool:
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
            # an ignored folder as a whole; what lands in it may well have room there
            yield from (_standing(top, path) for path in paths if f"{path}/".startswith(name))
        else:
            yield name.rstrip("/")


def _standing(top: Path, path: str) -> str:
    """Return what stands at a path, or on its way and is no folder; empty when nothing does."""
    parts = path.split("/")
    for n in range(1, len(parts) + 1):
        here = top.joinpath(*parts[:n])
        if here.is_symlink() or (here.exists() and (n == len(parts) or not here.is_dir())):
            return "/".join(parts[:n])
    return ""


def fast_forward(place: Checkout, commit: str, *, lock: int, options: Sequence[str] = ()) -> None:
    """Move the checkout's branch, index and files to a descendant, or raise and move nothing.

    The git process inherits the file descriptor `lock`: when we are killed, what waits for that
    lock waits until the move has ended. `options` are git's, as `FLUSH`. Raises
    `CheckoutBlockedError` with git's own reason.
    """
    # the user's options for merges may say --squash, which moves files and not the branch
    none = f"branch.{place.branch.removeprefix('refs/heads/')}.mergeOptions="
    done = git_at(place, locks=(lock,), options=options).run(
        "-c", "merge.stat=false", "-c", none,
        "merge", "-q", "--ff-only", "--no-autostash", "--no-verify-signatures",
        "--no-overwrite-ignore", commit, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise CheckoutBlockedError(
            f"git would not fast-forward {place.path}",
            evidence=done.error.splitlines()[:6],
            hints=["see `git status` there, then `gitmill queue land`"],
        )


def resume(place: Checkout, old: str, new: str, *, lock: int, options: Sequence[str] = ()) -> bool:
    """Finish a fast-forward that was killed after it had written the index; whether it has moved.

    Then the index already equals the new commit while HEAD is still the old one: no user of git
    makes that state by accident, and going on loses nothing.
    """
    git = git_at(place)
    if git.out("rev-parse", "HEAD") != old:
        return False
    if git.run("diff-index", "--cached", "--quiet", new, "--", check=False).returncode != 0:
        return False
    fast_forward(place, new, lock=lock, options=options)
    return True


def free_locks(place: Checkout, common: Path, began: float, aside: Path) -> None:
    """Move the locks aside that a killed fast-forward has left in a checkout.

    `began` is when that began, in seconds of the epoch. A lock that was taken then is its own, for
    nobody else can have taken it since; one of a ref that is old is nobody's, for whoever takes it
    holds it for milliseconds. Only when that git is known to be dead.
    """
    git_dir = git_at(place).git_dir
    names = [(git_dir, "HEAD.lock"), (git_dir, "ORIG_HEAD.lock"), (common, f"{place.branch}.lock")]
    for folder, name in [(git_dir, "index.lock"), *names]:
        with suppress(FileNotFoundError):
            taken = (folder / name).stat().st_mtime
            old = name != "index.lock" and time.time() - taken >= _OLD
            if old or taken < began + _BEGINS:
                aside.mkdir(parents=True, exist_ok=True)
                (folder / name).rename(aside / f"{name.replace('/', '-')}-{time.time_ns()}")


def put_back(
    place: Checkout, backend: Backend, old: str, changed: Iterable[Change]
) -> tuple[str, ...]:
    """Undo a fast-forward from `old` that was killed before it had written the index.

    It leaves files as they are in the new commit, half of one, or none. Such are put back as they
    are in `old`; anything else somebody has written since, and it stays. The paths are returned.
    Only for a fast-forward that had begun: then none of these paths was changed by the user.
    """
    git = git_at(place)
    staged = set(git.run("diff-index", "--cached", "--name-only", "-z", old, "--").text.split("\0"))
    dirty = set(_own_changes(git, place.path, {change.path for change in changed}))
    torn = [
        change
        for change in changed
        if change.path in dirty
        and change.path not in staged
        and _is_torn(git, place.path / change.path, backend, change)
    ]
    for change in torn:
        if os.path.lexists(place.path / change.path):  # not below a file that has come in between
            remove(place.path / change.path)
    torn += [
        change
        for change in changed
        if change.new is None and change.path in dirty and _is_emptied(place.path / change.path)
    ]
    known = "".join(f"{change.path}\0" for change in torn if change.old is not None)
    if known:
        names = known.encode(errors="surrogateescape")
        git.run("checkout-index", "-f", "-z", "--stdin", stdin=names, check=False)
    return tuple(change.path for change in torn)


def _is_emptied(path: Path) -> bool:
    """Remove a folder that stands where a file was, if it has nothing but folders in it."""
    if path.is_symlink() or not path.is_dir():
        return False
    for parent, _, files in os.walk(path, topdown=False):
        if files:
            return False
        with suppress(OSError):  # links to folders, or what has just come
            Path(parent).rmdir()
    return not path.exists()


def _is_torn(git: Git, path: Path, backend: Backend, change: Change) -> bool:
    """Whether what stands at a path is what a killed fast-forward may have left there."""
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
    # As git would store it: in the work tree filters and ends of lines may make it another one.
    argv = ("hash-object", f"--path={change.path}", "--stdin")
    data = path.read_bytes()
    return new.startswith(data) or git.out(*argv, stdin=data) == change.new.oid
