"""What several processes do at once: `python -m tests.support.workers DOES REPO KIND ARGS…`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gitmill.errors import RefMovedError
from gitmill.git.executable import Git
from gitmill.git.notes import write_notes
from gitmill.git.objects import Backend, Commit, Move, read_commit, write_commit
from gitmill.git.plumbing import Plumbing

IDENT = "Ada <ada@example.com> 0 +0000"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Kind:
    """A backend and the format of the repositories that it is tried on."""

    backend: str
    object_format: str
    ref_format: str = "files"

    @property
    def digits(self) -> int:
        return 64 if self.object_format == "sha256" else 40

    def __str__(self) -> str:
        return f"{self.backend}-{self.object_format}-{self.ref_format}"


def open_backend(path: Path, kind: Kind) -> Backend:
    """Open the repository of a work tree."""
    if kind.backend == "libgit2":
        from gitmill.git.libgit2 import Libgit2

        return Libgit2(path / ".git", fsync=False)
    return Plumbing(Git(path / ".git"), digits=kind.digits)


def count(repo: Path, kind: Kind, ref: str, times: str) -> None:
    """Put commits on a ref one after the other, again after each lost race."""
    backend = open_backend(repo, kind)
    left = int(times)
    while left:
        tip = backend.ref(ref)
        tree = read_commit(backend, tip).tree
        message = f"{os.getpid()} {left}\n"
        new = write_commit(backend, Commit(tree, (tip,), IDENT, IDENT, message))
        left -= _swapped(backend, [Move(ref, new, tip)])


def note(repo: Path, kind: Kind, ref: str, *commits: str) -> None:
    """Write a note on each commit, again after each lost race."""
    backend = open_backend(repo, kind)
    left = list(commits)
    while left:
        note = {left[0]: f"{os.getpid()} {left[0]}\n".encode()}
        if _swapped(backend, [write_notes(backend, ref, note, ident=IDENT)]):
            left.pop(0)


def _swapped(backend: Backend, moves: Sequence[Move]) -> bool:
    try:
        backend.swap(moves)
    except RefMovedError:
        return False
    return True


DOES: dict[str, Callable[..., None]] = {"count": count, "note": note}


def at_once(repo: Path, does: str, *calls: tuple[Kind, Sequence[str]]) -> None:
    """Start one process for each call and wait for all; they begin together."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.workers", does, str(repo), str(kind), *args],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for kind, args in calls
    ]  # fmt: skip
    for process in started:
        assert process.stdout.readline() == b"ready\n", process.stderr.read().decode()
    for process in started:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()


def main() -> None:
    does, repo, kind, *args = sys.argv[1:]
    open_backend(Path(repo), Kind(*kind.split("-"))).refs("refs/")  # imports are not raced
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    DOES[does](Path(repo), Kind(*kind.split("-")), *args)


if __name__ == "__main__":
    main()
