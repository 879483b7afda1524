"""The state branch: documents, pauses, and the clocks that wrote it."""

from __future__ import annotations

import shlex
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from gitmill.core.lifecycle import RULES
from gitmill.errors import BadDocumentError
from gitmill.flows.doctor.diagnosis import Diagnoses, note, ok, problem, problem_of, warning
from gitmill.git.checkout import checkout_of
from gitmill.git.objects import read_commit
from gitmill.hints import Gitmill, Hint, Shell
from gitmill.mill import Mill
from gitmill.people.hand_secrets import secrets_in_history
from gitmill.store import layout
from gitmill.store.snapshot import Control, Snapshot

_SKEW = 300.0  # seconds that two clocks may differ without harm
_SHOWN = 3


def documents(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose documents of the state branch that cannot be read, and checkouts of the branch."""
    try:
        _ = now.control.paused, now.control.queue_paused
    except BadDocumentError as unreadable:
        hint = Hint("see who wrote it:", Shell("git log gitmill/state -- control.md"))
        yield replace(problem_of(unreadable), hints=(*unreadable.hints, hint))
    for path, error in list(now.broken.items())[:_SHOWN]:
        hint = Hint("see who wrote it:", Shell(f"git log gitmill/state -- {path}"))
        yield warning(f"{error.message}; {path} is skipped", *error.hints, hint)
    if len(now.broken) > _SHOWN:
        yield warning(f"and {len(now.broken) - _SHOWN} more item files cannot be read")
    if not now.broken:
        yield ok(f"format {layout.FORMAT}, {len(now.items)} items at {now.commit[:10]}")
    if now.rules < RULES:
        yield note(
            f"the branch follows version {now.rules} of the rules, this gitmill knows {RULES}",
            Hint("once every clone has this gitmill:", Gitmill("upgrade")),
        )
    checkout = checkout_of(mill.repository, layout.STATE, pool=mill.pool.folder)
    if checkout is not None:
        yield warning(
            f"gitmill/state is checked out in {checkout.path}; gitmill writes the branch without "
            "updating that work tree",
            Hint(
                "switch it to another branch:",
                Shell(f"git -C {shlex.quote(str(checkout.path))} switch -"),
            ),
        )


def stops(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose whether work or the queue is paused."""
    del mill
    control = now.control
    for item in now.items.values():
        if item.disputed:
            yield warning(item.reason, Hint("if it may stay:", Gitmill("task", "approve", item.id)),
                          Hint("if not:", Gitmill("undo", item.id)))  # fmt: skip
    with suppress(BadDocumentError):  # `documents` reports it
        yield from _stops(control)


def _stops(control: Control) -> Diagnoses:
    if control.paused:
        yield warning(
            f"work is paused: {control.reason or 'no reason given'}", Hint(Gitmill("resume"))
        )
    if control.queue_paused:
        reason = control.queue_reason or "no reason given"
        yield warning(f"the queue is paused: {reason}", Hint(Gitmill("queue", "resume")))
    if not control.paused and not control.queue_paused:
        yield ok("nothing is paused")


def clock(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose whether this clock agrees with that of the last writer: leases end by the clock."""
    written = read_commit(mill.store.backend, now.commit).seconds
    ahead = written - mill.now().timestamp()
    if ahead > _SKEW:
        when = datetime.fromtimestamp(written, UTC)
        yield warning(
            f"the state was written at {when:%Y-%m-%d %H:%M} UTC, in the future: this "
            "clock or the writer's is wrong, so leases end too early or too late",
            Hint(
                "compare with",
                Shell("date -u"),
                "; see the writer with",
                Shell("git log -1 gitmill/state"),
            ),
        )
    else:
        yield ok("the newest state commit is not in the future")


def secrets(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose secrets that people committed to the state branch with plain git."""
    del now
    found = list(secrets_in_history(mill))
    for commit, path, secret in found[:_SHOWN]:
        yield problem(
            f"{path} {secret.described}, committed by hand in {commit[:10]}; every clone has it: "
            "change it at its service first",
            Hint("see the commit:", Shell(f"git show {commit[:10]}")),
            Hint("then rewrite the branch, see", Gitmill("explain", "holds-secret")),
        )
    if len(found) > _SHOWN:
        yield problem(f"and {len(found) - _SHOWN} more secrets in hand edits")
    if not found:
        yield ok("no hand edit holds a secret")
