"""Read the files that an agent or a person has left in a worktree, as a tree.

gitmill inspects them first: what git would hang on, or hash for hours, is the attempt's fault. Then
git reads them in a sandbox that is not the agent's: nothing is writable but a folder for its
objects, there is no network, and it ends at a limit or when a stop is requested. No object is in
the repository before it is admitted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gitmill import files
from gitmill.errors import GitFailedError, GitmillError, SpoiledWorktreeError
from gitmill.git import tree_walk, trees
from gitmill.git.differ import Differ
from gitmill.git.executable import Git, ended_by, killed
from gitmill.git.quarantine import Quarantine
from gitmill.git.tree_walk import Walked
from gitmill.git.worktrees import Slot
from gitmill.mill import Mill
from gitmill.process import Command, Outcome
from gitmill.supervision.local import LocalEngine
from gitmill.workspace import sandbox
from gitmill.workspace.stop_token import StopToken

NEW_FILES = 20_000  # files beside those of the start commit, not ignored
NEW_BYTES = 1_000_000_000  # in files of more than `tree_walk.LARGE`
SECONDS = 600.0  # for git to read the tree
# The same for a rescue, which follows an interrupt and is not interruptible; `recover` tries again.
RESCUE_SECONDS = 60.0
_SHOWN = 20
_INDEX = 200_000_000  # bytes of an index that is read: of a million files
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class TakenTree:
    """A tree that is not in the repository yet, and the backend that has its objects.

    `forced` are its files that git ignores, added with `git add -f` in the worktree.
    """

    tree: str
    objects: Quarantine
    forced: tuple[str, ...] = ()


@contextmanager
def taken_tree(
    mill: Mill,
    slot: Slot,
    base: str,
    *,
    ignore: Sequence[str] = (),
    claim: str = "",
    stop: StopToken | None = None,
    lenient: bool = False,
) -> Iterator[TakenTree]:
    """Read a worktree's files as a tree, to be compared with the tree `base`.

    New files that match `ignore` are left out. All processes carry the `claim` of an attempt, by
    which `recover` ends what a kill has left of them. Raises `SpoiledWorktreeError` for files that
    git cannot or should not read, `GitFailedError` if git fails, and `KeyboardInterrupt` once
    `stop` is requested. With `lenient`, as for a rescue, what would be an error is left out.
    """
    if not slot.path.is_dir():
        raise SpoiledWorktreeError(f"the worktree {slot.path} is missing")
    seconds = RESCUE_SECONDS if lenient else SECONDS
    reader = _Reader(mill, slot, claim or mill.new_token(), stop or StopToken(), seconds)
    objects = Quarantine(slot.side / "reading", mill.store.backend)
    try:
        omitted = reader.inspect(objects, lenient=lenient)
        try:
            forced = reader.forced(objects) if omitted is not None else ()
            tree = slot.take_tree(
                objects, base, ignore, run=reader.git, omitted=omitted, forced=forced
            )
        except GitFailedError as error:
            raise _cause(error) from error
        tree = _named_well(objects, base, tree, lenient=lenient)
        forced = tuple(
            path
            for path in forced
            if trees.find(objects, tree, path) and not trees.find(objects, base, path)
        )
        yield TakenTree(tree, objects, forced)
    finally:
        objects.close()


def _cause(error: GitFailedError) -> GitmillError:
    """Return the error to raise: what git refuses is the attempt's, but a filter is the user's."""
    said = [line for line in error.evidence if line.startswith(("error:", "fatal:"))]
    if not said or any("external filter" in line for line in said):
        return error
    return _spoiled([line.partition(": ")[2] for line in said])


def _named_well(objects: Quarantine, base: str, tree: str, *, lenient: bool) -> str:
    """Return the tree; refuse new names with control characters, which no screen can show."""
    changes = [c for c in Differ(objects).changes(base, tree) if _CONTROL.search(c.path)]
    odd = [change.path for change in changes if change.new is not None and change.old is None]
    if odd and not lenient:
        raise _spoiled([f"the name of a file has control characters: {path!a}" for path in odd])
    return trees.edit(objects, tree, dict.fromkeys(odd)) if odd else tree


@dataclass(frozen=True, slots=True)
class _Reader:
    mill: Mill
    slot: Slot
    claim: str
    stop: StopToken
    seconds: float

    def inspect(self, objects: Quarantine, *, lenient: bool) -> Sequence[str] | None:
        """Inspect the files before git reads them; return the paths that git has to leave out.

        None stands for all new files.
        """
        since = (self.slot.side / "index").stat().st_ctime_ns
        found = tree_walk.walk(self.slot.path, since=since, tick=self.stop.raise_if_requested)
        if lenient and (found.special or found.rules):
            for path in (*found.special, *found.rules):
                tree_walk.remove_below(self.slot.path, path)
            found.special, found.rules = {}, []
        wrong = [found.exceeded] if found.exceeded else []
        wrong += [
            f"{path} is no regular file, so git cannot read its rules" for path in found.rules
        ]
        if wrong and not lenient:
            raise _spoiled(wrong)
        if wrong:
            return None
        return self._judge(found, objects, lenient=lenient)

    def _judge(self, found: Walked, objects: Quarantine, *, lenient: bool) -> Sequence[str] | None:
        """Judge what is not ignored: git's rules can be read now."""
        special = self._not_ignored(objects, found.special)
        wrong = [f"{path} is {found.special[path]}, which git cannot store" for path in special]
        large = self._not_ignored(objects, found.large)
        size = sum(found.large[path] for path in large)
        if size > NEW_BYTES:
            worst = max(large, key=lambda path: found.large[path])
            wrong.append(f"{worst} and other large files have {size / 1e9:.1f} GB; limit "
                         f"{NEW_BYTES / 1e9:g} GB")  # fmt: skip
        too_many = found.changed > NEW_FILES and (count := self._new_files(objects)) > NEW_FILES
        if too_many:
            wrong.append(f"{count:,} new files; limit {NEW_FILES:,}")
        if wrong and not lenient:
            raise _spoiled(wrong)
        return None if too_many else large if size > NEW_BYTES else ()

    def forced(self, objects: Quarantine) -> tuple[str, ...]:
        """Return the files that git ignores and that the index in the worktree has all the same.

        That index is the code's own, so git reads a copy of it in the sandbox.
        """
        index = objects.folder / "own-index"
        data = files.read_below(self.slot.path, ".git/index", _INDEX)
        if data is None or data == (self.slot.side / "index").read_bytes():
            return ()
        index.write_bytes(data)
        git = self.slot.reading(objects, index)
        outcome = self._run(git, ("ls-files", "-z", "-c", "-i", "--exclude-standard"))
        if not outcome.passed or outcome.cut:
            return ()  # broken, or more than anyone has added by hand
        names = outcome.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]
        return tuple(name for name in names if os.path.lexists(self.slot.path / name))

    def _not_ignored(self, objects: Quarantine, paths: Collection[str]) -> list[str]:
        if not paths:
            return []
        stdin = "\0".join(paths).encode("utf-8", "surrogateescape")
        outcome = self._run(self.slot.reading(objects), ("check-ignore", "-z", "--stdin"), stdin)
        ignored = {*outcome.stdout.decode("utf-8", "surrogateescape").split("\0")}
        return [path for path in paths if path not in ignored]

    def _new_files(self, objects: Quarantine) -> int:
        """Return how many files are not in the start commit and not ignored."""
        script = 'git "$@" | tr -dc "\\0" | wc -c'
        git = self.slot.reading(objects)
        argv = git.argv("ls-files", "-z", "--others", "--exclude-standard")[1:]
        outcome = self._execute(git, ("/bin/sh", "-c", script, "sh", *argv))
        return int(outcome.stdout or b"0")

    def git(self, git: Git, args: Sequence[str]) -> None:
        """Run git on the worktree."""
        outcome = self._run(git, args)
        if outcome.passed:
            return
        lines = outcome.stderr.decode("utf-8", "replace").splitlines()[-6:]
        raise GitFailedError(f"`git {' '.join(args[:3])}` exited {outcome.status}", evidence=lines)

    def _run(self, git: Git, args: Sequence[str], stdin: bytes = b"") -> Outcome:
        outcome = self._execute(git, git.argv(*args), stdin)
        signal = ended_by(outcome.status)
        if outcome.ended == "lost" or signal:
            raise killed(args, signal)
        return outcome

    def _execute(self, git: Git, argv: Sequence[str], stdin: bytes = b"") -> Outcome:
        # The sandbox may hide the user's configuration: the filters and formats go along.
        environment = git.surroundings()["env"] | _variables(self.mill.repository.formats)
        command = Command(
            tuple(argv), self.slot.path, environment, stdin, self.seconds, self.seconds,
            access="read-only",
        )  # fmt: skip
        around = sandbox.reading(self.mill, self.slot)
        engine = LocalEngine(claim=self.claim, lock_fds=(self.slot.lock,))
        with self.stop.interruptible(engine.cancel):
            outcome = engine.execute(around.wrap(command) if around else command)
        if outcome.ended in ("timed-out", "idle"):
            raise _spoiled(
                [f"git could not read the files of the worktree in {self.seconds:.0f} s"]
            )
        return outcome


def _variables(formats: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return settings as variables for git, after those that the user has set so."""
    pairs = [(name, value) for name, values in formats.items() for value in values]
    first = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    variables = {"GIT_CONFIG_COUNT": str(first + len(pairs))}
    for number, (name, value) in enumerate(pairs, first):
        variables |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def _spoiled(wrong: Sequence[str]) -> SpoiledWorktreeError:
    more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    return SpoiledWorktreeError(
        f"the worktree cannot be read: {wrong[0]}", evidence=[*wrong[1:_SHOWN], *more]
    )
