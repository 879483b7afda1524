"""Anchors: signed tags of the state branch, which a rewritten history cannot keep."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gitmill.errors import GitFailedError, MissingObjectError, NothingToDoError
from gitmill.git.objects import Move
from gitmill.git.signed_tags import Trust, sign_tag, tagged_commit, verify_tag
from gitmill.hints import Gitmill, Hint
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.audit.replay_history import Line
from gitmill.store.audit.report import AuditReport, Violation

_DAY = "%Y-%m-%d"


@dataclass(frozen=True, slots=True)
class Anchor:
    """A new anchor: its ref, its tag, the state commit, and why this clone cannot verify it."""

    ref: str
    tag: str
    commit: str
    problem: str


def make_anchor(mill: Mill, why: str = "") -> Anchor:
    """Sign a tag of the state's tip and name it by a ref.

    Raises `NotInitializedError`, `CannotSignError`, and `NothingToDoError` if the tip has one.
    """
    tip = mill.snapshot().commit
    name = f"{mill.now():{_DAY}}-{tip[:10]}"
    ref = f"{layout.ANCHOR}{name}"
    if any(other.endswith(tip[:10]) for other in mill.store.backend.refs(layout.ANCHOR)):
        raise NothingToDoError(
            f"{tip[:10]}, the newest state commit, has an anchor already",
            hints=[Hint("verify it with", Gitmill("fsck"))],
        )
    message = "\n\n".join(filter(None, (f"gitmill state {tip[:10]}", why)))
    git = mill.repository.writer
    tag = sign_tag(git, f"gitmill-{name}", tip, message, scratch=mill.repository.private)
    mill.store.move(Move(ref, tag, None))
    return Anchor(ref, tag, tip, verify_tag(git, tag).why)


def has_anchor_of_today(mill: Mill) -> bool:
    """Whether an anchor was made on this day (UTC) in this clone, or fetched."""
    today = f"{layout.ANCHOR}{mill.now():{_DAY}}-"
    return any(ref.startswith(today) for ref in mill.store.backend.refs(layout.ANCHOR))


def verify_anchors(
    mill: Mill, line: Line, report: AuditReport, *, others: Collection[str], at_tip: bool
) -> None:
    """Verify that each anchor is a good signature of a commit on the line.

    Those of the `others`, commits that are not verified now, are skipped, and unless the range ends
    `at_tip` those that are on no commit of the line.
    """
    on_line = frozenset(line.commits)
    strangers: dict[str, list[str]] = {}
    for ref, tag in mill.store.backend.refs(layout.ANCHOR).items():
        name = ref.removeprefix(layout.ANCHOR)
        try:
            commit = tagged_commit(mill.store.backend, tag)
            if commit in others or not (at_tip or commit in on_line):
                continue
            signature = verify_tag(mill.repository.git, tag)
        except (MissingObjectError, GitFailedError) as error:
            report.add_unknown(tag, f"anchor {name}: {error.message}")
            continue
        if signature.trust is Trust.BAD:
            report.fault("anchor", commit or tag, f"anchor {name}: {signature.why}")
        elif commit not in on_line:
            _report_off_line(report, line, name, commit or tag)
        if signature.trust is Trust.UNKNOWN:
            strangers.setdefault(signature.why, []).append(name)
    for why, names in strangers.items():
        more = f" and {len(names) - 1} more" if names[1:] else ""
        report.add_unknown(line.tip, f"anchor {names[-1]}{more}: {why}")


def _report_off_line(report: AuditReport, line: Line, name: str, commit: str) -> None:
    what = f"anchor {name} is of {commit[:10]}, which is not on this state branch"
    if line.missing:  # it may be among the commits that this clone lacks
        report.add_unknown(commit, what)
    else:
        report.faults.append(Violation("anchor", commit, "", f"{what}: its history was rewritten"))
