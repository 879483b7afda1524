"""Paths on the state branch, and gitmill's refs."""

from __future__ import annotations

from gitmill.core.ids import PATTERN, kind_of

STATE = "refs/heads/gitmill/state"
NOTES = "refs/notes/gitmill"
WORK = "refs/gitmill/work/"
CANDIDATE = "refs/gitmill/candidate/"
RESCUE = "refs/gitmill/rescue/"
ANCHOR = "refs/gitmill/anchor/"
TRANSCRIPT = "refs/gitmill/transcript/"  # of an older version
# Only gitmill writes these refs and the refs below them.
OWN = ("refs/heads/gitmill", NOTES, "refs/gitmill")
FORMAT = "1"

BOARD = "README.md"
FORMAT_FILE = "format"
CONTROL = "control.md"


def is_own(ref: str) -> bool:
    """Whether only gitmill writes a ref."""
    return any(ref == own or ref.startswith(f"{own}/") for own in OWN)


def shard(item_id: str) -> str:
    """Return the folder name that spreads items over 1024 folders."""
    return item_id.partition("-")[2][:2]


def item_path(item_id: str) -> str:
    """Return the path of an item's document."""
    return f"{kind_of(item_id).folder}/{shard(item_id)}/{item_id}.md"


def runs_folder(item_id: str) -> str:
    """Return the folder of an item's run logs."""
    return f"runs/{shard(item_id)}/{item_id}"


def item_of(path: str) -> str:
    """Return the id of the item whose document is at a path, empty if it is no item's path."""
    name = path.rpartition("/")[2].removesuffix(".md")
    return name if PATTERN.fullmatch(name) and item_path(name) == path else ""


def run_path(item_id: str, number: int, stage: str) -> str:
    """Return the path of one run log."""
    return f"{runs_folder(item_id)}/{number:03d}-{stage}.md"


def check_path(tree: str, definition: str) -> str:
    """Return the path of the record of a passed check; `definition` has 12 digits."""
    return f"{checks_prefix(tree)}{definition}.md"


def checks_prefix(tree: str) -> str:
    """Return what the paths of all checks passed on a tree begin with."""
    return f"checks/{tree[:2]}/{tree}-"


def plan_path(hash12: str) -> str:
    """Return the path of a frozen plan."""
    return f"frozen/{hash12}.md"
