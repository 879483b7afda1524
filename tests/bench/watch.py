"""Measures supervision: `python -m tests.bench.watch [MEGABYTES]`. Nothing here is asserted.

Memory of gitmill and of its supervisor while an agent prints 400 MB, the time from an agent's exit to
the next stage, and what it takes to add up 10,000 run logs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.repos import Repo, Sandbox

MEGABYTES = int(sys.argv[1]) if len(sys.argv) > 1 else 400


def row(what: str, value: float, unit: str, budget: str) -> None:
    print(f"{what:<66} {value:8.1f} {unit:<4} budget {budget}", flush=True)


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Sample the resident memory of gitmill and of its supervisors, by the kind of process."""
    peaks: dict[str, float] = {"gitmill": 0.0, "supervisor": 0.0}
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.02):
            for pid, kind in _ours():
                peaks[kind] = max(peaks[kind], _resident(pid))

    thread = threading.Thread(target=sample)
    thread.start()
    yield peaks
    done.set()
    thread.join()


def _ours() -> list[tuple[int, str]]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if b"-m\0gitmill\0" in line:
            found.append((int(entry.name), "gitmill"))
        elif b"gitmill.supervision.supervisor" in line:
            found.append((int(entry.name), "supervisor"))
    return found


def _resident(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def gitmill(repo: Repo, *args: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "gitmill", *args], cwd=repo.path, capture_output=True, text=True,
        check=False,
    ).stdout.strip()  # fmt: skip


def flood(repo: Repo) -> None:
    """An agent whose every line is watched prints, in short lines and in one long one."""
    size = MEGABYTES << 20
    for name, prints in (
        ("lines", f"yes 'a line that an agent could have printed, word for word' | head -c {size}"),
        ("one line", f"head -c {size} /dev/zero | tr '\\0' a"),
    ):
        script = f"{prints}; echo {name} > flood.txt"
        gitmill(repo, "task", "new", name, "--script", script, "--criterion", "$ true", "--ready")
        began = time.perf_counter()
        with watched() as peaks:
            gitmill(repo, "run")
        took = time.perf_counter() - began
        for kind, peak in peaks.items():
            row(f"memory of {kind}, {MEGABYTES} MB in {name} ({took:.0f} s)", peak, "MB", "150")


def between(repo: Repo) -> None:
    """From the moment an agent or a check exits to the next stage's start."""
    from gitmill.attempts.attempt import StageProgress
    from gitmill.flows.run import RunRequest
    from gitmill.flows.run import run as run_flow
    from gitmill.mill import Mill

    marks = repo.path.parent / "marks" / "marks"
    marks.parent.mkdir()
    repo.git("config", "gitmill.writable", str(marks.parent))  # the sandbox leaves it open
    agent = marks.parent / "agent.py"
    agent.write_text(
        "import json, pathlib, sys, time\n"
        "sys.stdin.read()\n"
        "if sys.argv[2] == 'build': pathlib.Path('b.txt').write_text(str(time.time()))\n"
        "print(json.dumps({'verdict': 'pass', 'summary': 's'}), flush=True)\n"
        "with open(sys.argv[1], 'a') as out: out.write(f'{sys.argv[2]} {time.time()}\\n')\n"
    )
    check = f"{sys.executable} {agent} {marks} checks < /dev/null"
    lines = ['mode = "ours"', "[checks]", f"test = {json.dumps(check)}", "[modes.ours]",
             'roles = {builder = "b", reviewer = "r"}']  # fmt: skip
    for name, stage in (("b", "build"), ("r", "review")):
        argv = [sys.executable, str(agent), str(marks), stage]
        lines += [f"[agents.{name}]", f"command = {json.dumps(argv)}"]
    repo.commit({".gitmill/config.toml": "\n".join(lines) + "\n"})
    for number in range(9):
        gitmill(repo, "task", "new", f"T{number}", "--criterion", "It is fine", "--ready")
    begins: list[tuple[str, float]] = []

    def progress(line: StageProgress) -> None:
        if not line.verdict:
            begins.append((line.stage, time.time()))

    run_flow(Mill.open(repo.path), RunRequest(through="approved"), progress, lambda _: None)
    ends = [(name, float(at)) for name, at in map(str.split, marks.read_text().splitlines())]
    for one, other in (("build", "sanity"), ("checks", "review")):
        gaps = [
            (next(at for name, at in begins if name == other and at > ended) - ended) * 1000
            for name, ended in ends
            if name == one
        ]
        told = f"from the exit of {one} to the start of {other} (best {min(gaps):.0f})"
        row(told, statistics.median(gaps), "ms", "100")
    row("an interpreter that starts now, for comparison", _start(), "ms", "-")


def _start() -> float:
    def once() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        return (time.perf_counter() - began) * 1000

    return statistics.median(once() for _ in range(9))


def sums(repo: Repo) -> None:
    """10,000 run logs of one day."""
    from gitmill.attempts.budget import spent_today
    from gitmill.core.trailers import EventRecord
    from gitmill.flows.stats import stats
    from gitmill.mill import Mill
    from gitmill.store.transaction import StateCommit

    mill = Mill.open(repo.path)
    log = (
        '---\nitem: "t-k3f9x"\nnumber: 1\nstage: "build"\nverdict: "pass"\nexit: "completed"\n'
        'by: "claude@host"\nagent: "claude"\nstarted: "2026-01-02T03:04:05Z"\nseconds: 61.5\n'
        'usage: {"input": 120000, "output": 4000, "cached": 90000}\ncost: 0.42\nsummary: "s"\n---\n'
    ) + "output\n" * 700
    for number in range(10_000):
        data = log.replace("number: 1", f"number: {number}").encode()
        item = f"t-{number // 20:05d}"
        path = f"runs/{item[2:4]}/{item}/{number:05d}-build.md"
        record = EventRecord(
            event="checked", id=f"{number:016x}", evidence=mill.store.backend.write("blob", data)
        )
        mill.store.commit(lambda _, r=record, p=path, d=data: StateCommit("x", r, {p: d}))
    kept = repo.git_dir / "gitmill/spent.json"
    for name, clear in (("from nothing", True), ("a second time", False)):
        if clear:
            kept.unlink(missing_ok=True)
        began, cpu = time.perf_counter(), time.process_time()
        spent = spent_today(mill, mill.snapshot())
        took = (time.perf_counter() - began) * 1000
        used = f"{(time.process_time() - cpu) * 1000:.0f} ms of CPU"
        what = f"the sum of a day with {spent.attempts:,} run logs, {name} ({used})"
        row(what, took, "ms", "-")
    record = EventRecord(event="checked", id="f" * 16)
    mill.store.commit(lambda _: StateCommit("x", record, {"README.md": b"x"}))
    began = time.perf_counter()
    spent_today(mill, mill.snapshot())
    row("the same one event later", (time.perf_counter() - began) * 1000, "ms", "-")
    began, cpu = time.perf_counter(), time.process_time()
    stats(mill.store.backend, mill.snapshot())
    told = f"gitmill stats of them ({(time.process_time() - cpu) * 1000:.0f} ms of CPU)"
    row(told, (time.perf_counter() - began) * 1000, "ms", "-")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="gitmill-bench-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        os.environ |= {
            "HOME": str(home), "XDG_STATE_HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1",
            "GITMILL_TRUST": "1",
        }  # fmt: skip
        (home / ".gitconfig").write_text(
            "[user]\n\tname = B\n\temail = b@example.com\n[init]\n\tdefaultBranch = main\n"
            "[gitmill]\n\tdurability = none\n"
        )
        for part in (between, sums, flood):
            repo = Sandbox(Path(folder)).repo(part.__name__)
            gitmill(repo, "init")
            part(repo)


if __name__ == "__main__":
    main()
