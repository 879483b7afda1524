"""One detached worktree of the pool, outside of the repository, reused because making one is slow.

A slot is a worktree and, beside it, files out of reach of the code that runs in it: its lock, the
index as checked out, the holder of its work. `build` slots are for builders; `clean` slots hold
exactly one commit for checks and reviews.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gitmill import files
from gitmill.errors import GitFailedError, SlotBusyError
from gitmill.failpoints import chokepoint
from gitmill.git import trees
from gitmill.git.executable import Git
from gitmill.git.objects import Entry
from gitmill.git.path_patterns import Patterns
from gitmill.git.quarantine import Quarantine
from gitmill.git.tree_walk import defuse
from gitmill.git.worktree_entries import remove, remove_entries_for, remove_entry
from gitmill.hints import Gitmill, Hint, Shell

# Products of tools that belong in no commit, even if a repository forgot to ignore them.
BUILD_PRODUCTS = (
    "__pycache__/", "*.pyc", ".pytest_cache/", ".mypy_cache/", ".ruff_cache/", ".hypothesis/",
    ".coverage", ".tox/", ".nox/", ".venv/", "node_modules/", ".DS_Store", "*.egg-info/",
)  # fmt: skip
# The content of git's entry for a worktree between two uses.
_KEYS = "git-crypt"  # the program of this name looks for its keys beside HEAD
_ADMIN = frozenset({"HEAD", "commondir", "gitdir", "index", "logs", "modules", _KEYS})
# A slot is whole although the user's checkout is sparse, and its index is one file: it is copied.
_WHOLE = (
    "-c", "core.sparseCheckout=false", "-c", "index.sparse=false", "-c", "core.splitIndex=false",
)  # fmt: skip
_SPARSE = ("config.worktree", "info/sparse-checkout")  # what git copies from a sparse checkout
_TRIES = 5
LAYERS = "layers"  # beside a worktree: what its commands wrote to folders that others share
_LOOSE = ("-c", "core.bigFileThreshold=2g")  # git would write larger files into a pack


@dataclass(frozen=True, slots=True)
class Slot:
    """One worktree of the pool, held by the process that has its lock.

    The git processes that work in it hold the lock too: if gitmill is killed, no process gets the
    slot while one of them still writes there.
    """

    path: Path
    side: Path
    lock: int
    common: Path
    options: Sequence[str] = ()  # git's, for its writes into the repository

    @property
    def admin(self) -> Path:
        """The worktree's git directory as created: its `.git` file might be missing or forged.

        Only the name of the recorded path counts: the repository can have been moved.
        """
        recorded = Path(os.fsdecode((self.side / "admin").read_bytes()))
        return self.common / "worktrees" / recorded.name

    @property
    def git(self) -> Git:
        """Git on this worktree with the slot's index; it does not need git's entry."""
        index = self.side / "index"
        return Git(
            self.common, work_tree=self.path, index=index, locks=(self.lock,),
            options=(*_WHOLE, *self.options),
        )  # fmt: skip

    @property
    def tmp(self) -> Path:
        """A folder for temporary files of the code that runs in the slot, emptied by `prepare`."""
        folder = self.side / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def prepare(self, commit: str, *, holder: str = "", keep: Sequence[str] = ()) -> None:
        """Check out exactly one commit; of other files, only the paths `keep` stay, and the home.

        `holder` names the owner of the work to come, for a rescue after a kill.
        """
        for name in ("tmp", "reading", *(() if keep else ("home", LAYERS))):
            remove(self.side / name)
        for tries in range(_TRIES):
            # A `git worktree prune` by the user removes git's entry if `.git` is missing.
            with suppress(FileNotFoundError):
                if tries or not self._exists() or not self._reset(commit, keep):
                    self._make(commit)
                shutil.copy2(self.admin / "index", self.side / "index")
                break
        else:
            raise SlotBusyError(
                f"git's entry for {self.path} keeps disappearing",
                hints=[
                    Hint(
                        "end what runs", Shell("git worktree prune"), "there, then", Gitmill("run")
                    )
                ],
            )
        if holder:
            files.replace(self.side / "holder", f"{holder} {commit}\n".encode())

    @property
    def _used(self) -> Path:
        return self.side / "used"

    def mark_used(self) -> None:
        """Note that other people's code could write here: git must not read it as it is."""
        self._used.touch()

    def drop_scratch(self) -> None:
        """Remove the temporary files and the home of the code that ran here; no work is there."""
        for name in ("tmp", "home", "reading", LAYERS):
            remove(self.side / name)

    def _exists(self) -> bool:
        recorded = (self.side / "admin").exists() and (self.side / "index").exists()
        present = self.path.is_dir() and not self.path.is_symlink()
        return recorded and present and (self.admin / "gitdir").exists()

    def _reset(self, commit: str, keep: Sequence[str]) -> bool:
        if self._used.exists() and not defuse(self.path):
            return False
        for leftover in self.admin.iterdir():  # stale locks, a merge or rebase under way …
            if leftover.name not in _ADMIN:
                remove(leftover)
        shutil.copy2(self.side / "index", self.admin / "index")
        self._link()
        git = Git(self.admin, work_tree=self.path, locks=(self.lock,), options=_WHOLE)
        moved = git.run("checkout", "-q", "-f", "--detach", commit, "--", check=False)
        if moved.returncode != 0:
            return False
        exceptions = [part for path in keep for part in ("-e", _pattern(path))]
        if git.run("clean", "-q", "-ffdx", *exceptions, check=False).returncode != 0:
            return False
        self._used.unlink(missing_ok=True)
        return True

    def _link(self) -> None:
        """Make `.git` the file that leads to git's entry, as in any worktree of the user."""
        if (self.path / ".git").is_dir():
            remove(self.path / ".git")
        files.replace(self.path / ".git", b"gitdir: " + os.fsencode(self.admin) + b"\n")

    def _make(self, commit: str) -> None:
        self.discard()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        repository = Git(self.common, locks=(self.lock,), options=_WHOLE)
        has_keys = (self.common / _KEYS).is_dir()
        for last in (False, False, True):  # a prune can remove the folder of entries meanwhile
            done = repository.run(
                "-c", "checkout.workers=2", "-c", "worktree.useRelativePaths=false",
                "worktree", "add", "-q", "-f", "--detach",
                *(("--no-checkout",) if has_keys else ()),
                "--", str(self.path), commit, check=last,
            )  # fmt: skip
            if done.returncode == 0:
                break
            self.discard()
        link = (self.path / ".git").read_bytes().removeprefix(b"gitdir: ").rstrip(b"\n")
        files.replace(self.side / "admin", link)
        for name in _SPARSE:
            remove(self.admin / name)
        if has_keys:
            (self.admin / _KEYS).symlink_to(self.common / _KEYS)
            git = Git(self.admin, work_tree=self.path, locks=(self.lock,), options=_WHOLE)
            git.run("checkout", "-q", "-f", "--detach", commit, "--")

    def discard(self) -> None:
        """Remove the worktree and git's entry for it, even half made ones."""
        with chokepoint(f"discard {self.path.name}"):
            if (self.side / "admin").exists():
                remove_entry(self.common, self.admin)
            remove_entries_for(self.common, self.path)
            remove(self.path)
            remove(self.side)
            self.side.mkdir(parents=True, exist_ok=True)

    def reading(self, objects: Quarantine, index: Path | None = None) -> Git:
        """Git on this worktree that leaves its index and writes objects to a quarantine.

        It works on the index in the quarantine, a copy of the slot's if there is none yet.
        """
        index = index or objects.folder / "index"
        if not index.exists():
            shutil.copy2(self.side / "index", index)
        return Git(
            self.common, work_tree=self.path, index=index, objects=objects.objects,
            locks=(self.lock,), options=(*_WHOLE, *_LOOSE),
        )  # fmt: skip

    def take_tree(
        self,
        objects: Quarantine,
        commit_tree: str,
        ignore: Sequence[str] = (),
        *,
        run: Callable[[Git, Sequence[str]], object] = lambda git, args: git.run(*args),
        omitted: Sequence[str] | None = (),
        forced: Sequence[str] = (),
    ) -> str:
        """Return the worktree's files as a tree, whatever was done to its git files.

        Its objects are in the quarantine. New files that match `ignore` or are build products are
        left out, and `omitted` paths, where None is all new files; `forced` ones are taken although
        git ignores them. `run` runs git on the worktree.
        Raises `GitFailedError` if the worktree is missing or a file in it cannot be read.
        """
        if not self.path.is_dir():
            raise GitFailedError(f"the worktree {self.path} is missing")
        git = self.reading(objects)
        without = [f":(exclude,top,literal){path}" for path in omitted or ()]
        add = ("add", "-A" if omitted is not None else "-u", "--sparse", "--", ".", *without)
        try:
            run(git, add)
        except GitFailedError:
            self._absorb_empty_repositories()
            run(git, add)
        if forced:
            literal = [f":(top,literal){path}" for path in forced]
            run(git, ("add", "-f", "--sparse", "--", *literal))
        out = git.run("diff-index", "--cached", "--raw", "-z", "--no-renames", commit_tree)
        patterns = Patterns([*BUILD_PRODUCTS, *ignore])
        changes: dict[str, Entry | bytes | None] = {}
        parts = out.text.split("\0")
        for head, path in zip(parts[0::2], parts[1::2], strict=False):
            _, mode, _, oid, status = head.split(" ")
            if status == "A" and patterns.match(path):
                continue
            changes[path] = None if status == "D" else Entry("", mode.lstrip("0"), oid)
        return trees.edit(objects, commit_tree, changes)

    def _absorb_empty_repositories(self) -> None:
        """Turn nested repositories without a commit, made by scaffolding tools, into folders."""
        for folder, subfolders, _ in os.walk(self.path):
            repository = Path(folder, ".git")
            if ".git" in subfolders and repository.parent == self.path:
                subfolders.remove(".git")
            elif ".git" in subfolders:
                packed = (repository / "packed-refs").exists()
                if not packed and not any(p.is_file() for p in (repository / "refs").rglob("*")):
                    remove(repository)

    def clear_holder(self) -> None:
        """Mark the slot as holding no work to rescue: it is recorded or does not matter."""
        (self.side / "holder").unlink(missing_ok=True)

    def rescue(self, rescue: Rescue) -> None:
        """Pass the work of a killed process to `rescue`, if the slot still has a holder."""
        holder, commit = holder_of(self.side)
        known = (self.side / name for name in ("admin", "index"))
        if holder and self.path.is_dir() and all(path.exists() for path in known):
            rescue(self, holder, commit)
            self.reset_entry(commit)
        self.clear_holder()

    def reset_entry(self, commit: str) -> None:
        """Reset git's entry to `commit`, so that it keeps no objects made in the worktree alive."""
        if self.path.is_dir() and not self.path.is_symlink():
            self._link()
        (self.admin / "index").unlink(missing_ok=True)  # the next use copies the slot's own index
        try:
            head = (self.admin / "HEAD").read_bytes()
        except FileNotFoundError:  # the user can prune at any time
            return
        if head == commit.encode() + b"\n":
            return
        git = Git(self.admin, work_tree=self.path, locks=(self.lock,))
        git.run("update-ref", "--no-deref", "HEAD", commit, check=False)
        (self.admin / "logs" / "HEAD").unlink(missing_ok=True)

    def release(self) -> None:
        """Release the slot's lock."""
        os.close(self.lock)


Rescue = Callable[[Slot, str, str], object]


def holder_of(side: Path) -> tuple[str, str]:
    """Return the holder of a slot's work and the commit it began from; empty without a holder."""
    try:
        holder, _, commit = (side / "holder").read_text().strip().partition(" ")
    except FileNotFoundError:
        return "", ""
    return holder, commit


def _pattern(path: str) -> str:
    """Return the pattern of gitignore(5) that matches one path."""
    return "/" + re.sub(r"([\\*?\[\]!# ])", r"\\\1", path)
