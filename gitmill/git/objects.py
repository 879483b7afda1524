"""Objects and refs behind one small protocol; formats as in gitformat-tree and -commit.

This module encodes trees and commits, so that a backend only has to read, write and swap.
Names in trees are text with surrogate escapes: any bytes survive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gitmill.errors import GitFailedError, MissingObjectError
from gitmill.hints import Hint, Shell

TREE = "40000"
FILE = "100644"
GITLINK = "160000"
SYMLINK = "120000"


def missing_object(oid: str, why: str = "") -> MissingObjectError:
    """Return the error for an object that is missing, or damaged for the reason `why`."""
    message = (
        f"the object {oid[:12]} cannot be read: {why}" if why else f"there is no object {oid[:12]}"
    )
    return MissingObjectError(message, hints=[Hint("see what else is damaged:", Shell("git fsck"))])


def unreadable_ref(name: str) -> GitFailedError:
    """Return the error for a ref that exists but is broken, which differs from an absent one."""
    return GitFailedError(
        f"the ref {name} cannot be read",
        hints=[
            Hint("check it with", Shell("git fsck")),
            Hint("see its old values:", Shell("git reflog show REF")),
        ],
    )


@dataclass(frozen=True, slots=True)
class Move:
    """One ref to move from `old` (None: must not exist) to `new` (None: delete it)."""

    ref: str
    new: str | None
    old: str | None


class Objects(Protocol):
    """A database of objects, whose ids are 40 or 64 hexadecimal digits."""

    digits: int

    def read(self, oid: str) -> tuple[str, bytes]:
        """Return type and content; raise `MissingObjectError`."""
        ...

    def write(self, kind: str, data: bytes) -> str:
        """Store an object and return its id."""
        ...


class Backend(Objects, Protocol):
    """A repository's object database and refs; threads can share it."""

    def ref(self, name: str) -> str | None:
        """Return the object a ref points at, None if there is no such ref.

        Raises `GitFailedError` if the ref exists and cannot be read.
        """
        ...

    def refs(self, prefix: str) -> dict[str, str]:
        """Return all refs that begin with the prefix, sorted by name."""
        ...

    def swap(self, moves: Sequence[Move]) -> None:
        """Move all refs or none; raise `RefMovedError` if one is not at its old value.

        No repository can move several refs in one instant: a process killed half-way has moved the
        first ones of the sequence.
        """
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a tree; `mode` is octal without a leading zero."""

    name: str
    mode: str
    oid: str

    @property
    def sort_key(self) -> bytes:
        """The key of git's order: a folder sorts as if its name ended in a slash."""
        return raw(self.name) + (b"/" if self.mode == TREE else b"")


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit; `author` and `committer` have git's form `Name <mail> seconds zone`."""

    tree: str
    parents: tuple[str, ...]
    author: str
    committer: str
    message: str
    headers: tuple[tuple[str, str], ...] = field(default=())

    @property
    def seconds(self) -> int:
        """Committer time in seconds since 1970."""
        return int(self.committer.rsplit(" ", 2)[1])

    @property
    def author_name(self) -> str:
        """The author's name alone."""
        return self.author.partition(" <")[0]


def raw(name: str) -> bytes:
    """Return the bytes of a name."""
    return name.encode("utf-8", "surrogateescape")


def text(data: bytes) -> str:
    """Return bytes as text that `raw` converts back."""
    return data.decode("utf-8", "surrogateescape")


def parse_tree(data: bytes, digits: int) -> Iterator[Entry]:
    """Yield the entries of a tree object."""
    width, at = digits // 2, 0
    while at < len(data):
        space, end = data.index(b" ", at), data.index(b"\0", at)
        oid = data[end + 1 : end + 1 + width].hex()
        yield Entry(text(data[space + 1 : end]), data[at:space].decode().lstrip("0"), oid)
        at = end + 1 + width


def encode_tree(entries: Iterable[Entry]) -> bytes:
    """Return a tree object with its entries in git's order."""
    return b"".join(
        entry.mode.encode() + b" " + raw(entry.name) + b"\0" + bytes.fromhex(entry.oid)
        for entry in sorted(entries, key=lambda entry: entry.sort_key)
    )


def parse_commit(data: bytes) -> Commit:
    """Return the commit of an object; multi-line headers (signatures) keep all their lines."""
    head, _, message = text(data).partition("\n\n")
    headers = [
        (line.partition(" ")[0], line.partition(" ")[2]) for line in re.split(r"\n(?! )", head)
    ]
    known = dict(headers)
    return Commit(
        known["tree"],
        tuple(value for name, value in headers if name == "parent"),
        known["author"],
        known["committer"],
        message,
        tuple(pair for pair in headers if pair[0] not in ("tree", "parent", "author", "committer")),
    )


def encode_commit(commit: Commit) -> bytes:
    """Return a commit object."""
    lines = [f"tree {commit.tree}", *(f"parent {parent}" for parent in commit.parents)]
    lines += [f"author {commit.author}", f"committer {commit.committer}"]
    lines += [f"{name} {value}" for name, value in commit.headers]
    return raw("\n".join(lines) + "\n\n" + commit.message)


def read_commit(backend: Backend, oid: str) -> Commit:
    """Read a commit; raise `MissingObjectError` if the id names another type."""
    kind, data = backend.read(oid)
    if kind != "commit":
        raise MissingObjectError(f"{oid[:12]} is a {kind}, not a commit")
    return parse_commit(data)


def write_commit(backend: Backend, commit: Commit) -> str:
    """Store a commit and return its id."""
    return backend.write("commit", encode_commit(commit))


def framed(kind: str, body: bytes) -> bytes:
    """Return the bytes that git hashes and compresses: a header, then the body."""
    return f"{kind} {len(body)}\0".encode() + body


def object_id(kind: str, body: bytes, digits: int) -> str:
    """Return the id of an object without storing it."""
    import hashlib  # noqa: PLC0415  (reads hash nothing, and it costs 3 ms)

    algorithm = "sha256" if digits == 64 else "sha1"
    return hashlib.new(algorithm, framed(kind, body), usedforsecurity=False).hexdigest()
