"""Remove gitmill from a repository: bundle everything, verify the bundle, then remove every trace.

The order makes a kill harmless: worktrees are saved under rescue refs, all refs go into the bundle
and its name into a record below `.git/gitmill`; only then is anything removed, that record last.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gitmill.core.lifecycle import WORKING
from gitmill.errors import (
    CheckoutBlockedError,
    GitFailedError,
    GitmillError,
    LeasedError,
    NothingToDoError,
    UsageError,
)
from gitmill.failpoints import chokepoint
from gitmill.flows.init import NOTES_KEYS, NOTES_PATTERN, detect_checks, proposal
from gitmill.flows.recover import recover
from gitmill.git import bundle
from gitmill.git.objects import Move
from gitmill.git.worktrees import Slot
from gitmill.landing.publish import land_lock
from gitmill.mill import Mill
from gitmill.plans.policy import POLICY
from gitmill.store import layout
from gitmill.workspace import agent_homes
from gitmill.workspace.leases import has_lapsed
from gitmill.workspace.rescue import keep_worktree
from gitmill.workspace.signals import workers

_RECORD = "uninit.json"


@dataclass(frozen=True, slots=True)
class Traces:
    """The traces of gitmill in a repository; `proposal` is a policy as written by `init`."""

    refs: dict[str, str]
    settings: dict[str, list[str]]
    worktrees: Path | None
    private: Path | None
    proposal: Path | None
    committed: bool

    def __bool__(self) -> bool:
        places = (self.worktrees, self.private, self.proposal)
        return bool(self.refs or self.settings or any(places))


@dataclass(frozen=True, slots=True)
class Removed:
    """The removed traces, and the bundle with the refs; None if there were none."""

    traces: Traces
    bundle: Path | None


def survey(mill: Mill) -> Traces:
    """Return the traces of gitmill here. Raises `NothingToDoError` when there are none."""
    private, pool, top = mill.repository.private, mill.pool.folder, mill.repository.top
    policy = top / POLICY if top else None
    known = bool(policy and mill.repository.git.run(
        "rev-parse", "-q", "--verify", f"HEAD:{POLICY}", check=False).returncode == 0)  # fmt: skip
    proposed = top and policy and not known and _reads(policy) == proposal(detect_checks(top))
    found = Traces(
        _refs(mill),
        _settings(mill),
        pool if pool.is_dir() else None,
        private if private.is_dir() else None,
        policy if proposed else None,
        known,
    )
    if not found:
        raise NothingToDoError("there is nothing of gitmill in this repository")
    return found


def _reads(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _refs(mill: Mill) -> dict[str, str]:
    backend = mill.repository.reader  # git names a ref that cannot be read, libgit2 leaves it out
    found = {ref: oid for own in layout.OWN for ref, oid in backend.refs(own).items()}
    return {ref: oid for ref, oid in found.items() if layout.is_own(ref)}


def _settings(mill: Mill) -> dict[str, list[str]]:
    """Return our settings in the repository's own configuration, by key."""
    git = mill.repository.git
    wanted = (
        "config",
        "--local",
        "-z",
        "--get-regexp",
        r"^(gitmill\.|notes\.(rewrite|display)ref$)",
    )
    found: dict[str, list[str]] = {}
    for entry in git.run(*wanted, check=False).text.split("\0"):
        key, _, value = entry.partition("\n")
        if key.startswith("gitmill.") or value == NOTES_PATTERN:
            found.setdefault(key, []).append(value)
    return found


def uninit(mill: Mill, *, to: Path | None = None) -> Removed:
    """Save all traces of gitmill in a bundle and remove them. After a kill, run it again.

    The bundle is created beside the repository unless it is named. Raises `LeasedError` or
    `LandBusyError` while a worker is running, `CheckoutBlockedError` when the state branch is
    checked out, `UsageError` when the bundle's file exists.
    """
    _refuse_checked_out(mill)
    with _alone(mill) as slots:
        for slot in slots:
            _save(mill, slot)
        agent_homes.return_credentials(mill)
        traces = survey(mill)
        saved = _bundled(mill, traces.refs, to) if traces.refs else _recorded(mill)[0]
        _remove_worktrees(mill, slots)
        _remove_refs(mill, traces.refs)
        _remove_settings(mill, traces)
    if traces.proposal is not None:
        traces.proposal.unlink(missing_ok=True)
        with suppress(OSError):
            traces.proposal.parent.rmdir()
    with chokepoint("remove private"):
        shutil.rmtree(mill.repository.private, ignore_errors=True)
    return Removed(traces, saved)


# -- exclusive access ------------------------------------------------------------------------------


def _refuse_checked_out(mill: Mill) -> None:
    for place in mill.repository.checkouts():
        if layout.is_own(place.branch):
            raise CheckoutBlockedError(
                f"{place.branch.removeprefix('refs/heads/')} is checked out in {place.path}; "
                "nothing was removed",
                hints=["switch to a branch of yours there, then `gitmill uninit`"],
            )


@contextmanager
def _alone(mill: Mill) -> Iterator[list[Slot]]:
    """Hold every lock that a worker needs, after recovery from dead processes."""
    if others := workers(mill):
        pids = ", ".join(str(facts.pid) for facts in others)
        raise LeasedError(
            f"gitmill is at work here (process {pids}); nothing was removed",
            hints=["end it with `gitmill stop`, then `gitmill uninit`"],
        )
    with suppress(GitmillError):  # a state that cannot be read goes into the bundle as it is
        recover(mill)
    _refuse_leases(mill)
    with land_lock(mill):
        try:
            slots = mill.pool.hold_all()
        except GitFailedError as error:
            raise LeasedError(f"{error.message}; nothing was removed") from error
        try:
            yield slots
        finally:
            for slot in slots:
                slot.release()


def _refuse_leases(mill: Mill) -> None:
    try:
        items = mill.snapshot().items.values()
    except GitmillError:
        return
    for item in items:
        if item.status in WORKING and item.lease is not None and not has_lapsed(mill, item.lease):
            until = f"{item.lease.until:%Y-%m-%d %H:%M} UTC"
            raise LeasedError(
                f"{item.id} is held by {item.lease.who} until {until}; nothing was removed",
                hints=[
                    "end what runs on this machine with `gitmill stop`",
                    f"or take the item away: `gitmill task block {item.id} -m WHY`",
                ],
            )


def _save(mill: Mill, slot: Slot) -> None:
    """Put work that only a worktree holds under a rescue ref."""
    slot.rescue(lambda *left: keep_worktree(mill, *left))
    taken, onto = slot.path.name.removeprefix("take-"), slot.side / "onto"
    if taken != slot.path.name and onto.exists() and slot.path.is_dir():
        keep_worktree(mill, slot, taken, onto.read_text())


# -- the bundle ------------------------------------------------------------------------------------


def _bundled(mill: Mill, refs: dict[str, str], wanted: Path | None) -> Path:
    """Return a verified bundle of these refs, the one of an interrupted `uninit` if it has them."""
    known, held = _recorded(mill)
    if known is not None and refs.items() <= held.items() and (wanted is None or refs != held):
        return known
    path = (wanted or _beside(mill, refs)).absolute()
    if not path.exists():
        bundle.write(mill.repository.git, path, refs)
    elif not bundle.holds(mill.repository.git, path, refs):
        raise UsageError(
            f"{path} is there already; nothing was removed",
            hints=["name another: `gitmill uninit --bundle FILE`"],
        )
    record = mill.repository.private / _RECORD
    with chokepoint(f"write {_RECORD}"):
        record.with_suffix(".new").write_text(json.dumps({"bundle": str(path), "refs": refs}))
        record.with_suffix(".new").replace(record)
    return path


def _recorded(mill: Mill) -> tuple[Path | None, dict[str, str]]:
    """Return the bundle of an interrupted `uninit` if it is still valid."""
    try:
        record = json.loads((mill.repository.private / _RECORD).read_text())
        path, refs = Path(record["bundle"]), dict(record["refs"])
    except (OSError, ValueError, KeyError):
        return None, {}
    return (path, refs) if bundle.holds(mill.repository.git, path, refs) else (None, {})


def _beside(mill: Mill, refs: dict[str, str]) -> Path:
    digest = hashlib.sha256(json.dumps(sorted(refs.items())).encode()).hexdigest()[:8]
    place = mill.repository.top or mill.repository.common
    name = mill.repository.name.rpartition("-")[0]
    return place.parent / f"{name}-gitmill-{digest}.bundle"


# -- removing --------------------------------------------------------------------------------------


def _remove_worktrees(mill: Mill, slots: list[Slot]) -> None:
    for slot in slots:
        slot.discard()
    mill.pool.drop_leftover_entries()
    folder = mill.pool.folder
    with chokepoint("remove pool"):
        shutil.rmtree(folder, ignore_errors=True)
    for empty in (mill.repository.common / "worktrees", folder.parent):
        if empty.name in ("worktrees", "gitmill"):
            with suppress(OSError):
                empty.rmdir()


def _remove_refs(mill: Mill, refs: dict[str, str]) -> None:
    """Remove all refs, with their reflogs, in one git transaction."""
    if refs:
        mill.repository.reader.swap([Move(ref, None, oid) for ref, oid in refs.items()])
    for own in layout.OWN:
        for place in (mill.repository.common / own, mill.repository.common / "logs" / own):
            below = sorted(place.glob("**/"), reverse=True)
            for folder in (*below, place, place.parent):
                if folder.name not in ("refs", "heads"):
                    with suppress(OSError):  # git leaves empty folders behind
                        folder.rmdir()


def _remove_settings(mill: Mill, traces: Traces) -> None:
    git = mill.repository.git
    for key in traces.settings:
        if key.startswith("gitmill."):
            git.run("config", "--local", "--unset-all", key)
    for key in NOTES_KEYS:
        git.run(
            "config", "--local", "--fixed-value", "--unset-all", key, NOTES_PATTERN, check=False
        )
