"""Workers, and the leftovers of killed processes and old attempts."""

from __future__ import annotations

import shlex
from dataclasses import replace

from gitmill.core.ids import PATTERN
from gitmill.core.lifecycle import WORKING
from gitmill.flows import init
from gitmill.flows.doctor.diagnosis import Diagnoses, note, ok, warning
from gitmill.flows.recover import recover
from gitmill.hints import Gitmill, Hint, Shell
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.snapshot import Snapshot
from gitmill.supervision import processes
from gitmill.workspace import agent_homes
from gitmill.workspace.leases import has_lapsed
from gitmill.workspace.signals import workers

_SHOWN = 3
_RECOVER = Hint(Gitmill("recover"))


def leases(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose leases of living and dead workers."""
    held = [(i, i.lease) for i in now.items.values() if i.status in WORKING and i.lease]
    lapsed = [item.id for item, lease in held if has_lapsed(mill, lease)]
    if lapsed:
        yield warning(
            f"{', '.join(lapsed)}: its worker is dead", _RECOVER,
            fix=lambda: "; ".join(recover(mill)) or "nothing was left to recover",
        )  # fmt: skip
    for item, lease in held:
        if item.id not in lapsed:
            yield ok(f"{item.id} is held by {lease.who} until {lease.until:%Y-%m-%d %H:%M} UTC")
    if not held:
        yield ok("no item is being worked on")


def orphans(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose processes in gitmill's worktrees whose claim is no longer held."""
    pool = str(mill.pool.folder)
    # List the processes before reading the state: none of them can have a newer claim then.
    claimed = [p for p in processes.claimed_processes() if p.folder.startswith(f"{pool}/")]
    claims = {i.lease.claim for i in mill.snapshot().items.values() if i.lease}
    del now
    ended = [process for process in claimed if process.claim not in claims]

    def fix() -> str:
        if workers(mill):
            return "left alone: gitmill is running here and ends its own processes"
        return f"ended {sum(map(processes.end_claimed, {process.claim for process in ended}))}"

    if ended:
        shown = ", ".join(f"{process.pid} ({process.name})" for process in ended[:_SHOWN])
        yield warning(f"{len(ended)} processes of ended attempts are still running: {shown}",
                      Hint("see", Shell(f"ps -f -p {ended[0].pid}")), fix=fix)  # fmt: skip
    else:
        yield ok("no process of an ended attempt is still running")


def worktree_entries(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose git's entries for worktrees of gitmill that no longer exist."""
    del now
    leftover = mill.pool.leftover_entries()

    def fix() -> str:
        return f"removed {', '.join(mill.pool.drop_leftover_entries()) or 'nothing'}"

    if leftover:
        names = ", ".join(entry.name for entry in leftover)
        yield warning(f"git still lists missing worktrees of gitmill: {names}",
                      Hint("see", Shell("git worktree list")), fix=fix)  # fmt: skip
    else:
        yield ok("git lists no missing worktree of gitmill")


def agents_homes(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose homes of ended items, and credentials that a killed run left in a home."""
    ended, credentials = agent_homes.leftovers(mill, now)

    def fix() -> str:
        return "; ".join(["removed them", *agent_homes.clean_up(mill)])

    if credentials:
        names = ", ".join(credentials)
        yield warning(f"the credentials of {names} are still in the home of a killed run",
                      _RECOVER, fix=fix)  # fmt: skip
    if ended:
        names = ", ".join(ended[:_SHOWN])
        leftover = note(f"agent homes of ended items: {len(ended)} ({names})", _RECOVER)
        yield replace(leftover, fix=fix)
    if not credentials and not ended:
        yield ok("no ended item has one")


def refs(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose rescue refs, and refs of items that do not exist."""
    rescued = mill.store.backend.refs(layout.RESCUE)
    if rescued:
        yield note(
            f"{len(rescued)} rescued from worktrees whose process was killed or failed",
            Hint(
                "list them with",
                Shell("git for-each-ref refs/gitmill/rescue"),
                ", then",
                Shell(f"git show --stat {next(iter(rescued))}"),
            ),
        )
    work = {ref.removeprefix(layout.WORK) for ref in mill.store.backend.refs(layout.WORK)}
    unknown = sorted(name for name in work if PATTERN.fullmatch(name) and name not in now.items)
    if unknown and not now.broken:
        yield note(f"work of items that are not in the state: {', '.join(unknown[:_SHOWN])}",
                   Hint("see", Shell(f"git show --stat {layout.WORK}{unknown[0]}")))  # fmt: skip
    if not rescued and not unknown:
        yield ok("no rescued work, no work without an item")


def notes(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose whether the user's own rebase carries notes along."""
    del now
    missing = init.notes_settings(mill)

    def fix() -> str:
        init.carry_notes(mill)
        return f"set {', '.join(missing)}"

    if missing:
        yield warning(f"{', '.join(missing)} is not set for refs/notes/gitmill: a rebase loses "
                      "notes", Hint(Gitmill("init")), fix=fix)  # fmt: skip
    else:
        yield ok("a rebase carries them along")


def reports(mill: Mill, now: Snapshot) -> Diagnoses:
    """Diagnose bug reports that gitmill wrote."""
    del now
    paths = sorted(map(str, mill.repository.private.glob("bug-*.md")))
    if paths:
        yield note(f"bug reports: {len(paths)}, the last one {paths[-1]}",
                   Hint("read it:", Shell(f"cat {shlex.quote(paths[-1])}")))  # fmt: skip
    else:
        yield ok("no bug reports")
