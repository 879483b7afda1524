"""Loops and modes as files: the shipped ones, and a project's own, which override them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from gitmill.core.ids import Kind
from gitmill.core.plans.loop import Loop, merge_folders, read_loop
from gitmill.core.plans.mode import Mode, read_mode
from gitmill.core.plans.stage_type import StageTypes
from gitmill.git import trees
from gitmill.git.objects import TREE
from gitmill.mill import Mill
from gitmill.store.snapshot import Snapshot

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


def served_kinds(mill: Mill, snapshot: Snapshot, types: StageTypes) -> frozenset[Kind]:
    """Return the kinds that the loops at the target's tip serve. Raises `BadDocumentError`.

    Tasks always count: a run reports a missing loop for them. The loops are read only if there are
    other items that could run.
    """
    kinds = {Kind.TASK}
    if any(item.kind not in kinds and not item.is_final for item in snapshot.items.values()):
        loops = loops_at(mill, mill.target_tip(snapshot), types)
        kinds |= {loop.serves for loop in loops.values()}
    return frozenset(kinds)


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
