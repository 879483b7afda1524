"""The dependency folders of the user's checkout that a tree under test may see.

One is shared only while the tree asks for exactly what is installed there, and only if nothing in
it is a copy of what the tree itself contains: a suite would test the copy.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from gitmill.config import Policy
from gitmill.git import trees
from gitmill.git.checkout import git_at
from gitmill.git.objects import TREE
from gitmill.git.repo import Checkout
from gitmill.mill import Mill
from gitmill.workspace import installed, manifests
from gitmill.workspace.install_record import InstallRecord

_VENVS = (".venv", "venv")
_SLACK = 2_000_000_000  # ns between a manifest and the end of the installation that wrote it
_BUILT = (".so", ".pyd", ".dylib")
_ELSEWHERE = (*_VENVS, "node_modules", "build", "dist", ".tox", ".nox")  # no package is used there


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """A folder that a tree sees at `path`; `source` is the real one."""

    path: str
    source: Path


@dataclass(frozen=True, slots=True)
class Sharing:
    """The shared folders of a tree, those refused with the reason, and the identity of the shared.

    The identity changes whenever something is installed in one; it is empty if none is shared.
    """

    folders: tuple[SharedFolder, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    identity: str = ""


def sharing(mill: Mill, policy: Policy, tree: str, checkout: Path) -> Sharing:
    """Return what a tree may see of a checkout's dependency folders."""
    asked = _Asked(mill, policy, tree, checkout)
    folders: list[SharedFolder] = []
    refused: list[tuple[str, str]] = []
    for path in asked.candidates():
        if why := asked.why_not(path):
            refused.append((path, why))
        else:
            folders += asked.shown(path)
    return Sharing(tuple(folders), tuple(refused), identity_of(mill, checkout, folders))


def identity_of(mill: Mill, checkout: Path, folders: Sequence[SharedFolder]) -> str:
    """Return 16 digits over what is installed in shared folders, here and nowhere else."""
    if not folders:
        return ""
    digest = hashlib.sha256(f"{mill.host}\0{checkout}\0".encode("utf-8", "surrogateescape"))
    for folder in folders:
        facts = list(installed.facts(folder.source))
        digest.update(f"{folder.path}\0{folder.source}\0{facts}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class _Asked:
    mill: Mill
    policy: Policy
    tree: str
    checkout: Path

    @cached_property
    def names(self) -> list[str]:
        """The paths of the tree that say what it needs, and those that could be in the way."""
        listed = self.mill.repository.git.run("ls-tree", "-r", "-z", "--name-only", self.tree).text
        return listed.split("\0")[:-1]

    @cached_property
    def inputs(self) -> list[str]:
        """The lock files and manifests among them."""
        return [
            path
            for path in self.names
            if path.endswith(".txt") or path[path.rfind("/") + 1 :] in manifests.NAMES
        ]

    def candidates(self) -> Iterator[str]:
        """Yield the paths of existing dependency folders that do not belong to the tree."""
        kinds = (*_VENVS, "node_modules", "vendor/bundle")
        folders = sorted({"", *manifests.folders(self.mill.store.backend, self.tree)})
        usual = (f"{at}/{kind}".lstrip("/") for at in folders for kind in kinds)
        for path in dict.fromkeys((*usual, *self.policy.worktree.share)):
            if (self.checkout / path).is_dir() and not self._is_in_tree(path):
                yield path

    def _is_in_tree(self, path: str) -> bool:
        """Whether the tree has something at a path, or no folder above it."""
        if trees.find(self.mill.store.backend, self.tree, path) is not None:
            return True
        parent = path.removesuffix("/bundle").rpartition("/")[0]  # a bundle brings its `vendor`
        above = trees.find(self.mill.store.backend, self.tree, parent) if parent else None
        return bool(parent) and (above is None or above.mode != TREE)

    def shown(self, path: str) -> Iterator[SharedFolder]:
        """Yield a folder under its name, and a link's also under the name of what it leads to."""
        source = Path(os.path.realpath(self.checkout / path))
        yield SharedFolder(path, source)
        if (self.checkout / path).is_symlink() and source.is_relative_to(self.checkout):
            other = source.relative_to(self.checkout).as_posix()
            if not self._is_in_tree(other):
                yield SharedFolder(other, source)

    def why_not(self, path: str) -> str:
        """Return why a folder is not shared, empty if it is."""
        source = Path(os.path.realpath(self.checkout / path))
        if os.path.realpath(self.mill.repository.common).startswith(f"{source}/"):
            return "it holds the git directory"
        is_python = installed.is_environment(source)
        why = self._copied(path, source, is_python=is_python)
        return why or self._stale(path, source, is_python=is_python)

    # -- what was installed, and what the tree asks for

    def _stale(self, path: str, source: Path, *, is_python: bool) -> str:
        here = self._inputs_of(path, source, self._checked_out, is_python=is_python)
        there = self._inputs_of(path, source, self.names, is_python=is_python)
        if not here and not there:
            return ""
        then = self._installed_from(path, source, here)
        if not then:
            name = max(here, key=self._changed_at)
            return f"it is older than {name} in the checkout: remove it and install again"
        if then != manifests.digest(there, self._read_tree):
            return f"the tree asks for something else in {', '.join(there or here)}"
        return ""

    def _inputs_of(
        self, path: str, source: Path, names: list[str], *, is_python: bool
    ) -> list[str]:
        folder = path.rpartition("/")[0]
        if is_python:
            within = [p.relative_to(self.checkout).as_posix() for p in self._in_place(source)]
            return manifests.python_inputs(folder, names, self._projects(within, names))
        if path.endswith("node_modules"):
            return manifests.node_inputs(folder, names)
        if path.endswith("vendor/bundle"):
            return manifests.ruby_inputs(path.removesuffix("vendor/bundle").rstrip("/"), names)
        return []

    def _projects(self, within: list[str], names: list[str]) -> set[str]:
        """Return the folders of the projects that folders of packages belong to."""
        known = {name.rpartition("/")[0] for name in names if name.endswith(manifests.PYTHON)}
        found = set()
        for place in within:
            at = "" if place == "." else place
            while at and at not in known:
                at = at.rpartition("/")[0]
            found.add(at)
        return found

    @cached_property
    def _checked_out(self) -> list[str]:
        """The lock files and manifests in the checkout, at the places where the tree has one."""
        places = {path.rpartition("/")[0] for path in self.inputs} | {""}
        found = {path for path in self.inputs if (self.checkout / path).is_file()}
        for place in places:
            for name in manifests.NAMES:
                path = f"{place}/{name}".lstrip("/")
                if (self.checkout / path).is_file():
                    found.add(path)
            for file in (self.checkout / place).glob("*.txt"):
                found.add(file.relative_to(self.checkout).as_posix())
        return sorted(found)

    def _installed_from(self, path: str, source: Path, here: list[str]) -> str:
        """Return the digest of the files that a folder was installed from; empty if unknown."""
        now = manifests.digest(here, self._read_checkout)
        top = self._installation(path, source, here)
        locks = [name for name in here if PurePosixPath(name).name in manifests.NODE_LOCKS[:2]]
        if locks and path.endswith("node_modules"):
            matches = installed.npm_matches(top, self._read_checkout(locks[0]) or b"")
            if matches is not None:
                return now if matches else ""
        both = [SharedFolder(path, folder) for folder in dict.fromkeys((source, top))]
        seen = identity_of(self.mill, self.checkout, both)
        record = InstallRecord(self.mill)
        if (then := record.get(f"{self.checkout}/{path}", seen)) is not None:
            return then
        newest = max((self._changed_at(name) for name in here), default=0)
        named = path in self.policy.worktree.share
        last = max(installed.installed_at(folder.source) for folder in both)
        if newest > last + _SLACK and not named:
            return ""
        record.put(f"{self.checkout}/{path}", seen, now)
        return now

    def _installation(self, path: str, source: Path, here: list[str]) -> Path:
        """Return the folder that records the installation of another, usually itself.

        The `node_modules` of a member of a workspace is installed with the one beside the lock
        file, and left as it is when it is in step.
        """
        if here and path.endswith("node_modules"):
            top = self.checkout / here[0].rpartition("/")[0] / "node_modules"
            if installed.has_mark(top):
                return top.resolve()
        return source

    def _changed_at(self, name: str) -> int:
        try:
            return (self.checkout / name).stat().st_mtime_ns
        except OSError:
            return 0

    def _read_checkout(self, path: str) -> bytes | None:
        try:
            return (self.checkout / path).read_bytes()
        except OSError:
            return None

    def _read_tree(self, path: str) -> bytes | None:
        return trees.read_file(self.mill.store.backend, self.tree, path)

    # -- copies

    def _copied(self, path: str, source: Path, *, is_python: bool) -> str:
        """Return why a folder has something of its own of what the tree contains."""
        own = list(manifests.package_names(self.inputs, self._read_tree))
        if is_python:
            return self._copied_python({name for kind, name in own if kind == "python"}, source)
        if not path.endswith("node_modules"):
            return ""
        members = {name for kind, name in own if kind == "node"}
        for name, folder in installed.node_packages(source):
            if name in members and not folder.is_symlink():
                return f"{name} in it is a copy and no link to the workspace: install again"
        return ""

    def _copied_python(self, own: set[str], source: Path) -> str:
        mine = {installed.normalized(name) for name in own}
        for project in installed.distributions(source):
            inside = project.source and installed.below(project.source, self._work_trees)
            if not project.editable and (inside or project.name in mine):
                return (
                    f"it has a copy of {project.name}, which the tree itself contains: install "
                    "that with `pip install -e`"
                )
        seen = identity_of(self.mill, self.checkout, [SharedFolder("", source)])
        record, key = InstallRecord(self.mill), f"{source} needs"
        if (built := record.get(key, seen)) is None:
            built = next(filter(None, map(self._build_in, self._in_place(source))), "")
            record.put(key, seen, built)
        return f"it needs {built}, which git ignores: let the set-up make it" if built else ""

    def _in_place(self, source: Path) -> list[Path]:
        found = (Path(os.path.realpath(path)) for path, _ in installed.places(source))
        return sorted({path for path in found if path.is_relative_to(self.checkout)})

    @cached_property
    def _work_trees(self) -> list[Path]:
        trees_ = [tree.resolve() for tree in self.mill.repository.work_trees()]
        return [self.checkout, *trees_]

    def _build_in(self, place: Path) -> str:
        """Return an ignored file of a package folder without which an import of it fails."""
        relative = place.relative_to(self.checkout).as_posix()
        without = (f":(exclude,glob)**/{name}/**" for name in _ELSEWHERE)
        argv = ("ls-files", "-z", "-o", "-i", "--exclude-standard", "--", relative, *without)
        git = git_at(Checkout(self.checkout, ""))
        for name in git.run(*argv, check=False).text.split("\0"):
            stem = PurePosixPath(name).name
            if stem.endswith(_BUILT) or (stem.endswith(".py") and "version" in stem):
                return name
        return ""
