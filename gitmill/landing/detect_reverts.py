"""Notice that landed work was taken back, by a task of ours or by a person with `git revert`.

Its item then waits: a person reopens or cancels it, so that nothing lands itself again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from gitmill.core.item import Item
from gitmill.core.lifecycle import MET, Event, Status
from gitmill.core.trailers import one_line
from gitmill.errors import RefMovedError
from gitmill.git.objects import read_commit
from gitmill.landing.revert import SOURCE
from gitmill.mill import Mill
from gitmill.store.events import Step

SEEN = "seen.json"  # below .git/gitmill: up to where the target was looked through
# What git writes; the short form is that of `revert.reference`.
_REVERTS = re.compile(r"^This reverts commit ([0-9a-f]{7,64})\b", re.MULTILINE)
_OURS = re.compile(r"^Gitmill-Item: ", re.MULTILINE)


def detect_reverts(mill: Mill, did: Callable[[str], None] = lambda _: None) -> None:
    """Let items wait whose landed commit was reverted on the target; `did` hears of each."""
    record_queue_reverts(mill, did)
    snapshot = mill.snapshot()
    ref = mill.target_ref(snapshot)
    tip = mill.store.backend.ref(ref)
    seen = _seen(mill, ref)
    if tip is None or tip == seen:
        return
    landed = {item.landed: item for item in snapshot.items.values() if item.status is Status.LANDED}
    if landed and not _only_ours(mill, tip, seen, landed):
        for commit, (sha, who) in _by_hand(mill, tip, seen, landed).items():
            _say(mill, landed[commit], sha, who, did)
    if not any(item.status is Status.LANDING for item in snapshot.items.values()):
        # What is landing may have got onto the target and been reverted there already.
        _keep(mill, ref, tip)


def record_queue_reverts(mill: Mill, did: Callable[[str], None] = lambda _: None) -> None:
    """Let items wait whose revert has landed through our queue."""
    items = mill.snapshot().items
    for one in items.values():
        kind, _, rest = one.source.partition(":")
        if kind != SOURCE or one.status not in MET:
            continue
        name, _, landed = rest.partition(":")
        item = items.get(name)
        if item is not None and item.status is Status.LANDED and item.landed == landed:
            _say(mill, item, one.landed or one.work, mill.user, did)


def _say(mill: Mill, item: Item, sha: str, who: str, did: Callable[[str], None]) -> None:
    why = f"its commit {item.landed[:10]} was reverted by {sha[:10]}"
    step = Step(
        event=Event.REVERTED,
        subject=f"reverted by {sha[:10]}",
        by=who,
        after=item.event,
        fields={"landed": None, "checked": None, "reviewed": None, "reverted": sha, "reason": why},
        extra={"Reverted-By": sha},
    )
    with suppress(RefMovedError):  # somebody else has noticed it too
        mill.apply(item.id, step)
        did(f"{item.id} waits: {why}")


def _only_ours(mill: Mill, tip: str, seen: str, landed: Collection[str]) -> bool:
    """Whether nothing but what we have landed came onto the target since."""
    at = tip
    while at != seen:
        parents = read_commit(mill.store.backend, at).parents if at in landed else ()
        if len(parents) != 1:
            return False
        at = parents[0]
    return True


def _by_hand(
    mill: Mill, tip: str, seen: str, landed: Mapping[str, Item]
) -> dict[str, tuple[str, str]]:
    """Return the landed commits that people have reverted: by which commit, and who.

    A revert that was reverted itself does not count. What came before the first landing cannot
    name one, so without a mark the search begins there.
    """
    first = min(landed.values(), key=lambda item: item.since).landed
    gone: dict[str, tuple[str, str]] = {}
    takes: dict[str, list[str]] = {}
    for sha, who, body in _candidates(mill, tip, seen or first):
        for name in _REVERTS.findall(body):
            earlier = next((one for one in takes if one.startswith(name)), None)
            if earlier is not None:
                for commit in takes.pop(earlier):
                    gone.pop(commit, None)
            # A text of ours names what an agent said, and our own reverts are known by their state.
            elif not _OURS.search(body):
                found = [commit for commit in landed if commit.startswith(name)]
                takes.setdefault(sha, []).extend(found)
                gone |= dict.fromkeys(found, (sha, who))
    return gone


def _candidates(mill: Mill, tip: str, after: str) -> list[tuple[str, str, str]]:
    """Return the commits that name a revert, oldest first: id, author, message."""
    argv = (
        "log", "--reverse", "--topo-order", "--grep=^This reverts commit ", "--no-color",
        "--no-show-signature", "--no-notes", "--format=%H%x00%an <%ae>%x00%B%x01", tip,
    )  # fmt: skip
    done = mill.repository.git.run(*argv, f"^{after}", "--", check=False)
    if done.returncode != 0:  # the mark is gone: the target was rewritten and pruned
        done = mill.repository.git.run(*argv, "--")
    parts = (part.lstrip("\n").split("\0") for part in done.text.split("\x01"))
    return [(sha, one_line(who), body) for sha, who, body in (p for p in parts if len(p) == 3)]


def _seen(mill: Mill, ref: str) -> str:
    try:
        told = json.loads((mill.repository.private / SEEN).read_text("utf-8"))
        return str(told["tip"]) if told["ref"] == ref else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _keep(mill: Mill, ref: str, tip: str) -> None:
    """Remember how far this has looked; without it the next look is only longer."""
    new = mill.repository.private / f"{SEEN}.new"
    with suppress(OSError):
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps({"ref": ref, "tip": tip}), "utf-8")
        new.replace(new.with_suffix(""))
