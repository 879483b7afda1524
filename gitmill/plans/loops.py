"""Loops and modes as files: the shipped ones, and a project's own, which override them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from gitmill.core.plans.loop import Loop, merge_folders, read_loop
from gitmill.core.plans.mode import Mode, read_mode
from gitmill.core.plans.stage_type import StageTypes
from gitmill.git import trees
from gitmill.git.objects import TREE
from gitmill.mill import Mill

LOOPS = ".gitmill/loops"
MODES = "modes"  # the folder of shipped modes, beside the loops


def shipped_modes() -> dict[str, Mode]:
    """Return the modes that ship with gitmill."""
    modes = (read_mode(f"modes/{name}", text) for name, text in _shipped()[MODES].items())
    return {mode.name: mode for mode in modes}


def loops_at(mill: Mill, commit: str, types: StageTypes) -> dict[str, Loop]:
    """Return the shipped loops, overridden by those of a commit. Raises `BadDocumentError`."""
    shipped = {name: files for name, files in _shipped().items() if name != MODES}
    own = _project_loops(mill, commit)
    loops = {}
    for name in sorted(shipped.keys() | own.keys()):
        files = merge_folders(shipped.get(name, {}), own.get(name, {}))
        folder = f"{LOOPS}/{name}" if name in own else f"loops/{name}"
        loops[name] = read_loop(name, files, types, folder=folder)
    return loops


def _project_loops(mill: Mill, commit: str) -> dict[str, dict[str, str]]:
    """Return the loop files of a project at a commit: folder name, file name, text."""
    backend = mill.store.backend
    entry = trees.find(backend, mill.tree_of(commit), LOOPS)
    folders: dict[str, dict[str, str]] = {}
    if entry is None or entry.mode != TREE:
        return folders
    for path, file in trees.walk(backend, entry.oid):
        folder, _, name = path.partition("/")
        if name.endswith(".md") and "/" not in name:
            text = backend.read(file.oid)[1].decode("utf-8", "replace")
            folders.setdefault(folder, {})[name] = text
    return folders


def _shipped() -> Mapping[str, dict[str, str]]:
    """Return the loops that ship with gitmill: folder name, file name, text."""
    root = resources.files("gitmill") / "loops"
    return {
        folder.name: {
            file.name: file.read_text("utf-8")
            for file in sorted(folder.iterdir(), key=lambda file: file.name)
            if file.name.endswith(".md")
        }
        for folder in root.iterdir()
        if folder.is_dir() and not folder.name.startswith("_")
    }
