"""Locks: one holder at a time, released by its death; stale locks of refs are moved aside."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gitmill.git.locks import clear_stale, held, try_lock

ROOT = Path(__file__).parents[2]


def start(code, path):
    """Start a process that says when it holds the lock."""
    code = (
        f"import os, sys, time\nfrom pathlib import Path\nfrom gitmill.git.locks import *\n{code}"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


HOLD = "with held(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"


def test_a_lock_has_one_holder_within_a_process_too(tmp_path):
    path = tmp_path / "deep/er/lock"
    one = try_lock(path)
    assert try_lock(path) is None
    os.close(one)
    with held(path):
        assert try_lock(path) is None
    os.close(try_lock(path))


def test_a_lock_of_a_killed_process_is_free(tmp_path):
    path = tmp_path / "lock"
    other = start(HOLD, path)
    assert other.stdout.readline() == "held\n"
    assert try_lock(path) is None
    other.kill()
    other.communicate()
    with held(path):
        assert path.exists()


def test_an_error_gives_the_lock_back(tmp_path):
    path = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), held(path):
        _ = 1 / 0
    os.close(try_lock(path))


def test_waiting_ends_when_the_holder_does(tmp_path):
    path = tmp_path / "lock"
    descriptor = try_lock(path)
    other = start(HOLD, path)
    with pytest.raises(subprocess.TimeoutExpired):
        other.wait(0.5)
    os.close(descriptor)
    assert other.stdout.readline() == "held\n"
    other.kill()
    other.communicate()


def test_a_lock_is_not_inherited_unless_it_is_handed_on(tmp_path):
    path = tmp_path / "lock"
    descriptor = try_lock(path)
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    os.close(descriptor)
    os.close(try_lock(path))
    child.kill()
    child.wait()


def test_many_processes_hold_it_one_after_the_other(tmp_path):
    path, log = tmp_path / "lock", tmp_path / "log"
    code = (
        "for _ in range(20):\n    with held(Path(sys.argv[1])):\n"
        "        log = Path(sys.argv[1] + '.log')\n"
        "        number = int(log.read_text() or 0) if log.exists() else 0\n"
        "        time.sleep(0.0005)\n"
        "        log.write_text(str(number + 1))\n"
    )
    workers = [start(code, path) for _ in range(4)]
    for worker in workers:
        worker.communicate()
        assert worker.returncode == 0
    assert path.with_name("lock.log").read_text() == "80"
    assert not log.exists()


def lock_of(common, name, *, age):
    path = common / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_old_locks_of_our_refs_go_aside_and_no_others(tmp_path):
    common, aside = tmp_path / "repo", tmp_path / "repo/gitmill/stale"
    stale = ["refs/gitmill/work/t-k3f9x", "refs/heads/gitmill/state", "refs/notes/gitmill"]
    for name in stale:
        lock_of(common, name, age=60)
    fresh = lock_of(common, "refs/gitmill/work/t-aaaaa", age=1)
    theirs = [lock_of(common, name, age=60) for name in ("refs/heads/main", "packed-refs", "HEAD")]
    theirs.append(lock_of(common, "refs/notes/gitmillish", age=60))
    refs = ["refs/gitmill", "refs/heads/gitmill", "refs/notes/gitmill"]
    (common / "packed-refs.lock").touch()
    os.utime(common / "packed-refs.lock", (time.time() - 20,) * 2)
    found = clear_stale(common, refs, aside)
    assert sorted(found) == [f"{name}.lock" for name in stale]
    assert all(path.exists() for path in [fresh, *theirs])
    assert sorted(path.read_text() for path in aside.iterdir()) == stale
    assert clear_stale(common, refs, aside) == []
    for name in stale:
        lock_of(common, name, age=60)
    assert len(clear_stale(common, refs, aside)) == 3  # nothing that was put aside is in the way
    assert len(list(aside.iterdir())) == 6


def test_where_nothing_is_stale_nothing_is_made(tmp_path):
    assert clear_stale(tmp_path, ["refs/gitmill"], tmp_path / "aside") == []
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_packed_refs_is_moved_aside_once_it_is_very_old(tmp_path):
    lock = tmp_path / "packed-refs.lock"
    for age, found in ((30, []), (90, ["packed-refs.lock"])):
        lock.touch()
        os.utime(lock, (time.time() - age,) * 2)
        assert clear_stale(tmp_path, ["refs/gitmill"], tmp_path / "aside") == found
        assert lock.exists() is not bool(found)


def test_a_thread_that_takes_its_lock_again_gets_an_error_and_does_not_hang(tmp_path):
    with held(tmp_path / "lock"):
        with pytest.raises(RuntimeError, match="already"), held(tmp_path / "lock"):
            pass
        with held(tmp_path / "other"):
            assert try_lock(tmp_path / "lock") is None
    with held(tmp_path / "lock"):
        pass


def test_another_thread_waits_for_the_lock(tmp_path):
    order, waiting = [], threading.Event()

    def wait():
        waiting.set()
        with held(tmp_path / "lock"):
            order.append("other")

    thread = threading.Thread(target=wait, daemon=True)
    with held(tmp_path / "lock"):
        thread.start()
        waiting.wait()
        time.sleep(0.1)
        order.append("one")
    thread.join(10)
    assert order == ["one", "other"]
