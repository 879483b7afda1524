"""gitmill dies before or after its Nth outside effect; the next run finishes without a person."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.support.crash_cases import (
    Case,
    Server,
    age_locks,
    check_everything,
    copied,
    statuses,
    template,
)

SHARES = 6
# Odd, so that the sample takes turns between before and after.
STRIDE = 5


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def deaths(share: int, stride: int) -> Iterator[str]:
    """Yield the failpoints of a share: each `stride`th of before:1, after:1, before:2, after:2."""
    for number in count(share * stride, SHARES * stride):
        yield f"{('before', 'after')[number % 2]}:{number // 2 + 1}"


def survive(case: Case, failpoint: str) -> bool:
    """Die at a failpoint, run again, check everything; whether the failpoint was reached."""
    code = case.run("run", failpoint=failpoint)
    if code != -signal.SIGKILL:
        assert code == 0, case.said[0]
        return False
    before = case.tip()
    age_locks(case)
    landed = statuses(case) == ["landed", "landed"]
    assert case.run("run") == (5 if landed else 0), "\n".join(case.said)
    case.repo.git("merge-base", "--is-ancestor", before, "gitmill/state")
    check_everything(case)
    return True


def sweep(tmp_path: Path, server: Server, *, checked_out: bool, share: int, stride: int) -> int:
    made = template(checked_out=checked_out)
    for number, failpoint in enumerate(deaths(share, stride)):
        with copied(made, tmp_path / f"case-{number}", server) as case:
            try:
                if not survive(case, failpoint):
                    return number
            except AssertionError as error:
                error.add_note(f"{failpoint}\n" + "\n".join(case.said))
                raise
    raise AssertionError


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("checked_out", [True, False], ids=["checked-out", "elsewhere"])
def test_a_run_survives_its_death(tmp_path, server, checked_out, share):
    assert sweep(tmp_path, server, checked_out=checked_out, share=share, stride=STRIDE) > 3


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("checked_out", [True, False], ids=["checked-out", "elsewhere"])
def test_a_run_survives_its_death_anywhere(tmp_path, server, checked_out, share):
    assert sweep(tmp_path, server, checked_out=checked_out, share=share, stride=1) > 15
