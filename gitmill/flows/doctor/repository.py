"""The repository, its configuration and its disk."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from gitmill.errors import GitmillError
from gitmill.flows.doctor.diagnosis import (
    Diagnoses,
    Diagnosis,
    note,
    ok,
    problem,
    problem_of,
    warning,
)
from gitmill.git.checkout import current_branch
from gitmill.git.executable_settings import runs_program
from gitmill.git.plumbing import Plumbing
from gitmill.hints import Hint, Shell
from gitmill.mill import Mill

_MEGABYTE = 1 << 20
_ROOM = 200 * _MEGABYTE  # for the files that tools create beside a small checkout
_LOOSE = 20_000  # objects; git itself packs at a third of that, but not for us

_HOOKS_PATH = "core.hookspath"  # `hooks` diagnoses it
_SHELL = ("alias.", "credential.", "submodule.")  # values that run a program only after a `!`
_PLAIN = ("true", "false", "yes", "no", "1", "0", "")
_HOOKS = ("pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "post-merge",
          "post-checkout", "reference-transaction")  # fmt: skip


def backend(mill: Mill) -> Diagnoses:
    """Diagnose the backend that reads and writes objects, and that it works."""
    repository = mill.repository
    kind = "sha256" if repository.digits == 64 else "sha1"
    try:
        objects = repository.objects
        objects.ref("HEAD")
    except (GitmillError, ImportError, ValueError) as error:  # this is the diagnosis
        yield problem(
            f"the repository cannot be opened: {error}", Hint("check it with", Shell("git fsck"))
        )
        return
    except Exception as error:  # noqa: BLE001  (pygit2 raises a type of its own)
        yield problem(
            f"libgit2 refuses the repository: {error}", Hint("check it with", Shell("git fsck"))
        )
        return
    if isinstance(objects, Plumbing):
        yield note(f"{kind}, through git itself: libgit2 does not support this format; slower")
    else:
        yield ok(f"{kind}, through libgit2")


def checkout(mill: Mill) -> Diagnoses:
    """Diagnose a repository that is bare, without a commit, detached or shallow."""
    repository = mill.repository
    try:
        repository.require_usable()
    except GitmillError as error:  # this is the diagnosis
        yield problem_of(error)
        return
    branches = ("rev-list", "-n1", "--exclude=gitmill/*", "--branches", "--remotes", "--")
    done = repository.git.run(*branches, check=False)
    if done.returncode == 0 and not done.text.strip():
        yield problem(
            "there is no commit yet, so there is nothing to land on",
            Hint("make one:", Shell("git commit --allow-empty -m 'First commit'")),
        )
        return
    if repository.top is not None and not current_branch(repository):
        yield note(f"HEAD of {repository.top} is detached; gitmill works")
    if (repository.common / "shallow").exists():
        yield note(
            "this clone is shallow: work lands, history before the cut is missing",
            Hint("fetch it:", Shell("git fetch --unshallow")),
        )
        return
    yield ok(str(repository.top or repository.common))


def identity(mill: Mill) -> Diagnoses:
    """Diagnose the identity that commits."""
    try:
        yield ok(mill.person)
    except GitmillError as error:  # this is the diagnosis
        yield problem_of(error)


def folder(mill: Mill) -> Diagnoses:
    """Diagnose whether the git directory can be written."""
    common = mill.repository.common
    for path in (common, common / "objects", common / "refs", mill.repository.private):
        if path.exists() and not os.access(path, os.W_OK | os.X_OK):
            yield problem(
                f"{path} cannot be written",
                Hint("see its owner:", Shell(f"ls -ld {shlex.quote(str(path))}")),
            )
            return
    yield ok(f"{common} can be written")


def durability(mill: Mill) -> Diagnoses:
    """Diagnose what a power failure can lose."""
    try:
        durable = mill.repository.durable
    except GitmillError as error:  # this is the diagnosis
        yield problem_of(error)
        return
    if durable:
        yield ok("full: every write is on disk before gitmill continues")
    else:
        yield note(
            "none: a power failure can lose the last seconds of work",
            Hint("flush each write:", Shell("git config gitmill.durability full")),
        )


def pruning(mill: Mill) -> Diagnoses:
    """Diagnose git settings under which a garbage collection removes new objects."""
    git = mill.repository.git
    done = git.run("config", "--type=expiry-date", "--get", "gc.pruneExpire", check=False)
    scope, value = _configured(mill, "gc.pruneExpire")
    expires = int(done.text.strip() or 0)
    if done.returncode == 0 and expires > mill.now().timestamp() - 3600:
        _, auto = _configured(mill, "gc.auto")
        automatic = "" if auto == "0" else ", which git also starts by itself,"
        yield warning(
            f"gc.pruneExpire is {value}: a `git gc`{automatic} removes objects that gitmill has "
            "just written",
            Hint(
                "let git keep them for two weeks:",
                Shell(f"git config --{scope} --unset gc.pruneExpire"),
            ),
        )
        return
    counted = git.out("count-objects")
    if int(counted.partition(" ")[0] or 0) > _LOOSE:
        yield note(
            f"{counted} of loose objects",
            Hint("pack them:", Shell("git maintenance run --task=loose-objects")),
        )
        return
    yield ok("git keeps unreachable objects long enough")


def hooks(mill: Mill) -> Diagnoses:
    """Diagnose the user's hooks, which gitmill's commits and ref updates do not run."""
    _, path = _configured(mill, "core.hooksPath")
    folder = Path(path).expanduser() if path else mill.repository.common / "hooks"
    folder = folder if folder.is_absolute() else (mill.repository.top or Path()) / folder
    names = [name for name in _HOOKS if os.access(folder / name, os.X_OK)]
    source = "core.hooksPath" if path else "hooks"
    if path and not folder.is_dir():
        yield note(f"core.hooksPath is {path}, which does not exist")
    elif names:
        yield note(
            f"{', '.join(names)} ({source}) do not run when gitmill commits or lands",
            Hint("add the commands they run to `[checks]` in .gitmill/config.toml"),
        )
    else:
        yield ok("none that gitmill would skip")


def programs(mill: Mill) -> Diagnoses:
    """Diagnose programs that git runs because of the repository's own configuration."""
    keys = []
    for scope, key, value in _all_configured(mill):
        runs = scope in ("local", "worktree") and runs_program(key) and key != _HOOKS_PATH
        shell = value.startswith("!") or not key.startswith(_SHELL)
        if runs and shell and value.lower() not in _PLAIN and not value.startswith("git-lfs "):
            keys.append(key)
    if keys:
        yield note(
            f".git/config makes git run programs: {', '.join(sorted(set(keys)))}",
            Hint("check that they are yours:", Shell("git config --local --list")),
        )
    else:
        yield ok("no custom programs in .git/config")


def file_system(mill: Mill) -> Diagnoses:
    """Diagnose whether two names that differ only in case are two files."""
    common = mill.repository.common
    try:
        same = (common / "config").samefile(common / "CONFIG")
    except OSError:
        same = False
    _, ignore_case = _configured(mill, "core.ignoreCase")
    if same or ignore_case.lower() == "true":
        yield note(
            "the file system ignores case: changes with two names that differ only in case cannot "
            "be checked out here"
        )
    else:
        yield ok("case-sensitive")


def worktrees(mill: Mill) -> Diagnoses:
    """Diagnose the folder of worktrees: writable, with enough room, in a suitable place."""
    pool, top = mill.pool.folder, mill.repository.top
    existing = next(f for f in (pool, *pool.parents) if f.is_dir() or f.is_symlink() or f.exists())
    hint = Hint("choose another folder:", Shell("git config gitmill.worktreeRoot DIR"))
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield problem(f"no worktree can be created in {pool}: {existing} cannot be written", hint)
        return
    if top is not None and top.resolve() in pool.resolve().parents:
        yield warning(
            f"{pool} is inside the repository, so tools in a worktree read the repository's "
            "configuration",
            hint,
        )
    if os.statvfs(existing).f_flag & os.ST_NOEXEC:
        yield warning(f"{existing} is mounted noexec: scripts of the project do not run", hint)
    yield _room(mill, existing, hint)


def _room(mill: Mill, folder: Path, hint: Hint) -> Diagnosis:
    """Diagnose the room for worktrees on the file system of an existing folder."""
    pool = mill.pool.folder
    free, needed = shutil.disk_usage(folder).free, _checkout_size(mill)
    room = f"{free // _MEGABYTE} MB free, a checkout takes {needed // _MEGABYTE} MB"
    if free < needed:
        return problem(f"there is no room for a worktree in {folder}: {room}", hint)
    if free < max(4 * needed, _ROOM):
        return warning(f"there is little room in {folder}: {room}", hint)
    if folder.stat().st_dev != mill.repository.common.stat().st_dev:
        return note(f"{pool}, on another file system than the repository; {room}", hint)
    return ok(f"{pool}; {room}")


def _checkout_size(mill: Mill) -> int:
    """Return the bytes of the files at HEAD; 0 where counting them would fetch them."""
    git = mill.repository.git
    if git.run("config", "--get-regexp", r"^remote\..*\.promisor$", check=False).text:
        return 0
    out = git.run("ls-tree", "-r", "-z", "--format=%(objectsize)", "HEAD", check=False).text
    return sum(int(size) for size in out.split("\0") if size.isdigit())


def _all_configured(mill: Mill) -> Iterator[tuple[str, str, str]]:
    """Yield scope, key and value of git's configuration, without gitmill's own options."""
    parts = mill.repository.git.run("config", "--show-scope", "-z", "--list").text.split("\0")
    for scope, entry in zip(parts[0::2], parts[1::2], strict=False):
        key, _, value = entry.partition("\n")
        if scope != "command":
            yield scope, key, value


def _configured(mill: Mill, wanted: str) -> tuple[str, str]:
    """Return scope and value of a key in effect for the user's own git; empty if not set."""
    values = [(s, v) for s, key, v in _all_configured(mill) if key == wanted.lower()]
    return values[-1] if values else ("", "")
