"""Replay commits onto another tip without a worktree, producing the trees of `git rebase`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from gitmill.errors import GitFailedError
from gitmill.git.executable import Git
from gitmill.git.merge_trees import MergeConflict, TreeMerger
from gitmill.git.objects import Commit, encode_commit, object_id, parse_commit, raw, text

# The number of ancestors read together with the tip: a short branch costs one process to read.
_AHEAD = 8


@dataclass(frozen=True, slots=True)
class Conflict:
    """A commit that does not apply, the paths where it fails, and git's messages.

    `paths` are those that a rebase leaves unmerged. A file that git moves aside, because a folder
    or another kind of file has its path, is listed under its own name, not the one git invents.
    """

    commit: str
    paths: tuple[str, ...]
    messages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Replayed:
    """The new tip, and the (old, new) ids of the replayed commits, oldest first.

    A commit that became empty is not among them. If none remains, `tip` is `onto`.
    """

    tip: str
    commits: tuple[tuple[str, str], ...]


def replay(
    git: Git, *, base: str, tip: str, onto: str, scratch: Path, committer: str = ""
) -> Replayed | Conflict:
    """Replay the commits of `base..tip` onto `onto`, as `git rebase --onto` does; move no ref.

    As in a rebase, merge commits are skipped, a commit whose change `onto` already has is dropped,
    a commit that was empty from the start is kept, and a commit already on its new parent stays as
    it is. Unlike `git rebase UPSTREAM`, no patch is looked up in `onto`: a change picked there and
    then edited conflicts, a change picked and then reverted comes back. rerere is not used.

    Author, message and encoding are preserved byte for byte, signatures are dropped. `committer`
    is `Name <mail> seconds zone`; if empty, git supplies it. All files made in `scratch` are
    removed. Merge drivers and filters run in a folder that holds only `.gitattributes`, and
    submodules are not checked out, as in a fresh worktree. Raises `GitFailedError`.
    """
    start, steps = _span(git, base=base, tip=tip, onto=onto)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="replay-", dir=scratch.absolute()) as folder:
        merger = TreeMerger(git, Path(folder))
        line = _Line(start.id, start.commit.tree, committer)
        for step in steps:
            if conflict := _apply(git, merger, line, step, start.id):
                return conflict
        _store(git, Path(folder), line.bodies)
        return Replayed(line.tip, tuple(line.pairs))


@dataclass(frozen=True, slots=True)
class _Read:
    id: str
    commit: Commit


@dataclass(frozen=True, slots=True)
class _Step:
    """A commit to replay. A root commit has no parent and the empty tree as its base."""

    id: str
    commit: Commit
    parent: str
    base: str


def _span(git: Git, *, base: str, tip: str, onto: str) -> tuple[_Read, list[_Step]]:
    """Return `onto` and the commits of `base..tip`, oldest first."""
    ends = [f"{name}^{{commit}}" for name in (onto, base, tip)]
    start, bottom, *line = _commits(git, [*ends, *(f"{tip}~{n}" for n in range(1, _AHEAD + 1))])
    if start is None or bottom is None or line[0] is None:
        raise GitFailedError(f"one of {onto}, {base} and {tip} is not a commit in this repository")
    steps: list[_Step] = []
    for child, parent in pairwise(line):
        if child is None or child.id == bottom.id:
            return start, steps[::-1]
        if parent is None or len(child.commit.parents) != 1:
            break
        steps.append(_step(child, parent))
    return start, _listed(git, base=bottom.id, tip=line[0].id)


def _listed(git: Git, *, base: str, tip: str) -> list[_Step]:
    ids = git.out("rev-list", "--topo-order", "--reverse", "--no-merges", tip, f"^{base}").split()
    commits = _commits(git, [name for id_ in ids for name in (id_, f"{id_}^")])
    pairs = zip(commits[::2], commits[1::2], strict=True)
    return [_step(child, parent) for child, parent in pairs if child is not None]


def _step(child: _Read, parent: _Read | None) -> _Step:
    if parent is None:
        return _Step(child.id, child.commit, "", object_id("tree", b"", len(child.id)))
    return _Step(child.id, child.commit, parent.id, parent.commit.tree)


def _commits(git: Git, names: Sequence[str]) -> list[_Read | None]:
    """Read commits; None for a name that resolves to no commit."""
    out, at = git.run("cat-file", "--batch", stdin=raw("".join(f"{n}\n" for n in names))).stdout, 0
    commits: list[_Read | None] = []
    for _ in names:
        end = out.index(b"\n", at)
        head, at = out[at:end].split(b" "), end + 1
        if head[1:2] != [b"commit"]:
            commits.append(None)
            continue
        end = at + int(head[2])
        commits.append(_Read(text(head[0]), parse_commit(out[at:end])))
        at = end + 1
    return commits


@dataclass(slots=True)
class _Line:
    """The commits replayed so far, in memory until all have merged: a conflict stores none."""

    tip: str
    tree: str
    committer: str
    bodies: list[bytes] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)

    def keep(self, step: _Step) -> None:
        self.tip, self.tree = step.id, step.commit.tree
        self.pairs.append((step.id, step.id))

    def add(self, step: _Step, tree: str) -> None:
        commit = replace(
            step.commit,
            tree=tree,
            parents=(self.tip,),
            committer=self.committer,
            headers=tuple(pair for pair in step.commit.headers if pair[0] == "encoding"),
        )
        body = encode_commit(commit)
        self.tip, self.tree = object_id("commit", body, len(self.tip)), tree
        self.bodies.append(body)
        self.pairs.append((step.id, self.tip))


def _apply(git: Git, merger: TreeMerger, line: _Line, step: _Step, onto: str) -> Conflict | None:
    """Add a commit to the line, or return its conflict."""
    if step.parent == line.tip:
        line.keep(step)
        return None
    merged = merger.merge(step.base, line.tree, step.commit.tree, (onto, step.id))
    if isinstance(merged, MergeConflict):
        return Conflict(step.id, merged.paths, merged.messages)
    if merged != line.tree or step.commit.tree == step.base:
        line.committer = line.committer or git.out("var", "GIT_COMMITTER_IDENT")
        line.add(step, merged)
    return None


def _store(git: Git, folder: Path, bodies: Sequence[bytes]) -> None:
    """Write commits into the repository with one process, from files in a scratch folder."""
    if not bodies:
        return
    for number, body in enumerate(bodies):
        (folder / f"commit-{number}").write_bytes(body)
    names = "".join(f"commit-{number}\n" for number in range(len(bodies)))
    scratch_git = Git(git.git_dir.absolute(), work_tree=folder, options=git.options)
    scratch_git.run("hash-object", "-t", "commit", "-w", "--stdin-paths", stdin=names.encode())
