"""One repository, identified by its common git directory."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from gitmill import process
from gitmill.caches import BoundedCache
from gitmill.errors import (
    BadConfigError,
    GitMissingError,
    UnusableRepositoryError,
)
from gitmill.git.executable import FLUSH, Git
from gitmill.git.find_repository import ask_git, top_of
from gitmill.git.objects import Backend
from gitmill.git.plumbing import Plumbing
from gitmill.hints import Gitmill, Hint, Shell

MINIMUM_GIT = (2, 38)  # merge-tree --write-tree
_FORMATS = (
    r"^(core\.(autocrlf|eol|safecrlf|filemode|symlinks|ignorecase|precomposeunicode|protect.*"
    r"|attributesfile|excludesfile|bigfilethreshold|checkroundtripencoding)|filter\..*|lfs\..*)$"
)
# Files that git reads even if no setting names them, below the user's configuration.
_PATHS = {"core.attributesfile": "git/attributes", "core.excludesfile": "git/ignore"}
_KNOWN = ("noop", "objectformat", "preciousobjects", "worktreeconfig")  # extensions in libgit2


@dataclass(frozen=True, slots=True)
class Checkout:
    """A work tree of the repository and the branch checked out there ('' if detached).

    `git_dir` is set where the work tree has no `.git`, such as a home with dotfiles.
    """

    path: Path
    branch: str
    git_dir: Path | None = None


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
        self._tags: BoundedCache[str, str] = BoundedCache(64)

    @classmethod
    def open(cls, path: Path) -> Repository:
        """Return the repository that a folder belongs to, from any of its work trees.

        Raises `NotARepositoryError`, `GitMissingError`, `UnusableRepositoryError`.
        """
        answer, tree = ask_git(path)
        # from the right: the name of a folder can hold line breaks
        common, object_format, bare = answer.rsplit("\n", 2)
        digits = 64 if object_format == "sha256" else 40
        found = cls(Path(common), digits=digits, bare=bare == "true", top=None)
        if tree is not None:
            found.separate_tree = tree
        top = None if found.bare else top_of(path)
        if top is None or not (top / ".git").is_file():
            top = found.separate_tree or top  # git's own search ignores where `.git` is
        found.top, found.bare = top, found.bare and top is None
        return found

    def offline(self) -> Repository:
        """Return the same repository, set to never fetch missing objects."""
        return Repository(
            self.common, digits=self.digits, bare=self.bare, top=self.top, offline=True
        )

    @cached_property
    def separate_tree(self) -> Path | None:
        """The main work tree if it is not the folder of `.git`: named by `core.worktree`.

        For a bare repository `gitmill.checkout` can name it, a folder without `.git`.
        """
        text = (self.common / "config").read_text("utf-8", "replace").lower()
        if "worktree" not in text and "checkout" not in text:
            return None
        if tree := self.git.run("config", "core.worktree", check=False).text.removesuffix("\n"):
            return (self.common / tree).resolve()
        tree = self.preferences.get("checkout", "")
        folder = Path(tree).expanduser().resolve() if self.bare and tree else None
        return folder if folder and not (folder / ".git").exists() else None

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
    def formats(self) -> dict[str, tuple[str, ...]]:
        """The settings of git that decide the bytes of files: line endings, modes, filters, names.

        Paths in them are absolute.
        """
        values: dict[str, tuple[str, ...]] = {}
        for entry in filter(None, self.git.run("config", "--get-regexp", "-z", _FORMATS,
                                               check=False).text.split("\0")):  # fmt: skip
            name, equals, value = entry.partition("\n")
            value = value if equals else "true"  # as git reads a name alone
            if name in _PATHS:
                value = str(Path(value).expanduser())
            values[name] = (*values.get(name, ()), value) if "filter." in name else (value,)
        for name, default in _PATHS.items():
            file = Path(os.environ.get("XDG_CONFIG_HOME") or process.home() / ".config", default)
            if file.is_file():
                values.setdefault(name, (str(file),))
        return values

    def tags_below(self, commit: str) -> str:
        """Return the tags that a commit reaches, a line each: name, object, and what that tags."""
        known = self._tags.get(commit)
        if known is None:
            form = "--format=%(refname) %(objectname) %(*objectname)"
            argv = ("for-each-ref", f"--merged={commit}", form, "refs/tags")
            known = self.git.run(*argv, check=False).text
            self._tags.put(commit, known)
        return known

    def work_trees(self) -> list[Path]:
        """Return the folders of all work trees, the main one first, without a call of git."""
        trees = [self._main_tree] if self._main_tree else []
        for entry in sorted((self.common / "worktrees").glob("*/gitdir")):
            with suppress(OSError):  # removed just now
                link = Path(os.fsdecode(entry.read_bytes().strip()))
                trees.append((entry.parent / link).parent)
        return [tree for tree in trees if tree.is_dir()]

    @cached_property
    def _main_tree(self) -> Path | None:
        if self.separate_tree is not None:
            return self.separate_tree
        return self.common.parent if self.common.name == ".git" and not self.bare else self._main

    @cached_property
    def remotes(self) -> tuple[str, ...]:
        """The names of the remotes, `origin` first."""
        names = self.git.run("remote", check=False).text.splitlines()
        return tuple(sorted(names, key=lambda name: name != "origin"))

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
            if "worktree" not in fields or "prunable" in fields:
                continue
            listed, branch = Path(fields["worktree"]), fields.get("branch", "")
            if not checkouts and self.separate_tree and self._is_main(listed):
                done = self.git.run("symbolic-ref", "-q", "HEAD", check=False)
                has_link = (self.separate_tree / ".git").exists()
                git_dir = None if has_link else self.common
                checkouts.append(Checkout(self.separate_tree, done.text.strip(), git_dir))
            elif "bare" not in fields:
                path = listed if (listed / ".git").exists() else self._main
                if path is not None and path.is_dir():
                    checkouts.append(Checkout(path, branch))
        return checkouts

    def _is_main(self, listed: Path) -> bool:
        """Whether git lists the main work tree at this path, which is wrong if it is separate."""
        return listed in (self.common, self.common.parent, self.separate_tree)

    @property
    def _main(self) -> Path | None:
        """The main work tree where git lists the git directory instead."""
        link = self.top / ".git" if self.top else self.common
        target = link.read_bytes().removeprefix(b"gitdir: ").strip() if link.is_file() else b""
        return self.top if os.fsencode(self.common) == target else None

    @property
    def own_git_dir(self) -> Path | None:
        """The git directory of the user's work tree if that has no `.git`."""
        if self.top is None or self.top != self.separate_tree or (self.top / ".git").exists():
            return None
        return self.common
