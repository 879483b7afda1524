"""Runs the command line as users do, and makes its output comparable."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import hints
from tests.support.repos import Repo, Sandbox
from tests.support.server import Server
from tests.support.templates import copied


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed, as it was."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    def plain(self) -> tuple[int, str, str]:
        """Exit code and both outputs with ids, hashes, times and folders made the same."""
        return self.code, plain(self.out), plain(self.err)


def plain(text: str) -> str:
    """Replace what differs from run to run; the first id becomes T1, the second T2 and so on."""
    names: dict[str, str] = {}

    def name(match: re.Match[str]) -> str:
        return names.setdefault(match[0], f"T{len(names) + 1}")

    text = re.sub(r"\bt-[0-9a-hjkmnp-tv-z]{5,}\b", name, text)
    text = re.sub(r"\b[0-9a-f]{40,64}\b", "HASH", text)
    text = re.sub(r"\b[0-9a-f]{10,16}\b", "HASH", text)
    text = re.sub(r" +\d+m\d\ds\b| +\d+\.\ds\b| +\d+s\b", " TIME", text)
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\dZ)?", "WHEN", text)
    return re.sub(
        r"/\S*/pytest-\S*?/(repo|project|state|home)\S*?(?=[\s,;\"'`]|$)", r"FOLDER/\1", text
    )


def gitmill(folder: Path, *args: str, stdin: str = "", env: dict[str, str] | None = None) -> Said:
    """Run `gitmill ARGS` in a folder; without an input in a child of a process that is kept.

    Fails when a hint on the screen is not a command line of gitmill.
    """
    env = os.environ | (env or {})
    said = (
        _piped(folder, args, stdin, env)
        if stdin
        else Said(*Server.shared().said(folder, args, env))
    )
    hints.check(f"{said.out}\n{said.err}")
    hints.run_each(f"{said.out}\n{said.err}", folder, env)
    return said


def _piped(folder: Path, args: Sequence[str], stdin: str, env: dict[str, str]) -> Said:
    done = subprocess.run(
        [sys.executable, "-m", "gitmill", *args],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def begun(
    sandbox: Sandbox,
    name: str = "repo",
    *,
    files: dict[str, str | bytes | None] | None = None,
    then: dict[str, str | bytes | None] | None = None,
) -> Repo:
    """Return a repository with these files, a commit of those `then`, and `gitmill init` done.

    The policy that it proposes is not there: it counts only where it is committed.
    """
    place = sandbox.root / name

    def make(folder: Path) -> None:
        repo = Sandbox(folder.parent).repo(folder.name, files=files)
        if then:
            repo.commit(then)
        said = gitmill(repo.path, "init")
        assert said.code == 0, said.err
        if ".gitmill/config.toml" not in {**(files or {}), **(then or {})}:
            (repo.path / ".gitmill/config.toml").unlink()

    copied(("begun", *(files or {}).items(), "then", *(then or {}).items()), make, place)
    return Repo(place)


def new_task(folder: Path, title: str, script: str, *more: str) -> str:
    """Make a ready task, with a criterion that always holds unless others are given."""
    criteria = () if "--criterion" in more else ("--criterion", "$ true")
    said = gitmill(folder, "task", "new", title, "--script", script, *criteria, "--ready", *more)
    assert said.code == 0, said.err
    return said.out.strip()
