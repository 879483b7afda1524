"""Whether commands would import the checkout, or a copy of it, in place of the tree under test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from gitmill import process
from gitmill.errors import LeadsOutError
from gitmill.hints import Gitmill, Hint
from gitmill.workspace import installed
from gitmill.workspace.mount_point import MountPoint

_OWN = Hint(
    "give the tree an environment of its own in .gitmill/config.toml: "
    '`[worktree] setup = ["python3 -m venv .venv", ".venv/bin/pip install -e ."]`, then',
    Gitmill("run"),
)
_LEAVE = Hint("or leave that environment (`deactivate`), then", Gitmill("run"))


def refuse_outward(at: MountPoint, env: Mapping[str, str]) -> None:
    """Raise `LeadsOutError` if the Python of an environment imports from a checkout, or a copy.

    Where the tree stands in the place of the checkout, imports from there lead to the tree. A
    copy below the tree is what its set-up installed from it.
    """
    if at.checkout is None:
        return
    trees = [at.checkout, *at.others]
    for environment in _environments(env):
        if not environment.is_relative_to(at.path):
            _refuse_copy(environment, trees)
        if not at.covers:
            _refuse_place(environment, trees, at)


def _refuse_copy(environment: Path, trees: list[Path]) -> None:
    for project in installed.distributions(environment):
        tree = installed.below(project.source, trees) if project.source else None
        if tree and not project.editable:
            raise LeadsOutError(
                f"checks would test a copy of {project.name} in {environment}, not the change",
                evidence=[f"it was installed from {tree}"],
                hints=[
                    Hint("install it there with `pip install -e`, then", Gitmill("run")),
                    _LEAVE,
                ],
            )


def _refuse_place(environment: Path, trees: list[Path], at: MountPoint) -> None:
    for path, said in installed.places(environment):
        if tree := installed.below(path, trees):
            raise LeadsOutError(
                f"checks would test {tree}, not the change: {environment} imports from there",
                evidence=[f"{said} names {path}", f"the tree stands beside it: {at.why}"],
                hints=[_OWN, _LEAVE],
            )


def _environments(env: Mapping[str, str]) -> Iterator[Path]:
    """Yield the Python environments that commands use: the active one, and the one on PATH.

    Without an active one, Python also imports what its user has installed with `--user`.
    """
    active = env.get("VIRTUAL_ENV")
    programs = (shutil.which(n, path=env.get("PATH", os.defpath)) for n in ("python", "python3"))
    found = [Path(p).parent.parent for p in programs if p]
    yield from dict.fromkeys([Path(active) if active else process.home() / ".local", *found])
