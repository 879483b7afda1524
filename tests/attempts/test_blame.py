"""What ends an attempt costs what its blame says: each class of errors, at each of its places."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress

import psutil
import pytest

from gitmill.attempts.attempt import run_stages
from gitmill.attempts.claim import claim
from gitmill.core.blame_rules import RACES
from gitmill.core.lifecycle import Event, Status
from gitmill.core.pipeline import group
from gitmill.errors import (
    Blame,
    GitKilledError,
    GitmillError,
    LeasedError,
    NoSlotError,
    StateMovedError,
)
from gitmill.flows.run import RunRequest, run
from gitmill.git.pool import Pool
from gitmill.mill import Mill
from gitmill.people.intake import NewTask, new_task
from gitmill.supervision import processes
from gitmill.workspace.stop_token import StopToken
from tests.support.cli import gitmill
from tests.support.cli import new_task as cli_task
from tests.support.faults import at_place, classes, killing, raising
from tests.support.repos import Repo, Sandbox
from tests.support.seeds import rest_slow

POLICY = "[checks]\ntest = 'true'\n[limits]\nattempts = 20\n"
QUIET = (Event.CLAIMED, Event.RELEASED)
# Where it is raised: the function, and the stage of the item.
PLACES = {
    "set-up": ("gitmill.workspace.open_workspace:check_out", "build"),
    "build": ("gitmill.agents.shell:run", "build"),
    "taking the tree": ("gitmill.git.worktrees:Slot.take_tree", "build"),
    "sanity": ("gitmill.attempts.stages.sanity:inspect_change", "build"),
    "checks": ("gitmill.workspace.run_checks:_run", "build"),
    "review": ("gitmill.agents.rules:run", "review"),
    "recording": ("gitmill.mill:Mill.apply", "build"),
    "recording a review": ("gitmill.mill:Mill.apply", "review"),
}


def quiet(_line: object) -> None:
    """Report nothing."""


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo(files={".gitmill/config.toml": POLICY, "a.txt": "a\n"})
    repo.unfence()
    assert gitmill(repo.path, "init").code == 0
    return repo


def is_outcome(_mill: Mill, _item: str, step: object, *_: object) -> bool:
    return getattr(step, "event", None) not in QUIET


def attempt(mill: Mill, item_id: str) -> None:
    """Make one attempt at an item."""
    state = claim(mill, item_id)
    run_stages(mill, state, group(state.plan, state.item.stage), quiet, StopToken())


def is_still(mill: Mill, repo: Repo) -> None:
    """Nothing runs and nothing is held: no process, no slot, no lease."""
    assert processes.end_claimed(claim_of(repo)) == 0
    for slot in mill.pool.hold_all():
        slot.release()
    for item in mill.snapshot().items.values():
        assert item.lease is None


def check(repo: Repo, place: str, kinds: list[type[GitmillError]]) -> None:
    """Raise each class at a place of an attempt, always at the same item; then let it pass."""
    mill = Mill.open(repo.path)
    where, stage = PLACES[place]
    made = NewTask(title="One", script="echo b > a.txt", criteria=("$ true",))
    task = new_task(mill, made, ready=True).id
    if stage == "review":
        attempt(mill, task)
    for kind in kinds:
        if kind is LeasedError and "recording" in place:
            continue  # the record itself knows it: another process has the item now
        before = mill.snapshot().item(task)
        head = before.stage or "build"
        when = is_outcome if "recording" in place else lambda *_: True
        with raising(where, kind("it broke"), when) as raised:
            if costs(kind):
                attempt(mill, task)
            else:
                with pytest.raises(kind, match="it broke"):
                    attempt(mill, task)
        assert raised, kind
        after = mill.snapshot().item(task)
        cost = Counter(after.counters)
        cost.subtract(before.counters)
        assert +cost == ({head: 1} if costs(kind) else {}), kind
        assert after.attempt == before.attempt + costs(kind), kind
        assert after.status is Status.READY, kind
        assert after.stage in ({head, place} if costs(kind) else {head}), kind
        assert after.work == before.work or (costs(kind) and after.work), kind
        is_still(mill, repo)
    attempt(mill, task)
    assert mill.snapshot().item(task).status is (
        Status.APPROVED if stage == "review" else Status.READY
    )
    assert mill.snapshot().item(task).stage == "review"


def costs(kind: type[GitmillError]) -> bool:
    return kind.blame in (Blame.ITEM, Blame.AGENT)


@pytest.mark.parametrize("place", rest_slow(PLACES, 4))
def test_an_attempt_costs_what_the_blame_of_its_error_says(repo: Repo, place: str):
    check(repo, place, at_place(list(PLACES).index(place)))


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_an_attempt_costs_what_the_blame_of_any_error_says(repo: Repo, place: str):
    # A lease that somebody else has is not released; here nobody has taken it over.
    taken = [LeasedError] if "recording" in place else []
    check(repo, place, [kind for kind in classes() if kind not in taken])


def claim_of(repo: Repo) -> str:
    """Return the last claim of the history."""
    return repo.git(
        "log", "-1", "--format=%(trailers:key=Gitmill-Claim,valueonly)", "gitmill/state"
    ).strip()


# -- whole runs ------------------------------------------------------------------------------------


def ready(repo: Repo, script: str = "echo b > a.txt", *more: str) -> str:
    return cli_task(repo.path, "Change", script, *more)


def item(repo: Repo, task: str) -> tuple[str, dict[str, int]]:
    """Return the status of a task, and its counters."""
    shown = gitmill(repo.path, "task", "show", task, "--json").json["item"]
    return shown["status"], shown.get("counters", {})


def events(repo: Repo, task: str) -> list[str]:
    told = gitmill(repo.path, "log", task, "--json").json["events"]
    return [event["event"] for event in told[::-1]]


def is_advance(_mill: Mill, _item: str, step: object, *_: object) -> bool:
    return getattr(step, "event", None) is Event.ADVANCED


def test_a_race_that_is_lost_after_the_claim_is_tried_again(repo: Repo):
    task = ready(repo)
    error = StateMovedError("refs moved each time")
    with raising("gitmill.mill:Mill.apply", error, is_advance):
        summary = run(Mill.open(repo.path), RunRequest(), quiet, quiet)
    assert summary.items[task].status is Status.LANDED
    assert item(repo, task) == ("landed", {"build": 1, "review": 1})
    assert events(repo, task)[2:6] == ["claimed", "released", "claimed", "advanced"]


def test_a_race_that_is_always_lost_ends_the_run_and_costs_nothing(repo: Repo):
    task = ready(repo)
    place, error = "gitmill.mill:Mill.apply", StateMovedError("refs moved each time")
    with raising(place, error, is_advance, times=99) as raised, pytest.raises(StateMovedError):
        run(Mill.open(repo.path), RunRequest(), quiet, quiet)
    assert len(raised) == RACES
    assert item(repo, task) == ("ready", {})


def test_the_environments_fault_stops_the_run_once_and_costs_nothing(repo: Repo):
    tasks = [ready(repo), ready(repo)]
    place, error = "gitmill.agents.shell:run", GitKilledError("git was killed")
    with raising(place, error, times=99) as raised, pytest.raises(GitKilledError):
        run(Mill.open(repo.path), RunRequest(), quiet, quiet)
    assert len(raised) == 1
    assert [item(repo, task) for task in tasks] == [("ready", {})] * 2


def test_a_git_that_is_killed_costs_no_attempt_and_the_error_names_what_to_do(repo: Repo):
    task = ready(repo)
    killed = gitmill(repo.path, "run", env=killing(repo.path.parent, "-A"))
    assert killed.code == 1
    assert killed.err.endswith(
        "error[git-killed]: `git add` was killed by signal 9\n"
        "hint: if memory ran out, the system's log has a line on it: `journalctl -k`\n"
        "hint: continue with `gitmill run`\n"
    )
    assert item(repo, task) == ("ready", {})
    assert events(repo, task)[-1] == "released"
    assert gitmill(repo.path, "run").code == 0


def test_no_free_worktree_costs_no_attempt(repo: Repo, monkeypatch: pytest.MonkeyPatch):
    task = ready(repo)
    with monkeypatch.context() as patch:
        patch.setattr(Pool, "_try", lambda *_: None)
        with pytest.raises(NoSlotError, match="no free worktree"):
            run(Mill.open(repo.path), RunRequest(), quiet, quiet)
    assert item(repo, task) == ("ready", {})
    assert gitmill(repo.path, "run").code == 0


def test_a_criterion_that_spoils_its_folders_costs_its_item_an_attempt(repo: Repo):
    """The next criterion cannot even be written. A bug, or the machine's fault, would be free."""
    repo.commit({".gitmill/config.toml": POLICY.replace("20", "1")})
    spoils = '$ rm -rf "$TMPDIR"; echo x > "$TMPDIR"'
    task = ready(repo, "echo b > a.txt", "--criterion", spoils, "--criterion", "$ true")
    assert gitmill(repo.path, "run").code == 1
    status, counters = item(repo, task)
    assert (status, counters["review"]) == ("blocked", 1)
    shown = gitmill(repo.path, "task", "show", task, "--json").json["item"]
    assert "that gitmill cannot use" in shown["reason"]


@pytest.mark.parametrize("script", ['rm -rf "$PWD"', "kill -9 $PPID", "kill -TERM $PPID; sleep 60"])
def test_what_a_script_does_to_its_worktree_or_its_supervisor_costs_an_attempt(
    repo: Repo, script: str
):
    repo.commit({".gitmill/config.toml": POLICY.replace("20", "1")})
    task = ready(repo, script)
    assert gitmill(repo.path, "run").code == 1
    assert item(repo, task) == ("blocked", {"build": 1})


def _runs(process: psutil.Process, name: str) -> bool:
    """Whether a process has started, itself or through others, one of that name."""
    with suppress(psutil.NoSuchProcess):
        return any(below.name() == name for below in process.children(recursive=True))
    return False


def test_a_supervisor_that_is_killed_from_outside_of_the_sandbox_costs_nothing(repo: Repo):
    repo.git("config", "--unset", "gitmill.sandbox")
    task = ready(repo, "sleep 60")
    argv = [sys.executable, "-m", "gitmill", "run"]
    running = subprocess.Popen(argv, cwd=repo.path, stderr=subprocess.PIPE, text=True)
    with suppress(psutil.NoSuchProcess):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and running.poll() is None:
            children = psutil.Process(running.pid).children()
            supervisors = [child for child in children if _runs(child, "sleep")]
            if supervisors:  # git processes are children too
                supervisors[0].kill()
                break
            time.sleep(0.05)
    said = running.communicate(timeout=60)[1]
    assert (running.returncode, "error[process-failed]: the supervisor of" in said) == (1, True), (
        said
    )
    assert item(repo, task) == ("ready", {})


# -- a full disk -----------------------------------------------------------------------------------

FULL = """
import sys
import gitmill.workspace.blame as blame
from gitmill.cli.dispatch import dispatch
blame.QUOTA = {quota}
sys.exit(dispatch(["run"]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
@pytest.mark.parametrize(
    ("quota", "status", "counters"),
    rest_slow([(1 << 40, "ready", {}), (1 << 20, "blocked", {"build": 1})], 1, rows=True),
    ids=["the disk is too small", "the attempt has filled it"],
)
def test_a_full_disk_costs_an_attempt_only_if_the_attempt_has_filled_it(
    repo: Repo, quota: int, status: str, counters: dict[str, int]
):
    repo.commit({".gitmill/config.toml": POLICY.replace("20", "1")})
    task = ready(repo, 'head -c 60000000 /dev/zero > "$TMPDIR/zeros"')
    disk = repo.path.parent / "disk"
    disk.mkdir()
    repo.git("config", "gitmill.worktreeRoot", str(disk))
    script = f'mount -t tmpfs -o size=40m tmpfs {disk} && exec "$@"'
    argv = [
        "unshare",
        "-m",
        "sh",
        "-c",
        script,
        "sh",
        sys.executable,
        "-c",
        FULL.format(quota=quota),
    ]
    full = subprocess.run(argv, cwd=repo.path, capture_output=True, text=True, check=False)
    assert full.returncode == 1, full.stderr
    assert item(repo, task) == (status, counters)
    if status == "ready":
        assert f"error[storage]: {disk}" in full.stderr
        assert f"hint: see how full its disk is with `df -h {disk}" in full.stderr
    else:
        assert "the attempt filled the disk: its files take 0.0 GB" in full.stderr
