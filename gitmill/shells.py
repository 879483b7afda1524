"""The shells that run checks, criteria, set-up lines and the scripts of tasks.

Each stops at its first failing line. For all but scripts a pipe fails with any of its commands, so
that no check passes because its output goes through another program.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gitmill import files, process
from gitmill.errors import CannotStartError, HiddenFailureError
from gitmill.hints import Gitmill, Hint

_POSIX = "/bin/sh"
_EXEC = (_POSIX, "-c", 'exec "$0"')
_PIPEFAIL = ("-o", "pipefail")


@dataclass(frozen=True, slots=True)
class CommandShell:
    """A shell: the argv to which the path of a script is added, and whether pipes hide failures."""

    argv: tuple[str, ...]
    hides_failures: bool = False

    def command(self, folder: Path, name: str, text: str) -> tuple[str, ...]:
        """Write a script into a folder and return the argv that runs it.

        A text that begins with `#!` names its own program. It is a file because arguments have a
        size limit and show in the process list. Raises `HiddenFailureError`.
        """
        if self.hides({name: text}):
            raise hidden_failure(name)
        own, path = text.startswith("#!"), folder / f"{name}.sh"
        data = (text + "\n").encode("utf-8", "surrogateescape")
        files.replace(path, data, mode=0o700 if own else 0o600)
        # A missing program of a script ends with 127, like any other command.
        return (*(_EXEC if own else self.argv), str(path))

    def hides(self, commands: Mapping[str, str]) -> list[str]:
        """Return the names of the commands in which a failure stays unseen."""
        if not self.hides_failures:
            return []
        own = (name for name, text in commands.items() if not text.startswith("#!"))
        return [name for name in own if has_pipe(commands[name])]


def of_scripts(configured: str = "") -> CommandShell:
    """Return the shell of a task's script; `configured` is the policy's line for all commands.

    Raises `CannotStartError` if that is not installed.
    """
    argv = tuple(shlex.split(configured)) if configured else (*_program(), "-e")
    if configured and shutil.which(argv[0]) is None:
        raise CannotStartError(
            f"the shell `{configured}` of the policy is not installed",
            hints=[Hint("install it, or change `[worktree] shell` in the policy")],
        )
    return CommandShell(argv)


def of_checks(configured: str = "") -> CommandShell:
    """Return the shell of checks, criteria and set-up lines. Raises `CannotStartError`."""
    shell = of_scripts(configured)
    if configured:
        return shell
    if _sees_pipes():
        return CommandShell((*shell.argv, *_PIPEFAIL))
    return CommandShell(shell.argv, hides_failures=True)


def has_pipe(text: str) -> bool:
    """Whether a script has a pipe, of which the last command alone gives the exit status."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        return any(token in ("|", "|&") for token in lexer)
    except ValueError:  # quotes that only a shell can read
        return "|" in text.replace("||", "")


def hidden_failure(name: str) -> HiddenFailureError:
    """Return the error for a command whose pipe can hide a failure."""
    return HiddenFailureError(
        f"{name} has a pipe, and {_POSIX} sees a failure only at its end",
        hints=[
            Hint("install bash, or write `command > out.txt; cat out.txt` for `command | other`"),
            Hint("see all of them with", Gitmill("doctor")),
        ],
    )


@cache
def _program() -> tuple[str, ...]:
    bash = next((path for path in ("/bin/bash", "/usr/bin/bash") if os.access(path, os.X_OK)), "")
    bash = bash or shutil.which("bash", path=os.defpath) or ""
    # With -p it reads no file that BASH_ENV names, and takes no functions from the environment.
    return (bash, "-p") if bash else (_POSIX,)


@cache
def _sees_pipes() -> bool:
    argv = (*_program(), *_PIPEFAIL, "-c", ":")
    return process.run(argv, check=False).returncode == 0
