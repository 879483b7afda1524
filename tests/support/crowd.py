"""Many processes on one repository: `python -m tests.support.crowd REPO SECONDS CALLS`.

Each call is a role and its arguments, and becomes a process forked from one that has imported all.
It says that it is ready, waits for the others, does its part for some seconds and prints what it
did: one JSON object a line.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gitmill.core import changes
from gitmill.core.change import Change
from gitmill.core.lifecycle import Event, Status
from gitmill.errors import IllegalTransitionError, LeasedError, RefMovedError
from gitmill.git.notes import write_notes
from gitmill.git.repo import Repository
from gitmill.mill import Mill
from gitmill.people.intake import NewTask, new_task
from gitmill.store.events import Step, draft_step
from gitmill.store.snapshot import Snapshot
from gitmill.store.transaction import StateCommit
from gitmill.workspace.leases import new_lease

ROOT = Path(__file__).parents[2]
IDENT = "Ada <ada@example.com> 0 +0000"
ENOUGH = ".git/enough"
ENOUGH_EDITS = 2  # each makes as many, however little time a busy machine leaves it
MINE = 3  # items of one's own that a member makes at most, so that all meet on the same ones


class Member:
    """One of the crowd: does anything that may be done to an item, and says what it did."""

    def __init__(self, mill: Mill, number: int) -> None:
        self.mill, self.number, self.count, self.tries = mill, number, 0, 0
        self.held: list[tuple[str, str]] = []
        self.made = 0

    def act(self, dice: random.Random) -> None:
        snapshot = self.mill.snapshot()
        assert snapshot.broken == {}
        if self.made < MINE and dice.random() < 0.2:
            self.create()
        elif self.held and dice.random() < 0.3:
            self.finish(*self.held.pop())
        else:
            item = dice.choice(sorted(snapshot.items.values(), key=lambda item: item.id))
            if item.status is Status.READY and dice.random() < 0.5:
                self.claim(item.id, item.event)
            else:
                self.edit(item.id)

    def create(self) -> None:
        self.made += 1
        item = new_task(self.mill, NewTask(title=f"of {self.number}", criteria=["$ true"], script="true"),
                        ready=True)  # fmt: skip
        tell(did="created", item=item.id)

    def edit(self, item_id: str) -> None:
        """Add one's own label to those that are there: a lost update would lose another's."""
        self.count += 1
        label, event_id = f"{self.number}-{self.count}", self.mill.new_token()
        tries = 0

        def build(snapshot: Snapshot) -> StateCommit:
            nonlocal tries
            tries += 1
            item = snapshot.item(item_id)
            change = changes.edited(item, {"labels": (*item.labels, label)})
            step = Step(change=change, subject="label", by="me")
            return draft_step(self.mill.store.backend, snapshot, item_id, step,
                              event_id=event_id, now=self.mill.now())  # fmt: skip

        self.mill.store.commit(build)
        tell(did="edited", item=item_id, label=label, tries=tries)

    def claim(self, item_id: str, after: str) -> None:
        claim = self.mill.new_token()
        lease = new_lease(self.mill, "me", 3600, claim=claim)
        change = Change(Event.CLAIMED, {"stage": "build", "lease": lease})
        step = Step(change=change, subject="claimed", by="me", claim=claim, after=after)
        with suppress(RefMovedError, LeasedError, IllegalTransitionError):
            self.mill.apply(item_id, step)
            self.held.append((item_id, claim))
            tell(did="claimed", item=item_id, claim=claim)

    def finish(self, item_id: str, claim: str) -> None:
        change = Change(Event.FINISHED, {"lease": None})
        step = Step(change=change, subject="finished", by="me", claim=claim)
        self.mill.apply(item_id, step)
        tell(did="finished", item=item_id, claim=claim)


def tell(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")


def member(repo: Path, seconds: float, number: str) -> None:
    """Create, edit, claim, finish and read until the time is over."""
    mill = Mill.open(repo)
    who, dice = Member(mill, int(number)), random.Random(int(number))
    end = begin() + seconds
    while time.monotonic() < end or who.count < ENOUGH_EDITS:
        who.act(dice)
    for held in who.held:
        who.finish(*held)


def nuisance(repo: Path, seconds: float, *argv: str) -> None:
    """Run a git command of the user's again and again, until a `gitmill run` beside it is over."""
    end, runs, failed = begin() + seconds, 0, 0
    # Without the date of tests, which is so long ago that gc would empty the reflogs.
    env = {name: value for name, value in os.environ.items() if not name.endswith("_DATE")}
    while time.monotonic() < end and not (repo / ENOUGH).exists():
        runs += 1
        done = subprocess.run(["git", *argv], cwd=repo, env=env, capture_output=True, check=False)
        failed += done.returncode != 0
    tell(did="ran", argv=argv, runs=runs, failed=failed)


def writers(repo: Path, seconds: float, ref: str, *commits: str) -> None:
    """One thread for each commit, all at once: write a note on it, again after each lost race."""

    def write(commit: str) -> None:
        backend = Repository.open(repo).objects
        backend.ref(ref)
        together.wait()
        tries = 0
        while time.monotonic() < end:
            tries += 1
            with suppress(RefMovedError):
                note = {commit: f"on {commit}\n".encode()}
                backend.swap([write_notes(backend, ref, note, ident=IDENT)])
                said.append({"did": "noted", "commit": commit, "tries": tries})
                return
            time.sleep(random.uniform(0, 0.02))

    said: list[dict[str, object]] = []
    together = threading.Barrier(len(commits))
    threads = [threading.Thread(target=write, args=(commit,)) for commit in commits]
    end = begin() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for what in said:
        tell(**what)


def command(repo: Path, seconds: float, *argv: str) -> None:
    """Run a command of gitmill once, as users do; say how it ended."""
    begin()
    done = subprocess.run(
        [sys.executable, "-m", "gitmill", *argv], cwd=repo, capture_output=True, text=True,
        check=False, timeout=seconds,
    )  # fmt: skip
    if argv[0] == "run":
        (repo / ENOUGH).touch()
    tell(did="ran", argv=argv, code=done.returncode, err=done.stderr)


def begin() -> float:
    """Say that all is open and wait for the others; return the time."""
    os.write(_READY[1], b"x")
    os.read(_GO[0], 1)
    return time.monotonic()


ROLES: dict[str, Callable[..., None]] = {
    "member": member, "nuisance": nuisance, "writers": writers, "command": command,
}  # fmt: skip


@contextmanager
def crowd(repo: Path, seconds: float, calls: list[tuple[str, ...]]) -> Iterator[list[dict]]:
    """Start all calls, each a role and its arguments, at once; yield what they did in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.crowd", str(repo), str(seconds), json.dumps(calls)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        out, errors = process.communicate(timeout=seconds + 120)
        assert process.returncode == 0, errors.decode()
        yield [json.loads(line) for line in out.splitlines()]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


_READY, _GO = os.pipe(), os.pipe()


def main() -> None:
    repo, seconds, calls = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="gitmill-crowd-") as place:
        told = [Path(place, str(number)) for number in range(len(json.loads(calls)))]
        pids = [
            _fork(out, role, Path(repo), float(seconds), *args)
            for out, (role, *args) in zip(told, json.loads(calls), strict=True)
        ]
        for _ in pids:
            os.read(_READY[0], 1)
        os.close(_GO[1])  # whoever reads there goes on
        failed = [pid for pid in pids if os.waitpid(pid, 0)[1]]
        for out in told:
            sys.stdout.write(out.read_text())
    sys.exit(bool(failed))


def _fork(out: Path, role: str, *args: Any) -> int:
    """Return the process that plays a role and prints to a file."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.close(_GO[1])
        with out.open("w") as sys.stdout:
            ROLES[role](*args)
    except BaseException:  # noqa: BLE001  (the child ends here, whatever it was)
        traceback.print_exc()
        os.write(_READY[1], b"x")  # nobody waits for it
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
