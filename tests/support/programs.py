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
    folder = _cache() / PINS[name].replace("/", "-").lstrip("@")
    place = folder / "node_modules/.bin"
    if not (place / name).exists():
        _install(name, folder)
    return place


def _cache() -> Path:
    """Return where installed CLIs stay: in the user's own cache, not in that of a sealed test."""
    home = os.environ.get("GITMILL_TESTS_CACHE")
    return Path(home) if home else Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache/gitmill-tests"


def _install(name: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(folder.with_name(f"{folder.name}.lock")):
        if (folder / "node_modules/.bin" / name).exists():
            return
        half = folder.with_name(f"{folder.name}.half")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        # The user's own npm configuration holds: a registry or a proxy may be set there.
        env = os.environ | {"HOME": pwd.getpwuid(os.getuid()).pw_dir}
        try:
            done = subprocess.run(
                ["npm", "install", "--prefix", str(half), "--no-audit", "--no-fund",
                 "--no-update-notifier", "--no-save", PINS[name]],
                cwd=half, env=env, capture_output=True, text=True, check=False, timeout=280,
            )  # fmt: skip
        except FileNotFoundError:
            raise AssertionError(f"the tests need npm to install {PINS[name]}") from None
        assert done.returncode == 0, f"npm could not install {PINS[name]}:\n{done.stderr[-3000:]}"
        said = subprocess.run(
            [str(half / "node_modules/.bin" / name), "--version"],
            env=os.environ | {"HOME": str(half)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert version(name) in said.stdout, f"{PINS[name]} does not run: {said}"
        shutil.rmtree(folder, ignore_errors=True)
        half.rename(folder)


@contextmanager
def _only_one(path: Path):
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
