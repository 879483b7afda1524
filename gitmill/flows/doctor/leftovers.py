"""Workers, and the leftovers of killed processes and old attempts."""

from __future__ import annotations

import shlex
from dataclasses import replace

from gitmill.core.ids import PATTERN
from gitmill.core.lifecycle import WORKING
from gitmill.flows import init
from gitmill.flows.doctor.diagnosis import Diagnoses, note, ok, warning
from gitmill.flows.recover import recover
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.snapshot import Snapshot
from gitmill.supervision import processes
from gitmill.workspace import agent_homes
from gitmill.workspace.leases import has_lapsed
from gitmill.workspace.signals import workers

_SHOWN = 3
_RECOVER = "`gitmill recover`"


def leases(mill: Mill, now: Snapshot) -> Diagnoses:
    """Leases, of living workers and of dead ones."""
    held = [(i, i.lease) for i in now.items.values() if i.status in WORKING and i.lease]
    lapsed = [item.id for item, lease in held if has_lapsed(mill, lease)]
    if lapsed:
        yield warning(
            f"{', '.join(lapsed)}: whoever worked on it is gone", _RECOVER,
            fix=lambda: "; ".join(recover(mill)) or "nothing was left to put right",
        )  # fmt: skip
    for item, lease in held:
        if item.id not in lapsed:
            yield ok(f"{item.id} is held by {lease.who} until {lease.until:%Y-%m-%d %H:%M} UTC")
    if not held:
        yield ok("nobody works here now")


def orphans(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose processes in gitmill's worktrees whose claim is no longer held."""
    pool = str(mill.pool.folder)
    # The processes come before the state, so that none with a newer claim is among them.
    marked = [one for one in processes.claimed_processes() if one.folder.startswith(f"{pool}/")]
    claims = {i.lease.claim for i in mill.snapshot().items.values() if i.lease}
    del now
    lost = [one for one in marked if one.claim not in claims]

    def fix() -> str:
        if workers(mill):
            return "left them alone: gitmill is at work here, and ends what is its own"
        return f"ended {sum(processes.end_claimed(claim) for claim in {o.claim for o in lost})}"

    if lost:
        shown = ", ".join(f"{one.pid} ({one.name})" for one in lost[:_SHOWN])
        yield warning(f"{len(lost)} processes of ended attempts run on: {shown}",
                      f"see `ps -f -p {lost[0].pid}`", fix=fix)  # fmt: skip
    else:
        yield ok("no process of an ended attempt runs on")


def worktree_entries(mill: Mill, now: Snapshot) -> Diagnoses:
    """Git's entries for worktrees of gitmill that no longer exist."""
    del now
    left = mill.pool.leftover_entries()

    def fix() -> str:
        return f"removed {', '.join(mill.pool.drop_leftover_entries()) or 'nothing'}"

    if left:
        names = ", ".join(entry.name for entry in left)
        yield warning(f"git still lists worktrees of gitmill that are gone: {names}",
                      "see `git worktree list`", fix=fix)  # fmt: skip
    else:
        yield ok("git lists no worktree of gitmill that is gone")


def agents_homes(mill: Mill, now: Snapshot) -> Diagnoses:
    """Homes of ended items, and credentials that a killed run still holds."""
    ended, holding = agent_homes.leftovers(mill, now)

    def fix() -> str:
        return "; ".join(["removed them", *agent_homes.clean_up(mill)])

    if holding:
        yield warning(f"the login of {', '.join(holding)} is still in the home of a killed run",
                      _RECOVER, fix=fix)  # fmt: skip
    if ended:
        names = ", ".join(ended[:_SHOWN])
        found = note(f"{len(ended)} ended items have homes of agents: {names}", _RECOVER)
        yield replace(found, fix=fix)
    if not holding and not ended:
        yield ok("no ended item has one")


def refs(mill: Mill, now: Snapshot) -> Diagnoses:
    """Rescue refs, and refs of items that do not exist."""
    kept = mill.store.backend.refs(layout.RESCUE)
    if kept:
        yield note(
            f"{len(kept)} rescued from worktrees whose process was killed or failed",
            "look with `git for-each-ref refs/gitmill/rescue`, then "
            f"`git show --stat {next(iter(kept))}`",
        )
    work = {ref.removeprefix(layout.WORK) for ref in mill.store.backend.refs(layout.WORK)}
    lost = sorted(name for name in work if PATTERN.fullmatch(name) and name not in now.items)
    if lost and not now.broken:
        yield note(f"work of items that are not in the state: {', '.join(lost[:_SHOWN])}",
                   f"look with `git show --stat {layout.WORK}{lost[0]}`")  # fmt: skip
    if not kept and not lost:
        yield ok("nothing rescued, nothing without its item")


def notes(mill: Mill, now: Snapshot) -> Diagnoses:
    """Whether the user's own rebase carries notes along."""
    del now
    missing = init.notes_settings(mill)

    def fix() -> str:
        init.carry_notes(mill)
        return f"set {', '.join(missing)}"

    if missing:
        yield warning(f"{', '.join(missing)} is not set for refs/notes/gitmill: a rebase loses "
                      "notes", "`gitmill init`", fix=fix)  # fmt: skip
    else:
        yield ok("a rebase carries them along")


def reports(mill: Mill, now: Snapshot) -> Diagnoses:
    """Bug reports that gitmill wrote."""
    del now
    found = sorted(map(str, mill.repository.private.glob("bug-*.md")))
    if found:
        yield note(f"{len(found)} reports of bugs, the last one {found[-1]}",
                   f"read it: `cat {shlex.quote(found[-1])}`")  # fmt: skip
    else:
        yield ok("none was written")
