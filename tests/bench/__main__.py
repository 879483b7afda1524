"""Measures what gitmill costs beside what it is compared with, and prints medians.

`python -m tests.bench [REPEATS]` makes its own repositories below a temporary folder.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.repos import Repo, Sandbox

if TYPE_CHECKING:
    from gitmill.core.change import Change
    from gitmill.workspace.workspace import Workspace

REPEATS = int(sys.argv[1]) if len(sys.argv) > 1 else 9


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU milliseconds of this process and of those that it waited for."""

    def used() -> float:
        whos = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, whos))

    before = used()
    work()
    return (used() - before) * 1000


def labelled() -> Change:
    """Return an edit that sets a new label."""
    from gitmill.core.change import Change
    from gitmill.core.lifecycle import Event

    return Change(Event.EDITED, {"labels": (os.urandom(4).hex(),)})


def wall(work: Callable[[], object]) -> float:
    before = time.perf_counter()
    work()
    return (time.perf_counter() - before) * 1000


def median(measure: Callable[[Callable[[], object]], float], work: Callable[[], object]) -> float:
    return statistics.median(measure(work) for _ in range(REPEATS))


def run(*argv: str) -> Callable[[], object]:
    return lambda: subprocess.run(argv, capture_output=True, check=True)


def row(what: str, value: float, unit: str, budget: str) -> None:
    print(f"{what:<58} {value:8.2f} {unit:<4} budget {budget}")


def starts(repo: Repo) -> None:
    base = median(cpu, run(sys.executable, "-c", "pass"))
    gitmill = str(Path(sys.executable).parent / "gitmill")
    row("--version against python -c pass", median(cpu, run(gitmill, "--version")) / base, "x", "3")
    status = run(gitmill, "-C", str(repo.path), "status")
    status()
    row("warm status against python -c pass", median(cpu, status) / base, "x", "8")


def transitions(repo: Repo) -> None:
    """An event of an item against a bare commit of one file, both without fsync."""
    import pygit2

    from gitmill.mill import Mill
    from gitmill.people.intake import NewTask, new_task
    from gitmill.store.events import Step

    mill = Mill.open(repo.path)
    item = new_task(mill, NewTask(title="Bench"))
    bare = pygit2.Repository(str(repo.path))
    who = pygit2.Signature("a", "a@b")

    def commit() -> None:
        tip = bare.references.get("refs/bench")
        builder = bare.TreeBuilder(bare[tip.target].tree if tip else bare.TreeBuilder().write())
        builder.insert("f", bare.create_blob(os.urandom(300)), 0o100644)
        parents = [tip.target] if tip else []
        bare.create_commit("refs/bench", who, who, "m", builder.write(), parents)

    def event() -> None:
        mill.apply(item.id, Step(change=labelled(), subject="x", by="b"))

    many = 50

    def times(work: Callable[[], None]) -> Callable[[], object]:
        return lambda: [work() for _ in range(many)]

    bare_ms, event_ms = median(cpu, times(commit)) / many, median(cpu, times(event)) / many
    row(f"transition ({event_ms:.2f} ms) against a bare commit", event_ms / bare_ms, "x", "3")


def durabilities(repo: Repo) -> None:
    """An event with `durability = full` against one with `none`, by the clock, by each backend."""
    from gitmill.mill import Mill
    from gitmill.people.intake import NewTask, new_task
    from gitmill.store.events import Step

    sha256 = Sandbox(repo.path.parent).repo("sha256", object_format="sha256")
    run(sys.executable, "-m", "gitmill", "-C", str(sha256.path), "init")()
    for name, place in (("libgit2", repo), ("git", sha256)):
        took = {}
        for value in ("none", "full"):
            place.git("config", "gitmill.durability", value)
            mill = Mill.open(place.path)
            item = new_task(mill, NewTask(title="Bench"))

            def events(mill: Mill = mill, item_id: str = item.id) -> None:
                for _ in range(20):
                    mill.apply(item_id, Step(change=labelled(), subject="x", by="b"))

            took[value] = median(wall, events) / 20
        place.git("config", "--unset", "gitmill.durability")
        told = f"{took['full']:.1f} / {took['none']:.1f} ms"
        row(f"flushed transition through {name} ({told})", took["full"] / took["none"], "x", "-")


def sandboxes(repo: Repo) -> None:
    """A command that does nothing, in the sandbox and without it, under its supervisor."""
    from gitmill.config import Policy
    from gitmill.mill import Mill
    from gitmill.workspace.open_workspace import open_workspace
    from gitmill.workspace.stop_token import StopToken

    took = {}
    for value in ("off", "auto"):
        repo.git("config", "gitmill.sandbox", value)
        tip = repo.git("rev-parse", "HEAD")
        with open_workspace(
            Mill.open(repo.path), Policy(), tip, kind="clean", claim="bench", stop=StopToken()
        ) as here:

            def command(here: Workspace = here) -> None:
                assert here.shell("true", seconds=60).passed

            command()
            took[value] = (median(cpu, command), median(wall, command))
    repo.git("config", "--unset", "gitmill.sandbox")
    (cpu_off, wall_off), (cpu_on, wall_on) = took["off"], took["auto"]
    row(f"CPU of a command in the sandbox, without it {cpu_off:.1f}", cpu_on, "ms", "-")
    row(f"wall time of a command in the sandbox, without it {wall_off:.1f}", wall_on, "ms", "-")


def a_task(repo: Repo) -> None:
    """One task with a script, a check and a criterion that cost nothing, to landed."""
    for value in ("off", "auto"):
        repo.git("config", "gitmill.sandbox", value)
        _a_task(repo, "in the sandbox" if value == "auto" else "without sandbox")
    repo.git("config", "--unset", "gitmill.sandbox")


def _a_task(repo: Repo, how: str) -> None:
    from gitmill import process
    from gitmill.flows.run import RunRequest
    from gitmill.flows.run import run as run_flow
    from gitmill.mill import Mill
    from gitmill.people.intake import NewTask, new_task

    started: Counter[str] = Counter()
    real = process.run

    def counted(argv: tuple[str, ...], **more: object) -> process.Finished:
        started[argv[0]] += 1
        return real(argv, **more)  # type: ignore[arg-type]

    process.run = counted  # type: ignore[assignment]
    costs, counts = [], []
    for number in range(REPEATS):
        mill = Mill.open(repo.path)
        script = f"echo {number} > '{how} {number}'"
        new_task(mill, NewTask(title="T", script=script, criteria=["$ true"]), ready=True)
        started.clear()
        costs.append(
            cpu(lambda mill=mill: run_flow(mill, RunRequest(), lambda _: None, lambda _: None))
        )
        counts.append(started["git"])
    process.run = real
    row(
        f"CPU of a task to landed {how}, all processes",
        statistics.median(costs),
        "ms",
        "100",
    )
    row(f"git processes of a task to landed {how}", statistics.median(counts), "", "20")


def replays(repo: Repo) -> None:
    """A candidate of three commits replayed, against a worktree made for `git rebase`."""
    from gitmill.git.executable import Git
    from gitmill.git.replay import replay

    repo.git("switch", "-q", "-c", "three")
    for number in range(3):
        repo.commit({f"src/three-{number}.py": f"{number}\n"}, f"three {number}")
    repo.git("switch", "-q", "main")
    base = repo.git("merge-base", "main", "three")
    repo.commit({"elsewhere.txt": "x\n"})
    git, scratch = Git(repo.git_dir), repo.path.parent / "scratch"
    scratch.mkdir()
    onto, tip = repo.git("rev-parse", "main"), repo.git("rev-parse", "three")

    def ours() -> None:
        replay(git, base=base, tip=tip, onto=onto, scratch=scratch)

    tree = repo.path.parent / "rebase"

    def theirs() -> None:
        repo.git("worktree", "add", "-q", "-f", "--detach", str(tree), tip)
        Repo(tree).git("rebase", "-q", "--onto", onto, base)

    def measure(work: Callable[[], object]) -> float:
        took = wall(work)
        repo.git("worktree", "remove", "-f", str(tree), check=False)
        return took

    theirs_ms, ours_ms = median(measure, theirs), median(wall, ours)
    row(f"worktree and rebase / replay ({ours_ms:.0f} ms)", theirs_ms / ours_ms, "x", "10")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="gitmill-bench-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        os.environ |= {"HOME": str(home), "XDG_STATE_HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1",
                       "GITMILL_TRUST": "1"}  # fmt: skip
        (home / ".gitconfig").write_text(
            "[user]\n\tname = B\n\temail = b@example.com\n[init]\n\tdefaultBranch = main\n"
            "[gitmill]\n\tdurability = none\n"
        )
        files = {f"src/pkg/m{n}.py": f"X = {n}\n" * 20 for n in range(2000)}
        repo = Sandbox(Path(folder)).repo(files=dict(files))
        subprocess.run(
            [sys.executable, "-m", "gitmill", "-C", str(repo.path), "init"],
            check=True, capture_output=True,
        )  # fmt: skip
        for part in (starts, transitions, durabilities, sandboxes, a_task, replays):
            part(repo)


if __name__ == "__main__":
    main()
