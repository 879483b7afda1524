"""gitmill ends before or after its Nth outside effect; the next run finishes without a person."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.support.crash_cases import (
    Case,
    Server,
    Template,
    age_locks,
    check_everything,
    copied,
    document,
    statuses,
    template,
)
from tests.support.seeds import stride, times

SHARES = 4  # of all points, tried with `-m slow`
TARGETS = {"checked-out": True, "elsewhere": False}
CHECKED_OUT = pytest.mark.parametrize("checked_out", TARGETS.values(), ids=TARGETS)
MOSTLY_CHECKED_OUT = pytest.mark.parametrize(
    "checked_out", [True, pytest.param(False, marks=pytest.mark.slow)], ids=TARGETS
)
SHARE = pytest.mark.parametrize("share", range(SHARES))


def points(share: int, stride: int) -> Iterator[str]:
    """Yield the failpoints of a share: each `stride`th of before:1, after:1, before:2, after:2."""
    return every(SHARES * stride, share * stride)


def every(step: int, first: int = 0) -> Iterator[str]:
    """Yield each `step`th failpoint; an odd one takes turns between before and after."""
    for number in count(first, step):
        yield f"{('before', 'after')[number % 2]}:{number // 2 + 1}"


def sweep(
    made: Template,
    folder: Path,
    server: Server,
    failpoints: Iterator[str],
    survive: Callable[[Case, str], bool],
) -> int:
    """Try failpoints, each in a fresh copy, until one is not reached; return how many were."""
    for number, failpoint in enumerate(failpoints):
        with copied(made, folder / f"case-{number}", server) as case:
            try:
                if not survive(case, failpoint):
                    return number
            except AssertionError as error:
                error.add_note(f"{failpoint}\n" + "\n".join(case.said))
                raise
    raise AssertionError


def finishes(case: Case, **how: int) -> None:
    """The next run does what is left to do, and then everything is as it should be."""
    tip = case.repo.git("rev-parse", "gitmill/state")
    age_locks(case)
    landed = statuses(case) == ["landed", "landed"]
    assert case.run("run") == (5 if landed else 0)
    case.repo.git("merge-base", "--is-ancestor", tip, "gitmill/state")
    check_everything(case, **how)


# -- a run dies ------------------------------------------------------------------------------------


def dies(case: Case, failpoint: str) -> bool:
    code = case.run("run", failpoint=failpoint)
    if code != -signal.SIGKILL:
        assert code == 0
        return False
    finishes(case)
    return True


@pytest.mark.slow
@MOSTLY_CHECKED_OUT
def test_a_run_dies(tmp_path, server, checked_out):
    made = template(server, checked_out=checked_out)
    assert sweep(made, tmp_path, server, every(stride(81)), dies) > 0


@pytest.mark.slow
@SHARE
@CHECKED_OUT
def test_a_run_dies_anywhere(tmp_path, server, checked_out, share):
    made = template(server, checked_out=checked_out)
    step = 1 if checked_out else stride(3)  # most effects are the same
    assert sweep(made, tmp_path, server, points(share, step), dies) > 10


@MOSTLY_CHECKED_OUT
def test_a_run_dies_many_times(tmp_path, server, checked_out):
    dies_at_random(tmp_path, server, checked_out=checked_out, seeds=range(times(1)))


@pytest.mark.slow
@SHARE
@CHECKED_OUT
def test_a_run_dies_very_many_times(tmp_path, server, checked_out, share):
    seeds = range(100 * (share + 1), 100 * (share + 1) + times(6))
    dies_at_random(tmp_path, server, checked_out=checked_out, seeds=seeds)


def dies_at_random(folder: Path, server: Server, *, checked_out: bool, seeds: range) -> None:
    """Kill one run after the other, each at any time, until one comes to its end."""
    for seed in seeds:
        chance = random.Random(seed)
        with copied(
            template(server, checked_out=checked_out), folder / f"case-{seed}", server
        ) as case:
            for _ in range(12):
                if case.run("run", lifetime=chance.uniform(0.0, 0.8)) != -signal.SIGKILL:
                    break
                age_locks(case)
            try:
                finishes(case, deaths=12)
            except AssertionError as error:
                error.add_note(f"seed {seed}\n" + "\n".join(case.said))
                raise


# -- a run is told to stop -------------------------------------------------------------------------


def stops(case: Case, failpoint: str) -> bool:
    code = case.run("run", interrupt=failpoint)
    if "interrupt" not in case.said[-1]:
        assert code == 0
        return False
    assert code == 130
    assert not {"running", "landing"} & set(statuses(case)), "it has given back what it held"
    finishes(case)
    return True


@pytest.mark.slow
@SHARE
@CHECKED_OUT
def test_a_run_is_told_to_stop_anywhere(tmp_path, server, checked_out, share):
    made = template(server, checked_out=checked_out)
    step = 1 if checked_out else stride(3)
    assert sweep(made, tmp_path, server, points(share, step), stops) > 10


# -- a recovery dies -------------------------------------------------------------------------------


def recovery_dies(case: Case, failpoint: str) -> bool:
    """Die in the recovery from an earlier death."""
    age_locks(case)
    code = case.run("recover", failpoint=failpoint)
    assert code in (0, -signal.SIGKILL)
    finishes(case)
    return code != 0


def killed_build(case: Case, failpoint: str) -> bool:
    case.arm("build")
    assert case.run("run") == -signal.SIGKILL
    assert statuses(case)[0] == "running"
    went_on = recovery_dies(case, failpoint)
    first = case.tasks[0]
    assert case.repo.git("show", f"refs/gitmill/rescue/{first}/1:half.txt") == "half"
    return went_on


def killed_check(case: Case, failpoint: str) -> bool:
    case.arm("check")
    assert case.run("run") == -signal.SIGKILL
    assert statuses(case)[1] == "landing"
    return recovery_dies(case, failpoint)


def killed_landing(case: Case, failpoint: str) -> bool:
    """Die after the target has moved and before the state has."""
    point = landing_point(case)
    assert case.run("run", failpoint=point) == -signal.SIGKILL
    landing = document(case, case.tasks[0]).value("landing")
    if point.startswith("before"):
        # Killed together with us, git would have moved the target and not the state.
        case.repo.git("update-ref", "refs/heads/main", landing["candidate"], landing["onto"])
    assert case.repo.git("rev-parse", "main") == landing["candidate"]
    return recovery_dies(case, failpoint)


_landing_points: dict[str, str] = {}


def landing_point(case: Case) -> str:
    """Return the failpoint at which the target of such a case has moved or is about to."""
    if case.branch not in _landing_points:
        argv, when = ("merge -q", "after") if case.branch == "main" else ("update-ref", "before")
        for number in count(1):
            with copied(case.template, case.folder.parent / "probe", case.server) as probe:
                assert probe.run("run", failpoint=f"before:{number}") == -signal.SIGKILL
            if f" {argv} " in probe.said[0]:
                break
        _landing_points[case.branch] = f"{when}:{number}"
    return _landing_points[case.branch]


RECOVERIES = pytest.mark.parametrize(
    ("killed", "approved"),
    [(killed_build, False), (killed_check, True), (killed_landing, True)],
    ids=["build", "check", "landing"],
)


@pytest.mark.slow
def test_a_recovery_dies(tmp_path, server):
    made = template(server, checked_out=True, approved=True)
    assert sweep(made, tmp_path, server, every(stride(21), 1), killed_landing) > 0


@pytest.mark.slow
@SHARE
@RECOVERIES
@CHECKED_OUT
def test_a_recovery_dies_anywhere(tmp_path, server, checked_out, killed, approved, share):
    made = template(server, checked_out=checked_out, approved=approved)
    assert sweep(made, tmp_path, server, points(share, 1), killed) > 1
