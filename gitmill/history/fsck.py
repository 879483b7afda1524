"""Verify the whole history offline: state, landings, notes, refs. Nothing is ever written."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from gitmill.core.document import Document
from gitmill.core.lifecycle import FINAL
from gitmill.errors import BadConfigError, BadDocumentError, GitFailedError, MissingObjectError
from gitmill.git.notes import noted_commits
from gitmill.history.verify_landing import judge_landing, off_target
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.audit.replay_history import audit
from gitmill.store.audit.report import AuditReport, Landed, Violation

_ABSENT = (MissingObjectError, GitFailedError)


@dataclass(frozen=True, slots=True)
class Verified:
    """What fsck found: the account of the history, and how many landings were looked at whole."""

    account: AuditReport
    landings: int

    @property
    def holds(self) -> bool:
        """Whether everything was checked, and nothing is wrong."""
        return not self.account.faults and not self.account.unknown

    def as_json(self) -> dict[str, Any]:
        """Return the form for `--json`."""
        account = self.account
        told = {"faults": account.faults, "unknown": account.unknown, "notices": account.notices}
        return {
            "holds": self.holds, "tip": account.tip, "commits": account.commits,
            "items": len(account.items), "landings": self.landings,
        } | {name: [_told(found) for found in part] for name, part in told.items()}  # fmt: skip


def _told(found: Violation) -> dict[str, str]:
    return {"rule": found.rule, "commit": found.commit, "item": found.item, "what": found.what}


def fsck(mill: Mill) -> Verified:
    """Replay every commit of the state and hold landings, notes and refs against it.

    Raises `NotInitializedError`, and `BadFormatError` for a format of another version.
    """
    here = Mill(mill.repository.offline(), clock=mill.now)
    works = here.store.backend.refs(layout.WORK)
    account = _replayed(here)
    good = {one.commit for one in account.landings if _landing(here, account, one)}
    _on_target(here, account)
    _other_notes(here, account)
    _work_refs(here, account, works)
    off = {one.commit for one in account.faults if one.rule == "not-on-target"}
    return Verified(account, len(good - off))


def _replayed(mill: Mill) -> AuditReport:
    backend = mill.store.backend
    try:
        tip = mill.snapshot().commit
    except _ABSENT:  # the replay tells what is missing
        tip = backend.ref(layout.STATE) or ""
    return audit(backend, tip)


def _landing(mill: Mill, account: AuditReport, one: Landed) -> bool:
    """Judge one landing; whether all of it could be and holds."""
    try:
        found = list(judge_landing(mill, one))
    except _ABSENT as error:
        account.add_unknown(one.commit, error.message, one.item.id)
        return False
    except BadConfigError as error:
        account.add_unknown(one.commit, f"the policy it landed by: {error.message}", one.item.id)
        return False
    account.add_faults(found, one.commit, one.item.id)
    return not found


def _on_target(mill: Mill, account: AuditReport) -> None:
    """Tell which landed commits their target does not have; a reverted one may be gone."""
    targets: dict[str, list[Landed]] = defaultdict(list)
    for one in account.landings:
        if one.candidate not in account.reverted:
            targets[one.target].append(one)
    for target, landings in targets.items():
        if not target or mill.store.backend.ref(target) is None:
            account.add_unknown(
                landings[0].commit, f"there is no {target or 'target'} in this clone"
            )
            continue
        try:
            off = off_target(mill, target, [one.candidate for one in landings])
        except GitFailedError as error:
            account.add_unknown(landings[0].commit, error.message)
            continue
        for one in landings:
            if one.candidate in off:
                what = f"{one.candidate[:10]} is not on {target}"
                account.fault("not-on-target", one.commit, what, one.item.id)


def _other_notes(mill: Mill, account: AuditReport) -> None:
    """Tell of notes on commits that never landed; a rebase of the user's copies those that did."""
    if account.unknown:
        return  # what is not here may have landed them
    landed = {one.candidate for one in account.landings}
    landed |= {item.landing.candidate for item in account.items.values() if item.landing}
    names = {one.item.id for one in account.landings}
    for commit, oid in noted_commits(mill.store.backend, layout.NOTES).items():
        if commit in landed:
            continue
        try:
            data = mill.store.backend.read(oid)[1]
            item = str(Document.from_bytes(data).text_value("item", ""))
        except (*_ABSENT, BadDocumentError):
            item = ""
        if item not in names:
            what = f"a note says that {item or 'something'} has landed as this, the state does not"
            account.fault("note", commit, what, item)


def _work_refs(mill: Mill, account: AuditReport, refs: dict[str, str]) -> None:
    """Hold refs of work against the items. One of an item that began again may be of before."""
    named = {ref.removeprefix(layout.WORK): commit for ref, commit in refs.items()}
    for name, commit in named.items():
        item = account.items.get(name)
        meant = {item.work} if item is not None and item.work else account.works.get(name, set())
        if commit not in meant:
            what = f"its ref is at {commit[:10]}, its work is {min(meant, default='none')[:10]}"
            _moved(mill, account, Violation("work-ref", commit, name, what))
    lacking = [
        item
        for item in account.items.values()
        if item.work and item.status not in FINAL and item.id not in named
    ]
    if lacking and not named:
        what = f"there is no ref of work in this clone, and {len(lacking)} open items have some"
        account.add_unknown(account.tip, what)
        return
    for item in lacking:
        what = f"there is no ref of its work {item.work[:10]} in this clone"
        _moved(mill, account, Violation("work-ref", item.work, item.id, what))


def _moved(mill: Mill, account: AuditReport, found: Violation) -> None:
    """Tell of a ref; as a notice where somebody may just be moving it."""
    item = account.items.get(found.item)
    busy = item is not None and item.lease is not None
    late = mill.store.backend.ref(layout.STATE) != account.tip
    partly = bool(account.unknown)  # what is not here may have moved it
    (account.notices if busy or late or partly else account.faults).append(found)
