"""Every flow that writes, and every way to end it: nothing is lost, nothing is done twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from gitmill.flows.recover import recover
from gitmill.git.repo import Repository
from gitmill.mill import Mill
from tests.crash.test_chokepoints import MOSTLY_CHECKED_OUT, every, sweep
from tests.support.cli import begun
from tests.support.crash_cases import (
    Case,
    Server,
    age_locks,
    check_checkout,
    check_everything,
    check_history,
    check_leftovers,
    copied,
    document,
    eventually,
    running,
    statuses,
    template,
)
from tests.support.crash_four import survives
from tests.support.crash_live import Live
from tests.support.repos import Sandbox
from tests.support.seeds import rest_slow, stride, times

GITMILL = (sys.executable, "-m", "gitmill")


def is_sound(case: Case) -> None:
    assert case.run("recover") == 0, case.said[-1]
    check_checkout(case)
    check_leftovers(case)
    assert case.run("fsck") == 0, case.said[-1]


# -- flows that only write state -------------------------------------------------------------------


def init_dies(case: Case, failpoint: str) -> bool:
    for ref in case.repo.git("for-each-ref", "--format=%(refname)").split():
        if "gitmill" in ref:
            case.repo.git("update-ref", "-d", ref)
    code = case.run("init", failpoint=failpoint)
    age_locks(case)
    assert case.run("init") == 0
    assert case.run("status") == 0
    shutil.rmtree(case.repo.path / ".gitmill")
    is_sound(case)
    return code == -signal.SIGKILL


def new_dies(case: Case, failpoint: str) -> bool:
    argv = ("task", "new", "Third", "--script", "true", "--criterion", "$ true", "--ready")
    code = case.run(*argv, failpoint=failpoint)
    age_locks(case)
    names = case.repo.git("ls-tree", "-r", "--name-only", "gitmill/state", "tasks").split()
    made = {name[9:-3] for name in names} - set(case.tasks)
    assert len(made) <= 1
    stands = [document(case, task).text_value("status") for task in made]
    assert stands in ([], ["draft"], ["ready"])
    check_history(case, also=made)
    is_sound(case)
    return code == -signal.SIGKILL


def edit_dies(case: Case, failpoint: str) -> bool:
    task = case.tasks[0]
    code = case.run("task", "edit", task, "--title", "Renamed", failpoint=failpoint)
    age_locks(case)
    assert document(case, task).text_value("title") in ("First", "Renamed")
    assert case.run("task", "edit", task, "--title", "First") == 0
    check_history(case)
    is_sound(case)
    return code == -signal.SIGKILL


FLOWS = pytest.mark.parametrize("dies", [init_dies, new_dies, edit_dies])


def test_a_small_flow_dies(tmp_path, server: Server):
    made = template(server, checked_out=True)
    assert sweep(made, tmp_path, server, every(stride(3)), edit_dies) > 1


@pytest.mark.slow
@FLOWS
def test_a_small_flow_dies_anywhere(tmp_path, server: Server, dies):
    assert sweep(template(server, checked_out=True), tmp_path, server, every(1), dies) > 3


# -- four tasks, killed at random --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("share", range(6))
def test_four_tasks_survive_many_times(tmp_path, server: Server, share: int):
    seeds = range(1000 + share * 100, 1000 + share * 100 + times(4))
    assert sum(survives(tmp_path, server, seed) for seed in seeds) > len(seeds)


# -- other ways to get hurt --------------------------------------------------------------------------


def goes_on(case: Case) -> None:
    """A plain run finishes what is left, without a person."""
    age_locks(case)
    landed = statuses(case) == ["landed", "landed"]
    assert case.run("run") == (5 if landed else 0), case.said[-1]
    check_everything(case, deaths=12)
    assert case.run("fsck") == 0, case.said[-1]


@pytest.mark.parametrize("room", rest_slow([0, 50, 150, 400, 1000, 5000], 1))
@MOSTLY_CHECKED_OUT
def test_a_disk_that_fills_up(tmp_path, server: Server, checked_out, room: int):
    made = template(server, checked_out=checked_out)
    with copied(made, tmp_path / "case", server) as case:
        code = case.run("run", room=room)
        assert code != 70, case.said[-1]
        cost_nothing(case)
        goes_on(case)


def cost_nothing(case: Case) -> None:
    """The machine's faults have used up no attempt."""
    for task in case.tasks:
        counters = document(case, task).value("counters") or {}
        logs = case.repo.git("log", "-p", "--format=%s", "gitmill/state", "--", f"runs/*/{task}/")
        assert set(counters) <= {"build", "review"}, (counters, logs)
        assert set(counters.values()) <= {1}, (counters, logs)


@pytest.mark.slow
def test_a_git_directory_that_cannot_be_written(tmp_path, server: Server):
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a read-only folder")
    made = template(server, checked_out=True)
    with copied(made, tmp_path / "case", server) as case:
        git = case.repo.git_dir
        before = case.repo.git("for-each-ref")
        script = f'mount --bind {git} {git} && mount -o remount,ro,bind {git} && exec "$@"'
        for argv in (("run",), ("task", "cancel", case.tasks[0]), ("recover",), ("status",)):
            done = subprocess.run(
                ["unshare", "-m", "sh", "-c", script, "sh", *GITMILL, *argv],
                cwd=case.repo.path, env=case.env, capture_output=True, text=True, check=False,
            )  # fmt: skip
            said = done.stdout + done.stderr
            assert done.returncode == (0 if argv == ("status",) else 1), said
            assert "internal" not in said
            assert argv == ("status",) or "error[" in said
        assert case.repo.git("for-each-ref") == before
        goes_on(case)


@pytest.mark.slow
def test_killed_children_of_git(tmp_path, server: Server):
    """Each child that is a git is killed at some moments; what it was for is done again."""
    made = template(server, checked_out=True)
    chance = random.Random(7)
    with copied(made, tmp_path / "case", server) as case:
        for _ in range(3):
            process = subprocess.Popen(
                [*GITMILL, "run"], cwd=case.repo.path, env=case.env,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            while process.poll() is None:
                for pid, argv in running(case):
                    if argv.startswith("git ") and chance.random() < 0.2:
                        with suppress(ProcessLookupError):  # it has ended by itself meanwhile
                            os.kill(pid, signal.SIGKILL)
                time.sleep(0.02)
            assert process.communicate()[1].count("internal error") == 0
            age_locks(case)
        cost_nothing(case)
        age_locks(case)
        case.run("run")
        assert statuses(case) == ["landed", "landed"], case.said[-1]
        is_sound(case)


@pytest.fixture
def live(sandbox: Sandbox, server: Server) -> Iterator[Live]:
    live = Live(begun(sandbox, files={"a.txt": "one\n"}), server)
    yield live
    live.close()


def later(live: Live) -> Mill:
    """Return a mill for which every lease of now has run out."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    return Mill(Repository.open(live.repo.path), clock=lambda: tomorrow)


@pytest.mark.slow
def test_stopped_for_longer_than_its_lease_it_goes_on(live: Live):
    """As long as its process is there, nobody on this machine takes the item away."""
    task = live.new_task("Slow", f"{live.lasting('build')}\necho two >> a.txt")
    process = live.start_until("build", "run")
    os.kill(process.pid, signal.SIGSTOP)
    assert recover(later(live)) == []
    assert live.gitmill("run").code == 5
    assert live.item(task)["status"] == "running"
    live.go()
    assert not eventually(lambda: live.item(task)["status"] != "running", seconds=1.0)
    os.kill(process.pid, signal.SIGCONT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert live.item(task)["status"] == "landed"
    assert live.story(task).count("claimed") == 2


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a pid namespace")
def test_stopped_where_nobody_sees_it_it_comes_too_late(live: Live):
    """In a container whose lease has run out: another takes over, and the late result is refused."""
    task = live.new_task("Slow", f"{live.lasting('build')}\necho two >> a.txt")
    process = live.start("run", under=("unshare", "-pf", "--mount-proc"))
    assert eventually((live.word / "build").exists, seconds=60.0)
    inside = psutil.Process(process.pid).children()[0]
    inside.suspend()
    assert live.gitmill("recover").code == 0
    assert live.item(task)["status"] == "running", "its time is not over"
    assert f"{task} continues at build" in recover(later(live))
    live.go()
    assert live.gitmill("run").code == 0
    assert live.item(task)["status"] == "landed"
    tip = live.repo.git("rev-parse", "gitmill/state", "main")
    inside.resume()
    process.communicate(timeout=60)
    assert live.item(task)["status"] == "landed"
    assert live.repo.git("rev-parse", "gitmill/state", "main") == tip
    assert live.story(task).count("landed") == 1
    assert live.gitmill("fsck").code == 0
