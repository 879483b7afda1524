"""The environment of the commands in a workspace: the user's, without secrets and other trees."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from gitmill import process
from gitmill.config import Policy
from gitmill.workspace import private_paths
from gitmill.workspace.mount_point import MountPoint

_PATHS = ("PATH", "PYTHONPATH", "NODE_PATH", "VIRTUAL_ENV")  # lists of folders, or one
VENVS = (".venv", "venv")
# Build daemons stay with the tree for which they were started; those that can do without, must.
_NO_DAEMONS = {"NX_DAEMON": "false", "GRADLE_OPTS": "-Dorg.gradle.daemon=false"}


def environment(
    policy: Policy,
    at: MountPoint,
    *,
    tmp: Path,
    confined: bool,
    lent: Sequence[Path] = (),
    port: int = 0,
) -> dict[str, str]:
    """Return the environment of commands for a tree at a mount point.

    Where variables lead into the checkout, they lead to the same place of the tree. Variables that
    lead to the user's session are left out of a sandbox, unless their socket is `lent`. `port` is
    the first of a free range, 0 without one.
    """
    passed = policy.environment.passed
    env = process.scrubbed(
        {"TMPDIR": str(tmp), "PYTHONDONTWRITEBYTECODE": "1", **_NO_DAEMONS}, keep=passed
    )
    for name in _PATHS:
        if value := env.get(name):
            env[name] = os.pathsep.join(_led(part, at) for part in value.split(os.pathsep))
    if port:
        env["GITMILL_PORT"] = str(port)
    env |= policy.worktree.environment(str(at.path))
    if not confined:
        return env
    kept = {*passed, *policy.worktree.env, *(name for name in env if _is_lent(env[name], lent))}
    return {name: env[name] for name in env if name not in private_paths.VARIABLES - kept}


def _is_lent(value: str, lent: Sequence[Path]) -> bool:
    path = socket_of(value)
    return path is not None and any(path.is_relative_to(folder) for folder in lent)


def socket_of(value: str) -> Path | None:
    """Return the socket that the value of a variable names, as a path or as `unix://`."""
    path = value.removeprefix("unix://").removeprefix("unix:path=")
    return Path(path) if path.startswith("/") else None


def _led(part: str, at: MountPoint) -> str:
    """Return the path that a path into any work tree of the repository has in this tree."""
    if at.checkout is None or not part.startswith("/"):
        return part
    for tree in (at.checkout, *at.others):
        if Path(part).is_relative_to(tree):
            return str(at.path / Path(part).relative_to(tree))
    return part


def with_interpreter(
    env: Mapping[str, str], at: MountPoint, exists: Collection[str]
) -> Mapping[str, str]:
    """Return the environment with the tree's own virtual environment active, if it has one.

    `exists` names the dependency folders at the top of the tree. An active one outside of it stays:
    the user chose it.
    """
    name = next((name for name in VENVS if name in exists), "")
    active = env.get("VIRTUAL_ENV", "")
    inside = bool(active) and Path(active).is_relative_to(at.path)
    if inside and Path(active).relative_to(at.path).parts[:1] == (name,):
        return env
    rest = {key: value for key, value in env.items() if key != "VIRTUAL_ENV"} if inside else env
    if not name or (active and not inside):
        return rest
    folder = at.path / name
    path = os.pathsep.join([str(folder / "bin"), env.get("PATH", os.defpath)])
    return {**rest, "VIRTUAL_ENV": str(folder), "PATH": path}
