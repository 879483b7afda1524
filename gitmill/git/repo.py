"""One repository, identified by its common git directory."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from gitmill import process
from gitmill.errors import (
    BadConfigError,
    GitmillError,
    GitMissingError,
    NotARepositoryError,
    UnusableRepositoryError,
)
from gitmill.git.executable import FLUSH, Git, redirects_git
from gitmill.git.objects import Backend
from gitmill.git.plumbing import Plumbing
from gitmill.hints import Blank, Gitmill, Hint, Shell

MINIMUM_GIT = (2, 38)  # merge-tree --write-tree
_KNOWN = ("noop", "objectformat", "preciousobjects", "worktreeconfig")  # extensions in libgit2


@dataclass(frozen=True, slots=True)
class Checkout:
    """A work tree of the repository and the branch checked out there ('' if detached)."""

    path: Path
    branch: str


class Repository:
    """Paths, identity and objects of one repository. Opening costs one git process."""

    def __init__(
        self, common: Path, *, digits: int, bare: bool, top: Path | None, offline: bool = False
    ) -> None:
        self.common = common
        self.digits = digits
        self.bare = bare
        self.top = top
        self.git = Git(common, offline=offline)

    @classmethod
    def open(cls, path: Path) -> Repository:
        """Return the repository that a folder belongs to, from any of its work trees.

        Raises `NotARepositoryError`, `GitMissingError`, `UnusableRepositoryError`.
        """
        queries = ("--path-format=absolute", "--git-common-dir", "--show-object-format")
        env = {name: value for name, value in os.environ.items() if not redirects_git(name)}
        env["LC_ALL"] = "C.UTF-8"  # _refusal recognizes git's messages by their English wording
        argv = ("git", "-C", str(path), "rev-parse", *queries, "--is-bare-repository")
        try:
            done = process.run(argv, env=env, check=False)
        except FileNotFoundError as error:
            raise GitMissingError(
                "there is no git on PATH", hints=[Hint("install git 2.38 or newer")]
            ) from error
        if done.returncode != 0:
            raise _refusal(path, done.error)
        # from the right: the name of a folder can hold line breaks
        common, object_format, bare = done.text.removesuffix("\n").rsplit("\n", 2)
        digits = 64 if object_format == "sha256" else 40
        top = None if bare == "true" else _top(path)
        return cls(Path(common), digits=digits, bare=bare == "true", top=top)

    def offline(self) -> Repository:
        """Return the same repository, set to never fetch missing objects."""
        return Repository(
            self.common, digits=self.digits, bare=self.bare, top=self.top, offline=True
        )

    @cached_property
    def objects(self) -> Backend:
        """The backend for work on many objects."""
        durable = self.durable  # read first: a wrong setting is an error with either backend
        if self.digits != 40 or self._needs_plumbing:
            return self.reader
        from gitmill.git.libgit2 import Libgit2  # noqa: PLC0415  (91 ms that a read never needs)

        return Libgit2(self.common, fsync=durable, swap=self.reader.swap)

    @cached_property
    def durable(self) -> bool:
        """Whether gitmill flushes its writes to the disk. Raises `BadConfigError`."""
        value = self.preferences.get("durability", "full")
        if value not in ("full", "none"):
            raise BadConfigError(
                f"gitmill.durability in git's configuration must be full or none, not {value}",
                hints=[Hint(Shell("git config gitmill.durability full"))],
            )
        return value == "full"

    @cached_property
    def preferences(self) -> dict[str, str]:
        """The settings `gitmill.*` of `git config`, names in lower case: personal, never policy."""
        return {
            name.removeprefix("gitmill."): values[-1]
            for name, values in self._configured.items()
            if name.startswith("gitmill.")
        }

    def configured(self, name: str) -> tuple[str, ...]:
        """Return all values of `gitmill.*`, `safe.directory` or `init.defaultbranch`."""
        return tuple(self._configured.get(name, ()))

    @cached_property
    def _configured(self) -> dict[str, list[str]]:
        wanted = r"^(gitmill\..*|safe\.directory|init\.defaultbranch)$"
        out = self.git.run("config", "--get-regexp", "-z", wanted, check=False).text
        values: dict[str, list[str]] = {}
        for entry in filter(None, out.split("\0")):
            name, _, value = entry.partition("\n")
            values.setdefault(name, []).append(value)
        return values

    @cached_property
    def reader(self) -> Backend:
        """The backend for single reads."""
        return Plumbing(self.git, digits=self.digits, writer=lambda: self.writer)

    @cached_property
    def writer(self) -> Git:
        """Git for its own writes, flushed to the disk if the user's setting asks for it."""
        return Git(self.common, options=FLUSH if self.durable else ())

    @cached_property
    def _needs_plumbing(self) -> bool:
        section = ""
        for line in (self.common / "config").read_text("utf-8", "replace").lower().split("\n"):
            header = re.match(r"\s*\[([^\]]*)\]", line)
            section = header[1].strip() if header else section
            name = line[header.end() if header else 0 :].partition("=")[0].strip()
            if name == "promisor":
                return True
            if section == "extensions" and name[:1] not in ("", "#", ";") and name not in _KNOWN:
                return True
        return False

    @property
    def private(self) -> Path:
        """The folder of gitmill's disposable files in the git directory."""
        return self.common / "gitmill"

    @property
    def name(self) -> str:
        """A name for folders outside: the repository's name and eight digits of its path's hash."""
        import hashlib  # noqa: PLC0415  (reads hash nothing, and it costs 3 ms)

        parent = self.common.parent if self.common.name == ".git" else self.common
        digest = hashlib.sha256(os.fsencode(self.common)).hexdigest()[:8]
        return f"{re.sub(r'[^A-Za-z0-9._-]', '-', parent.name) or 'repo'}-{digest}"

    @cached_property
    def version(self) -> tuple[int, ...]:
        """The version of the git executable."""
        numbers = re.findall(r"\d+", self.git.out("version"))
        return tuple(int(number) for number in numbers[:3])

    def require_usable(self) -> None:
        """Raise an error if gitmill cannot work in it: git too old, or a bare repository."""
        if self.version < MINIMUM_GIT:
            version = ".".join(str(n) for n in self.version)
            raise GitMissingError(
                f"git {version} is too old",
                hints=[Hint("install git 2.38 or newer, then", Gitmill("init"))],
            )
        if self.bare:
            raise UnusableRepositoryError(
                "this repository is bare; gitmill needs a checkout",
                hints=[
                    Hint("clone it with", Shell("git clone"), ", then", Gitmill("init"), "there")
                ],
            )

    @cached_property
    def _person(self) -> str:
        done = self.git.run("var", "GIT_COMMITTER_IDENT", check=False)
        if done.returncode != 0:
            raise UnusableRepositoryError(
                "git does not know who you are, so nothing can be committed",
                hints=[
                    Hint("set", Shell('git config user.name "Your Name"')),
                    Hint("and", Shell("git config user.email you@example.com")),
                ],
            )
        return done.text.strip().rsplit(" ", 2)[0]

    @property
    def person(self) -> str:
        """The user as `Name <mail>`, as git would record a committer."""
        return self._person

    def ident(self, now: datetime) -> str:
        """Return user and time in git's form; raise `UnusableRepositoryError` without a user."""
        return f"{self._person} {int(now.timestamp())} +0000"

    def checkouts(self) -> list[Checkout]:
        """Return the repository's work trees, the main one first."""
        checkouts: list[Checkout] = []
        for block in self.git.out("worktree", "list", "--porcelain", "-z").split("\0\0"):
            fields = dict(line.partition(" ")[::2] for line in block.split("\0") if line)
            if "worktree" not in fields or "bare" in fields or "prunable" in fields:
                continue
            listed = Path(fields["worktree"])
            path = listed if (listed / ".git").exists() else self._main
            if path is not None and path.is_dir():
                checkouts.append(Checkout(path, fields.get("branch", "")))
        return checkouts

    @property
    def _main(self) -> Path | None:
        """The main work tree where git lists the git directory instead, as in a submodule."""
        configured = self.git.run("config", "core.worktree", check=False).text.strip()
        if configured:
            return (self.common / configured).resolve()
        link = self.top / ".git" if self.top else self.common
        target = link.read_bytes().removeprefix(b"gitdir: ").strip() if link.is_file() else b""
        return self.top if os.fsencode(self.common) == target else None


def _refusal(path: Path, message: str) -> GitmillError:
    """Return the error for a folder that git refuses, which might still be a repository."""
    evidence = message.splitlines()[:3]
    if "dubious ownership" in message:
        command = re.search(r"git config --global --add safe\.directory .*", message)
        return UnusableRepositoryError(
            f"git refuses the repository of {path}: another user owns it",
            evidence=evidence[:1],
            hints=[Hint("if you trust it:", Shell(command[0].strip()))] if command else [],
        )
    if "unknown repository extension" in message or "git repo version" in message:
        return GitMissingError(
            f"the repository of {path} has a format that this git does not know",
            evidence=[line.strip() for line in evidence],
            hints=[Hint("check", Shell("git version"), ", and install a newer git")],
        )
    if "cannot change to" in message:
        return NotARepositoryError(f"there is no folder {path}", evidence=evidence)
    return NotARepositoryError(
        f"{path} is not in a git repository",
        evidence=evidence,
        hints=[
            Hint(
                "make one with",
                Shell("git init"),
                ", or name one with",
                Gitmill("-C", Blank("DIR"), Blank("…")),
            )
        ],
    )


def _top(path: Path) -> Path | None:
    """Return the work tree that contains a folder, None if the folder is in the git directory."""
    for folder in (path.resolve(), *path.resolve().parents):
        if (folder / ".git").exists():
            return folder
    return None
