"""Three-way merges of trees with `git merge-tree`, without a checkout."""

from __future__ import annotations

import re
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gitmill.caches import FRESH, expires
from gitmill.errors import GitFailedError
from gitmill.git.executable import Git
from gitmill.git.objects import Commit, encode_commit, framed, object_id, raw

# Below 2.43 merge-tree does not know --attr-source, or crashes on it. From 2.50 on a rebase
# merges with the user's diff.algorithm and merge-tree does not.
_ATTR_SOURCE = (2, 43)
_DIFF_ALGORITHM = (2, 50)

_ATTRIBUTES = ":(glob)**/.gitattributes"


@dataclass(frozen=True, slots=True)
class MergeConflict:
    """The paths that do not merge, and git's messages about them."""

    paths: tuple[str, ...]
    messages: tuple[str, ...]


class TreeMerger:
    """Merges trees in a scratch work tree that holds the attributes of the tree merged into.

    In the user's work tree, merge-tree would apply uncommitted attributes, and merge drivers would
    write their temporary files there.
    """

    def __init__(self, git: Git, folder: Path) -> None:
        self._folder = folder
        self._work_tree = folder / "tree"
        self._work_tree.mkdir()
        self._git = Git(
            git.git_dir.absolute(),
            work_tree=self._work_tree,
            index=folder / "index",
            options=git.options,
        )
        self._quoted = '"{}"'.format(re.sub(r'(["\\])', r"\\\1", str(folder / "objects")))
        self._laid_out: str | None = None

    def merge(
        self, base: str, ours: str, theirs: str, names: tuple[str, str]
    ) -> str | MergeConflict:
        """Return the merged tree; `names` are the ids for ours and theirs in messages."""
        # Synthetic parents give any git the merge base that --merge-base sets from 2.40 on.
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
        if done.returncode == 0:
            return tree
        return _conflict(rest, dict(zip(labels, names, strict=True)))

    def _synthetic(self, tree: str, *parents: str) -> str:
        """Write a commit that only this merger sees, so that none stays in the repository."""
        commit = Commit(tree, parents, "- <-> 0 +0000", "- <-> 0 +0000", "")
        body = encode_commit(commit)
        name = object_id("commit", body, len(tree))
        path = self._folder / "objects" / name[:2] / name[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(zlib.compress(framed("commit", body)))
        return name

    def _options(self, ours: str) -> tuple[list[str], list[str]]:
        """Return the options before and after `merge-tree` for a merge into this tree."""
        version = _version(shutil.which("git") or "")
        config = self._config if version >= _ATTR_SOURCE else {}
        after = []
        if version >= _DIFF_ALGORITHM and "diff.algorithm" in config:
            after = [f"-Xdiff-algorithm={config['diff.algorithm']}"]
        # Renormalization reads the merged .gitattributes first; --attr-source would override them.
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
        """Fill the work tree with the .gitattributes files of a tree and nothing else."""
        if self._laid_out is not None:
            if not self._git.out("diff-tree", "-r", self._laid_out, tree, "--", _ATTRIBUTES):
                return
            shutil.rmtree(self._work_tree)
            self._work_tree.mkdir()
        self._laid_out = tree
        for name, line in _attributes(self._git, tree):
            # These names are untrusted: no checkout has validated them.
            if not {"", ".", ".."} & set(name.split("/")):
                path = self._work_tree / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("ab") as file:
                    file.write(raw(line))


@expires(FRESH)
def _version(executable: str) -> tuple[int, ...]:
    output = Git(Path(executable).parent).out("version")
    return tuple(int(number) for number in re.findall(r"\d+", output)[:2])


def _attributes(git: Git, tree: str) -> Iterator[tuple[str, str]]:
    """Yield each line of each .gitattributes file of a tree, with the path of the file.

    A `git grep` for any line needs one process, and skips symbolic links as a merge does.
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


def _conflict(fields: Sequence[str], names: Mapping[str, str]) -> MergeConflict:
    """Parse the output of `merge-tree -z --name-only` after the tree: paths, then messages.

    If no path is listed (a folder renamed two ways), the paths named in the messages count.
    """
    end = fields.index("")
    unmerged, mentioned, messages = fields[:end], list[str](), list[str]()
    at = end + 1
    while at < len(fields) - 1:
        last = at + 1 + int(fields[at])
        kind, message = fields[last : last + 2]
        if kind != "Auto-merging":
            mentioned += fields[at + 1 : last]
            messages.append(_with_ids(message.strip(), names))
        at = last + 2
    moved = re.compile(rf"~({'|'.join(names)})(_\d+)?$")
    paths = {moved.sub("", path) for path in unmerged or mentioned}
    return MergeConflict(tuple(sorted(paths)), tuple(messages))


def _with_ids(message: str, names: Mapping[str, str]) -> str:
    """Replace the ids of synthetic commits in a message by those of the real ones."""
    for label, name in names.items():
        message = message.replace(label, name[:12])
    return message
