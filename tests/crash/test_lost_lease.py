"""An item whose lease is taken away while its agent runs: the agent ends at once, nothing is lost."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support.cli import begun
from tests.support.crash_cases import Server, eventually
from tests.support.crash_live import Live
from tests.support.repos import Sandbox
from tests.support.seeds import rest_slow

HAS_TABLES = (
    b"--ref-format"
    in subprocess.run(["git", "init", "-h"], capture_output=True, check=False).stdout
)
SOON = 4.0  # seconds: one look at the state, and the grace of a command that heeds no signal


@pytest.fixture
def live(sandbox: Sandbox, server: Server) -> Iterator[Live]:
    live = Live(begun(sandbox, files={"a.txt": "one\n"}), server)
    yield live
    live.close()


def building(live: Live, **how: bool) -> str:
    script = f"echo half > half.txt\n{live.lasting('build', **how)}"
    return live.new_task("Slow", script)


WAYS = {
    "cancel": ("task", "cancel", "ID"),
    "block": ("task", "block", "ID", "-m", "wait"),
}


@pytest.mark.parametrize("way", rest_slow(WAYS, 1))
def test_taking_the_lease_away_ends_the_agent_at_once(live: Live, way: str):
    task = building(live, deaf=True)
    process = live.start_until("build", "run")
    argv = [task if part == "ID" else part for part in WAYS[way]]
    assert live.gitmill(*argv).code == 0
    began = time.monotonic()
    assert eventually(lambda: live.has_ended("build"), seconds=20.0)
    assert time.monotonic() - began < SOON
    err = process.communicate(timeout=20)[1]
    item = live.item(task)
    status = "cancelled" if way == "cancel" else "blocked"
    assert f"the item is {status} now, so what ran was ended" in err
    assert (item["status"], item.get("lease"), item["counters"]) == (status, None, {})
    assert item["attempt"] == 0
    assert live.story(task)[-2:] == ["claimed", status]
    assert live.rescued(task, "half.txt") == "half"


@pytest.mark.slow
def test_the_run_continues_with_other_items(live: Live):
    task = building(live)
    other = live.new_task("Other", "echo two >> a.txt")
    process = live.start_until("build", "run", task, other)
    assert live.gitmill("task", "cancel", task).code == 0
    process.communicate(timeout=60)
    assert (live.item(task)["status"], live.item(other)["status"]) == ("cancelled", "landed")


@pytest.mark.slow
def test_a_check_is_ended_too(live: Live):
    slow = f"if grep -q two a.txt; then {live.lasting('check')}; fi"
    live.repo.commit({".gitmill/config.toml": f"[checks]\nslow = '''{slow}'''\n"}, "policy")
    task = live.new_task("Quick", "echo two >> a.txt")
    process = live.start_until("check", "run")
    assert live.gitmill("task", "cancel", task).code == 0
    began = time.monotonic()
    assert eventually(lambda: live.has_ended("check"), seconds=20.0)
    assert time.monotonic() - began < SOON
    process.communicate(timeout=20)
    assert live.story(task)[-2:] == ["claimed", "cancelled"]
    assert live.rescued(task, "a.txt") == "one\ntwo"


@pytest.mark.slow
def test_other_events_do_not_disturb_a_running_agent(live: Live):
    task = building(live)
    process = live.start_until("build", "run", task, "--through", "approved")
    other = live.new_task("Other", "echo two >> a.txt")
    assert live.gitmill("task", "cancel", other).code == 0
    live.repo.git("pack-refs", "--all")
    time.sleep(1.5)
    assert not live.has_ended("build")
    live.go()
    process.communicate(timeout=60)
    assert live.item(task)["status"] == "approved"


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TABLES, reason="this git has no reftable")
def test_taking_the_lease_away_ends_the_agent_where_refs_are_in_tables(
    sandbox: Sandbox, server: Server
):
    repo = sandbox.repo("tables", ref_format="reftable", files={"a.txt": "one\n"})
    live = Live(repo, server)
    assert live.gitmill("init").code == 0
    try:
        test_taking_the_lease_away_ends_the_agent_at_once(live, "cancel")
    finally:
        live.close()


# As `task cancel` would, but past gitmill: the state moves to a commit without the lease.
FORGE = (
    'export GIT_DIR=$(dirname "$(readlink -f "$(head -n 1 .git/objects/info/alternates)")");'
    " i=$(mktemp -u); export GIT_INDEX_FILE=$i; git read-tree gitmill/state;"
    " f=$(git ls-files 'tasks/*' | head -1);"
    " b=$(git cat-file blob gitmill/state:$f | grep -v '^lease:' | sed 's/^status: running/status: ready/'"
    " | git hash-object -w --stdin);"
    " git update-index --cacheinfo 100644,$b,$f;"
    " c=$(git commit-tree -m forged -p gitmill/state $(git write-tree));"
    " git update-ref refs/heads/gitmill/state $c; unset GIT_INDEX_FILE; sleep 30"
)


def test_an_agent_that_removes_its_own_lease_pays_and_is_held(live: Live):
    live.repo.unfence()
    task = live.new_task("Hostile", f"echo x > x.txt; {FORGE}")
    began = time.monotonic()
    live.gitmill("run")
    assert time.monotonic() - began < 25.0
    item = live.item(task)
    assert (item["status"], item["counters"]) == ("waiting", {"build": 1})
    assert "refs/heads/gitmill/state was moved" in item["reason"]
