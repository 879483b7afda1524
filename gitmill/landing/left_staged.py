"""Undo the change of a landing that an older gitmill has left staged in the user's checkout.

It fast-forwarded a checkout whose branch git could not move in the end, and left index and files
as in the candidate. No process is to blame any more, so the candidates of the history are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from gitmill.core.lifecycle import Event
from gitmill.errors import CheckoutBlockedError, GitFailedError, MissingObjectError
from gitmill.git.checkout import checkout_of, git_at, refuse_unfinished
from gitmill.git.repo import Checkout
from gitmill.git.undo_fast_forward import is_staged, undo_fast_forward
from gitmill.landing.move_checkout import MOVING
from gitmill.landing.publish import is_on
from gitmill.mill import Mill
from gitmill.store.history import entries
from gitmill.store.snapshot import Snapshot
from gitmill.workspace.rescue import keep_commit

_RECENT = 1000  # state commits to look back; a checkout is seldom left so for longer


def may_be_staged(mill: Mill, snapshot: Snapshot) -> bool:
    """Whether anything is staged in the checkout of the target, which is quick to tell."""
    checkout = checkout_of(mill.repository, mill.target_ref(snapshot), pool=mill.pool.folder)
    return checkout is not None and _anything_staged(checkout)


def _anything_staged(checkout: Checkout) -> bool:
    argv = ("diff-index", "--cached", "--quiet", "HEAD", "--")
    return git_at(checkout).run(*argv, check=False).returncode == 1


def undo_staged(mill: Mill, snapshot: Snapshot) -> Iterator[str]:
    """Undo staged candidates that never reached their target; yield a sentence for each.

    A rescue ref keeps each. Call this under the landing lock: no checkout is being moved then.
    """
    ref = mill.target_ref(snapshot)
    checkout = checkout_of(mill.repository, ref, pool=mill.pool.folder)
    if checkout is None or (mill.repository.private / MOVING).exists():
        return
    if not _anything_staged(checkout):
        return
    with suppress(CheckoutBlockedError, GitFailedError):  # `recover` comes again
        refuse_unfinished(checkout)
        for item_id, candidate, onto in _candidates(mill, snapshot, ref):
            with suppress(MissingObjectError):  # collected as garbage since
                changed = mill.changes(onto, candidate)
                if not is_staged(checkout, mill.store.backend, changed):
                    continue
                rescue = keep_commit(mill, item_id, candidate)
                done = undo_fast_forward(checkout, mill.store.backend, changed)
                yield (
                    f"undid {len(done.paths)} files in {checkout.path}, which a landing of "
                    f"{item_id} had left staged; they are saved as {rescue}"
                )


def _candidates(mill: Mill, snapshot: Snapshot, ref: str) -> Iterator[tuple[str, str, str]]:
    """Yield item, candidate and old target of the landings whose candidate is not on the target."""
    seen: set[str] = set()
    for entry in islice(entries(mill.store.backend, snapshot.commit), _RECENT):
        record = entry.record
        if record is None or record.event != Event.LAND_STARTED:
            continue
        candidate, onto = record.extra.get("Candidate", ""), record.extra.get("Onto", "")
        if not candidate or candidate in seen:
            continue
        seen.add(candidate)
        if is_on(mill, ref, onto) and not is_on(mill, ref, candidate):
            yield record.item, candidate, onto
