"""Check out a worktree with its submodules, as a fresh recursive clone would have it.

Their objects come from the clones in the user's git directory. What is missing there is fetched by
the user's own git, outside of the sandbox, and only for pointers that the target has as well: no
address that a task has written is ever asked.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gitmill.errors import GitFailedError, GitKilledError, UnusableRepositoryError
from gitmill.git import private_git, trees
from gitmill.git.executable import Git
from gitmill.git.gitmodules import Pointer, git_of, pointers
from gitmill.git.private_git import LENT
from gitmill.git.worktree_entries import remove
from gitmill.git.worktrees import Slot
from gitmill.hints import Gitmill, Hint, Shell
from gitmill.mill import Mill
from gitmill.store import secret_search
from gitmill.workspace.private_paths import ADDRESS
from gitmill.workspace.submodules import fetch, has_commit, make_clone

_KNOWN = ("refs/remotes/origin", "refs/tags")  # what a submodule in a worktree knows of its remote
_FORM = "--format=%(if)%(symref)%(then)%(else)%(objectname) %(refname)%(end)"
_DEEPEST = 10  # submodules inside of submodules


@dataclass(frozen=True, slots=True)
class Submodule:
    """A submodule of a worktree: path, pinned commit, address and the clone with its objects.

    `name` is the path of its git directory below `modules`.
    """

    path: str
    name: str
    commit: str
    url: str
    clone: Path


@dataclass(frozen=True, slots=True)
class _Outer:
    """A repository that contains submodules; `path` and `name` lead to it and end with a slash."""

    git: Git
    folder: Path
    commit: str
    base: str
    pinned: frozenset[Pointer] | None = None  # what the target has; None: all of them
    path: str = ""
    name: str = ""


def check_out(mill: Mill, slot: Slot, commit: str, *, holder: str) -> None:
    """Check out a commit; if not even the target can be, the environment is at fault.

    A filter of the user's is not installed, say, or lacks its key or its files: raises
    `UnusableRepositoryError` then.
    """
    try:
        slot.prepare(commit, holder=holder)
    except GitKilledError:
        raise
    except GitFailedError as error:
        target = mill.target_tip(mill.snapshot())
        if commit != target and _can_prepare(slot, target):
            raise
        command = f"git archive {target[:10]} --output=/dev/null"  # the same filters
        raise UnusableRepositoryError(
            f"git cannot check out {target[:10]}, the tip of the target",
            evidence=error.evidence,
            hints=[Hint("see what is missing:", Shell(command), ", then", Gitmill("run"))],
        ) from error


def _can_prepare(slot: Slot, commit: str) -> bool:
    try:
        slot.prepare(commit)
    except GitFailedError:
        return False
    return True


def submodules_of(mill: Mill, commit: str, *, network: bool) -> tuple[Submodule, ...]:
    """Return the submodules of a commit whose objects are at hand, outer ones first.

    Missing objects are fetched if the target has the same pointer and there is a `network`. Raises
    `UnusableRepositoryError` if that fails. A pointer of a task may lead nowhere: sanity judges it.
    """
    if trees.find(mill.store.backend, mill.tree_of(commit), ".gitmodules") is None:
        return ()
    repository, target = mill.repository, mill.target_tip(mill.snapshot())
    pinned = None if commit == target else frozenset(pointers(repository.git, target))
    url = repository.git.run("config", "remote.origin.url", check=False).text.strip()
    base = url or os.fspath(repository.top or repository.common)
    outer = _Outer(repository.git, repository.common, commit, base, pinned)
    return tuple(_below(outer, network=network, depth=1))


def _below(outer: _Outer, *, network: bool, depth: int) -> Iterator[Submodule]:
    for pointer in pointers(outer.git, outer.commit):
        name = pointer.declared.name
        clone = outer.folder / "modules" / name
        own = outer.git.run("config", f"submodule.{name}.url", check=False).text.strip()
        url = own or resolved(outer.base, pointer.declared.url)
        module = Submodule(outer.path + pointer.path, outer.name + name, pointer.commit, url, clone)
        is_pinned = outer.pinned is None or pointer in outer.pinned
        if not has_commit(clone, pointer.commit):
            if not is_pinned:
                continue
            _get(module, network=network)
        yield module
        if depth < _DEEPEST:
            inner = _Outer(
                git_of(clone), clone, pointer.commit, url, None if is_pinned else frozenset(),
                f"{module.path}/", f"{module.name}/modules/",
            )  # fmt: skip
            yield from _below(inner, network=network, depth=depth + 1)


def resolved(base: str, url: str) -> str:
    """Return the address of a submodule; a relative one is relative to its repository's."""
    if not url.startswith(("./", "../")):
        return url
    base = base.rstrip("/")
    while url.startswith(("./", "../")):
        step, _, url = url.partition("/")
        if step == "..":
            cut = max(base.rfind("/"), base.rfind(":"))
            base = base[:cut] if base[cut : cut + 1] == "/" else base[: cut + 1]
    return f"{base}{url}" if base.endswith(":") else f"{base}/{url}"


def _get(module: Submodule, *, network: bool) -> None:
    """Fetch a submodule's pinned commit. Raises `UnusableRepositoryError`."""
    why = ["the network is off (`sandbox.network`)"]
    if network:
        made = [] if (module.clone / "HEAD").is_file() else make_clone(module.clone, module.url)
        why = made or fetch(module.clone, module.commit)
        if has_commit(module.clone, module.commit):
            return
    command = f"git submodule update --init --recursive -- {shlex.quote(module.path)}"
    raise UnusableRepositoryError(
        f"the submodule {module.path} is not available at {module.commit[:10]}",
        evidence=[_shown(line) for line in why if line.strip()],
        hints=[Hint("get it with", Shell(command), ", then", Gitmill("run"))],
    )


def _shown(line: str) -> str:
    """Return a line of git's without credentials."""
    return secret_search.clean(ADDRESS.sub(rb"\1://", line.encode()).decode())


def place(mill: Mill, slot: Slot, submodules: Iterable[Submodule]) -> None:
    """Check out submodules in a worktree that has its private git directory."""
    lent = mill.pool.folder.resolve() / LENT / "modules"
    settings: dict[str, tuple[str, ...]] = {}
    for module in submodules:
        folder, git_dir = _emptied(slot.path, module.path), slot.path / ".git/modules" / module.name
        url = ADDRESS.sub(rb"\1://", module.url.encode()).decode()
        known = git_of(module.clone).out("for-each-ref", _FORM, *_KNOWN)
        private_git.make_submodule(
            git_dir, module.clone, module.commit, lent=lent / module.name / "objects", url=url,
            refs=known, formats=mill.repository.formats,
        )  # fmt: skip
        link = os.path.relpath(git_dir.resolve(), folder.resolve())
        (folder / ".git").write_text(f"gitdir: {link}\n", "utf-8", "surrogateescape")
        git = Git(git_dir, work_tree=folder, locks=(slot.lock,))
        git.run("checkout", "-q", "-f", "--detach", module.commit)
        if "/modules/" not in module.name:
            settings[f"submodule.{module.name}.url"] = (url,)
            settings[f"submodule.{module.name}.active"] = ("true",)
    private_git.add_settings(slot.path / ".git/config", settings)


def _emptied(top: Path, path: str) -> Path:
    """Return the empty folder at a path, without links on the way to it."""
    folder = top
    for part in path.split("/"):
        folder /= part
        if folder.is_symlink() or not folder.is_dir():
            remove(folder)
            folder.mkdir()
    remove(folder)
    folder.mkdir()
    return folder
