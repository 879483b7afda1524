"""The real agent CLIs, each at its pinned version, installed from npm when a test first needs it."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
from contextlib import contextmanager
from functools import cache
from pathlib import Path

# On an older Node npm picks an older version by itself, so each is pinned exactly.
PINS = {
    "claude": "@anthropic-ai/claude-code@2.1.329",
    "codex": "@openai/codex@0.169.0",
    "gemini": "@google/gemini-cli@0.61.0",
    "opencode": "opencode-ai@1.18.33",
}


def version(name: str) -> str:
    """Return the pinned version of a CLI."""
    return PINS[name].rpartition("@")[2]


@cache
def folder_of(name: str) -> Path:
    """Return the folder with the program of that name; put it first on `PATH`.

    All workers and later runs share it. A test fails where it cannot be installed.
    """
    return installed_with_npm(PINS[name], name)


def installed_with_npm(pin: str, name: str) -> Path:
    """Return the folder with the program of a package of npm, which is installed if it is not."""
    folder = cached(pin)
    place = folder / "node_modules/.bin"
    if not (place / name).exists():
        _install(pin, name, folder)
    return place


def cached(pin: str) -> Path:
    """Return where a package stays: in the user's own cache, not in that of a sealed test."""
    home = os.environ.get("GITMILL_TESTS_CACHE") or f"{_user()}/.cache/gitmill-tests"
    return Path(home) / pin.replace("/", "-").lstrip("@")


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_dir


def _install(pin: str, name: str, folder: Path) -> None:
    with only_one(folder.with_name(f"{folder.name}.lock")):
        if (folder / "node_modules/.bin" / name).exists():
            return
        half = folder.with_name(f"{folder.name}.half")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        # The user's own npm configuration holds: a registry or a proxy may be set there.
        env = os.environ | {"HOME": _user()}
        try:
            done = subprocess.run(
                ["npm", "install", "--prefix", str(half), "--no-audit", "--no-fund",
                 "--no-update-notifier", "--no-save", pin],
                cwd=half, env=env, capture_output=True, text=True, check=False, timeout=280,
            )  # fmt: skip
        except FileNotFoundError:
            raise AssertionError(f"the tests need npm to install {pin}") from None
        assert done.returncode == 0, f"npm could not install {pin}:\n{done.stderr[-3000:]}"
        said = subprocess.run(
            [str(half / "node_modules/.bin" / name), "--version"],
            env=os.environ | {"HOME": str(half)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert pin.rpartition("@")[2] in said.stdout, f"{pin} does not run: {said}"
        shutil.rmtree(folder, ignore_errors=True)
        half.rename(folder)


@contextmanager
def only_one(path: Path):
    """Hold the lock of a cached package; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
