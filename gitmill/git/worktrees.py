"""A pool of detached worktrees outside of the repository, reused because making one is slow.

A slot is a worktree and, beside it, files of ours that whoever works in the worktree does not
have: its lock, the index as it was checked out, whose work it holds. `build` slots are given to
builders; `clean` slots hold exactly one commit for checks and reviews.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gitmill.errors import GitFailedError
from gitmill.failpoints import chokepoint
from gitmill.git import trees
from gitmill.git.command import Git
from gitmill.git.locks import try_lock
from gitmill.git.objects import Backend, Entry
from gitmill.git.paths import Patterns

# Products of tools that belong in no commit, even where a repository forgot to ignore them.
BUILD_PRODUCTS = (
    "__pycache__/", "*.pyc", ".pytest_cache/", ".mypy_cache/", ".ruff_cache/", ".hypothesis/",
    ".coverage", ".tox/", ".nox/", ".venv/", "node_modules/", ".DS_Store", "*.egg-info/",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slot:
    """One worktree of the pool, held by the process that has its lock."""

    path: Path
    side: Path
    lock: int
    common: Path

    @property
    def admin(self) -> Path:
        """The worktree's own git directory, as we made it: its `.git` file may be gone or false."""
        return Path(os.fsdecode((self.side / "admin").read_bytes()))

    @property
    def git(self) -> Git:
        """Git on this worktree with an index of ours."""
        return Git(self.admin, work_tree=self.path, index=self.side / "index")

    @property
    def tmp(self) -> Path:
        """An empty folder for temporary files of what runs here."""
        folder = self.side / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def prepare(self, commit: str, *, holder: str = "", keep: Sequence[str] = ()) -> None:
        """Check out exactly one commit; nothing else stays but paths named by `keep`.

        `holder` names whose work will stand here, for a rescue after a kill.
        """
        shutil.rmtree(self.side / "tmp", ignore_errors=True)
        if not self._exists() or not self._reset(commit, keep):
            self._make(commit)
        shutil.copy2(self.admin / "index", self.side / "index")
        if holder:
            _write(self.side / "holder", f"{holder} {commit}\n".encode())

    def _exists(self) -> bool:
        side = self.side / "admin"
        return side.exists() and self.path.is_dir() and (self.admin / "gitdir").exists()

    def _reset(self, commit: str, keep: Sequence[str]) -> bool:
        for stale in ("index.lock", "HEAD.lock", "locked"):
            (self.admin / stale).unlink(missing_ok=True)
        shutil.copy2(self.side / "index", self.admin / "index")
        _write(self.path / ".git", b"gitdir: " + os.fsencode(self.admin) + b"\n")
        git = Git(self.admin, work_tree=self.path)
        moved = git.run("checkout", "-q", "-f", "--detach", commit, "--", check=False)
        if moved.returncode != 0:
            return False
        exceptions = [part for pattern in keep for part in ("-e", pattern)]
        return git.run("clean", "-q", "-ffdx", *exceptions, check=False).returncode == 0

    def _make(self, commit: str) -> None:
        self.discard()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        repository = Git(self.common)
        repository.run(
            "-c", "checkout.workers=2", "worktree", "add", "-q", "-f", "--detach",
            "--", str(self.path), commit,
        )  # fmt: skip
        link = (self.path / ".git").read_bytes().removeprefix(b"gitdir: ").rstrip(b"\n")
        _write(self.side / "admin", link)

    def discard(self) -> None:
        """Remove the worktree and git's entry for it; also after a kill half-way."""
        with chokepoint(f"discard {self.path.name}"):
            if (self.side / "admin").exists():
                shutil.rmtree(self.admin, ignore_errors=True)
            _remove_entries_for(self.common, self.path)
            shutil.rmtree(self.path, ignore_errors=True)
            shutil.rmtree(self.side, ignore_errors=True)
            self.side.mkdir(parents=True, exist_ok=True)

    def take_tree(self, backend: Backend, commit_tree: str, ignore: Sequence[str] = ()) -> str:
        """Return the tree that stands in the worktree now, whatever was done to its git files.

        New files that `ignore` names (build products always) are left out.
        Raises `GitFailedError` when a file cannot be read.
        """
        self.git.run("add", "-A", "--", ".")
        out = self.git.run("diff-index", "--cached", "--raw", "-z", "--no-renames", commit_tree)
        patterns = Patterns([*BUILD_PRODUCTS, *ignore])
        changes: dict[str, Entry | bytes | None] = {}
        parts = out.text.split("\0")
        for head, path in zip(parts[0::2], parts[1::2], strict=False):
            _, mode, _, oid, status = head.split(" ")
            if status == "A" and patterns.match(path):
                continue
            changes[path] = None if status == "D" else Entry("", mode.lstrip("0"), oid)
        return trees.edit(backend, commit_tree, changes)

    def release(self) -> None:
        """Give the slot back; what stands in it has been recorded or does not matter."""
        (self.side / "holder").unlink(missing_ok=True)
        os.close(self.lock)


class Pool:
    """The slots of one repository below one folder."""

    def __init__(self, folder: Path, common: Path) -> None:
        self.folder = folder
        self._common = common

    def acquire(self, kind: str, rescue: Callable[[Slot, str, str], None]) -> Slot:
        """Take the first free slot of a kind; what a killed process left in it goes to `rescue`.

        `rescue` is called with the slot, its holder and the commit that its work began from.
        """
        for number in range(1, 1000):
            slot = self._try(f"{kind}-{number}")
            if slot is not None:
                _rescue(slot, rescue)
                return slot
        raise GitFailedError(f"no free worktree in {self.folder}")

    def _try(self, name: str) -> Slot | None:
        lock = try_lock(self.folder / f"{name}.lock")
        if lock is None:
            return None
        side = self.folder / f"{name}.d"
        side.mkdir(parents=True, exist_ok=True)
        return Slot(self.folder / name, side, lock, self._common)

    def own(self, name: str) -> Slot:
        """Take a slot by its name, one that `acquire` never gives to anybody else.

        Raises `GitFailedError` when another process has it just now.
        """
        slot = self._try(name)
        if slot is None:
            raise GitFailedError(f"another process uses the worktree {name}")
        return slot

    def idle(self) -> list[Slot]:
        """Take all slots for attempts that nobody holds; the caller releases them."""
        names = sorted(path.name.removesuffix(".lock") for path in self.folder.glob("build-*.lock"))
        return [slot for name in names if (slot := self._try(name)) is not None]

    def rescue_all(self, rescue: Callable[[Slot, str, str], None]) -> None:
        """Hand whatever killed processes left in idle slots to `rescue`."""
        for slot in self.idle():
            _rescue(slot, rescue)
            slot.release()


def _rescue(slot: Slot, rescue: Callable[[Slot, str, str], None]) -> None:
    note = slot.side / "holder"
    if note.exists():
        holder, _, commit = note.read_text().strip().partition(" ")
        if slot.path.is_dir() and (slot.side / "index").exists():
            rescue(slot, holder, commit)
        note.unlink()


def _remove_entries_for(common: Path, path: Path) -> None:
    """Remove git's entries for a worktree path, those of a killed `worktree add` included."""
    wanted = os.fsencode(path / ".git")
    for entry in (common / "worktrees").glob("*/gitdir"):
        if entry.read_bytes().rstrip(b"\n") == wanted:
            shutil.rmtree(entry.parent, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    """Replace a file whole or not at all."""
    new = path.with_name(path.name + ".new")
    with chokepoint(f"write {path.name}"):
        new.write_bytes(data)
        new.replace(path)
