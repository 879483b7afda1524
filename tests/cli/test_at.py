"""`--at COMMIT`: what only reads says how it was then, and nothing else takes it."""

from __future__ import annotations

import json
import re
import shutil
from hashlib import sha1
from itertools import count
from pathlib import Path

import pytest

from gitmill.cli.dispatch import NOUNS, READS, VERBS
from tests.support.cli import Said, plain
from tests.support.crash_cases import Server
from tests.support.repos import Repo, Sandbox
from tests.support.templates import copied


@pytest.fixture(scope="module")
def server() -> Server:
    return Server.shared()


class Told:
    """A repository whose task has landed, and what its state was on the way."""

    def __init__(self, repo: Repo, server: Server) -> None:
        self.repo = repo
        self._server = server

    def __call__(self, *args: str) -> Said:
        return self._server.gitmill(self.repo.path, *args)

    def state(self, subject: str) -> str:
        """Return the state commit whose subject says this."""
        for line in self.repo.git("log", "--format=%H %s", "gitmill/state").splitlines():
            commit, _, said = line.partition(" ")
            if said.endswith(subject):
                return commit
        raise AssertionError(subject)


@pytest.fixture
def told(sandbox: Sandbox, server: Server) -> Told:
    def make(folder: Path) -> None:
        repo = Sandbox(folder.parent).repo(folder.name, files={"a.txt": "a\n"})
        told = Told(repo, server)
        assert told("init").code == 0
        repo.commit({".gitmill/config.toml": "[checks]\ntest = 'true'\n"})
        server.new_task(repo.path, "First", "echo one >> a.txt")
        assert told("run").code == 0
        repo.commit({".gitmill/config.toml": "[checks]\ntest = 'echo later'\n"})
        server.new_task(repo.path, "Second", "true")
        shutil.rmtree(repo.git_dir / "worktrees")  # they know where they were made

    copied("a landed task and one to come", make, sandbox.root / "repo")
    return Told(Repo(sandbox.root / "repo"), server)


def test_status_of_another_time(told: Told):
    commit = told.state("queued")
    assert told("--at", commit, "status").plain() == (
        0,
        "as of WHEN UTC, HASH T1: queued\n"
        "ready 0   running 0   waiting 0   queued 1   landed today 0\n\n"
        "  queued    T1              First TIME\n".replace("First TIME", "First" + " " * 37
                                                           + "next TIME"),
        "",
    )  # fmt: skip


def test_every_read_takes_it_and_says_so(told: Told):
    commit = told.state("checks passed (shell)")
    task = told.repo.git("log", "-1", "--format=%(trailers:key=Gitmill-Item,valueonly)", commit)
    task = task.strip()
    asked = {
        "status": lambda a: [a["counts"]["ready"], a["counts"]["landed"]] == [1, 0],
        "log": lambda a: len(a["events"]) == 6 and a["events"][0]["commit"] == commit,
        "task": lambda a: [i["title"] for i in a["items"]] == ["First"],
        "task list --all": lambda a: [i["stage"] for i in a["items"]] == ["review"],
        f"task show {task}": lambda a: [r["stage"] for r in a["attempts"]] == ["build"],
        f"task diff {task}": lambda a: "+one" in a["diff"],
        "queue": lambda a: a["queued"] == [],
        "loop": lambda a: [one["name"] for one in a["loops"]] == ["deliver"],
        "loop show": lambda a: a["stages"][0]["name"] == "build",
        "config": lambda a: a["policy"]["checks"]["test"]["command"] == "true",
    }
    for line, holds in asked.items():
        said = told(*line.split(), f"--at={commit[:12]}", "--json")
        assert said.code == 0, said.err
        assert said.json["schema"] == 1
        assert said.json["at"]["commit"] == commit
        assert holds(said.json), line
        shown = told("--at", commit, *line.split())
        assert plain(shown.out).startswith("as of WHEN UTC, HASH T1: checks passed (shell)\n")
        assert "next:" not in shown.err
    present = told("config", "--json").json
    assert "at" not in present
    assert present["policy"]["checks"]["test"]["command"] == "echo later"


def without_ages(screen: str) -> str:
    """Return a status screen without how long each item has been there."""
    return re.sub(r" +\d+[smh]$", "", screen, flags=re.MULTILINE)


def test_the_kept_board_is_of_the_present_and_stays(told: Told):
    """A state that is asked about is neither answered by the kept board nor kept."""
    now = without_ages(told("status").out)
    kept = told.repo.git_dir / "gitmill/board.json"
    board = json.loads(kept.read_text())
    then = told("status", "--at", "gitmill/state~3").out
    assert then.startswith("as of ")
    assert "Second" not in then
    assert json.loads(kept.read_text()) == board
    assert without_ages(told("status").out) == now
    tip = told.repo.git("rev-parse", "gitmill/state")
    assert told("status", "--at", tip).out.partition("\n")[2].startswith("ready 1 ")


@pytest.mark.parametrize(
    "revision", ["gitmill/state~2", "gitmill/state^", "refs/heads/gitmill/state"]
)
def test_revisions_of_git_name_a_time(told: Told, revision: str):
    said = told("status", "--at", revision, "--json").json
    assert said["at"]["commit"] == told.repo.git("rev-parse", revision)


def test_a_prefix_that_only_one_state_commit_has_is_enough(told: Told):
    """Git itself finds a prefix ambiguous that a commit elsewhere begins with too."""
    commit = told.state("queued")
    head = f"tree {told.repo.tree()}\nauthor A <a@b> 0 +0000\ncommitter A <a@b> 0 +0000\n\n"
    bodies = (f"{head}{number}\n".encode() for number in count())
    body = next(b for b in bodies if object_id("commit", b)[:4] == commit[:4])
    other = told.repo.git("hash-object", "-w", "-t", "commit", "--stdin", stdin=body)
    assert other[:4] == commit[:4] != other
    assert told("status", "--at", commit[:4], "--json").json["at"]["commit"] == commit


def object_id(kind: str, body: bytes) -> str:
    return sha1(f"{kind} {len(body)}\0".encode() + body, usedforsecurity=False).hexdigest()


def test_what_is_no_state_commit_is_refused_with_where_to_look(told: Told):
    root = told.repo.git("rev-list", "--max-parents=0", "gitmill/state")
    hint = "hint: see its commits with `gitmill log`\n"
    for typed, why in {
        "main": "main is HASH, which is not a commit of the state branch",
        "zzzz": "there is no commit zzzz",
        "--help": "there is no commit --help",
        root: "HASH is the empty root commit, before any state",
    }.items():
        assert told("status", "--at", typed).plain() == (
            1, "", f"error[not-a-state-commit]: {why}\n{hint}",
        )  # fmt: skip
    assert told("status", "--at").plain()[0] == 2
    assert told("status", "--at=").plain()[0] == 2


def test_before_any_work_there_was_no_plan(told: Told):
    commit = told.state("ready")
    first = told.repo.git("rev-list", "--reverse", "gitmill/state").splitlines()[3]
    assert told("loop", "--at", commit).code == 0  # the second task's
    assert told("loop", "--at", first).plain() == (
        5, "",
        "error[nothing-to-do]: no loop had run by then, so no plan is recorded\n"
        "hint: see `gitmill log`\n",
    )  # fmt: skip


def verbs_of(noun: str) -> list[str]:
    from importlib import import_module

    app = getattr(import_module(f"gitmill.cli.{NOUNS[noun]}"), noun)
    return [c.name or c.callback.__name__ for c in app.registered_commands]


def test_everything_else_is_about_the_present(told: Told):
    """Every command there is: it reads, or it refuses and changes nothing."""
    lines = [[verb] for verb in VERBS if verb not in READS]
    for noun in NOUNS:
        known = READS.get(noun, ())
        lines += [[noun, verb, "t-00000"] for verb in verbs_of(noun) if verb not in known]
    assert ["undo"] in lines
    assert ["task", "approve", "t-00000"] in lines
    refs = told.repo.git("for-each-ref")
    for line in lines:
        said = told(*line, "--at", "gitmill/state~2")
        assert said.code == 2, line
        assert said.err == (
            f"error[usage]: gitmill {' '.join(line[:2])} works on the present, so it takes no --at\n"
            f"hint: without it: `gitmill {' '.join(line)}`\n"
        )
    assert told.repo.git("for-each-ref") == refs


def test_work_that_is_gone_is_said_to_be_gone(told: Told):
    task = told("task").out.split()[0]
    told("task", "edit", task, "--script", "echo two >> a.txt")
    assert told("run", task, "--through", "approved").code == 0
    work = told.repo.git("rev-parse", f"refs/gitmill/work/{task}")
    Path(told.repo.git_dir, "objects", work[:2], work[2:]).unlink()
    said = told("task", "diff", task, "--at", "gitmill/state")
    assert (said.code, said.out) == (1, "")
    assert f"the work of {task} is no longer in this repository" in said.err
