"""Parse global options, run one command, and handle every error."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

from gitmill import __version__
from gitmill.cli import fast_status, output
from gitmill.errors import (
    Exit,
    GitmillError,
    StorageError,
    UnsupportedPlatformError,
    UsageError,
)
from gitmill.hints import Gitmill, Hint

# The module of each verb and noun; no verb is also a noun.
VERBS = {
    "init": "setup", "demo": "setup", "explain": "setup",
    "status": "daily", "run": "daily", "log": "history", "stop": "daily", "recover": "daily",
    "pause": "daily", "resume": "daily", "undo": "daily",
    "stats": "history", "compile": "loop", "fsck": "verify", "anchor": "verify",
    "doctor": "maintenance", "gc": "maintenance", "uninit": "maintenance",
    "upgrade": "maintenance",
}  # fmt: skip
NOUNS = {
    "task": "task_changes", "queue": "queue", "loop": "loop", "mode": "mode", "agent": "agent",
    "attempt": "history", "config": "setup",
}  # fmt: skip
# Modules of the reading commands of a noun, which load without those that write.
READERS = {"task": "task"}

HELP = """\
gitmill carries tasks through loops of coding agents, with all state in git.

usage: gitmill [-C DIR] [-q] [-v] [--json] [--at COMMIT] COMMAND …

daily
  status            what is running, what waits for you, what is next
  task new          describe a task
  run               carry ready tasks to the target
  task diff         see the work of a task
  task approve      approve what waits for you; task return sends it back
  queue land        land what is approved
  log               history of a task or of everything; -f follows running agents
  undo              undo the last event of a task
  stop              stop all work on this machine

more
  task              new list show edit diff path take shell submit ready approve return
                    answer retry block unblock cancel reopen
  queue             list add remove land pause resume
  loop, mode        list show · loop check;  compile
  attempt           list show;  stats: lead time, attempts, usage and cost
  agent, config     list · agent try · config trust
  pause, resume     stop starting attempts in every clone, and start again
  recover           clean up after killed processes; `run` does it first
  fsck              verify the whole history offline: state, landings, notes, refs
  anchor            sign a tag of the state branch, which fsck verifies
  doctor            find problems and the commands that help; --fix applies the safe fixes
  gc                drop old transcripts, and worktrees and caches above a limit
  upgrade           let the state branch follow the newest version of the rules

start
  demo              try gitmill in a small new project
  init              set up gitmill in this repository
  explain           the meaning of an error or a term
  uninit            remove gitmill, with a bundle of everything it stored

More: `gitmill COMMAND --help`. Every command takes --json. With --at COMMIT, a commit
of gitmill/state, commands that only read show the state at that time.
"""

# Commands that take --at; a bare noun lists.
READS = {
    "status": (), "log": (), "task": ("list", "show", "diff"), "queue": ("list",),
    "loop": ("list", "show"), "config": ("list",), "attempt": ("list", "show"), "stats": (),
}  # fmt: skip
# Commands that do not apply hand edits first: they only read, run before or without a complete
# state, or apply hand edits themselves.
NO_HAND_EDITS = frozenset({
    "mode", "fsck", "doctor", "explain", "uninit", "init", "demo", "recover",
})  # fmt: skip


def dispatch(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code; the only handler of every exception."""
    try:
        return _main(list(argv))
    except GitmillError as problem:  # here errors become output and exit codes
        return output.error(problem)
    except KeyboardInterrupt:
        if not output.settings.reads:
            output.print_line("stopped; nothing is lost")
            output.next_step(Gitmill("run"))
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader closed the pipe; a second error while closing would be noise.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except Exception as problem:  # noqa: BLE001  (the one boundary: a bug becomes a report)
        return _unexpected(problem)


# Errors of the machine: read-only, no permission, no space, a quota or limit, a broken disk.
_DENIED = frozenset({
    errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO,
})  # fmt: skip


def _denied(error: OSError) -> GitmillError:
    path = error.filename if isinstance(error.filename, str) else "a file"
    return StorageError(
        f"{path} cannot be written or read: {(error.strerror or 'refused').lower()}",
        hints=[
            Hint("find the cause with", Gitmill("doctor")),
            Hint("then continue with", Gitmill("run")),
        ],
    )


def _unexpected(problem: Exception) -> int:
    if isinstance(problem, OSError) and problem.errno in _DENIED:
        return output.error(_denied(problem))
    from gitmill.cli.bug import report

    return report(problem)


def _main(argv: list[str]) -> int:
    if sys.platform == "win32":
        raise UnsupportedPlatformError(
            "gitmill does not run on Windows", hints=[Hint("run it in WSL")]
        )
    rest = split_globals(argv)
    _refuse_bytes(rest)
    if rest[:1] == ["--version"]:
        print(f"gitmill {__version__}")
        return Exit.OK
    if not rest or rest[0] in ("--help", "-h", "help"):
        print(HELP, end="")
        return Exit.OK
    output.settings.reads = rest[0] in NO_HAND_EDITS or _is_read(rest) or "--dry-run" in rest
    if output.settings.at:
        _refuse_present(rest)
    elif rest == ["status"] and fast_status.status():
        return Exit.OK
    if rest in (["task"], ["task", "list"]):
        import_module("gitmill.cli.task_list").print_tasks()
        return Exit.OK
    name, *args = rest
    if name in NOUNS:
        is_reading = not args or args[0] in READS.get(name, ())
        return _invoke(READERS.get(name, NOUNS[name]) if is_reading else NOUNS[name], name, args)
    if name in VERBS:
        return _invoke(VERBS[name], "verbs", [name, *args])
    raise _unknown(name)


def _is_read(rest: list[str]) -> bool:
    """Whether a command only reads."""
    name, *args = rest
    verb = _verb(name, args)
    reading = READS.get(name)
    return reading is not None and not (reading and verb and verb not in reading)


def _verb(name: str, args: list[str]) -> str:
    return next((arg for arg in args if not arg.startswith("-")), "") if name in NOUNS else ""


def _refuse_present(rest: list[str]) -> None:
    """Raise `UsageError` when a command does not take `--at`."""
    name, *args = rest
    if "--help" in args or name not in {**VERBS, **NOUNS} or _is_read(rest):
        return
    shown = " ".join(filter(None, ["gitmill", name, _verb(name, args)]))
    raise UsageError(
        f"{shown} works on the present, so it takes no --at",
        hints=[Hint("without it:", Gitmill(*rest))],
    )


_PATH_OPTIONS = ("--dir", "--bundle")  # a path can hold any bytes


def _refuse_bytes(args: Sequence[str]) -> None:
    """Raise `UsageError` for an argument that is not UTF-8, because documents have to be."""
    for before, arg in pairwise(["", *args]):
        is_path = before in _PATH_OPTIONS or arg.startswith(tuple(f"{o}=" for o in _PATH_OPTIONS))
        if not is_path and arg.encode("utf-8", "replace").decode() != arg:
            raise UsageError(f"the argument {arg!r} is not UTF-8 text")


def _unknown(name: str) -> UsageError:
    from difflib import get_close_matches

    close = get_close_matches(name, [*VERBS, *NOUNS], 1)
    hint = Hint("did you mean", Gitmill(close[0]), "?") if close else Hint("see", Gitmill("--help"))
    return UsageError(f"there is no command {name}", hints=[hint])


def _invoke(module: str, app: str, args: list[str]) -> int:
    import typer

    # Newer versions of typer bundle click, so its base exception is found from a subclass.
    click_exception: type[Any] = typer.BadParameter.__mro__[2]
    typer_app: typer.Typer = getattr(import_module(f"gitmill.cli.{module}"), app)
    words = ["gitmill"] if app == "verbs" else ["gitmill", app]
    command = typer.main.get_command(typer_app)
    try:
        code = command.main(args=args, prog_name=" ".join(words), standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except click_exception as problem:
        message = problem.format_message().rstrip(".")
        shown = args[:1] if app == "verbs" else [app]
        raise UsageError(
            f"{message[:1].lower()}{message[1:]}", hints=[Hint("see", Gitmill(*shown, "--help"))]
        ) from None
    if code == Exit.INTERRUPTED:  # typer turned the interrupt of a flow into this code
        raise KeyboardInterrupt
    return int(code) if isinstance(code, int) else Exit.OK


def split_globals(argv: Sequence[str]) -> list[str]:
    """Apply the global options of a command line, anywhere before `--`; return the rest."""
    rest: list[str] = []
    words = iter(argv)
    for arg in words:
        if arg == "--":
            return [*rest, arg, *words]
        if arg in ("-q", "--quiet"):
            output.settings.quiet = True
        elif arg in ("-v", "-vv", "--verbose"):
            output.settings.verbose += 2 if arg == "-vv" else 1
        elif arg == "--json":
            output.settings.json = True
        elif arg == "--no-input":
            output.settings.no_input = True
        elif arg in ("-C", "--color", "--at") or arg.startswith(("--color=", "--at=")):
            _apply_valued(arg, words)
        else:
            rest.append(arg)
    return rest


def _apply_valued(arg: str, words: Iterator[str]) -> None:
    name, sign, value = arg.partition("=")
    if not sign:
        try:
            value = next(words)
        except StopIteration:
            raise UsageError(
                f"{name} needs a value", hints=[Hint("see", Gitmill("--help"))]
            ) from None
    if name == "-C":
        output.settings.directory = os.path.join(output.settings.directory, value)  # noqa: PTH118
    elif name == "--at":
        if not value:
            raise UsageError("--at needs a commit", hints=[Hint("list them with", Gitmill("log"))])
        output.settings.at = value
    elif value in ("always", "never", "auto"):
        output.settings.color = value
    else:
        raise UsageError(f"--color is always, never or auto, not {value}")
