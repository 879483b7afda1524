"""What changes in a git directory while code that is not ours runs beside it.

Such code shares the directory with the user and with others like it, and a comparison alone cannot
tell who did it. Reflogs can: each entry names a committer, and who runs code that is not ours gives
it a committer of its own. So can a trace of the git commands that it ran. Formats:
gitrepository-layout(5), git-config(1), git-reflog(1), and api-trace2 of git's technical docs.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from gitmill.errors import GitmillError, UnusableRepositoryError
from gitmill.failpoints import chokepoint
from gitmill.git.executable import Git
from gitmill.git.objects import Backend

_FILES = (
    "config", "config.worktree", "shallow", "info/attributes", "info/exclude", "info/grafts",
    "info/sparse-checkout", "objects/info/alternates",
)  # fmt: skip
_GLOBS = (
    "hooks/*", "worktrees/*/config.worktree", "modules/*/config", "modules/*/hooks/*",
)  # fmt: skip
_CONFIG = re.compile(r"config(\.worktree)?|\.gitconfig")
# Keys whose value git executes, or that lead git to more keys or to another place than was named.
_EXECUTABLE = re.compile(
    r"alias\..*"
    r"|core\.(fsmonitor|hookspath|sshcommand|gitproxy|editor|pager|askpass|alternaterefscommand"
    r"|worktree)"
    r"|filter\..*\.(clean|smudge|process)|diff\.external|diff\..*\.(command|textconv)"
    r"|merge\..*\.driver|hook\..*\.command|(include|includeif\..*)\.path|credential(\..*)?\.helper"
    r"|gpg(\..*)?\.(program|defaultkeycommand)|sequence\.editor|pager\..*|interactive\.difffilter"
    r"|(difftool|mergetool|guitool|man|browser)\..*\.(cmd|path)|web\.browser|init\.templatedir"
    r"|remote\..*\.(uploadpack|receivepack|vcs|proxy)|url\..*\.(insteadof|pushinsteadof)"
    r"|submodule\..*\.update|trailer\..*\.(cmd|command)|uploadpack\.packobjectshook"
    r"|protocol\..*|tar\..*\.command|sendemail\..*|lfs\..*"
    r"|gitmill\.(sandbox|bubblewrap|writable|readable|worktreeroot)"
)
_EVERYDAY = re.compile(r"branch\..*")  # git writes it for whoever makes a branch


class Actor(Enum):
    """Who moved a ref, as far as its reflog tells."""

    AGENT = "the code that ran"
    OTHERS = "somebody else"
    UNKNOWN = "nobody known"


@dataclass(frozen=True, slots=True)
class File:
    """A file as it stood: permission bits and type, and its bytes (of a link: where it leads)."""

    mode: int
    data: bytes


@dataclass(frozen=True, slots=True)
class GitDirSnapshot:
    """What stands in a git directory: small files that steer git, refs, and `HEAD`."""

    files: Mapping[Path, File]
    refs: Mapping[str, str]
    head: bytes


@dataclass(frozen=True, slots=True)
class TamperNote:
    """What was seen of a file, and the key that changed in it when it is configuration."""

    text: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class RefChange:
    """One ref that differs between two pictures; None where there was none."""

    ref: str
    old: str | None
    new: str | None
    who: Actor


def take(common: Path, backend: Backend) -> GitDirSnapshot:
    """Look at a repository by its common git directory.

    Raises `UnusableRepositoryError` when it is no repository any more.
    """
    try:
        head = (common / "HEAD").read_bytes()
    except OSError as error:
        raise UnusableRepositoryError(
            f"the repository {common} is gone: it has no HEAD",
            evidence=[str(error)],
            hints=["look at what is left with `git fsck`, or clone it again"],
        ) from error
    return GitDirSnapshot(dict(_files(common)), backend.refs("refs/"), head)


def _files(common: Path) -> Iterator[tuple[Path, File]]:
    paths = [common / name for name in _FILES]
    paths += [path for glob in _GLOBS for path in common.glob(glob) if path.suffix != ".sample"]
    for path in [*paths, *_personal()]:
        if (file := _read(path)) is not None:
            yield path, file


def _personal() -> list[Path]:
    """Return the user's own configuration of git, which steers our git calls as well."""
    if named := os.environ.get("GIT_CONFIG_GLOBAL"):
        return [Path(named)]
    home = Path.home()
    xdg = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return [home / ".gitconfig", xdg / "git" / "config"]


def _read(path: Path) -> File | None:
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            return File(mode, os.fsencode(path.readlink()))
        return File(mode, path.read_bytes()) if stat.S_ISREG(mode) else None
    except OSError:
        return None


TRACE = "GIT_TRACE2_EVENT"  # the variable that has git write down what it is asked to do
_TRACE_LIMIT = 16 << 20  # bytes


def named(trace: Path, *names: str) -> bool:
    """Whether a git command of a trace had one of these names as a word of its arguments."""
    told = "|".join(re.escape(name) for name in names if name)
    wanted = re.compile(rf"(?:^|[\s/:=])(?:{told})(?:$|[\s/:=])", re.IGNORECASE)
    if not told:
        return False
    try:
        with trace.open("rb") as file:
            lines = file.read(_TRACE_LIMIT).splitlines()
    except OSError:
        return False
    for line in lines:
        if b'"event":"start"' not in line:
            continue
        try:
            words = " ".join(json.loads(line)["argv"])
        except (ValueError, KeyError, TypeError):
            continue  # cut short by a kill, or not git's
        if wanted.search(words):
            return True
    return False


# -- refs ------------------------------------------------------------------------------------------


def moved(
    common: Path, before: GitDirSnapshot, after: GitDirSnapshot, marker: str
) -> list[RefChange]:
    """Return the refs that differ, `HEAD` included, and who moved them.

    `marker` is the mail address of the committer that the code was given.
    """
    changes = [
        RefChange(ref, old, new, _who(common, ref, old, new, marker))
        for ref in sorted({*before.refs, *after.refs})
        if (old := before.refs.get(ref)) != (new := after.refs.get(ref))
    ]
    if before.head != after.head:
        old, new = (_shown(head) for head in (before.head, after.head))
        changes.append(RefChange("HEAD", old, new, _who(common, "HEAD", None, new, marker)))
    return changes


def _shown(head: bytes) -> str:
    return head.decode("utf-8", "replace").strip().removeprefix("ref: ")


def _who(common: Path, ref: str, old: str | None, new: str | None, marker: str) -> Actor:
    """Read the reflog back to where the ref stood. A deleted ref and most tags have none."""
    try:
        lines = (common / "logs" / ref).read_bytes()[-65536:].splitlines()
    except OSError:
        return Actor.UNKNOWN
    if new is None or not lines:
        return Actor.UNKNOWN
    if ref != "HEAD":
        # Whoever moved it since then is no matter; no line at all means that the file was written.
        ends = [n for n, line in enumerate(lines, 1) if line.split(b" ")[1:2] == [new.encode()]]
        if not ends:
            return Actor.UNKNOWN
        lines = lines[: ends[-1]]
    for line in reversed(lines):
        if f"<{marker}>".encode() in line.partition(b"\t")[0]:
            return Actor.AGENT
        if ref == "HEAD" or line.startswith((old or "0" * len(new)).encode()):
            break  # the last entry of HEAD is the one that moved it
    return Actor.OTHERS


# -- files -----------------------------------------------------------------------------------------


def clean(git: Git, before: GitDirSnapshot, after: GitDirSnapshot, aside: Path) -> list[TamperNote]:
    """Undo what was planted to be executed, after a copy to `aside`; say what has changed.

    Hooks and executable keys of configuration are put back as they stood before; anything else is
    told and left.
    """
    told: list[TamperNote] = []
    for path in sorted({*before.files, *after.files}):
        old, new = before.files.get(path), after.files.get(path)
        if old == new:
            continue
        if _CONFIG.fullmatch(path.name) or path.parent.name == "git":
            told += _clean_config(git, path, old, new, aside)
        elif path.parent.name == "hooks":
            if new is not None:
                kept = _keep(path, new, aside)
                _put(path, old)
                told.append(TamperNote(f"the hook {path} was planted; it was put aside as {kept}"))
            else:
                told.append(TamperNote(f"the hook {path} was removed"))
        else:
            told.append(TamperNote(f"{path} was {'removed' if new is None else 'changed'}"))
    return told


def _keep(path: Path, file: File, aside: Path) -> Path:
    aside.mkdir(parents=True, exist_ok=True)
    kept = aside / f"{time.time_ns()}-{path.name}"
    kept.write_bytes(file.data)  # not executable, and a link leads nowhere any more
    return kept


def _put(path: Path, file: File | None) -> None:
    """Put a file back as it stood, whole or not at all."""
    with chokepoint(f"put back {path.name}"):
        if file is None:
            path.unlink(missing_ok=True)
            return
        new = path.with_name(f"{path.name}.gitmill-{os.getpid()}")
        new.unlink(missing_ok=True)
        if stat.S_ISLNK(file.mode):
            new.symlink_to(os.fsdecode(file.data))
        else:
            new.write_bytes(file.data)
            new.chmod(stat.S_IMODE(file.mode))
        new.replace(path)


def _clean_config(
    git: Git, path: Path, old: File | None, new: File | None, aside: Path
) -> list[TamperNote]:
    if new is None:
        return [TamperNote(f"{path} was removed")]
    kept = _keep(path, new, aside)
    try:
        had = _entries(git, kept.with_name(f"{kept.name}-before"), old)
        has = _entries(git, kept, new)
    except GitmillError:
        _put(path, old)
        return [
            TamperNote(f"{path} could not be read any more; it was put back, the other is {kept}")
        ]
    planted = sorted({key for key, _ in has - had if _EXECUTABLE.fullmatch(key)})
    others = {key for key, _ in (has - had) + (had - has)} - set(planted)
    told = [
        TamperNote(f"{path}: {key} was planted; it was put back, a copy is {kept}", key)
        for key in planted
    ]
    others_told = sorted(key for key in others if not _EVERYDAY.fullmatch(key))
    told += [TamperNote(f"{path}: {key} was changed", key) for key in others_told]
    if planted and not others:
        _put(path, old)
    elif planted:
        for key in planted:
            _reset(git, path, key, [value for at, value in had.elements() if at == key])
    if not planted:
        kept.unlink()
    return told


def _entries(git: Git, path: Path, file: File | None) -> Counter[tuple[str, str]]:
    """Return the keys and values of one configuration file, nothing that it includes."""
    if file is None:
        return Counter()
    path.write_bytes(file.data)
    out = git.out("config", "--file", str(path), "--no-includes", "-z", "--list")
    if path.name.endswith("-before"):
        path.unlink()
    return Counter((e.partition("\n")[0], e.partition("\n")[2]) for e in out.split("\0") if e)


def _reset(git: Git, path: Path, key: str, values: list[str]) -> None:
    git.run("config", "--file", str(path), "--unset-all", key)
    for value in values:
        git.run("config", "--file", str(path), "--add", key, value)
