"""Verify a history, or a range of it, offline: state, landings, notes and refs. It never writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gitmill.attempts.stage_types import all_types
from gitmill.core.document import Document
from gitmill.core.lifecycle import FINAL
from gitmill.errors import BadConfigError, BadDocumentError, GitFailedError, MissingObjectError
from gitmill.git.notes import noted_commits
from gitmill.history.anchors import verify_anchors
from gitmill.history.state_range import StateRange, named_range, range_since
from gitmill.history.verify_ends import verify_ends
from gitmill.history.verify_landing import landing_faults
from gitmill.history.verify_targets import verify_targets
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.audit.replay_history import Line, audit, line_of
from gitmill.store.audit.report import AuditReport, Landed, Violation

_ABSENT = (MissingObjectError, GitFailedError)


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of fsck: the report, the number of landings verified whole, what was verified.

    `commits` counts the state commits of the range.
    """

    report: AuditReport
    landings: int
    range: StateRange
    commits: int

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
            "commits": self.commits, "items": len(report.items), "landings": self.landings,
        } | {
            name: [_as_json(violation) for violation in violations]
            for name, violations in parts.items()
        }  # fmt: skip


def _as_json(violation: Violation) -> dict[str, str]:
    return {
        "rule": violation.rule, "commit": violation.commit, "item": violation.item,
        "what": violation.what,
    }  # fmt: skip


def fsck(mill: Mill, *, commits: str = "", since: str = "") -> Verified:
    """Replay every commit of the state and verify landings, notes and refs against it.

    With `commits`, a range `A..B`, or `since`, the target's commit of a landing, only events and
    landings in there are reported and only those landings verified; notes and refs that belong to
    no landing are verified if the range ends at the tip. Raises `NotInitializedError`,
    `BadFormatError` for a format of another version, and the errors of `named_range` and
    `range_since`.
    """
    offline = Mill(mill.repository.offline(), clock=mill.now)
    work_refs = offline.store.backend.refs(layout.WORK)
    line = line_of(offline.store.backend, _tip(offline))
    chosen = StateRange("", line.tip)
    if commits or since:
        chosen = (
            named_range(offline, line, commits) if commits else range_since(offline, line, since)
        )
    report = audit(offline.store.backend, line, all_types())
    every_landing = report.landings
    others = _outside(line, chosen)
    report.leave_out(others)
    good = {landing.commit for landing in report.landings if _landing(offline, report, landing)}
    verify_targets(offline, report, every_landing)
    verify_ends(offline, report, every_landing)
    at_tip = chosen.upto == line.tip
    verify_anchors(offline, line, report, others=others, at_tip=at_tip)
    if at_tip:
        _other_notes(offline, report, every_landing)
        _work_refs(offline, report, work_refs)
    off = {fault.commit for fault in report.faults if fault.rule == "not-on-target"}
    return Verified(report, len(good - off), chosen, report.commits - len(others))


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


def _landing(mill: Mill, report: AuditReport, landing: Landed) -> bool:
    """Verify one landing; return whether it was verified whole and without a fault."""
    try:
        faults = list(landing_faults(mill, landing, report.titles[landing.item.id]))
    except _ABSENT as error:
        report.add_unknown(landing.commit, error.message, landing.item.id)
        return False
    except BadConfigError as error:
        what = f"the policy that it landed under: {error.message}"
        report.add_unknown(landing.commit, what, landing.item.id)
        return False
    report.add_faults(faults, landing.commit, landing.item.id)
    return not faults


def _other_notes(mill: Mill, report: AuditReport, landings: Sequence[Landed]) -> None:
    """Report notes on commits that are none of all `landings`.

    A note about an item that did land is fine: a rebase by the user copies notes.
    """
    if report.unknown:
        return  # a commit that this clone lacks may have landed them
    landed = {landing.candidate for landing in landings}
    landed |= {item.landing.candidate for item in report.items.values() if item.landing}
    landed_ids = {landing.item.id for landing in landings}
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
            {item.work} if item is not None and item.work else report.works.get(item_id, set())
        )
        if commit not in expected:
            work = min(expected, default="none")[:10]
            what = f"its ref is at {commit[:10]}, but its work is {work}"
            _report_ref(mill, report, Violation("work-ref", commit, item_id, what))
    missing = [
        item
        for item in report.items.values()
        if item.work and item.status not in FINAL and item.id not in commits
    ]
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
