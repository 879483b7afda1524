"""Rewrites the state branch as somebody with write access could: with git's own plumbing.

The history comes out of `git fast-export`, is changed, and goes back through `git fast-import`.
Commits that are not touched, and stand on none that was, keep their hashes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gitmill.core.document import Document
from gitmill.store.layout import item_path
from tests.support.repos import Repo

STATE = "refs/heads/gitmill/state"


@dataclass
class Written:
    """One commit: its identities, message, and the files that it sets (None: removes)."""

    author: str
    committer: str
    message: str
    files: dict[str, bytes | None] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)  # of files that are not plain

    def trailer(self, name: str) -> str:
        found = re.search(rf"^Gitmill-{name}: (.*)$", self.message, re.MULTILINE)
        return found[1] if found else ""

    def say(self, **trailers: str | None) -> Written:
        """Set trailers, remove those that are None; `After` is spelled `After="…"`."""
        for name, value in trailers.items():
            line = "" if value is None else f"Gitmill-{name}: {value}\n"
            pattern = rf"^Gitmill-{name}: .*\n"
            if re.search(pattern, self.message, re.MULTILINE):
                self.message = re.sub(pattern, line, self.message, flags=re.MULTILINE)
            else:
                self.message += line
        return self

    def path(self, part: str) -> str:
        """Return the path that this commit writes and that has a part in it."""
        (found,) = [path for path in self.files if part in path]
        return found

    @property
    def document(self) -> str:
        """The path of this commit's item."""
        return item_path(self.trailer("Item"))

    @property
    def log(self) -> Document:
        """The run log that this commit adds."""
        return Document.from_bytes(self.files[self.path("runs/")] or b"")

    @property
    def item(self) -> Document:
        """The document of this commit's item."""
        return Document.from_bytes(self.files[self.document] or b"")

    def set(self, **fields: Any) -> Written:
        """Set fields of the item in this commit alone."""
        self.files[self.document] = self.item.update(fields).to_bytes()
        return self

    def relog(self, **fields: Any) -> Written:
        """Change fields of the run log that this commit adds, and name its new hash."""
        path = self.path("runs/")
        data = self.log.update(fields).to_bytes()
        self.files[path] = data
        return self.say(Evidence=blob(data))


def blob(data: bytes) -> str:
    """Return the hash that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class Forgery:
    """A history that can be changed anywhere and written back."""

    def __init__(self, repo: Repo) -> None:
        self.repo = repo
        self.commits = _parse(repo.git("fast-export", "--no-data", STATE), repo)
        self.oids: list[str] = []

    def find(self, event: str, item: str = "", nth: int = 0) -> Written:
        """Return the `nth` commit of an event (of an item)."""
        found = [
            commit
            for commit in self.commits
            if commit.trailer("Event") == event and (not item or commit.trailer("Item") == item)
        ]
        return found[nth]

    def later(self, commit: Written) -> list[Written]:
        """Return a commit and those after it."""
        return self.commits[self.commits.index(commit) :]

    def amend(self, commit: Written, path: str, change: Callable[[Document], Document]) -> None:
        """Change a document in a commit and wherever it is written after it."""
        for one in self.later(commit):
            data = one.files.get(path)
            if data is not None:
                one.files[path] = change(Document.from_bytes(data)).to_bytes()

    def amend_item(self, commit: Written, **fields: Any) -> None:
        """Set fields of a commit's item there and in all later commits of it."""
        self.amend(commit, commit.document, lambda document: document.update(fields))

    def insert(self, after: Written, **given: Any) -> Written:
        """Put a commit behind another one."""
        made = Written(after.author, after.committer, **given)
        self.commits.insert(self.commits.index(after) + 1, made)
        return made

    def write(self) -> None:
        """Write the history back and move the branch to it."""
        parts: list[bytes] = []
        for number, commit in enumerate(self.commits):
            parts.append(f"commit {STATE}\nmark :{number + 1}\n".encode())
            parts.append(f"author {commit.author}\ncommitter {commit.committer}\n".encode())
            parts.append(_data(commit.message.encode()))
            parts.append(f"from :{number}\n".encode() if number else b"")
            for path, data in commit.files.items():
                parts.append(f"D {path}\n".encode() if data is None else b"")
                if data is not None:
                    mode = commit.modes.get(path, "100644")
                    parts.append(f"M {mode} inline {path}\n".encode() + _data(data))
        stream = f"reset {STATE}\n\n".encode() + b"".join(parts)
        self.repo.git("fast-import", "--quiet", "--force", stdin=stream)
        out = self.repo.git("rev-list", "--reverse", "--first-parent", STATE)
        self.oids = out.splitlines()

    def oid(self, commit: Written) -> str:
        """Return the hash of a commit once it was written."""
        return self.oids[self.commits.index(commit)]


def _data(data: bytes) -> bytes:
    return b"data %d\n%b\n" % (len(data), data)


def _parse(stream: str, repo: Repo) -> list[Written]:
    commits: list[Written] = []
    blobs: set[str] = set()
    for block in re.split(r"^(?=commit )", stream, flags=re.MULTILINE)[1:]:
        head, _, rest = block.partition("\ndata ")
        size, _, rest = rest.partition("\n")
        raw = rest.encode("utf-8", "surrogateescape")
        message, ops = raw[: int(size)].decode(), raw[int(size) :].decode()
        who = dict(line.split(" ", 1) for line in head.splitlines() if " " in line)
        commit = Written(who["author"], who["committer"], message)
        for line in ops.splitlines():
            if line.startswith("M "):
                _, _, oid, path = line.split(" ", 3)
                commit.files[path] = oid.encode()
                blobs.add(oid)
            elif line.startswith("D "):
                commit.files[line[2:]] = None
        commits.append(commit)
    contents = _read(repo, sorted(blobs))
    for commit in commits:
        commit.files = {p: contents[o.decode()] if o else None for p, o in commit.files.items()}
    return commits


def _read(repo: Repo, oids: list[str]) -> dict[str, bytes]:
    out = repo.git("cat-file", "--batch", stdin="\n".join([*oids, ""]).encode()) + "\n"
    data, at, found = out.encode("utf-8", "surrogateescape"), 0, {}
    for oid in oids:
        end = data.index(b"\n", at)
        size = int(data[at:end].split()[2])
        found[oid] = data[end + 1 : end + 1 + size]
        at = end + 1 + size + 1
    return found


def json_list(document: Document, key: str) -> list[Any]:
    """Return a list of a document that can be changed without changing the document."""
    return json.loads(json.dumps(document.value(key, [])))
