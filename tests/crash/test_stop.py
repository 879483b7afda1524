"""Told to stop, or killed, in the middle of something: who ends, who goes on, what is kept."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from gitmill.mill import Mill
from tests.support.cli import begun
from tests.support.crash_cases import Server, eventually
from tests.support.crash_live import Live
from tests.support.repos import Sandbox
from tests.support.seeds import rest_slow


@pytest.fixture
def live(sandbox: Sandbox, server: Server) -> Iterator[Live]:
    live = Live(begun(sandbox, files={"a.txt": "one\n", "b.txt": "b\n"}), server)
    yield live
    live.close()


def building(live: Live, **how: bool) -> str:
    """Make a task whose build lasts, with half of the work done."""
    lasting = live.lasting("build", **how)
    script = f"echo half > half.txt\n{lasting}\nrm half.txt\necho two >> a.txt"
    return live.new_task("Slow", script)


def landing(live: Live) -> str:
    """Make an approved task whose check lasts on the target that has moved meanwhile."""
    task = live.new_task("Quick", "echo two >> a.txt")
    slow = f"if grep -q moved b.txt && grep -q two a.txt; then {live.lasting('check')}; fi"
    live.repo.commit({".gitmill/config.toml": f"[checks]\nslow = '''{slow}'''\n"}, "policy")
    assert live.gitmill("run", "--through", "approved").code == 0
    live.repo.commit({"b.txt": "moved\n"}, "moved")
    return task


def finishes(live: Live, task: str) -> None:
    """The next run takes the task to its end."""
    live.go()
    said = live.gitmill("run")
    assert said.code == 0, said.err
    item = live.item(task)
    assert item["status"] == "landed"
    assert live.repo.git("show", "main:a.txt") == "one\ntwo"
    assert live.repo.git("log", "--format=%s", "main").splitlines().count(item["title"]) == 1
    assert live.repo.git("status", "--porcelain") == ""


def hit(pid: int, how: str) -> None:
    if how == "terminal":
        os.killpg(pid, signal.SIGINT)
    else:
        os.kill(pid, getattr(signal, how))


STOPS = ["SIGINT", "SIGTERM", "SIGHUP", "terminal"]


@pytest.mark.parametrize("how", rest_slow(STOPS, 1))
def test_a_build_is_given_back(live: Live, how: str):
    task = building(live)
    process = live.start_until("build", "run")
    hit(process.pid, how)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err.splitlines()[-2:]) == (
        130,
        ["stopped; nothing is lost", "next: `gitmill run`"],
    )
    assert live.has_ended("build")
    item = live.item(task)
    assert (item["status"], item["stage"], item.get("lease")) == ("ready", "build", None)
    assert (item["counters"], item["attempt"]) == ({}, 0)
    assert live.story(task)[-2:] == ["claimed", "released"]
    assert live.rescued(task, "half.txt") == "half"
    finishes(live, task)


@pytest.mark.parametrize("how", rest_slow(["SIGTERM", "terminal"], 1))
def test_a_landing_is_queued_again(live: Live, how: str):
    task = landing(live)
    process = live.start_until("check", "run")
    assert live.item(task)["status"] == "landing"
    hit(process.pid, how)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err.splitlines()[-2:]) == (
        130,
        ["stopped; nothing is lost", "next: `gitmill run`"],
    )
    assert live.has_ended("check")
    item = live.item(task)
    assert (item["status"], item.get("lease"), item.get("landing")) == ("queued", None, None)
    assert item["counters"] == {"build": 1, "review": 1}
    assert live.story(task)[-2:] == ["land-started", "land-aborted"]
    assert live.repo.git("for-each-ref", "refs/gitmill/candidate") == ""
    finishes(live, task)


@pytest.mark.slow
def test_what_a_shell_has_it_ignore_stays_ignored(live: Live):
    """As behind `nohup`: a terminal that closes does not end the work."""
    task = building(live)
    process = live.start("run", under=("nohup",))
    assert eventually((live.word / "build").exists, seconds=60.0)
    os.kill(process.pid, signal.SIGHUP)
    assert not eventually(lambda: process.poll() is not None, seconds=0.5)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 130
    finishes(live, task)


@pytest.mark.parametrize("what", rest_slow(["build", "check"], 1))
def test_stop_ends_the_work_of_another_process(live: Live, what: str):
    task = building(live) if what == "build" else landing(live)
    process = live.start_until(what, "run")
    said = live.gitmill("stop")
    assert said.code == 0
    assert said.err.splitlines()[0] == f"stopped {task}"
    assert process.wait(timeout=1) == 130
    assert live.has_ended(what)
    assert live.item(task)["status"] == ("ready" if what == "build" else "queued")
    assert live.gitmill("stop").err == "nothing was running on this machine\n"
    finishes(live, task)


@pytest.mark.slow
def test_stop_ends_a_run_that_waits_for_another_process_to_land(live: Live):
    task = landing(live)
    lander = live.start_until("check", "queue", "land")
    other = live.new_task("Other", "echo other > other.txt")
    waiting = live.start("run", other)
    assert eventually(lambda: live.item(other)["status"] == "queued", seconds=60.0)
    said = live.gitmill("stop")
    assert (said.code, said.err.splitlines()[0]) == (0, f"stopped {task}")
    assert (lander.wait(timeout=1), waiting.wait(timeout=1)) == (130, 130)
    finishes(live, task)
    assert live.item(other)["status"] == "landed"


@pytest.mark.parametrize(
    "how", [{}, pytest.param({"deaf": True}, marks=pytest.mark.slow)], ids=["", "deaf"]
)
def test_a_killed_build_is_saved_and_begins_again(live: Live, how: dict):
    task = building(live, **how)
    process = live.start_until("build", "run")
    process.kill()
    process.wait()
    said = live.gitmill("recover")
    assert said.code == 0
    assert f"{task} continues at build" in said.out
    assert f"saved the work in a worktree of {task} as refs/gitmill/rescue/{task}/1" in said.out
    assert live.has_ended("build")
    assert (live.item(task)["status"], live.item(task)["counters"]) == ("ready", {})
    assert live.story(task)[-1] == "lapsed"
    assert live.rescued(task, "half.txt") == "half"
    assert live.gitmill("recover").err.startswith("nothing to clean up\n")
    finishes(live, task)


@pytest.mark.slow
def test_work_that_was_built_is_kept_when_its_checks_are_killed(live: Live):
    task = live.new_task("Slow", "echo two >> a.txt", "--criterion", f"$ {live.lasting('check')}")
    process = live.start_until("check", "run")
    process.kill()
    process.wait()
    assert live.gitmill("recover").code == 0
    assert live.has_ended("check")
    assert live.rescued(task, "a.txt") == "one\ntwo"
    assert live.item(task)["status"] == "ready"
    finishes(live, task)


@pytest.mark.slow
def test_a_killed_landing_is_taken_up_by_the_next_run(live: Live):
    task = landing(live)
    process = live.start_until("check", "run")
    process.kill()
    process.wait()
    finishes(live, task)
    assert live.has_ended("check")
    assert live.story(task)[-4:] == ["land-started", "land-aborted", "land-started", "landed"]


@pytest.mark.parametrize("how", rest_slow(["SIGKILL", "terminal", "SIGTERM"], 1))
def test_the_users_checkout_is_never_left_half_way(live: Live, how: str):
    """The signal comes while git writes the files of the user's checkout."""
    live.slow_checkout("repo")
    task = live.new_task("Quick", "echo two >> a.txt")
    process = live.start_until("git", "run")
    hit(process.pid, how)
    if how == "SIGKILL":
        process.wait()
        said = live.gitmill("run")
        assert (said.code, said.err.splitlines()[0]) == (0, f"landed {task} (0 attempts)")
    else:
        assert process.wait(timeout=20) == 130
    assert live.story(task)[-2:] == ["land-started", "landed"]
    assert live.repo.git("show", "main:a.txt") == "one\ntwo"
    assert live.repo.git("status", "--porcelain") == ""
    assert live.repo.git("notes", "--ref=gitmill", "list", "main")
    assert not (live.repo.git_dir / "index.lock").exists()


@pytest.mark.slow
def test_a_checkout_that_git_died_in_is_put_back_and_landed_on(live: Live):
    """Gitmill and its git are killed while git writes files: the index is still the old one."""
    live.slow_checkout("repo")
    task = live.new_task("Quick", "echo new > 0.txt; echo two >> a.txt; rm b.txt; echo z > z.txt")
    (live.repo.path / "own.txt").write_text("not committed\n")
    process = live.start_until("git", "run")
    process.kill()
    process.wait()
    killed = 0
    for git in psutil.process_iter(["name", "cmdline", "environ"]):
        words = (*(git.info["cmdline"] or ()), *(git.info["environ"] or {}).values())
        if git.info["name"] == "git" and str(live.repo.path) in " ".join(words):
            git.kill()
            killed += 1
    assert killed
    live.go()
    left = live.repo.git("status", "--porcelain").splitlines()
    assert "?? 0.txt" in left
    assert (live.repo.git_dir / "index.lock").exists()
    said = live.gitmill("run")
    assert said.code == 0, said.err
    assert live.item(task)["status"] == "landed"
    assert live.repo.git("show", "main:0.txt") == "new"
    assert live.repo.git("status", "--porcelain") == "?? own.txt"
    assert not (live.repo.git_dir / "gitmill/moving").exists()


@pytest.mark.slow
def test_no_worktree_is_given_out_while_git_still_writes_there(live: Live):
    live.slow_checkout("build-1")
    task = live.new_task("Quick", "pwd; echo two >> a.txt")
    process = live.start_until("git", "run")
    process.kill()
    process.wait()
    finishes(live, task)
    assert (Mill.open(live.repo.path).pool.folder / "build-2").is_dir()


@pytest.mark.slow
def test_two_runs_share_the_work(live: Live):
    # The first two are built at the same time, each by one of the runs, or not at all.
    meet = f"touch {live.word}/%d; until test -e {live.word}/%d; do sleep 0.02; done; "
    waits = [meet % (0, 1), meet % (1, 0), "", ""]
    tasks = [
        live.new_task(f"Part {n}", f"{wait}echo {n} > part-{n}.txt") for n, wait in enumerate(waits)
    ]
    runs = [live.start("run"), live.start("run")]
    said = [process.communicate(timeout=100)[1] for process in runs]
    assert {process.returncode for process in runs} <= {0, 5}, said
    assert [live.item(task)["status"] for task in tasks] == ["landed"] * 4
    for task in tasks:
        story = live.story(task)
        assert story.count("landed") == 1
        assert story.count("claimed") == 2, "one build and one review"
    subjects = live.repo.git("log", "--format=%s", "main").splitlines()
    assert sorted(subjects) == sorted(["first", *(f"Part {n}" for n in range(4))])
    assert live.repo.git("status", "--porcelain") == ""
    assert all("passed" in told for told in said), "each has done something"


@pytest.mark.slow
def test_a_run_takes_over_from_one_that_is_killed(live: Live):
    """The second one has nothing of its own left to do when the first one dies."""
    task = building(live)
    first = live.start_until("build", "run")
    other = live.new_task("Other", f"{live.lasting('other')}\necho other > other.txt")
    second = live.start_until("other", "run")
    first.kill()
    first.wait()
    live.go()
    _, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    assert [live.item(name)["status"] for name in (task, other)] == ["landed", "landed"]
    assert live.story(task).count("lapsed") == 1
