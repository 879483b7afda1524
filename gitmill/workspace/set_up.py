"""The set-up of a worktree: the policy's commands, and what they leave beside the tree."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from gitmill.config import Policy
from gitmill.errors import SetUpError
from gitmill.git import trees
from gitmill.git.worktree_entries import remove
from gitmill.hints import Gitmill, Hint
from gitmill.mill import Mill
from gitmill.shells import of_checks
from gitmill.workspace.read_tree import taken_tree
from gitmill.workspace.trust import require_trusted

if TYPE_CHECKING:
    from gitmill.workspace.workspace import Workspace

SECONDS = 1800.0  # for each command


def set_up(mill: Mill, workspace: Workspace, policy: Policy, kind: str) -> Workspace:
    """Run the set-up in a fresh workspace and return the workspace that knows its products.

    For a builder (`build`) they are files of the tree that are not its work. For anyone else
    they are what git does not track: the files of the tree are the commit's again, and the products
    stay from one check to the next. Raises `SetUpError`.
    """
    numbered = enumerate(policy.worktree.setup, 1)
    require_trusted(mill, {f"worktree.setup.{number}": line for number, line in numbered})
    on_target = workspace.commit == workspace.refs.tip
    runner = workspace.for_set_up(on_target=on_target)
    for number, command in enumerate(policy.worktree.setup):
        outcome = _beside(runner, command).shell(command, seconds=SECONDS, name=f"setup-{number}")
        if not outcome.passed:
            raise SetUpError(
                f"set-up `{command}` {outcome.ended} with status {outcome.status}",
                command=command,
                status=outcome.status,
                ended=outcome.ended,
                evidence=outcome.tail(6).splitlines(),
                hints=[
                    Hint("fix `[worktree] setup` in .gitmill/config.toml, then", Gitmill("run"))
                ],
            )
    slot, tree = workspace.slot, workspace.made
    _drop_loops(workspace)
    remove(slot.tmp)  # an agent must not see its leftovers
    (slot.tmp / workspace.findings.name).touch()
    if kind == "build":
        with taken_tree(mill, slot, tree, claim=workspace.claim, stop=workspace.stop) as products:
            return replace(workspace, made=products.objects.admit(tree, products.tree))
    tracked = {path for path, _ in trees.walk(mill.store.backend, tree)}
    workspace = replace(workspace, kept=tuple(_untracked(slot.path, tracked)))
    workspace.renew()
    return workspace


def _beside(workspace: Workspace, command: str) -> Workspace:
    """Return the workspace for a command of the set-up.

    One that names the checkout by its path copies or links something from there, so it runs beside
    the checkout, in the worktree at its own path. All others run where the tree stands later: what
    they build may hold its path.
    """
    at, around = workspace.at, workspace.sandbox
    if around is None or not at.covers or not mentions(command, at.path):
        return workspace
    checkout = at.path
    own = replace(at, path=workspace.slot.path.resolve(), why="a set-up names the checkout")
    around = replace(around, at=own.path, visible=(*around.visible, checkout), lent=tuple(
        each for each in around.lent if not each.path.is_relative_to(checkout)
    ))  # fmt: skip
    return replace(workspace, at=own, sandbox=around)


def mentions(command: str, path: Path) -> bool:
    """Whether a command names a path or one below it."""
    return re.search(rf"{re.escape(str(path))}(?![\w.-])", command) is not None


def _drop_loops(workspace: Workspace) -> None:
    """Remove links into the checkout that lead to themselves once the tree is in its place."""
    at, top = workspace.at, workspace.slot.path
    if not at.covers:
        return
    for folder in (top, *(path for path in top.iterdir() if _is_folder(path))):
        for path in folder.iterdir():
            if path.is_symlink() and path.readlink() == at.path / path.relative_to(top):
                path.unlink()


def _is_folder(path: Path) -> bool:
    return path.name != ".git" and path.is_dir() and not path.is_symlink()


def _untracked(worktree: Path, tracked: set[str]) -> Iterator[str]:
    """Yield what the tree does not contain, a folder without any of its files as a whole."""
    folders = {folder.as_posix() for path in tracked for folder in PurePosixPath(path).parents}
    for folder in sorted(folders):
        if os.path.realpath(worktree / folder) != os.fspath((worktree / folder).absolute()):
            continue  # a link, or gone
        for entry in os.scandir(worktree / folder):
            path = entry.name if folder == "." else f"{folder}/{entry.name}"
            if path not in tracked and path not in folders and path != ".git":
                yield path


def setup_key(mill: Mill, policy: Policy, commit: str) -> str:
    """Return the key of a commit's set-up, 16 digits of its inputs; empty without a set-up."""
    if not policy.worktree.setup:
        return ""
    from gitmill.git.path_patterns import Patterns  # noqa: PLC0415  (dulwich, only here)

    digest = hashlib.sha256("\0".join(policy.worktree.setup).encode())
    patterns = Patterns(policy.worktree.lock)
    for path, entry in trees.walk(mill.store.backend, mill.tree_of(commit)):
        if patterns.match(path):
            digest.update(f"\0{path}\0{entry.oid}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def platform_name(policy: Policy) -> str:
    """Return the system, machine, interpreter and shell that a check passed on."""
    program, *options = of_checks(policy.worktree.shell).argv
    python = f"python {platform.python_version()}"
    shell = " ".join([Path(program).name, *options])
    return f"{platform.system()} {platform.machine()} {python} {shell}"
