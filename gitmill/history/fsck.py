"""Verify a history, or a range of it, offline: state, landings, notes and refs.

It changes nothing but its own memory of what was verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gitmill.attempts.stage_types import all_types
from gitmill.core.document import Document
from gitmill.errors import BadConfigError, BadDocumentError, GitFailedError, MissingObjectError
from gitmill.git.notes import noted_commits
from gitmill.history.anchors import verify_anchors
from gitmill.history.state_range import StateRange, named_range, range_since
from gitmill.history.verified_before import recall, remember
from gitmill.history.verify_ends import verify_ends
from gitmill.history.verify_landing import landing_faults
from gitmill.history.verify_targets import verify_targets
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.audit.replay_history import Line, audit, line_of
from gitmill.store.audit.report import AuditReport, NewLanding, Violation

_ABSENT = (MissingObjectError, GitFailedError)


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of fsck: the report, the number of landings verified whole, what was verified.

    `commits` counts the state commits of the range, `before` those that an earlier run verified.
    """

    report: AuditReport
    landings: int
    range: StateRange
    commits: int
    before: int

    @property
    def holds(self) -> bool:
        """Whether everything was checked without a fault."""
        return not self.report.faults and not self.report.unknown

    @property
    def is_partial(self) -> bool:
        """Whether only a range of the history was verified."""
        return self.commits != self.report.commits

    def as_json(self) -> dict[str, Any]:
        """Return the form for `--json`."""
        report = self.report
        parts = {"faults": report.faults, "unknown": report.unknown, "notices": report.notices}
        return {
            "holds": self.holds, "tip": report.tip,
            "range": {"after": self.range.after or None, "upto": self.range.upto},
            "commits": self.commits, "verified_before": self.before,
            "items": len(report.items), "landings": self.landings,
        } | {
            name: [_as_json(violation) for violation in violations]
            for name, violations in parts.items()
        }  # fmt: skip


def _as_json(violation: Violation) -> dict[str, str]:
    return {
        "rule": violation.rule, "commit": violation.commit, "item": violation.item,
        "what": violation.what,
    }  # fmt: skip


def fsck(mill: Mill, *, commits: str = "", since: str = "", again: bool = False) -> Verified:
    """Replay every commit of the state and verify landings, notes and refs against it.

    What an earlier run has verified is not replayed, unless `again`. With `commits`, a range
    `A..B`, or `since`, the target's commit of a landing, only events and landings in there are
    reported and only those landings verified; notes and refs that belong to no landing are verified
    if the range ends at the tip. Raises `NotInitializedError`, `BadFormatError` for a format of
    another version, and the errors of `named_range` and `range_since`.
    """
    offline = Mill(mill.repository.offline(), clock=mill.now)
    work_refs = offline.store.backend.refs(layout.WORK)
    line = line_of(offline.store.backend, _tip(offline))
    asked = named_range(offline, line, commits) if commits else None
    asked = range_since(offline, line, since) if since else asked
    chosen = asked or StateRange("", line.tip)
    before = recall(offline, line, asked) if not again else None
    known = before.replayed.commits if before else 0
    report = audit(offline.store.backend, line, all_types(), before.replayed if before else None)
    report.notices += before.notices if before else ()
    others = _outside(line, chosen)
    if others:
        report.leave_out(others)
    bad = {new.commit for new in report.landings if not _landing(offline, report, new)}
    verify_targets(offline, report)
    verify_ends(offline, report)
    at_tip = chosen.upto == line.tip
    verify_anchors(offline, line, report, others=others, at_tip=at_tip)
    if at_tip:
        _other_notes(offline, report)
        _work_refs(offline, report, work_refs)
    if not others and known < len(line.commits):
        remember(mill, line, report)
    bad |= {fault.commit for fault in report.faults if fault.rule == "not-on-target"}
    good = sum(landed.commit not in bad for landed in report.landed)
    count = report.commits - len(others)
    return Verified(report, good, chosen, count, 0 if others else known)


def _tip(mill: Mill) -> str:
    try:
        return mill.snapshot().commit
    except _ABSENT:  # the replay reports what is missing
        return mill.store.backend.ref(layout.STATE) or ""


def _outside(line: Line, chosen: StateRange) -> frozenset[str]:
    """Return the commits of a line that are not in a range."""
    if not line.commits:
        return frozenset()
    first = line.commits.index(chosen.after) + 1 if chosen.after else 0
    last = line.commits.index(chosen.upto) + 1
    return frozenset(line.commits[:first] + line.commits[last:])


def _landing(mill: Mill, report: AuditReport, landing: NewLanding) -> bool:
    """Verify one landing; return whether it was verified whole and without a fault."""
    commit, item_id = landing.commit, landing.item.id
    try:
        faults = list(landing_faults(mill, landing, report.replayed.titles[item_id]))
    except _ABSENT as error:
        report.add_unknown(commit, error.message, item_id)
        return False
    except BadConfigError as error:
        report.add_unknown(commit, f"the policy that it landed under: {error.message}", item_id)
        return False
    report.add_faults(faults, commit, item_id)
    return not faults


def _other_notes(mill: Mill, report: AuditReport) -> None:
    """Report notes on commits that are no landing of the whole history.

    A note about an item that did land is fine: a rebase by the user copies notes.
    """
    if report.unknown:
        return  # a commit that this clone lacks may have landed them
    landings = report.replayed.landed
    landed = {landing.candidate for landing in landings}
    landed |= {item.landing.candidate for item in report.items.unfinished() if item.landing}
    landed_ids = {landing.item_id for landing in landings}
    for commit, oid in noted_commits(mill.store.backend, layout.NOTES).items():
        if commit in landed:
            continue
        try:
            data = mill.store.backend.read(oid)[1]
            item_id = str(Document.from_bytes(data).text_value("item", ""))
        except (*_ABSENT, BadDocumentError):
            item_id = ""
        if item_id not in landed_ids:
            name = item_id or "an unknown item"
            what = f"a note records that {name} landed as this commit, the state does not"
            report.fault("note", commit, what, item_id)


def _work_refs(mill: Mill, report: AuditReport, refs: dict[str, str]) -> None:
    """Verify the work refs. A reopened item may still have the ref of its earlier work."""
    commits = {ref.removeprefix(layout.WORK): commit for ref, commit in refs.items()}
    for item_id, commit in commits.items():
        item = report.items.get(item_id)
        expected = (
            {item.work}
            if item is not None and item.work
            else report.replayed.works.get(item_id, set())
        )
        if commit not in expected:
            work = min(expected, default="none")[:10]
            what = f"its ref is at {commit[:10]}, but its work is {work}"
            _report_ref(mill, report, Violation("work-ref", commit, item_id, what))
    missing = [item for item in report.items.unfinished() if item.work and item.id not in commits]
    if missing and not commits:
        what = f"this clone has no work refs, but {len(missing)} open items have work"
        report.add_unknown(report.tip, what)
        return
    for item in missing:
        what = f"this clone has no ref for its work {item.work[:10]}"
        _report_ref(mill, report, Violation("work-ref", item.work, item.id, what))


def _report_ref(mill: Mill, report: AuditReport, violation: Violation) -> None:
    """Report a ref as a fault, or as a notice if another process may be moving it right now."""
    item = report.items.get(violation.item)
    busy = item is not None and item.lease is not None
    outdated = mill.store.backend.ref(layout.STATE) != report.tip
    partial = bool(report.unknown)  # a commit that this clone lacks may have moved it
    (report.notices if busy or outdated or partial else report.faults).append(violation)
