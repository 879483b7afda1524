"""The git directory of a worktree in which other people's code runs: its own, and real.

It reads the objects of the repository; index, refs and configuration are copies. A commit, a stash
or a rebase works there and leaves no trace in the user's repository. It is a folder, because tools
that protect the git directory of their sandbox break a `.git` file. Formats:
gitrepository-layout(5), and for packed refs the header that git itself writes.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gitmill.git.worktree_entries import remove

# Its key stays outside: git stores such files as they are there, where nothing leaves the folder.
_KEYED = "filter.git-crypt"
LENT = "lent"  # in the pool's folder: where the objects of the repository can be read


@dataclass(frozen=True, slots=True)
class Refs:
    """The refs of a private git directory: HEAD's branch, the target, also as a remote has it.

    `tags` are those that its commit reaches, as `Repository.tags_below` returns them.
    """

    branch: str
    target: str
    tip: str
    remote: str = ""
    tags: str = ""


def make(
    worktree: Path, common: Path, commit: str, refs: Refs, *, index: Path, lent: Path,
    formats: Mapping[str, tuple[str, ...]],
) -> None:  # fmt: skip
    """Give a worktree a git directory of its own, at a commit, in place of its `.git`.

    `lent` is the folder through which the objects of the repository `common` can be read, `index`
    the one of the worktree, and `formats` the part of git's configuration that decides the bytes of
    files.
    """
    lend(common, lent)
    folder = worktree / ".git"
    remove(folder)
    for name in ("objects/info", "refs/heads", "refs/tags", "info"):
        (folder / name).mkdir(parents=True)
    if (common / "git-crypt").is_dir():
        # Without the key git must not compare contents, as it does for files of the index's second.
        time.sleep(max(0.0, int(index.stat().st_mtime) + 1.01 - time.time()))
    shutil.copyfile(index, folder / "index")
    _write(folder / "HEAD", f"ref: refs/heads/{refs.branch}\n")
    _write(folder / "config", _config(formats, len(commit)))
    _write(folder / "packed-refs", _packed_refs(commit, refs))
    if refs.remote:
        head = folder / "refs/remotes" / refs.remote / "HEAD"
        head.parent.mkdir(parents=True)
        _write(head, f"ref: refs/remotes/{refs.remote}/{refs.target}\n")
    _write(folder / "objects/info/alternates", "".join(_alternates(common, lent)))
    for name in ("shallow", "info/exclude", "info/attributes"):
        with suppress(FileNotFoundError):
            shutil.copyfile(common / name, folder / name)


def make_submodule(
    folder: Path, clone: Path, commit: str, *, lent: Path, url: str, refs: str,
    formats: Mapping[str, tuple[str, ...]],
) -> None:  # fmt: skip
    """Make the git directory of a submodule in a private one: HEAD at a commit, no index yet.

    `lent` is where the objects of its `clone` can be read; `refs` are lines of packed refs.
    """
    remove(folder)
    for name in ("objects/info", "refs/heads", "info"):
        (folder / name).mkdir(parents=True)
    _write(folder / "HEAD", f"{commit}\n")
    _write(folder / "config", _config(formats, len(commit)))
    remote = {"url": url, "fetch": "+refs/heads/*:refs/remotes/origin/*"}
    add_settings(folder / "config", {f"remote.origin.{k}": (v,) for k, v in remote.items()})
    lines = sorted(filter(None, refs.splitlines()), key=lambda line: line.partition(" ")[2])
    _write(folder / "packed-refs", "".join(f"{line}\n" for line in ("# pack-refs with: sorted ",
                                                                    *lines)))  # fmt: skip
    _write(folder / "objects/info/alternates", f"{lent}\n")
    with suppress(FileNotFoundError):
        shutil.copyfile(clone / "shallow", folder / "shallow")


def add_settings(path: Path, settings: Mapping[str, tuple[str, ...]]) -> None:
    """Add settings to a configuration file."""
    with path.open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(_sections(settings))


def lend(common: Path, lent: Path) -> None:
    """Make the folder through which objects, and those of Git LFS and submodules, can be read."""
    lent.mkdir(parents=True, exist_ok=True)
    for name in ("objects", "lfs", "modules"):
        link = lent / name
        if not (common / name).exists():
            continue
        if not link.is_symlink() or link.readlink() != common / name:
            remove(link)
            link.symlink_to(common / name)


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8", "surrogateescape")


def _alternates(common: Path, lent: Path) -> Iterator[str]:
    """Yield the folders with objects: those of the repository, and where it borrows itself."""
    yield f"{lent / 'objects'}\n"
    with suppress(FileNotFoundError):
        borrowed = (common / "objects/info/alternates").read_text("utf-8", "surrogateescape")
        for line in filter(None, borrowed.splitlines()):
            if not line.startswith(("/", "#")):
                yield f"{os.path.normpath(common / 'objects' / line)}\n"


def _packed_refs(commit: str, refs: Refs) -> str:
    lines = {f"refs/heads/{refs.target}": refs.tip, f"refs/heads/{refs.branch}": commit}
    if refs.remote:
        lines[f"refs/remotes/{refs.remote}/{refs.target}"] = refs.tip
    peeled = {}
    for line in refs.tags.splitlines():
        name, oid, target = line.split(" ")
        lines[name] = oid
        peeled[name] = f"^{target}\n" if target else ""
    body = "".join(f"{lines[name]} {name}\n{peeled.get(name, '')}" for name in sorted(lines))
    return f"# pack-refs with: peeled fully-peeled sorted \n{body}"


def _config(formats: Mapping[str, tuple[str, ...]], digits: int) -> str:
    """Return a configuration with formats and filters, without automatic maintenance."""
    settings: dict[str, tuple[str, ...]] = {
        "core.repositoryformatversion": ("1" if digits == 64 else "0",),
        "core.bare": ("false",),
        "gc.auto": ("0",),
        "maintenance.auto": ("false",),
        **{name: each for name, each in formats.items() if not name.startswith(_KEYED)},
    }
    if digits == 64:
        settings["extensions.objectformat"] = ("sha256",)
    return _sections(settings)


def _sections(settings: Mapping[str, tuple[str, ...]]) -> str:
    lines = []
    for name, values in settings.items():
        section, _, rest = name.partition(".")
        subsection, _, key = rest.rpartition(".")
        lines.append(f"[{section} {quoted(subsection)}]" if subsection else f"[{section}]")
        lines += [f"\t{key} = {quoted(value)}" for value in values]
    return "\n".join([*lines, ""])


def quoted(value: str) -> str:
    """Return a value as git's configuration quotes it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
