"""Detect that landed work was reverted, by a gitmill task or by a person with `git revert`.

The item of a reverted commit then waits until a person reopens or cancels it, so that it does not
land again by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from gitmill import files
from gitmill.core import changes
from gitmill.core.item import REVERT, Item
from gitmill.core.lifecycle import MET, Status
from gitmill.core.trailers import one_line
from gitmill.errors import PlantedFileError, RefMovedError
from gitmill.git.objects import read_commit
from gitmill.mill import Mill
from gitmill.store.events import Step

SEEN = "seen.json"  # below .git/gitmill: the target's tip that was searched last
# As git writes it; the short form comes from the setting `revert.reference`.
_REVERTS = re.compile(r"^This reverts commit ([0-9a-f]{7,64})\b", re.MULTILINE)
_OURS = re.compile(r"^Gitmill-Item: ", re.MULTILINE)


def detect_reverts(mill: Mill, report: Callable[[str], None] = lambda _: None) -> None:
    """Move each item to `waiting` whose landed commit was reverted on the target, and report it."""
    record_queue_reverts(mill, report)
    snapshot = mill.snapshot()
    ref = mill.target_ref(snapshot)
    tip = mill.store.backend.ref(ref)
    seen = _read_mark(mill, ref)
    if tip is None or tip == seen:
        return
    landed = {item.landed: item for item in snapshot.items.values() if item.landed}
    if landed and not _only_landings(mill, tip, seen, landed):
        for commit, (revert, author) in _hand_reverts(mill, tip, seen, landed).items():
            _record_revert(mill, landed[commit], revert, author, report)
    if not any(item.status is Status.LANDING for item in snapshot.items.values()):
        # A candidate of a landing under way may have reached the target and been reverted already.
        _write_mark(mill, ref, tip)


def record_queue_reverts(mill: Mill, report: Callable[[str], None] = lambda _: None) -> None:
    """Move each item to `waiting` whose revert has landed through gitmill's queue."""
    items = mill.snapshot().items
    for task in items.values():
        kind, _, rest = task.source.partition(":")
        if kind != REVERT or task.status not in MET:
            continue
        item_id, _, landed = rest.partition(":")
        item = items.get(item_id)
        if item is not None and item.landed == landed:
            _record_revert(mill, item, task.landed or task.work, mill.user, report)


def _record_revert(
    mill: Mill, item: Item, revert: str, author: str, report: Callable[[str], None]
) -> None:
    why = f"its commit {item.landed[:10]} was reverted by {revert[:10]}"
    step = Step(
        change=changes.reverted(item, by=revert, reason=why),
        subject=f"reverted by {revert[:10]}",
        by=author,
        after=item.event,
        extra={"Reverted-By": revert},
    )
    with suppress(RefMovedError):  # another process has recorded it too
        mill.apply(item.id, step)
        report(f"{item.id} waits: {why}")


def _only_landings(mill: Mill, tip: str, seen: str, landed: Collection[str]) -> bool:
    """Whether every commit on the target since `seen` is one that gitmill has landed."""
    at = tip
    while at != seen:
        parents = read_commit(mill.store.backend, at).parents if at in landed else ()
        if len(parents) != 1:
            return False
        at = parents[0]
    return True


def _hand_reverts(
    mill: Mill, tip: str, seen: str, landed: Mapping[str, Item]
) -> dict[str, tuple[str, str]]:
    """Map each landed commit that people have reverted to the reverting commit and its author.

    A revert that was itself reverted does not count. A commit before the first landing cannot name
    one, so a search without a mark begins there.
    """
    first = min(landed.values(), key=lambda item: item.since).landed
    reverted: dict[str, tuple[str, str]] = {}
    reverts: dict[str, list[str]] = {}  # reverting commit -> the landed commits that it names
    for sha, author, message in _revert_commits(mill, tip, seen or first):
        for name in _REVERTS.findall(message):
            earlier = next((revert for revert in reverts if revert.startswith(name)), None)
            if earlier is not None:
                for commit in reverts.pop(earlier):
                    reverted.pop(commit, None)
            # A message of gitmill's quotes an agent, and gitmill's own reverts are in the state.
            elif not _OURS.search(message):
                commits = [commit for commit in landed if commit.startswith(name)]
                reverts.setdefault(sha, []).extend(commits)
                reverted |= dict.fromkeys(commits, (sha, author))
    return reverted


def _revert_commits(mill: Mill, tip: str, after: str) -> list[tuple[str, str, str]]:
    """Return the id, author and message of each commit that names a revert, oldest first."""
    argv = (
        "log", "--reverse", "--topo-order", "--grep=^This reverts commit ", "--no-color",
        "--no-show-signature", "--no-notes", "--format=%H%x00%an <%ae>%x00%B%x01", tip,
    )  # fmt: skip
    log = mill.repository.git.run(*argv, f"^{after}", "--", check=False)
    if log.returncode != 0:  # the marked commit is missing: the target was rewritten and pruned
        log = mill.repository.git.run(*argv, "--")
    entries = (entry.lstrip("\n").split("\0") for entry in log.text.split("\x01"))
    return [
        (sha, one_line(author), message)
        for sha, author, message in (entry for entry in entries if len(entry) == 3)
    ]


def _read_mark(mill: Mill, ref: str) -> str:
    try:
        mark = json.loads(files.read_regular(mill.repository.private / SEEN))
        return str(mark["tip"]) if mark["ref"] == ref else ""
    except (OSError, PlantedFileError, ValueError, KeyError, TypeError):
        return ""


def _write_mark(mill: Mill, ref: str, tip: str) -> None:
    """Store the tip that was searched; without the mark the next search only takes longer."""
    path = mill.repository.private / SEEN
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, json.dumps({"ref": ref, "tip": tip}).encode())
