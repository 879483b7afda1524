"""The repository, its configuration and its disk."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from gitmill.errors import GitmillError
from gitmill.flows.doctor.diagnosis import Diagnoses, note, ok, problem, problem_of, warning
from gitmill.git import locks
from gitmill.git.checkout import current_branch
from gitmill.git.plumbing import Plumbing
from gitmill.mill import Mill
from gitmill.store import layout

_MEGABYTE = 1 << 20
_ROOM = 200 * _MEGABYTE  # what tools leave beside a small checkout
_OLD = 5.0  # seconds; git holds a lock for milliseconds
_LOOSE = 20_000  # objects; git itself packs at a third of that, but not for us

# Keys of git's configuration whose value git runs, unasked or with a common command.
_RUNS = re.compile(
    r"""core\.(fsmonitor|sshcommand|editor|pager|askpass|gitproxy|alternaterefscommand)
    |sequence\.editor|filter\..*\.(clean|smudge|process)|diff\.external
    |diff\..*\.(command|textconv)|merge\..*\.driver|(difftool|mergetool|man|browser)\..*\.cmd
    |credential\..*|gpg\.(.*\.)?program|remote\..*\.(uploadpack|receivepack|vcs)
    |uploadpack\.packobjectshook|interactive\.difffilter|include(if\..*)?\.path|alias\..*""",
    re.VERBOSE,
)
_PLAIN = ("true", "false", "yes", "no", "1", "0", "")
_HOOKS = ("pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "post-merge",
          "post-checkout", "reference-transaction")  # fmt: skip


def backend(mill: Mill) -> Diagnoses:
    """Which of the two backends reads and writes here, and that it can."""
    repository = mill.repository
    kind = "sha256" if repository.digits == 64 else "sha1"
    try:
        found = repository.objects
        found.ref("HEAD")
    except (GitmillError, ImportError, ValueError) as error:
        yield problem(f"the repository cannot be opened: {error}", "see what `git fsck` says")
        return
    except Exception as error:  # noqa: BLE001  (pygit2 raises a type of its own)
        yield problem(f"libgit2 refuses the repository: {error}", "see what `git fsck` says")
        return
    if isinstance(found, Plumbing):
        yield note(f"{kind}, through git itself: libgit2 does not know this format; slower")
    else:
        yield ok(f"{kind}, through libgit2")


def checkout(mill: Mill) -> Diagnoses:
    """Bare, without a commit, detached, shallow."""
    repository = mill.repository
    try:
        repository.require_usable()
    except GitmillError as error:
        yield problem_of(error)
        return
    branches = ("rev-list", "-n1", "--exclude=gitmill/*", "--branches", "--")
    done = repository.git.run(*branches, check=False)
    if done.returncode == 0 and not done.text.strip():
        yield problem(
            "there is no commit yet, so there is nothing to land on",
            "make one: `git commit --allow-empty -m 'First commit'`",
        )
        return
    if repository.top is not None and not current_branch(repository):
        yield note(
            f"HEAD of {repository.top} is detached; gitmill does not mind, `init` wants `--target`"
        )
    if (repository.common / "shallow").exists():
        yield note(
            "this clone is shallow: work lands, history before the cut is not there to look at",
            "fetch it: `git fetch --unshallow`",
        )
        return
    yield ok(str(repository.top or repository.common))


def identity(mill: Mill) -> Diagnoses:
    """Who commits."""
    try:
        yield ok(mill.person)
    except GitmillError as error:
        yield problem_of(error)


def folder(mill: Mill) -> Diagnoses:
    """Whether the git directory can be written."""
    common = mill.repository.common
    for place in (common, common / "objects", common / "refs", mill.repository.private):
        if place.exists() and not os.access(place, os.W_OK | os.X_OK):
            yield problem(f"{place} cannot be written", f"see whose it is: `ls -ld {place}`")
            return
    yield ok(f"{common} can be written")


def durability(mill: Mill) -> Diagnoses:
    """Diagnose what a power failure can lose."""
    try:
        durable = mill.repository.durable
    except GitmillError as error:
        yield problem_of(error)
        return
    if durable:
        yield ok("full: what is written is on the disk before gitmill goes on")
    else:
        yield note(
            "none: a power failure may take the last seconds of work",
            "flush each write: `git config gitmill.durability full`",
        )


def pruning(mill: Mill) -> Diagnoses:
    """Git settings with which a garbage collection removes objects that are just being written."""
    git = mill.repository.git
    done = git.run("config", "--type=expiry-date", "--get", "gc.pruneExpire", check=False)
    scope, value = _configured(mill, "gc.pruneExpire")
    expires = int(done.text.strip() or 0)
    if done.returncode == 0 and expires > mill.now().timestamp() - 3600:
        _, auto = _configured(mill, "gc.auto")
        by_itself = "" if auto == "0" else ", which git also starts by itself,"
        yield warning(
            f"gc.pruneExpire is {value}: a `git gc`{by_itself} removes objects that gitmill has "
            "just written",
            f"let git keep them for two weeks: `git config --{scope} --unset gc.pruneExpire`",
        )
        return
    counted = git.out("count-objects")
    if int(counted.partition(" ")[0] or 0) > _LOOSE:
        yield note(f"{counted} lie loose", "pack them: `git maintenance run --task=loose-objects`")
        return
    yield ok("unreachable objects are kept for a while")


def hooks(mill: Mill) -> Diagnoses:
    """Hooks of the user, which gitmill's commits and moves do not run."""
    _, path = _configured(mill, "core.hooksPath")
    place = Path(path).expanduser() if path else mill.repository.common / "hooks"
    place = place if place.is_absolute() else (mill.repository.top or Path()) / place
    found = [name for name in _HOOKS if os.access(place / name, os.X_OK)]
    where = "core.hooksPath" if path else "hooks"
    if path and not place.is_dir():
        yield note(f"core.hooksPath is {path}, and there is no such folder")
    elif found:
        yield note(
            f"{', '.join(found)} ({where}) do not run on what gitmill commits and lands",
            "what they make sure of belongs below `[checks]` in .gitmill/config.toml",
        )
    else:
        yield ok("none that gitmill would pass over")


def programs(mill: Mill) -> Diagnoses:
    """Programs that git runs because of the repository's own configuration."""
    found = []
    for scope, key, value in _all_configured(mill):
        runs = scope in ("local", "worktree") and _RUNS.fullmatch(key)
        shell = value.startswith("!") or not key.startswith(("alias.", "credential."))
        if runs and shell and value.lower() not in _PLAIN and not value.startswith("git-lfs "):
            found.append(key)
    if found:
        yield note(
            f"git runs programs that .git/config names: {', '.join(sorted(set(found)))}",
            "see that you know them: `git config --local --list`",
        )
    else:
        yield ok("git runs no program that .git/config names")


def file_system(mill: Mill) -> Diagnoses:
    """Whether two names that differ in case are two files."""
    common = mill.repository.common
    try:
        same = (common / "config").samefile(common / "CONFIG")
    except OSError:
        same = False
    _, said = _configured(mill, "core.ignoreCase")
    if same or said.lower() == "true":
        yield note(
            "the file system takes names that differ in case for one: changes with two such "
            "names cannot be checked out here"
        )
    else:
        yield ok("tells names apart by case")


def worktrees(mill: Mill) -> Diagnoses:
    """Diagnose the folder of worktrees: writable, with enough room, in a suitable place."""
    place, top = mill.pool.folder, mill.repository.top
    there = next(f for f in (place, *place.parents) if f.is_dir() or f.is_symlink() or f.exists())
    elsewhere = "name another: `git config gitmill.worktreeRoot DIR`"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield problem(f"worktrees cannot be made in {place}: {there} cannot be written", elsewhere)
        return
    if top is not None and top.resolve() in place.resolve().parents:
        yield warning(
            f"{place} lies in the repository, where tools take its configuration for that of the "
            "worktree",
            elsewhere,
        )
    if os.statvfs(there).f_flag & os.ST_NOEXEC:
        yield warning(f"{there} is mounted noexec: scripts of the project do not run", elsewhere)
    free, needed = shutil.disk_usage(there).free, _checkout_size(mill)
    room = f"{free // _MEGABYTE} MB free, a checkout takes {needed // _MEGABYTE}"
    if free < needed:
        yield problem(f"there is no room for a worktree in {there}: {room}", elsewhere)
    elif free < max(4 * needed, _ROOM):
        yield warning(f"there is little room in {there}: {room}", elsewhere)
    elif there.stat().st_dev != mill.repository.common.stat().st_dev:
        yield note(f"{place}, on another file system than the repository; {room}", elsewhere)
    else:
        yield ok(f"{place}; {room}")


def _checkout_size(mill: Mill) -> int:
    """Return the bytes of the files at HEAD; 0 where counting them would fetch them."""
    git = mill.repository.git
    if git.run("config", "--get-regexp", r"^remote\..*\.promisor$", check=False).text:
        return 0
    out = git.run("ls-tree", "-r", "-z", "--format=%(objectsize)", "HEAD", check=False).text
    return sum(int(size) for size in out.split("\0") if size.isdigit())


def git_locks(mill: Mill) -> Diagnoses:
    """Stale locks of git; only their owner may remove them."""
    found = list(_foreign_locks(mill.repository.common))
    for path, age in found:
        yield warning(
            f"{path} is {_span(age)} old: what it guards cannot be written",
            "see whether git still runs: `ps -C git -f`; if not, move the file away",
        )
    if not found:
        yield ok("none of git's is left over")


def _foreign_locks(common: Path) -> Iterator[tuple[str, float]]:
    places = [*common.glob("*.lock"), *(common / "refs").rglob("*.lock"),
              *common.glob("worktrees/*/*.lock"), *common.glob("objects/*.lock")]  # fmt: skip
    for path in places:
        name = str(path.relative_to(common))
        try:
            age = time.time() - path.stat().st_mtime
        except FileNotFoundError:
            continue
        own = layout.is_own(name.removesuffix(".lock")) or name == locks.PACKED
        if age >= _OLD and not own:
            yield name, age


def own_locks(mill: Mill) -> Diagnoses:
    """Stale locks on gitmill's own refs and on the packed refs."""
    found = [str(lock) for lock in locks.stale(mill.repository.common, layout.OWN)]

    def fix() -> str:
        return f"set aside {', '.join(mill.store.clear_stale()) or 'nothing'}"

    if found:
        yield warning(f"left by a killed process: {', '.join(found)}", "`gitmill recover`", fix=fix)
    else:
        yield ok("none of gitmill's is left over")


def _span(age: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if age >= 2 * size:
            return f"{int(age // size)} {unit}"
    return f"{int(age)} seconds"


def _all_configured(mill: Mill) -> Iterator[tuple[str, str, str]]:
    """Yield scope, key and value of git's configuration, without gitmill's own options."""
    parts = mill.repository.git.run("config", "--show-scope", "-z", "--list").text.split("\0")
    for scope, entry in zip(parts[0::2], parts[1::2], strict=False):
        key, _, value = entry.partition("\n")
        if scope != "command":
            yield scope, key, value


def _configured(mill: Mill, wanted: str) -> tuple[str, str]:
    """Return scope and value of a key in effect for the user's own git; empty if not set."""
    found = [(s, v) for s, key, v in _all_configured(mill) if key == wanted.lower()]
    return found[-1] if found else ("", "")
