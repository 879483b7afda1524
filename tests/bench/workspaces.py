"""What making and removing a workspace costs beside git alone.

`python -m tests.bench.workspaces [REPEATS]`: a pooled slot against `git checkout` and `git clean`
in a worktree of its own, a fresh one against `git worktree add`; in one run, by turns, medians of
the ratios.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.support.repos import Repo, Sandbox

REPEATS = int(sys.argv[1]) if len(sys.argv) > 1 else 9


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(repo: Repo, files: int) -> None:
    from gitmill.config import Policy
    from gitmill.git.executable import Git
    from gitmill.mill import Mill
    from gitmill.workspace.open_workspace import open_workspace
    from gitmill.workspace.stop_token import StopToken

    mill = Mill.open(repo.path)
    first = repo.git("rev-parse", "HEAD")
    second = repo.commit({"src/0/m0.py": "X = 1\n", "src/1/new.py": "Y = 1\n"}, "next")
    second = repo.git("rev-parse", "HEAD")
    plain = repo.path.parent / f"plain-{files}"
    repo.git("worktree", "add", "-q", "--detach", str(plain), first)
    entry = repo.git_dir / "worktrees" / plain.name

    def ours(commit: str) -> None:
        with open_workspace(
            mill, Policy(), commit, kind="clean", claim="bench", stop=StopToken()
        ) as here:
            (here.slot.path / "left.txt").write_text("left\n")

    def theirs(commit: str) -> None:
        git = Git(entry, work_tree=plain)
        git.run("checkout", "-q", "-f", "--detach", commit, "--")
        git.run("clean", "-q", "-ffdx")
        (plain / "left.txt").write_text("left\n")

    ours(first)
    time.sleep(1.1)  # git reads files that are as old as the index once more
    ours(second)
    theirs(second)
    ratios, took = [], []
    for _ in range(REPEATS):
        theirs(first)
        there = seconds(lambda: theirs(second))
        ours(first)
        here = seconds(lambda: ours(second))
        ratios.append(here / there)
        took.append((here, there))
    report(f"a pooled slot, {files:,} files", ratios, took)
    ratios, took = [], []
    tree = repo.path.parent / "tree"
    for _ in range(max(3, REPEATS // 3)):

        def add() -> None:
            repo.git(
                "-c", "checkout.workers=2", "worktree", "add", "-q", "--detach", str(tree), first
            )

        there = seconds(add)
        repo.git("worktree", "remove", "-f", str(tree))
        held = mill.pool.acquire_named("clean-1")
        held.discard()
        held.release()
        here = seconds(lambda: ours(first))
        ratios.append(here / there)
        took.append((here, there))
    report(f"a fresh slot, {files:,} files", ratios, took)


def report(what: str, ratios: list[float], took: list[tuple[float, float]]) -> None:
    here, there = (statistics.median(side) * 1000 for side in zip(*took, strict=True))
    print(
        f"{what:<32} {statistics.median(ratios):5.2f} x of git ({here:.0f} / {there:.0f} ms) budget 1.1"
    )


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="gitmill-bench-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        os.environ |= {"HOME": str(home), "XDG_STATE_HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
        (home / ".gitconfig").write_text(
            "[user]\n\tname = B\n\temail = b@example.com\n[init]\n\tdefaultBranch = main\n[gc]\n\tauto = 0\n"
        )
        for files in (2_000, 50_000):
            content = {f"src/{n % 100}/m{n}.py": f"X = {n}\n" * 20 for n in range(files)}
            repo = Sandbox(Path(folder)).repo(str(files), files=dict(content))
            for number in range(5):
                repo.git("tag", f"v{number}")
            with suppress(subprocess.CalledProcessError):
                subprocess.run(
                    [sys.executable, "-m", "gitmill", "-C", str(repo.path), "init"],
                    check=True, capture_output=True,
                )  # fmt: skip
            measure(repo, files)


if __name__ == "__main__":
    main()
