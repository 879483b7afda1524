"""The backend of git plumbing, for single reads and for repositories that libgit2 cannot open."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress

from gitmill import process
from gitmill.errors import GitFailedError, GitmillError, RefMovedError
from gitmill.git.executable import Git, killed
from gitmill.git.locks import lock_hint, named_lock
from gitmill.git.objects import Move, missing_object, raw, text, unreadable_ref
from gitmill.git.per_thread import PerThread
from gitmill.hints import Gitmill

Reader = subprocess.Popen[bytes]

_FORMAT = "--format=%(objectname) %(refname)"

_TRIES = 5  # to write an object, before the error is raised


class Plumbing:
    """Objects and refs through the git executable.

    One `cat-file --batch` for each thread serves all its reads; threads can share this object.
    """

    def __init__(
        self, git: Git, *, digits: int = 40, writer: Callable[[], Git] | None = None
    ) -> None:
        self.digits = digits
        self._git = git
        self._writer = writer or (lambda: git)  # called at the first write: reads need none
        self._readers = PerThread(lambda: _start(git), _end)

    def read(self, oid: str) -> tuple[str, bytes]:
        """Return type and content; raise `MissingObjectError` or `GitFailedError`."""
        try:
            answer = _ask(self._readers.get(), oid)
        except BaseException:
            # The rest of an answer that was not read to its end would begin the next one.
            self._readers.drop()
            raise
        if answer is None:
            raise missing_object(oid)
        return answer

    def close(self) -> None:
        """End the reading process of this thread; the next read starts another."""
        self._readers.drop()

    def write(self, kind: str, data: bytes) -> str:
        """Store an object and return its id."""
        argv = ("hash-object", "-w", "-t", kind, "--stdin")
        for _ in range(_TRIES):
            # `git gc` removes empty folders; git creates a missing one again, but only once.
            done = self._writer().run(*argv, stdin=data, check=False)
            if done.returncode == 0:
                return done.text.strip()
        return self._writer().out(*argv, stdin=data)

    def ref(self, name: str) -> str | None:
        """Return the object a ref points at, None if there is no such ref."""
        # rev-parse would also try refs/tags/NAME and the like, and treat a broken ref as absent
        done = self._git.run("for-each-ref", _FORMAT, name)
        if "ignoring broken ref" in done.error:
            raise unreadable_ref(name)
        return _pairs(done.text).get(name)

    def refs(self, prefix: str) -> dict[str, str]:
        """Return all refs that begin with the prefix, sorted by name."""
        # for-each-ref matches whole components, and a prefix can end within one
        folder = prefix.rpartition("/")[0]
        done = self._git.run("for-each-ref", _FORMAT, folder)
        for name in re.findall(r"ignoring broken ref (\S+)", done.error):
            if name.startswith(prefix):
                raise unreadable_ref(name)
        pairs = _pairs(done.text)
        return {name: oid for name, oid in pairs.items() if name.startswith(prefix)}

    def swap(self, moves: Sequence[Move]) -> None:
        """Move all refs in one `update-ref` transaction, which completes even if gitmill dies."""
        zero = "0" * self.digits
        lines = ["start"]
        for move in moves:
            if move.new is not None:
                lines.append(f"update {move.ref} {move.new} {move.old or zero}")
            elif move.old is not None:
                lines.append(f"delete {move.ref} {move.old}")
            else:
                lines.append(f"verify {move.ref} {zero}")
        lines += ["prepare", "commit", ""]
        done = self._writer().run(
            "update-ref", "--stdin", "-m", "gitmill", stdin=raw("\n".join(lines)), check=False
        )
        if done.returncode != 0:
            raise _not_moved(moves[0].ref, done.error)


def _not_moved(ref: str, said: str) -> RefMovedError:
    if lock := named_lock(said):
        return RefMovedError(
            f"a lock keeps git from moving {ref}",
            evidence=[lock],
            hints=[lock_hint(Gitmill("recover"))],
        )
    return RefMovedError(f"could not move {ref}", evidence=said.splitlines()[:3])


def _start(git: Git) -> Reader:
    return process.start(git.argv("cat-file", "--batch"), **git.surroundings())


def _ask(reader: Reader, oid: str) -> tuple[str, bytes] | None:
    """Return type and content of an object, None if it is missing."""
    assert reader.stdin is not None
    assert reader.stdout is not None
    line = b""
    with suppress(BrokenPipeError):
        reader.stdin.write(oid.encode() + b"\n")
        reader.stdin.flush()
        line = reader.stdout.readline()
    if not line:
        raise _ended(reader, oid)
    if not line.startswith(oid.encode() + b" "):
        raise GitFailedError(f"git read {text(line[:12])} where {oid[:12]} was asked for")
    head = line.split()
    if len(head) != 3:
        return None
    size = int(head[2])
    data = reader.stdout.read(size + 1)
    if len(data) != size + 1:
        raise _ended(reader, oid)
    return head[1].decode(), data[:-1]


def _ended(reader: Reader, oid: str) -> GitmillError:
    """Return the error of a process that has closed its output."""
    code = reader.wait()
    if code < 0:
        return killed(["cat-file"], -code)
    return GitFailedError(f"git ended before it had read {oid[:12]}")


def _end(reader: Reader) -> None:
    assert reader.stdin is not None
    assert reader.stdout is not None
    with suppress(BrokenPipeError):
        reader.stdin.close()
    reader.stdout.close()
    reader.wait()


def _pairs(out: str) -> dict[str, str]:
    # not splitlines: the name of a ref can hold U+0085
    pairs = (line.split(" ", 1) for line in out.split("\n") if line)
    return {name: oid for oid, name in pairs}
