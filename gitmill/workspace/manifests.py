"""The files that decide what is installed for a folder of a tree: lock files, else manifests."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Any

from gitmill.caches import BoundedCache
from gitmill.git import trees
from gitmill.git.objects import TREE, Objects

Read = Callable[[str], "bytes | None"]  # the content of a path, None if it is not there

PYTHON_LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml")
PYTHON = ("pyproject.toml", "setup.py", "setup.cfg", "Pipfile", "environment.yml")
REQUIREMENTS = ("requirements*.txt", "requirements/*.txt", "constraints*.txt")
NODE_LOCKS = (
    "package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "yarn.lock", "bun.lock",
    "bun.lockb",
)  # fmt: skip
NODE = ("package.json",)
RUBY = ("Gemfile.lock", "Gemfile")
NAMES = frozenset({*PYTHON_LOCKS, *PYTHON, *NODE_LOCKS, *NODE, *RUBY})

# By tree: from one commit to the next, only the trees of changed folders are read.
_FOLDERS: BoundedCache[str, tuple[str, ...]] = BoundedCache(1 << 16)

# Tables of pyproject.toml that configure tools and decide nothing about an installation.
_TOOLS = frozenset(
    {"ruff", "mypy", "pytest", "coverage", "black", "isort", "pyright", "basedpyright", "pylint",
     "flake8", "codespell", "towncrier", "bumpversion", "commitizen", "tox", "nox", "importlinter",
     "typos", "deptry", "vulture", "bandit", "interrogate", "semantic_release", "cibuildwheel"}
)  # fmt: skip
_NODE_KEYS = (
    "dependencies", "devDependencies", "optionalDependencies", "peerDependencies", "overrides",
    "resolutions", "workspaces", "name", "pnpm", "patchedDependencies",
)  # fmt: skip


def python_inputs(folder: str, names: Iterable[str], editable: Iterable[str]) -> list[str]:
    """Return the paths that decide the Python environment of a folder.

    `names` are the paths of the tree or the checkout, `editable` the folders whose packages the
    environment uses in place.
    """
    known = set(names)
    found = [path for path in known if _fits(path, folder, REQUIREMENTS)]
    locks = [path for lock in PYTHON_LOCKS if (path := _join(folder, lock)) in known]
    if locks:
        return sorted({*found, *locks})
    for place in {folder, *editable}:
        found += [path for name in PYTHON if (path := _join(place, name)) in known]
    return sorted(set(found))


def node_inputs(folder: str, names: Iterable[str]) -> list[str]:
    """Return the paths that decide the `node_modules` of a folder."""
    known = set(names)
    for place in (folder, *_parents(folder)):
        locks = [path for lock in NODE_LOCKS if (path := _join(place, lock)) in known]
        if locks:
            return sorted(locks)
    return [path for name in NODE if (path := _join(folder, name)) in known]


def ruby_inputs(folder: str, names: Iterable[str]) -> list[str]:
    """Return the paths that decide the `vendor/bundle` of a folder."""
    known = set(names)
    return [path for name in RUBY if (path := _join(folder, name)) in known][:1]


def folders(backend: Objects, tree: str) -> tuple[str, ...]:
    """Return the folders of a tree that hold a lock file or manifest; the top is empty text."""
    known = _FOLDERS.get(tree)
    if known is None:
        entries = trees.entries(backend, tree).values()
        own = ("",) if any(e.name in NAMES and e.mode != TREE for e in entries) else ()
        below = [e for e in entries if e.mode == TREE]
        inner = (_join(e.name, path) for e in below for path in folders(backend, e.oid))
        known = (*own, *(path.rstrip("/") for path in inner))
        _FOLDERS.put(tree, known)
    return known


def digest(paths: Iterable[str], read: Read) -> str:
    """Return 16 digits over what these files say about an installation."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(f"{path}\0".encode("utf-8", "surrogateescape"))
        whole.update(_said(PurePosixPath(path).name, read(path) or b""))
        whole.update(b"\0")
    return whole.hexdigest()[:16]


def _said(name: str, data: bytes) -> bytes:
    """Return the part of a file that decides an installation."""
    try:
        if name == "pyproject.toml":
            return _dump(_python(tomllib.loads(data.decode())))
        if name == "package.json":
            value = json.loads(data)
            return _dump({key: value[key] for key in _NODE_KEYS if key in value})
    except (ValueError, TypeError, RecursionError):
        pass
    return data


def _python(data: Mapping[str, Any]) -> dict[str, Any]:
    tools = {key: value for key, value in data.get("tool", {}).items() if key not in _TOOLS}
    return {**data, "tool": tools}


def _dump(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()


def package_names(paths: Iterable[str], read: Read) -> Iterator[tuple[str, str]]:
    """Yield the packages that the manifests of a tree define: `python` or `node`, and the name."""
    for path in paths:
        name = PurePosixPath(path).name
        data = read(path) if name in ("pyproject.toml", "package.json") else None
        try:
            if data and name == "pyproject.toml":
                value = tomllib.loads(data.decode())
                poetry = value.get("tool", {}).get("poetry", {})
                own = value.get("project", {}).get("name") or poetry.get("name")
            elif data:
                own = json.loads(data).get("name")
            else:
                continue
        except (ValueError, AttributeError, RecursionError):
            continue
        if isinstance(own, str) and own:
            yield ("node" if name == "package.json" else "python"), own


def _fits(path: str, folder: str, patterns: Iterable[str]) -> bool:
    below = path.removeprefix(f"{folder}/") if folder else path
    return (not folder or below != path) and any(
        fnmatch(below, pattern) and below.count("/") == pattern.count("/") for pattern in patterns
    )


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _parents(folder: str) -> Iterator[str]:
    while folder:
        folder = folder.rpartition("/")[0]
        yield folder
