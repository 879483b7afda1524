"""Runs the command line as users do, and makes its output comparable."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.server import Server


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
    """Run `gitmill ARGS` in a folder; without an input in a child of a process that is kept."""
    if not stdin:
        return Said(*Server.shared().said(folder, args, os.environ | (env or {})))
    done = subprocess.run(
        [sys.executable, "-m", "gitmill", *args],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        env=os.environ | (env or {}),
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def new_task(folder: Path, title: str, script: str, *more: str) -> str:
    """Make a ready task, with a criterion that always holds unless others are given."""
    criteria = () if "--criterion" in more else ("--criterion", "$ true")
    said = gitmill(folder, "task", "new", title, "--script", script, *criteria, "--ready", *more)
    assert said.code == 0, said.err
    return said.out.strip()
