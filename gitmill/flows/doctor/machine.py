"""The machine, independent of a repository."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

from gitmill import process
from gitmill.flows.doctor.diagnosis import Diagnoses, note, ok, problem, warning
from gitmill.git.repo import MINIMUM_GIT
from gitmill.supervision import bubblewrap, procfs

MINIMUM_PYTHON = (3, 11)


def system() -> Diagnoses:
    """Diagnose the system: full support on Linux, none for /proc and the sandbox on macOS."""
    name = f"{platform.system()} {platform.release()}"
    if sys.platform == "linux":
        yield ok(name)
    elif sys.platform == "darwin":
        yield note(f"{name}: gitmill works here, without the sandbox")
    else:
        yield problem(f"{name}: gitmill runs on Linux and macOS", "on Windows, run it in WSL")


def python() -> Diagnoses:
    """Diagnose the Python interpreter."""
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < MINIMUM_PYTHON:
        yield problem(f"{found} is too old", "install Python 3.11 or newer")
        return
    yield ok(found)


def git() -> Diagnoses:
    """Diagnose the git on PATH."""
    try:
        said = process.run(("git", "version"), check=False).text.strip()
    except OSError as error:
        yield problem(f"there is no git on PATH: {error}", "install git 2.38 or newer")
        return
    numbers = tuple(int(number) for number in re.findall(r"\d+", said)[:3])
    found = ".".join(map(str, numbers)) or said or "a git that does not say its version"
    if numbers < MINIMUM_GIT:
        yield problem(f"{found} is too old", "install git 2.38 or newer")
    else:
        yield ok(found)


def libgit2() -> Diagnoses:
    """Diagnose the library that writes objects and refs in process."""
    try:
        import pygit2  # noqa: PLC0415  (whether it can be loaded is the question)
    except ImportError as error:
        hint = f"`{sys.executable} -m pip install --force-reinstall pygit2`"
        yield problem(f"pygit2 cannot be loaded: {error}", hint)
        return
    yield ok(f"{pygit2.LIBGIT2_VERSION} (pygit2 {pygit2.__version__})")


def home() -> Diagnoses:
    """Diagnose the home folder, where git and agents keep their files."""
    folder = Path(os.environ.get("HOME") or "~").expanduser()
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        yield ok(str(folder))
        return
    why = "cannot be written" if folder.is_dir() else "is not there"
    yield warning(
        f"HOME is {folder}, which {why}; agents and tools keep their files there",
        'name a folder that can be written: `export HOME="$(mktemp -d)"`',
    )


def processes() -> Diagnoses:
    """Whether a worker can be seen to be alive."""
    if procfs.usable() or not procfs.LINUX:
        yield ok("dead ones are told from living ones")
        return
    yield warning(
        "/proc does not show this process: work of killed processes is only taken over when its "
        "lease has run out",
        "mount a /proc of its own in this container or namespace",
    )


def sandbox() -> Diagnoses:
    """Diagnose the sandbox for agents, scripts and checks, tried by starting it."""
    found = bubblewrap.find()
    if found.program:
        yield ok(f"{bubblewrap.version(found.program)} at {found.program}")
        return
    yield warning(
        "not enforced: agents, scripts and checks run as you and can reach all that you can; "
        f"{found.why}",
        "install bubblewrap and allow user namespaces: `gitmill explain sandbox-missing`",
        "or run what you trust, as a user of its own or in a container",
    )
