"""Commits replayed onto another tip without a worktree, with the trees that `git rebase` makes."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path

from gitmill.errors import GitFailedError
from gitmill.git.executable import Git
from gitmill.git.objects import Commit, encode_commit, parse_commit, raw, text

# Below 2.43 merge-tree does not know --attr-source or crashes on it. From 2.50 on a rebase
# merges with the user's diff.algorithm and merge-tree does not.
_ATTR_SOURCE = (2, 43)
_DIFF_ALGORITHM = (2, 50)

# So many ancestors of the tip are asked for with it: a short branch costs one process to read.
_AHEAD = 8

_ATTRIBUTES = ":(glob)**/.gitattributes"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A commit that does not apply, the paths it fails at, and what git says about it.

    `paths` are those that a rebase leaves unmerged. A file that git moves aside, because a folder
    or another kind of file is in its place, goes by its own name and not by the one git makes up.
    """

    commit: str
    paths: tuple[str, ...]
    messages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Replayed:
    """The new tip, and the (old, new) ids of the commits that are on it now, oldest first.

    A commit that became empty is not among them. With none left, `tip` is where it began: `onto`.
    """

    tip: str
    commits: tuple[tuple[str, str], ...]


def replay(
    git: Git, *, base: str, tip: str, onto: str, scratch: Path, committer: str = ""
) -> Replayed | Conflict:
    """Replay the commits of `base..tip` onto `onto`, as `git rebase --onto` does; moves no ref.

    As there: merge commits are left out, a commit whose change `onto` has already is dropped, one
    that was empty from the start is kept, one that already stands on its new parent is not made
    anew. No patch is looked up in `onto`, as `git rebase UPSTREAM` does: what was taken over there
    and changed again conflicts, what was taken over and reverted comes back. rerere is not asked.

    Author, message and its encoding are kept to the byte, signatures are not. `committer` is
    `Name <mail> seconds zone`; without it git is asked. What is made in `scratch` is removed.
    Merge drivers and filters run in a folder with no files but `.gitattributes`, and submodules
    are as in a fresh worktree: not checked out. Raises `GitFailedError`.
    """
    start, steps = _span(git, base=base, tip=tip, onto=onto)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="replay-", dir=scratch.absolute()) as folder:
        bench = _Bench(git, Path(folder))
        line = _Line(start.id, start.commit.tree, committer)
        for step in steps:
            if step.parent == line.tip:
                line.keep(step)
                continue
            merged = bench.merge(step.base, line.tree, step.commit.tree, (start.id, step.id))
            if isinstance(merged, _Clash):
                return Conflict(step.id, merged.paths, merged.messages)
            if merged != line.tree or step.commit.tree == step.base:
                line.committer = line.committer or git.out("var", "GIT_COMMITTER_IDENT")
                line.add(step, merged)
        bench.store(line.bodies)
        return Replayed(line.tip, tuple(line.pairs))


@dataclass(frozen=True, slots=True)
class _Read:
    id: str
    commit: Commit


@dataclass(frozen=True, slots=True)
class _Step:
    """A commit to replay. A root has no parent and the empty tree as its base."""

    id: str
    commit: Commit
    parent: str
    base: str


def _span(git: Git, *, base: str, tip: str, onto: str) -> tuple[_Read, list[_Step]]:
    """Return `onto` and the commits of `base..tip`, oldest first."""
    ends = [f"{name}^{{commit}}" for name in (onto, base, tip)]
    start, bottom, *line = _commits(git, [*ends, *(f"{tip}~{n}" for n in range(1, _AHEAD + 1))])
    if start is None or bottom is None or line[0] is None:
        raise GitFailedError(f"one of {onto}, {base} and {tip} is not a commit here")
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
    found = _commits(git, [name for id_ in ids for name in (id_, f"{id_}^")])
    pairs = zip(found[::2], found[1::2], strict=True)
    return [_step(child, parent) for child, parent in pairs if child is not None]


def _step(child: _Read, parent: _Read | None) -> _Step:
    if parent is None:
        return _Step(child.id, child.commit, "", _object_id("tree", b"", len(child.id)))
    return _Step(child.id, child.commit, parent.id, parent.commit.tree)


def _commits(git: Git, names: Sequence[str]) -> list[_Read | None]:
    """Read commits, None for a name that leads to nothing."""
    out, at = git.run("cat-file", "--batch", stdin=raw("".join(f"{n}\n" for n in names))).stdout, 0
    found: list[_Read | None] = []
    for _ in names:
        end = out.index(b"\n", at)
        head, at = out[at:end].split(b" "), end + 1
        if head[1:2] != [b"commit"]:
            found.append(None)
            continue
        end = at + int(head[2])
        found.append(_Read(text(head[0]), parse_commit(out[at:end])))
        at = end + 1
    return found


def _object_id(kind: str, body: bytes, digits: int) -> str:
    algorithm = "sha256" if digits == 64 else "sha1"
    return hashlib.new(algorithm, _framed(kind, body), usedforsecurity=False).hexdigest()


def _framed(kind: str, body: bytes) -> bytes:
    return f"{kind} {len(body)}\0".encode() + body


@dataclass(slots=True)
class _Line:
    """The commits so far, kept in memory until every one has merged: a conflict leaves none."""

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
        self.tip, self.tree = _object_id("commit", body, len(self.tip)), tree
        self.bodies.append(body)
        self.pairs.append((step.id, self.tip))


@dataclass(frozen=True, slots=True)
class _Clash:
    paths: tuple[str, ...]
    messages: tuple[str, ...]


class _Bench:
    """A work tree of our own, in which merge-tree meets the attributes of what it merges into.

    In the user's it would go by attributes that nobody has committed, and write the temporary
    files of merge drivers there.
    """

    def __init__(self, git: Git, folder: Path) -> None:
        self._folder = folder
        self._place = folder / "tree"
        self._place.mkdir()
        self._git = Git(
            git.git_dir.absolute(),
            work_tree=self._place,
            index=folder / "index",
            options=git.options,
        )
        self._quoted = '"{}"'.format(re.sub(r'(["\\])', r"\\\1", str(folder / "objects")))
        self._laid_out: str | None = None

    def merge(self, base: str, ours: str, theirs: str, names: tuple[str, str]) -> str | _Clash:
        """Merge trees. `names` are the ids by which messages call ours and theirs."""
        # Parents of our own give any git the merge base that --merge-base gives from 2.40 on.
        parent = self._synthetic(base)
        labels = self._synthetic(ours, parent), self._synthetic(theirs, parent)
        before, after = self._options(ours)
        done = self._git.run(
            *before, "merge-tree", "--write-tree", "-z", "--name-only", *after, *labels,
            check=False, env={"GIT_ALTERNATE_OBJECT_DIRECTORIES": self._quoted},
        )  # fmt: skip
        if done.returncode not in (0, 1):
            raise GitFailedError(
                f"`git merge-tree` exited {done.returncode}",
                evidence=done.error.splitlines()[-6:],
            )
        tree, *rest = done.text.split("\0")
        return tree if done.returncode == 0 else _clash(rest, dict(zip(labels, names, strict=True)))

    def _synthetic(self, tree: str, *parents: str) -> str:
        """Make a commit that only this bench sees, so that none stays in the repository."""
        commit = Commit(tree, parents, "- <-> 0 +0000", "- <-> 0 +0000", "")
        body = encode_commit(commit)
        name = _object_id("commit", body, len(tree))
        path = self._folder / "objects" / name[:2] / name[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(zlib.compress(_framed("commit", body)))
        return name

    def _options(self, ours: str) -> tuple[list[str], list[str]]:
        """Return what stands before and after `merge-tree` in a merge into this tree."""
        version = _version(shutil.which("git") or "")
        config = self._config if version >= _ATTR_SOURCE else {}
        after = []
        if version >= _DIFF_ALGORITHM and "diff.algorithm" in config:
            after = [f"-Xdiff-algorithm={config['diff.algorithm']}"]
        # Renormalizing reads the merged .gitattributes first, which --attr-source would override.
        if version >= _ATTR_SOURCE and "merge.renormalize" not in config:
            return [f"--attr-source={ours}"], after
        self._lay_out(ours)
        return [], after

    @cached_property
    def _config(self) -> dict[str, str]:
        wanted = r"^(merge\.renormalize|diff\.algorithm)$"
        listed = self._git.run("config", "-z", "--get-regexp", wanted, check=False).text
        return dict(line.partition("\n")[::2] for line in listed.split("\0") if line)

    def _lay_out(self, tree: str) -> None:
        """Make the work tree hold the .gitattributes files of a tree and nothing else."""
        if self._laid_out is not None:
            if not self._git.out("diff-tree", "-r", self._laid_out, tree, "--", _ATTRIBUTES):
                return
            shutil.rmtree(self._place)
            self._place.mkdir()
        self._laid_out = tree
        for name, line in _attributes(self._git, tree):
            # Nothing has vouched for these names, and no checkout has refused them.
            if not {"", ".", ".."} & set(name.split("/")):
                path = self._place / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("ab") as file:
                    file.write(raw(line))

    def store(self, bodies: Sequence[bytes]) -> None:
        """Write commits into the repository."""
        for number, body in enumerate(bodies):
            (self._folder / f"commit-{number}").write_bytes(body)
        names = "".join(f"../commit-{number}\n" for number in range(len(bodies)))
        if bodies:
            self._git.run(
                "hash-object", "-t", "commit", "-w", "--stdin-paths", stdin=names.encode()
            )


@cache
def _version(executable: str) -> tuple[int, ...]:
    told = Git(Path(executable).parent).out("version")
    return tuple(int(number) for number in re.findall(r"\d+", told)[:2])


def _attributes(git: Git, tree: str) -> Iterator[tuple[str, str]]:
    """Yield each line of each .gitattributes file of a tree, with the path of the file.

    `git grep` for any line does it in one process, and leaves out symbolic links as a merge does.
    """
    done = git.run(
        "grep", "--text", "--null", "--full-name", "-H", "--no-color", "--no-line-number",
        "--no-column", "--no-recurse-submodules", "--threads=1", "-F", "-e", "",
        tree, "--", _ATTRIBUTES, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise GitFailedError("`git grep` could not read the attributes", evidence=[done.error])
    out, at = done.text, 0
    while at < len(out):
        middle = out.index("\0", at)
        end = out.index("\n", middle) + 1
        yield out[at + len(tree) + 1 : middle], out[middle + 1 : end]
        at = end


def _clash(fields: Sequence[str], names: Mapping[str, str]) -> _Clash:
    """Read what `merge-tree -z --name-only` says after the tree: paths, then notices.

    Where only notices tell what is wrong (a folder renamed two ways), theirs are the paths.
    """
    end = fields.index("")
    unmerged, mentioned, messages = fields[:end], list[str](), list[str]()
    at = end + 1
    while at < len(fields) - 1:
        last = at + 1 + int(fields[at])
        kind, message = fields[last : last + 2]
        if kind != "Auto-merging":
            mentioned += fields[at + 1 : last]
            messages.append(_called(message.strip(), names))
        at = last + 2
    moved = re.compile(rf"~({'|'.join(names)})(_\d+)?$")
    paths = {moved.sub("", path) for path in unmerged or mentioned}
    return _Clash(tuple(sorted(paths)), tuple(messages))


def _called(message: str, names: Mapping[str, str]) -> str:
    for label, name in names.items():
        message = message.replace(label, name[:12])
    return message
