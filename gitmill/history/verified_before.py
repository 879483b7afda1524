"""What an earlier `fsck` verified, remembered in the git directory, so that the next one goes on.

Only a history without a fault, verified whole, is remembered. The file can be lost at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from gitmill import __version__, files
from gitmill.errors import PlantedFileError
from gitmill.git.notes import noted_commits
from gitmill.history.state_range import StateRange
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.audit.replay_history import Line
from gitmill.store.audit.replayed import Replayed
from gitmill.store.audit.report import AuditReport, Violation
from gitmill.workspace.own_files import VERIFIED

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True)
class VerifiedBefore:
    """A history verified up to a state `commit`, with the notes of its landings by commit.

    `notices` are those that no later `fsck` finds again.
    """

    gitmill: str
    commit: str
    replayed: Replayed
    notes: Mapping[str, str]
    notices: tuple[Violation, ...]


def recall(mill: Mill, line: Line, asked: StateRange | None) -> VerifiedBefore | None:
    """Return what can be taken as verified; a range that is `asked` for has to come after it.

    None if there is nothing, or if a note was changed since: then all is verified again.
    """
    try:
        data = files.read_regular(mill.repository.private / VERIFIED)
        before = _adapter().validate_json(data)
    except (OSError, ValueError, PlantedFileError):
        return None
    known = before.replayed.commits
    if before.gitmill != __version__ or line.commits[known - 1 : known] != (before.commit,):
        return None
    if asked and known > (line.commits.index(asked.after) + 1 if asked.after else 0):
        return None
    notes = noted_commits(mill.store.backend, layout.NOTES)
    return before if all(notes.get(oid) == blob for oid, blob in before.notes.items()) else None


def remember(mill: Mill, line: Line, report: AuditReport) -> None:
    """Remember a history as verified, unless something in it could not be or is a fault."""
    if report.faults or report.unknown or line.missing or not line.commits:
        return
    notes = noted_commits(mill.store.backend, layout.NOTES)
    landed = {each.candidate for each in report.replayed.landed}
    events = frozenset(line.commits)
    before = VerifiedBefore(
        __version__, line.tip, report.replayed,
        {oid: blob for oid, blob in notes.items() if oid in landed},
        # A hand edit that waits is found again.
        tuple(n for n in report.notices if n.commit in events and n.rule != "hand-edit"),
    )  # fmt: skip
    with suppress(OSError, ValueError):
        files.replace(mill.repository.private / VERIFIED, _adapter().dump_json(before), mode=0o600)


@cache
def _adapter() -> TypeAdapter[VerifiedBefore]:
    from pydantic import TypeAdapter  # noqa: PLC0415  (reads of the policy load it, others do not)

    return TypeAdapter(VerifiedBefore)
