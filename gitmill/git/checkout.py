"""The user's checkout of a branch: fast-forwarded after a landing, or left untouched."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from gitmill.errors import CheckoutBlockedError
from gitmill.git.executable import Git
from gitmill.git.locks import lock_hint, named_lock
from gitmill.git.repo import Checkout, Repository
from gitmill.hints import Gitmill, Hint, Shell
from gitmill.process import Finished, TimeoutExpired

_STARTUP = 2.0  # seconds within which a fast-forward takes the index lock, and usually all locks
_OLD = 5.0  # seconds
_PATIENCE, RETRY = 1.0, 0.02  # seconds to wait for a lock of the user's git, and between two tries
LOCKED = ".lock': File exists"
FILTERS = 1800.0  # seconds for a fast-forward: a filter may have to fetch large files
_NARROWED = 500  # paths that git is asked about one by one; for more it reads the whole work tree


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
    git = git_at(Checkout(repository.top, "", repository.own_git_dir))
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


_UNFINISHED = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-apply/applying": "am",
}


def refuse_unfinished(checkout: Checkout) -> None:
    """Raise `CheckoutBlockedError` if the user has not concluded a merge or its like there."""
    git_dir = git_at(checkout).git_dir
    for name, operation in _UNFINISHED.items():
        if (git_dir / name).exists():
            raise CheckoutBlockedError(
                f"{checkout.path} is in the middle of a git {operation}; nothing was changed",
                hints=[Hint(f"finish the {operation}, then", Gitmill("queue", "land"))],
            )


def refuse_second(repository: Repository, ref: str, checkout: Checkout, *, pool: Path) -> None:
    """Raise `CheckoutBlockedError` if another work tree has the branch checked out, too.

    Moved under it, the branch would leave it behind, as if the landed change had been reverted.
    """
    for other in repository.checkouts():
        if other.branch == ref and other != checkout and pool.resolve() not in other.path.parents:
            raise CheckoutBlockedError(
                f"{ref.removeprefix('refs/heads/')} is checked out twice; nothing was changed",
                evidence=[str(checkout.path), str(other.path)],
                hints=[Hint("switch one to another branch, then", Gitmill("queue", "land"))],
            )


def git_at(checkout: Checkout, *, locks: Sequence[int] = (), options: Sequence[str] = ()) -> Git:
    """Return git for one of the user's work trees, with that work tree's own index."""
    git_dir = checkout.git_dir or checkout.path / ".git"
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
    own = set(own_changes(git, checkout.path, paths))
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


def own_changes(git: Git, top: Path, paths: set[str]) -> Iterable[str]:
    """Yield the paths that differ from HEAD, and the ignored ones in the way of `paths`."""
    # Only below these paths is a folder walked: the checkout can be a home.
    literal = [f":(top,literal){path}" for path in sorted({*paths, *_not_folders(top, paths)})]
    out = git.run(
        "status", "--porcelain=v1", "-z", "--no-renames",
        "--untracked-files=all", "--ignored=matching", "--ignore-submodules=none", "--",
        *(literal if len(literal) <= _NARROWED else ()),
    ).text  # fmt: skip
    for line in out.split("\0"):
        kind, name = line[:2], line[3:]
        if kind == "!!" and name.endswith("/"):
            # an entirely ignored folder: the landing blocks only at paths that exist in it
            yield from (_obstacle(top, path) for path in paths if f"{path}/".startswith(name))
        else:
            yield name.rstrip("/")


def _not_folders(top: Path, paths: Iterable[str]) -> Iterable[str]:
    """Yield the parents of paths that are no folders here: a file, a link, or removed."""
    for path in paths:
        for n in range(1, path.count("/") + 1):
            parent = "/".join(path.split("/")[:n])
            if (top / parent).is_symlink() or not (top / parent).is_dir():
                yield parent
                break


def _obstacle(top: Path, path: str) -> str:
    """Return the path, or the parent of it that is not a folder; empty if nothing exists there."""
    parts = path.split("/")
    for n in range(1, len(parts) + 1):
        file = top.joinpath(*parts[:n])
        if file.is_symlink() or (file.exists() and (n == len(parts) or not file.is_dir())):
            return "/".join(parts[:n])
    return ""


def fast_forward(
    checkout: Checkout,
    commit: str,
    *,
    lock: int,
    options: Sequence[str] = (),
    limit: float = FILTERS,
) -> None:
    """Move the checkout's branch, index and files to a descendant, or raise.

    The git process inherits the file descriptor `lock`: if this process is killed, others that wait
    for the lock still wait until the move has ended. `options` are git's, such as `FLUSH`. It waits
    a moment for the locks of the user's own git, and writes no file while the branch is locked.
    Raises `CheckoutBlockedError` with git's own reason, after `limit` seconds too; git can then
    have written files, and also the index if the user's commit was faster. `undo_fast_forward`
    undoes that.
    """
    # the user's merge options might include --squash, which moves the files and not the branch
    no_options = f"branch.{checkout.branch.removeprefix('refs/heads/')}.mergeOptions="
    git, give_up = git_at(checkout, locks=(lock,), options=options), time.monotonic() + _PATIENCE
    argv = (
        "-c", "merge.stat=false", "-c", no_options,
        "merge", "-q", "--ff-only", "--no-autostash", "--no-verify-signatures",
        "--no-overwrite-ignore", commit,
    )  # fmt: skip
    while True:
        try:
            done = _try_branch(git, commit)
            if done.returncode == 0:
                done = git.run(*argv, check=False, timeout=limit)
        except TimeoutExpired as error:
            raise CheckoutBlockedError(
                f"git had not updated {checkout.path} after {limit:.0f} seconds, so it was ended; "
                "the checkout is as it was",
                hints=[
                    Hint("a filter may hang, see", Shell("git config --get-regexp ^filter")),
                    Hint("then", Gitmill("queue", "land")),
                ],
            ) from error
        if done.returncode == 0:
            return
        if LOCKED not in done.error or time.monotonic() > give_up:
            raise _refusal(checkout, done.error)
        time.sleep(RETRY)


def _try_branch(git: Git, commit: str) -> Finished:
    """Lock the branch and HEAD for the move, and let them go.

    git itself would find out that it cannot move them after it has written files and index.
    """
    head = git.run("rev-parse", "--verify", "-q", "HEAD", check=False).text.strip()
    lines = f"start\nupdate HEAD {commit} {head}\nprepare\nabort\n"
    return git.run("update-ref", "--stdin", stdin=lines.encode(), check=False)


def _refusal(checkout: Checkout, said: str) -> CheckoutBlockedError:
    """Return the error for a move that git refused or could not finish."""
    if lock := named_lock(said):
        return CheckoutBlockedError(
            f"a lock keeps git from updating {checkout.path}, which is as it was",
            evidence=[lock],
            hints=[lock_hint(Gitmill("queue", "land"))],
        )
    return CheckoutBlockedError(
        f"git could not fast-forward {checkout.path}, which is as it was",
        evidence=said.splitlines()[:6],
        hints=[Hint("put right what git names, then", Gitmill("queue", "land"))],
    )


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
