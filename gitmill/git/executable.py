"""The git executable, always without hooks and fsmonitor, and without inherited `GIT_*`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from gitmill import process
from gitmill.errors import GitFailedError, GitKilledError, GitMissingError
from gitmill.git.executable_settings import SWITCHED_OFF
from gitmill.hints import Gitmill, Hint, Shell

_OFF = (
    *(part for key, value in SWITCHED_OFF.items() for part in ("-c", f"{key}={value}")),
    "-c", "core.quotePath=false",
    "-c", "gc.auto=0",
    "-c", "maintenance.auto=false",
    "-c", "advice.detachedHead=false",
    "-c", "core.trustctime=true",
    "-c", "core.checkStat=default",
    "-c", "core.protectHFS=true",
    "-c", "core.protectNTFS=true",
)  # fmt: skip

# Both keep a partial clone from fetching missing objects: the first since git 2.45, the second
# in every version.
_OFFLINE = {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}
# Make git flush what it writes to the disk: objects, which it does not flush by default, and refs.
FLUSH = ("-c", "core.fsync=committed,loose-object,reference", "-c", "core.fsyncMethod=fsync")


class Surroundings(TypedDict):
    """The working directory and environment of a git process."""

    cwd: Path
    env: dict[str, str]


class Git:
    """Runs git on one repository, named by its git directory and never by the current directory.

    With `objects`, new objects go to that folder and not into the repository. With `offline`, an
    object absent from the repository is missing even if git could fetch it.
    Each process inherits the descriptors `locks`, so that these locks are held until it has ended,
    even if gitmill is killed first. `options`, such as `FLUSH`, precede the command.
    """

    def __init__(
        self,
        git_dir: Path,
        *,
        work_tree: Path | None = None,
        index: Path | None = None,
        locks: Sequence[int] = (),
        objects: Path | None = None,
        offline: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        self.git_dir = git_dir
        self.work_tree = work_tree
        self._index = index
        self._objects = objects
        self._locks = tuple(locks)
        self._offline = offline
        self.options = tuple(options)

    def run(
        self,
        *args: str,
        stdin: bytes = b"",
        check: bool = True,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> process.Finished:
        """Run `git ARGS`; raise `GitFailedError` on a non-zero exit unless `check` is off.

        Raises `TimeoutExpired` after `timeout` seconds, with git and its filters ended.

        Raises `GitKilledError` in any case when git, or a git that it started, was killed: its
        status is no answer then.
        """
        try:
            done = process.run(
                self.argv(*args),
                cwd=self.work_tree or self.git_dir,
                env=self._environment() | dict(env or {}),
                stdin=stdin,
                check=False,
                pass_fds=self._locks,
                timeout=timeout,
            )
        except FileNotFoundError as error:
            raise GitMissingError(
                "there is no git on PATH", hints=[Hint("install git 2.38 or newer")]
            ) from error
        if number := ended_by(done.returncode):
            raise killed(args, number)
        if check and done.returncode != 0:
            raise GitFailedError(
                f"`git {' '.join(args[:3])}` exited {done.returncode}",
                evidence=done.error.splitlines()[-6:],
            )
        return done

    def out(self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        """Run `git ARGS` and return its output without the last newline."""
        return self.run(*args, stdin=stdin, env=env).text.removesuffix("\n")

    def argv(self, *args: str) -> tuple[str, ...]:
        """Return the complete command line of `git ARGS`, for a process that stays open."""
        return ("git", *_OFF, *self.options, *args)

    def surroundings(self) -> Surroundings:
        """Return the working directory and environment for such a process."""
        return {"cwd": self.work_tree or self.git_dir, "env": self._environment()}

    def _environment(self) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if not redirects_git(name)}
        env |= {
            "GIT_DIR": str(self.git_dir),
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_EDITOR": "false",
            "LC_ALL": "C.UTF-8",
        }
        if self._offline:
            env |= _OFFLINE
        if self.work_tree is not None:
            env["GIT_WORK_TREE"] = str(self.work_tree)
        if self._index is not None:
            env["GIT_INDEX_FILE"] = str(self._index)
        if self._objects is not None:
            env["GIT_OBJECT_DIRECTORY"] = str(self._objects)
            env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = _quoted(self.git_dir / "objects")
        return env


def _quoted(path: Path) -> str:
    """Return a path as one entry of a list that git separates by colons, as in git(1)."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if escaped != str(path) or ":" in escaped else escaped


def ended_by(status: int) -> int:
    """Return the signal that ended a git or one that it started; 0 if there was none.

    A git whose child was killed exits with 128 and the signal, and so does bubblewrap; git's own
    statuses are at most 129.
    """
    return -status if status < 0 else status - 128 if status > 129 else 0


def killed(args: Sequence[str], number: int) -> GitKilledError:
    """Return the error for a git command that a signal has ended."""
    before = ("", *args)
    command = next(arg for n, arg in enumerate(args) if "-c" not in (arg, before[n]))
    return GitKilledError(
        f"`git {command}` was killed by signal {number}",
        hints=[
            Hint("if memory ran out, the system's log has a line on it:", Shell("journalctl -k")),
            Hint("continue with", Gitmill("run")),
        ],
    )


# The user may set identity, dates and transport. Only gitmill names the repository: otherwise the
# environment of a hook would lead git to another one.
_PASSED_ON = ("GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_CONFIG_", "GIT_SSH", "GIT_ASKPASS", "GIT_SSL_")


def redirects_git(name: str) -> bool:
    """Whether an environment variable could lead git to another repository, index or setting."""
    return name.startswith("GIT_") and not name.startswith(_PASSED_ON)
