"""Real git repositories for tests, driven with the git executable only."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.templates import copied


@dataclass(frozen=True)
class Repo:
    """A repository with a work tree at `path`."""

    path: Path

    @property
    def git_dir(self) -> Path:
        return self.path / ".git"

    def git(self, *args: str, stdin: bytes | None = None, check: bool = True) -> str:
        done = subprocess.run(
            ["git", *args], cwd=self.path, input=stdin, capture_output=True, check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(f"git {args}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode("utf-8", "surrogateescape").removesuffix("\n")

    def write(self, files: dict[str, str | bytes | None]) -> None:
        for name, content in files.items():
            path = self.path / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, files: dict[str, str | bytes | None], message: str = "change") -> str:
        self.write(files)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def unfence(self) -> None:
        """Let scripts act here as the user would: without the sandbox."""
        self.git("config", "gitmill.sandbox", "off")

    def tree(self, revision: str = "HEAD") -> str:
        return self.git("rev-parse", f"{revision}^{{tree}}")


class Sandbox:
    """Makes repositories below one temporary folder, or copies those that were made before."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def repo(
        self,
        name: str = "repo",
        *,
        object_format: str = "sha1",
        ref_format: str = "files",
        files: dict[str, str | bytes | None] | None = None,
    ) -> Repo:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        formats = [f"--object-format={object_format}"]
        if ref_format != "files":  # older versions of git do not know the option
            formats.append(f"--ref-format={ref_format}")
        content = files if files is not None else {"README.md": "hello\n"}

        def make(folder: Path) -> None:
            subprocess.run(["git", "init", "-q", *formats, os.fspath(folder)], check=True)
            Repo(folder).commit(content, "first")

        key = (*formats, *content.items())
        if str(self.root) in str(key):  # nobody else has the same
            make(path)
        else:
            copied(key, make, path)
        return Repo(path)
