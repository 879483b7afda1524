"""Whose fault a red check or a failed set-up is: the same command is run without the work.

It runs on the commit of the target that the tree stands on. The answer is remembered below
`.git/gitmill`, by tree and definition; without that file the command runs again.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from gitmill import files
from gitmill.config import Policy
from gitmill.core.check_record import definition_of
from gitmill.core.item import Item
from gitmill.core.plans.plan import PlannedStage
from gitmill.core.red_target import SET_UP, UNSTARTABLE, OnTarget
from gitmill.errors import (
    CannotStartError,
    GitmillError,
    PlantedFileError,
    SetUpError,
)
from gitmill.git import locks
from gitmill.hints import Blank, Gitmill, Hint
from gitmill.mill import Mill
from gitmill.process import ending
from gitmill.store.events import timestamp
from gitmill.workspace import sandbox
from gitmill.workspace.open_workspace import Rights, open_workspace, shared_identity
from gitmill.workspace.run_checks import (
    Check,
    CheckResult,
    Passes,
    check_definition,
    policy_checks,
    run_checks,
)
from gitmill.workspace.set_up import platform_name, setup_key
from gitmill.workspace.stop_token import StopToken

FILE = "without-work.json"
KEPT = 200  # answers, the newest
# Seconds for which a fault of the machine is remembered: nothing shows when it is repaired, and an
# attempt that only claims the same fault would be free of charge.
FAULT = 600.0


@dataclass(frozen=True, slots=True)
class Ask:
    """Where to run a command without the work: at a commit of the target, under a claim."""

    mill: Mill
    policy: Policy
    commit: str
    target: str  # the branch
    claim: str
    stop: StopToken
    stage: PlannedStage | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """Why a red check is not the item's fault: how it ends `on_target`.

    `fault` is the error that stops the run if the machine is to blame, else the target is red.
    """

    on_target: OnTarget
    fault: GitmillError | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """How a command ends without the work; the `machine` may be why, which can change."""

    passed: bool
    status: int = 0
    ended: str = "exited"
    machine: bool = False


def judge(ask: Ask, item: Item, result: CheckResult, *, of_policy: bool) -> Judgement | None:
    """Return why a red check is not the item's fault; None if it is.

    A criterion is the item's own, and so is the check that it is there to fix: then only a program
    that is not installed is the machine's fault. `of_policy` is for a check of the policy.
    """
    check = result.check
    own = not of_policy or item.fixes_check == check.name
    starts = result.status not in UNSTARTABLE
    if own and starts:
        return None
    answer = _on_target(ask, check)
    if answer.passed:
        return None
    found = OnTarget(check.name, ask.commit, answer.status, answer.ended)
    if found.is_same_fault(result.status):
        if own and not _is_missing(ask, program_of(check.command)):
            return None
        return Judgement(found, _cannot_start(ask, item, result, of_policy=of_policy))
    return None if own else Judgement(found)


def judge_set_up(ask: Ask, error: SetUpError) -> Judgement | None:
    """Return why a failed set-up is not the item's fault; None if the work makes it fail."""
    answer = _set_up_on_target(ask)
    found = OnTarget(SET_UP, ask.commit, answer.status, answer.ended)
    if answer.passed or (answer.status, answer.ended) != (error.status, error.ended):
        return None
    return Judgement(found, error)


def set_up_result(error: SetUpError) -> CheckResult:
    """Return a failed set-up as the result of a check, for run logs and findings."""
    output = "\n".join(error.evidence)
    return CheckResult(
        Check(SET_UP, error.command, 0.0), "", passed=False, status=error.status,
        ended=error.ended, seconds=0.0, cached=False, output=output,
    )  # fmt: skip


def is_of_work(error: BaseException) -> bool:
    """Whether the work can be why an error was raised: a command of the set-up failed."""
    return isinstance(error, SetUpError) and bool(error.command)


def forget(mill: Mill, commit: str) -> None:
    """Forget what is known of a commit's tree, so that its commands run again."""
    tree = mill.tree_of(commit)

    def drop(known: dict[str, Any]) -> None:
        for key in [key for key in known if key.startswith(f"{tree}-")]:
            del known[key]

    if any(key.startswith(f"{tree}-") for key in _read(mill)):
        _change(mill, drop)


# -- asking ----------------------------------------------------------------------------------------


def _on_target(ask: Ask, check: Check) -> _Answer:
    """Return how a check ends on the target; it is red if it is red twice."""
    mill, policy, commit = ask.mill, ask.policy, ask.commit
    if Passes(mill, policy, commit).of(check):
        return _Answer(passed=True)
    shared = shared_identity(mill, policy, commit)
    definition = check_definition(mill, policy, check, commit, shared=shared)
    return _remembered(ask, definition, lambda: _run(ask, check))


def _run(ask: Ask, check: Check) -> _Answer:
    try:
        (result,) = run_checks(
            ask.mill, ask.policy, [check], ask.commit,
            claim=ask.claim, stop=ask.stop, stage=ask.stage, again=True,
        )  # fmt: skip
    except SetUpError as error:
        if not is_of_work(error):
            raise
        return _Answer(False, error.status, f"set-up {error.ended}", machine=True)
    machine = not result.passed and result.status in UNSTARTABLE
    return _Answer(result.passed, result.status, result.ended, machine)


def _set_up_on_target(ask: Ask) -> _Answer:
    setup = setup_key(ask.mill, ask.policy, ask.commit)
    shared = shared_identity(ask.mill, ask.policy, ask.commit)
    definition = definition_of(SET_UP, (), setup, platform_name(ask.policy), shared)

    def run() -> _Answer:
        try:
            with _workspace(ask):
                return _Answer(passed=True)
        except SetUpError as error:
            if not is_of_work(error):
                raise
            return _Answer(False, error.status, error.ended, machine=True)

    return _remembered(ask, definition, run)


def _workspace(ask: Ask) -> Any:
    rights = Rights(network=sandbox.network(ask.policy, ask.stage))
    return open_workspace(
        ask.mill, ask.policy, ask.commit, kind="clean", claim=ask.claim, rights=rights,
        stop=ask.stop,
    )  # fmt: skip


def _is_missing(ask: Ask, program: str) -> bool:
    """Whether the target's workspace has no program of that name; a path is the work's to make."""
    if not program or "/" in program:
        return False
    with _workspace(ask) as workspace:
        return not workspace.shell(f"command -v -- {shlex.quote(program)}", seconds=60).passed


def program_of(command: str) -> str:
    """Return the first program of a command line, empty if only a shell can work it out."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError:
        return ""
    first = next((word for word in words if not re.match(r"\w+=", word)), "")
    return first if re.fullmatch(r"[\w./+-]+", first) else ""


def _cannot_start(
    ask: Ask, item: Item, result: CheckResult, *, of_policy: bool
) -> CannotStartError:
    check = result.check
    how = ending(result.ended, result.status)
    outdated = of_policy and check not in policy_checks(ask.policy)
    again = Hint(
        f"the policy has another {check.name} by now; begin again under it with",
        Gitmill("task", "block", item.id, "-m", Blank('"why"')),
        "and",
        Gitmill("task", "reopen", item.id),
    )
    return CannotStartError(
        f"check {check.name} (`{check.command}`) {how}, on {ask.target} without the work as well",
        evidence=result.output.splitlines()[-4:],
        hints=[
            Hint("install what it needs, or correct the command, then", Gitmill("run")),
            again if outdated else Hint("see what else is missing with", Gitmill("doctor")),
        ],
    )


# -- remembering -----------------------------------------------------------------------------------


def _remembered(ask: Ask, definition: str, run: Callable[[], _Answer]) -> _Answer:
    mill = ask.mill
    key = f"{mill.tree_of(ask.commit)}-{definition}"
    known = _known(_read(mill).get(key), mill.now())
    if known is not None:
        return known
    answer = run()
    entry = asdict(answer) | {"at": timestamp(mill.now())}

    def add(answers: dict[str, Any]) -> None:
        answers.pop(key, None)
        answers[key] = entry
        for old in list(answers)[:-KEPT]:
            del answers[old]

    _change(mill, add)
    return answer


def _known(entry: Any, now: datetime) -> _Answer | None:
    """Return a remembered answer, None without one, or if it is a fault of the machine and old."""
    try:
        machine = entry["machine"] is not False
        answer = _Answer(
            entry["passed"] is True, int(entry["status"]), str(entry["ended"]), machine
        )
        age = (now - datetime.fromisoformat(entry["at"])).total_seconds()
    except (TypeError, KeyError, ValueError):
        return None
    return answer if not machine or 0 <= age < FAULT else None


def _change(mill: Mill, change: Callable[[dict[str, Any]], object]) -> None:
    path = mill.repository.private / FILE
    with locks.held(path.with_suffix(".lock")):
        known = _read(mill)
        change(known)
        files.replace(path, json.dumps(known).encode(), durable=False)


def _read(mill: Mill) -> dict[str, Any]:
    try:
        known = json.loads(files.read_regular(mill.repository.private / FILE))
    except (FileNotFoundError, PlantedFileError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
