"""Doctor: diagnose everything that can keep tasks from landing, with the commands that help.

Each subject is a small function; the tables below list them in the order of their output. Those
that need a repository or its state are skipped where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gitmill.errors import GitmillError
from gitmill.flows.doctor import leftovers, machine, repository, stale_locks, state_branch, target
from gitmill.flows.doctor.diagnosis import Diagnoses, Diagnosis, Fix, Level, problem, problem_of
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
    "git's locks": stale_locks.git_locks,
    "our locks": stale_locks.own_locks,
}
STATE: Mapping[str, Callable[[Mill, Snapshot], Diagnoses]] = {
    "state": state_branch.documents,
    "secrets": state_branch.secrets,
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
    "workspace": target.workspace,
    "loops": target.loops,
    "checks": target.checks,
    "red target": target.red,
    "agents": target.programs,
    "disk": target.room,
}


@dataclass(frozen=True, slots=True)
class DoctorLine:
    """One line of doctor: a subject and its diagnosis."""

    name: str
    diagnosis: Diagnosis


def examine(folder: Path) -> list[DoctorLine]:
    """Return all diagnoses; changes nothing."""
    lines = _all(MACHINE)
    mill = _open(folder, lines)
    if mill is None:
        return lines
    lines += _all(REPOSITORY, mill)
    state = _state(mill, lines)
    if state is None:
        return lines
    lines += _all({"target": target.target}, mill, state)
    if lines[-1].diagnosis.level is not Level.PROBLEM:
        lines += _all(TARGET, mill, state)
    return lines + _all(STATE, mill, state)


def _all(subjects: Mapping[str, Callable[..., Diagnoses]], *arguments: object) -> list[DoctorLine]:
    return [
        DoctorLine(name, diagnosis)
        for name, diagnose in subjects.items()
        for diagnosis in _diagnoses(partial(diagnose, *arguments))
    ]


def fix(lines: list[DoctorLine]) -> list[str]:
    """Apply the safe fixes; return one sentence for each."""
    return [f"{line.name}: {_fixed(line.diagnosis.fix)}" for line in lines if line.diagnosis.fix]


def _fixed(fix: Fix) -> str:
    try:
        return fix()
    except (GitmillError, OSError) as error:  # the other fixes can still be applied
        return f"could not be fixed: {error}"


def _open(folder: Path, lines: list[DoctorLine]) -> Mill | None:
    """Return the repository's mill, or add a diagnosis why it cannot be opened."""
    if _has_problem(lines, "git"):
        return None
    try:
        return Mill.open(folder)
    except GitmillError as error:  # this is the diagnosis
        lines.append(DoctorLine("repository", problem_of(error)))
        return None


def _state(mill: Mill, lines: list[DoctorLine]) -> Snapshot | None:
    """Return the state, or add a diagnosis why it cannot be read."""
    if _has_problem(lines, "backend"):
        return None
    try:
        return mill.snapshot()
    except GitmillError as error:  # this is the diagnosis
        lines.append(DoctorLine("state", problem_of(error)))
    except (ValueError, KeyError) as error:
        lines.append(DoctorLine("state", problem(f"the state cannot be read: {error}")))
    return None


def _has_problem(lines: list[DoctorLine], name: str) -> bool:
    return any(line.name == name and line.diagnosis.level is Level.PROBLEM for line in lines)


def _diagnoses(diagnose: Callable[[], Diagnoses]) -> Iterator[Diagnosis]:
    """Yield the diagnoses of a function; its own failure is reported as a problem."""
    diagnoses = iter(diagnose())
    while True:
        try:
            yield next(diagnoses)
        except StopIteration:
            return
        except GitmillError as error:  # this is the diagnosis
            yield problem_of(error)
            return
        except (OSError, ValueError, RuntimeError) as error:
            yield problem(f"could not be checked: {error}")
            return
