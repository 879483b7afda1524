"""Doctor: diagnose everything that can keep tasks from landing, with the command that helps.

Each diagnosis is a small function; the tables below list them in the order of their output. Those
that need a repository or its state are skipped where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gitmill.errors import GitmillError, NotInitializedError
from gitmill.flows.doctor import leftovers, machine, repository, state_branch, target
from gitmill.flows.doctor.diagnosis import Diagnoses, Diagnosis, Level, problem, problem_of
from gitmill.mill import Mill
from gitmill.store.snapshot import Snapshot

MACHINE: Mapping[str, Callable[[], Diagnoses]] = {
    "system": machine.system,
    "python": machine.python,
    "git": machine.git,
    "libgit2": machine.libgit2,
    "home": machine.home,
    "processes": machine.processes,
    "bubblewrap": machine.sandbox,
}
REPOSITORY: Mapping[str, Callable[[Mill], Diagnoses]] = {
    "repository": repository.checkout,
    "backend": repository.backend,
    "identity": repository.identity,
    "git directory": repository.folder,
    "durability": repository.durability,
    "pruning": repository.pruning,
    "hooks": repository.hooks,
    "configuration": repository.programs,
    "file system": repository.file_system,
    "worktrees": repository.worktrees,
    "git's locks": repository.git_locks,
    "our locks": repository.own_locks,
}
STATE: Mapping[str, Callable[[Mill, Snapshot], Diagnoses]] = {
    "state": state_branch.documents,
    "clock": state_branch.clock,
    "pauses": state_branch.stops,
    "leases": leftovers.leases,
    "orphans": leftovers.orphans,
    "entries": leftovers.worktree_entries,
    "homes": leftovers.agents_homes,
    "refs": leftovers.refs,
    "notes": leftovers.notes,
    "bugs": leftovers.reports,
}

TARGET: Mapping[str, Callable[[Mill, Snapshot], Diagnoses]] = {
    "policy": target.policy,
    "sandbox": target.enforcement,
    "loops": target.loops,
    "checks": target.checks,
    "agents": target.programs,
}


@dataclass(frozen=True, slots=True)
class DoctorLine:
    """One line of doctor: the name of the subject and its diagnosis."""

    name: str
    sign: Diagnosis


def examine(folder: Path) -> list[DoctorLine]:
    """Return all diagnoses; changes nothing."""
    told = [DoctorLine(name, sign) for name, look in MACHINE.items() for sign in _seen(look)]
    mill = _open(folder, told)
    if mill is None:
        return told
    told += _all(REPOSITORY, mill)
    now = _state(mill, told)
    if now is None:
        return told
    told += _all({"target": target.target}, mill, now)
    if told[-1].sign.level is not Level.PROBLEM:
        told += _all(TARGET, mill, now)
    return told + _all(STATE, mill, now)


def _all(looks: Mapping[str, Callable[..., Diagnoses]], *seen: object) -> list[DoctorLine]:
    return [
        DoctorLine(name, sign)
        for name, look in looks.items()
        for sign in _seen(partial(look, *seen))
    ]


def fix(lines: list[DoctorLine]) -> list[str]:
    """Apply the safe fixes; return one sentence for each."""
    return [f"{one.name}: {_fixed(one.sign)}" for one in lines if one.sign.fix is not None]


def _fixed(sign: Diagnosis) -> str:
    assert sign.fix is not None
    try:
        return sign.fix()
    except (GitmillError, OSError) as error:
        return f"could not be fixed: {error}"


def _open(folder: Path, told: list[DoctorLine]) -> Mill | None:
    if any(one.name == "git" and one.sign.level is Level.PROBLEM for one in told):
        return None
    try:
        return Mill.open(folder)
    except GitmillError as error:
        told.append(DoctorLine("repository", problem_of(error)))
        return None


def _state(mill: Mill, told: list[DoctorLine]) -> Snapshot | None:
    """Return the state, or add a diagnosis why it cannot be read."""
    if any(one.name == "backend" and one.sign.level is Level.PROBLEM for one in told):
        return None
    try:
        return mill.snapshot()
    except NotInitializedError as error:
        told.append(DoctorLine("state", problem_of(error)))
    except (GitmillError, ValueError, KeyError) as error:
        known = isinstance(error, GitmillError)
        sign = problem_of(error) if known else problem(f"it cannot be read: {error}")  # type: ignore[arg-type]
        told.append(DoctorLine("state", sign))
    return None


def _seen(look: Callable[[], Diagnoses]) -> Iterator[Diagnosis]:
    """Yield the diagnoses of a function; its own failure is a problem like any other."""
    signs = iter(look())
    while True:
        try:
            yield next(signs)
        except StopIteration:
            return
        except GitmillError as error:
            yield problem_of(error)
            return
        except (OSError, ValueError, RuntimeError) as error:
            yield problem(f"could not be examined: {error}")
            return
