"""The events that `fsck` verifies: all, a range `A..B` of state commits, those since a landing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gitmill.core.lifecycle import Event
from gitmill.core.trailers import parse_message
from gitmill.errors import NoSuchLandingError, NotAStateCommitError, UsageError
from gitmill.git.notes import read_note
from gitmill.git.objects import read_commit
from gitmill.hints import Blank, Gitmill, Hint, Shell
from gitmill.history.time_travel import state_commit
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.audit.replay_history import Line

_LOG = Hint("see the commits of the state branch with", Gitmill("log"))
_LANDINGS = Hint("see landed commits with", Shell("git log --notes=gitmill"))
_FETCH = Hint(
    "if the notes are not in this clone, fetch them with",
    Shell(f"git fetch origin {layout.NOTES}:{layout.NOTES}"),
)


@dataclass(frozen=True, slots=True)
class StateRange:
    """The state commits after one (empty: from the root) and up to another one."""

    after: str
    upto: str


def named_range(mill: Mill, line: Line, typed: str) -> StateRange:
    """Return the range `A..B`, in which either end can be left out.

    Raises `UsageError`, and `NotAStateCommitError` for an end that is not on the state branch.
    """
    first, dots, last = typed.partition("..")
    if not dots or last.startswith("."):
        later = f"{first}.." if first else Blank("A..")
        raise UsageError(
            f"{typed} is not a range of state commits, which is written A..B",
            hints=[Hint("verify all that came after a commit with", Gitmill("fsck", later))],
        )
    after = _on_line(mill, line, first) if first else ""
    upto = _on_line(mill, line, last) if last else line.tip
    if after and line.commits.index(after) > line.commits.index(upto):
        raise UsageError(
            f"{first} comes after {last} on the state branch",
            hints=[Hint("swap them:", Gitmill("fsck", f"{last}..{first}"))],
        )
    return StateRange(after, upto)


def range_since(mill: Mill, line: Line, typed: str) -> StateRange:
    """Return what came after the landing whose note is on the target's commit that is named.

    Raises `NoSuchLandingError`.
    """
    argv = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{typed}^{{commit}}")
    parsed = mill.repository.git.run(*argv, check=False)
    if parsed.returncode != 0:
        raise NoSuchLandingError(f"there is no commit {typed}", hints=[_LANDINGS])
    commit, backend = parsed.text.strip(), mill.store.backend
    if read_note(backend, layout.NOTES, commit) is None:
        absent = backend.ref(layout.NOTES) is None
        raise NoSuchLandingError(
            f"{_shown(typed, commit)} has no note, so nothing landed as this commit",
            hints=[_FETCH if absent else _LANDINGS],
        )
    for landing, landed in _landings(mill, line):
        if landed == commit:
            return StateRange(landing, line.tip)
    raise NoSuchLandingError(
        f"{_shown(typed, commit)} has a note, but no event of the state branch landed it",
        hints=[_LANDINGS, Hint("verify all with", Gitmill("fsck"))],
    )


def _landings(mill: Mill, line: Line) -> Iterator[tuple[str, str]]:
    """Yield each state commit that recorded a landing, with the landed commit; newest first."""
    for commit in reversed(line.commits):
        record = parse_message(read_commit(mill.store.backend, commit).message)[1]
        if record is not None and record.event == Event.LANDED:
            yield commit, record.extra.get("Candidate", "")


def _on_line(mill: Mill, line: Line, typed: str) -> str:
    commit = state_commit(mill, typed, line.tip)
    if commit not in line.commits:
        raise NotAStateCommitError(
            f"{_shown(typed, commit)} is not a first parent on the state branch", hints=[_LOG]
        )
    return commit


def _shown(typed: str, commit: str) -> str:
    return typed if commit.startswith(typed) else f"{typed} ({commit[:10]})"
