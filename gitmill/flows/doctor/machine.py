"""The machine, independent of a repository."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from pathlib import Path

from gitmill import process
from gitmill.flows.doctor.diagnosis import Diagnoses, note, ok, problem, warning
from gitmill.git.repo import MINIMUM_GIT
from gitmill.hints import Gitmill, Hint, Shell
from gitmill.mill import state_folder
from gitmill.supervision import bubblewrap, procfs

MINIMUM_PYTHON = (3, 11)


def system() -> Diagnoses:
    """Diagnose the system: full support on Linux, none for /proc and the sandbox on macOS."""
    name = f"{platform.system()} {platform.release()}"
    if sys.platform == "linux":
        yield ok(name)
    elif sys.platform == "darwin":
        yield note(f"{name}: gitmill runs without a sandbox on macOS")
    else:
        yield problem(f"{name}: gitmill runs on Linux and macOS", Hint("on Windows, run it in WSL"))


def python() -> Diagnoses:
    """Diagnose the Python interpreter."""
    interpreter = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < MINIMUM_PYTHON:
        yield problem(f"{interpreter} is too old", Hint("install Python 3.11 or newer"))
        return
    yield ok(interpreter)


def git() -> Diagnoses:
    """Diagnose the git on PATH."""
    try:
        answer = process.run(("git", "version"), check=False).text.strip()
    except OSError as error:
        yield problem(f"there is no git on PATH: {error}", Hint("install git 2.38 or newer"))
        return
    numbers = tuple(int(number) for number in re.findall(r"\d+", answer)[:3])
    version = ".".join(map(str, numbers)) or answer or "a git without a version"
    if numbers < MINIMUM_GIT:
        yield problem(f"{version} is too old", Hint("install git 2.38 or newer"))
    else:
        yield ok(version)


def libgit2() -> Diagnoses:
    """Diagnose libgit2, which writes objects and refs in this process."""
    try:
        import pygit2  # noqa: PLC0415  (the import is what is diagnosed)
    except ImportError as error:
        hint = Hint(Shell(f"{shlex.quote(sys.executable)} -m pip install --force-reinstall pygit2"))
        yield problem(f"pygit2 cannot be loaded: {error}", hint)
        return
    yield ok(f"{pygit2.LIBGIT2_VERSION} (pygit2 {pygit2.__version__})")


def home() -> Diagnoses:
    """Diagnose the home folder, where git and agents keep their files."""
    folder = Path(os.environ.get("HOME") or "~").expanduser()
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        yield ok(str(folder))
        return
    why = "cannot be written" if folder.is_dir() else "does not exist"
    yield warning(
        f"HOME is {folder}, which {why}; agents and tools keep their files there",
        Hint("set it to a writable folder:", Shell('export HOME="$(mktemp -d)"')),
    )


def processes() -> Diagnoses:
    """Diagnose whether gitmill can tell that a worker is alive."""
    if procfs.usable() or not procfs.LINUX:
        yield ok("can tell whether a worker is still alive")
        return
    yield warning(
        "/proc does not show this process: the work of a killed process is recovered only after "
        "its lease has ended",
        Hint("mount a separate /proc in this container or namespace"),
    )


def _apparmor() -> list[Hint]:
    """Return the way out where AppArmor keeps programs without a profile from user namespaces."""
    switch = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    try:
        restricted = switch.read_text().strip() == "1"
    except OSError:
        return []
    profile = "/usr/share/apparmor/extra-profiles/bwrap-userns-restrict"
    install = Shell("apt-get install bubblewrap apparmor-profiles")
    load = Shell(f"apparmor_parser -r {profile}")
    hint = Hint(
        "AppArmor lets only /usr/bin/bwrap through, with its profile:", install, "and", load
    )
    return [hint] if restricted else []


def sandbox() -> Diagnoses:
    """Diagnose the sandbox of agents, scripts and checks by starting one."""
    bwrap = bubblewrap.find(layers=state_folder())
    name = f"{bubblewrap.version(bwrap.program)} at {bwrap.program}" if bwrap.program else ""
    if bwrap.layers:
        yield ok(f"{name}, with upper layers")
        return
    if bwrap.program:
        yield note(
            f"{name}, without upper layers: shared folders are read-only, and no download cache is "
            f"kept; {bwrap.why}",
            Hint("bubblewrap 0.11 and Linux 5.11 have them"),
        )
        return
    yield warning(
        "not enforced: agents, scripts and checks run as you and can reach all that you can; "
        f"{bwrap.why}",
        Hint(
            "install bubblewrap and allow user namespaces:", Gitmill("explain", "sandbox-missing")
        ),
        *_apparmor(),
        Hint("or run only what you trust, as a separate user or in a container"),
    )
