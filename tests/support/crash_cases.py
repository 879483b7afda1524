"""A repository with two tasks, runs of gitmill in it that die, and what must hold afterwards."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from gitmill.core.document import Document
from gitmill.core.lifecycle import Event, Status, is_transition
from gitmill.core.trailers import EventRecord, parse_message
from gitmill.failpoints import VARIABLE
from gitmill.git.executable import Git
from gitmill.git.patch import patch_identity
from gitmill.history.fsck import fsck
from gitmill.mill import Mill
from tests.support.cli import Said
from tests.support.repos import Repo, Sandbox
from tests.support.server import Server as BaseServer

DIRTY = "mine, not committed\n"
# What an item goes through when nobody dies. A death may put one of these pairs in between.
STORY = (
    "created", "readied", "claimed build", "advanced", "claimed review", "approved",
    "queued", "land-started", "landed",
)  # fmt: skip
RETRIED = {"lapsed": "claimed", "released": "claimed", "land-aborted": "land-started"}


class Server(BaseServer):
    """The same, and what crash tests ask of it most."""

    def gitmill(self, folder: Path, *args: str) -> Said:
        """Run gitmill as `tests.support.cli` does."""
        return Said(*self.said(folder, args, dict(os.environ)))

    def new_task(self, folder: Path, title: str, script: str, *more: str) -> str:
        """Make a ready task, with a criterion that always holds unless others are given."""
        if "--criterion" not in more:
            more = (*more, "--criterion", "$ true")
        said = self.gitmill(folder, "task", "new", title, "--script", script, "--ready", *more)
        assert said.code == 0, said.err
        return said.out.strip()


@dataclass
class Case:
    """One copy of the template: the repository, its environment, its two tasks."""

    folder: Path
    server: Server
    template: Template
    said: list[str] = field(default_factory=list)

    @property
    def repo(self) -> Repo:
        return Repo(self.folder / "repo")

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.template.tasks

    @property
    def branch(self) -> str:
        """The branch that the user has checked out."""
        return self.template.branch

    @property
    def env(self) -> dict[str, str]:
        home = self.folder / "home"
        return dict(os.environ) | {
            "HOME": str(home),
            "CASE_HOME": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "GIT_CONFIG_GLOBAL": os.environ["GIT_CONFIG_GLOBAL"],
        }

    def run(
        self,
        *argv: str,
        failpoint: str = "",
        **how: str | float,
    ) -> int:
        """Run gitmill; what it printed is the last of `said`. `how` is what the server knows."""
        path = self.folder / f"said-{len(self.said)}"
        path.touch()
        env = self.env | ({VARIABLE: failpoint} if failpoint else {})
        wanted = {"cwd": str(self.repo.path), "argv": argv, "env": env,
                  "out": str(path), "err": str(path)}  # fmt: skip
        code = self.server.run(wanted | how)
        said = path.read_text("utf-8", "replace")
        self.said.append(re.sub(r" -c \S+(?= )", "", said))
        return code

    def arm(self, name: str) -> None:
        """Let the build of the first task or the check of the second one kill gitmill, once."""
        (self.folder / "home" / name).touch()


@dataclass(frozen=True)
class Template:
    """A folder with a repository `repo` to be copied, and the tasks in it."""

    folder: Path
    branch: str
    tasks: tuple[str, ...]


def mortal(name: str) -> str:
    """Return a line of script that kills the gitmill which runs it, if `arm` has said so.

    From inside of the sandbox nobody could. Outside of a case nothing is armed.
    """
    kill = 'kill -9 "$(cut -d" " -f4 "/proc/$PPID/stat")"'
    armed = f'"${{CASE_HOME:-/nowhere}}/{name}"'
    return f"test ! -e {armed} || {{ rm {armed}; {kill}; sleep 60; }}"


@cache
def template(server: Server, *, checked_out: bool, approved: bool = False) -> Template:
    """Return a repository with two tasks, ready or approved, and a file that the user has changed.

    It is made once in each process that tests.
    """
    folder = Path(tempfile.mkdtemp(prefix="gitmill-crash-"))
    atexit.register(shutil.rmtree, folder)
    repo = Sandbox(folder).repo(files={"a.txt": "one\n", "mine.txt": "committed\n"})
    shutil.rmtree(repo.git_dir / "hooks")
    repo.git("config", "gitmill.sandbox", "off")
    assert server.gitmill(repo.path, "init").code == 0
    shutil.rmtree(repo.path / ".gitmill")
    build = f"echo half > half.txt\n{mortal('build')}\nrm half.txt\necho two >> a.txt"
    check = f"$ test -e b.txt && {{ {mortal('check')}; }}"
    tasks = (
        server.new_task(repo.path, "First", build, "--criterion", "$ grep -q two a.txt"),
        server.new_task(repo.path, "Second", "echo new > b.txt", "--criterion", check),
    )
    if approved:
        said = server.gitmill(repo.path, "run", "--through", "approved")
        assert said.code == 0, said
        shutil.rmtree(repo.git_dir / "worktrees")
    if not checked_out:
        repo.git("switch", "-q", "-c", "elsewhere")
    (repo.path / "mine.txt").write_text(DIRTY)
    return Template(folder, repo.git("branch", "--show-current"), tasks)


@contextmanager
def copied(template: Template, folder: Path, server: Server) -> Iterator[Case]:
    """Lend a copy of a template; it stays when what is done with it fails."""
    shutil.copytree(template.folder, folder)
    (folder / "home").mkdir()
    yield Case(folder, server, template)
    shutil.rmtree(folder)


def age_locks(case: Case) -> None:
    """Let the locks that a death has left be older than any that somebody still needs."""
    for path in case.repo.git_dir.rglob("*.lock"):
        with suppress(FileNotFoundError):  # a git that outlived its parent has just let go of it
            os.utime(path, (0, 0))


# -- what must hold --------------------------------------------------------------------------------


def check_everything(case: Case, *, deaths: int = 1) -> None:
    """Assert that both tasks have landed once, as reviewed, and that nothing else is left."""
    check_history(case)
    check_landed(case, deaths=deaths)
    check_checkout(case)
    check_leftovers(case)
    check_verified(case.repo)


def check_verified(repo: Repo) -> None:
    """The history that the dead and the living have made together is a true one."""
    verified = fsck(Mill.open(repo.path))
    assert verified.report.faults == verified.report.unknown == []
    assert verified.report.landings


@dataclass(frozen=True)
class Told:
    """One event of the state branch, and the item's document as that commit has it."""

    record: EventRecord
    document: Document | None


def events(repo: Repo) -> list[Told]:
    """Return the events from the root on."""
    format_ = "--format=%H%x00%B%x01"
    out = repo.git("log", "--first-parent", "--reverse", format_, "gitmill/state")
    commits = [part.strip("\n").split("\0") for part in out.split("\x01") if part.strip("\n")]
    records = [(oid, parse_message(message.rstrip("\n") + "\n")[1]) for oid, message in commits[1:]]
    assert all(record is not None for _, record in records)
    named = [(oid, record) for oid, record in records if record is not None]
    paths = [f"{oid}:tasks/{r.item[2:4]}/{r.item}.md" for oid, r in named if r.item]
    batch = repo.git("cat-file", "--batch", stdin="".join(f"{p}\n" for p in paths).encode())
    documents = iter(_blobs(batch.encode("utf-8", "surrogateescape") + b"\n"))
    return [Told(r, Document.from_bytes(next(documents), "") if r.item else None) for _, r in named]


def _blobs(out: bytes) -> Iterator[bytes]:
    while out:
        head, _, out = out.partition(b"\n")
        size = int(head.split()[2])
        yield out[:size]
        out = out[size + 1 :]


def check_history(case: Case, *, also: Collection[str] = ()) -> None:
    """Each event is legal, names the one before it, and agrees with the document.

    There are no items but the tasks of the case and these `also`.
    """
    last: dict[str, EventRecord] = {}
    told = events(case.repo)
    ids = [event.record.id for event in told]
    assert len(ids) == len(set(ids))
    for event in told:
        record, document = event.record, event.document
        if document is None:
            continue
        before = last.get(record.item)
        assert record.after == (before.id if before else "")
        assert record.status_before == (before.to if before else "")
        at = Status(record.status_before) if record.status_before else None
        assert is_transition(at, Event(record.event), Status(record.to))
        assert record.to == document.text_value("status")
        assert document.text_value("event") == record.id
        last[record.item] = record
    assert set(last) == {*case.tasks, *also}


def story(case: Case, task: str) -> list[str]:
    """Return the events of a task, claims with their stage."""
    return [
        f"{told.record.event} {told.record.stage}"
        if told.record.event == "claimed"
        else told.record.event
        for told in events(case.repo)
        if told.record.item == task
    ]


def without_deaths(story: list[str]) -> tuple[list[str], int]:
    """Leave out what a death has undone and what it undid; also say how often that was."""
    kept: list[str] = []
    deaths = 0
    for event in story:
        if event in RETRIED:
            assert kept.pop().startswith(RETRIED[event])
            deaths += 1
        else:
            kept.append(event)
    return kept, deaths


def check_landed(case: Case, *, deaths: int) -> None:
    """Each task is one commit on a linear target, as reviewed; no stage was done twice."""
    repo = case.repo
    commits = repo.git("log", "--format=%H %P", "main").splitlines()[::-1]
    parents = [line.split()[1:] for line in commits]
    ids = [line.split()[0] for line in commits]
    assert parents == [[], *([oid] for oid in ids[:-1])]
    named = repo.git("log", "--format=%(trailers:key=Gitmill-Item,valueonly)", "main").split()
    assert sorted(named) == sorted(case.tasks)
    assert len(ids) == 1 + len(case.tasks)
    seen = 0
    for task in case.tasks:
        item = document(case, task)
        assert item.text_value("status") == "landed"
        check_evidence(repo, task, item)
        assert item.value("lease") is None
        assert item.value("counters") == {"build": 1, "review": 1}
        assert item.value("attempt") == 2
        kept, died = without_deaths(story(case, task))
        assert kept == list(STORY)
        seen += died
    assert seen <= deaths


def document(case: Case, task: str) -> Document:
    """Return a task as the state has it now."""
    return Document(case.repo.git("show", f"gitmill/state:tasks/{task[2:4]}/{task}.md") + "\n")


def statuses(case: Case) -> list[str]:
    """Return how the tasks stand."""
    return [str(document(case, task).text_value("status")) for task in case.tasks]


def check_evidence(repo: Repo, task: str, item: Document) -> None:
    """What landed is what was reviewed, and a note says so."""
    landed, work, base = (item.text_value(key) for key in ("landed", "work", "base"))
    assert f"Gitmill-Item: {task}" in repo.git("log", "-1", "--format=%B", landed).splitlines()
    git = Git(repo.git_dir)
    patch = patch_identity(git, f"{landed}^", landed)
    reviews = item.value("reviewed")
    assert [review["commit"] for review in reviews] == [work]
    assert [review["patch"] for review in reviews] == [patch]
    assert patch_identity(git, base, work) == patch
    changed = repo.git("diff", "-U0", f"{landed}^", landed).splitlines()
    assert changed[-1] == {"First": "+two", "Second": "+new"}[item.text_value("title")]
    note = Document(repo.git("notes", "--ref=gitmill", "show", landed) + "\n")
    assert (note.text_value("item"), note.text_value("patch")) == (task, patch)
    assert repo.git("rev-parse", f"refs/gitmill/work/{task}") == work


def check_checkout(case: Case) -> None:
    """The user's work tree, index and HEAD are theirs."""
    repo = case.repo
    assert (repo.path / "mine.txt").read_text() == DIRTY
    assert repo.git("status", "--porcelain") == " M mine.txt"
    assert repo.git("symbolic-ref", "HEAD") == f"refs/heads/{case.branch}"
    repo.git("diff-index", "--cached", "--exit-code", "HEAD")
    assert repo.git("rev-parse", "HEAD") == repo.git("rev-parse", case.branch)


def check_leftovers(case: Case) -> None:
    """Nothing is broken, locked, running, half made or forgotten."""
    repo = case.repo
    assert repo.git("fsck", "--full", "--strict", "--no-dangling") == ""
    assert repo.git("for-each-ref", "refs/gitmill/candidate") == ""
    assert [str(path) for path in repo.git_dir.rglob("*") if path.suffix in (".lock", ".new")
            if path.parent != repo.git_dir / "gitmill"] == []  # fmt: skip
    assert [path.name for path in (repo.git_dir / "gitmill").glob("bug-*")] == []
    for entry in (repo.git_dir / "worktrees").glob("*"):
        files = {path.name for path in entry.iterdir()}
        assert "gitdir" in files, entry
        assert "locked" not in files, entry
        assert Path((entry / "gitdir").read_text().strip()).exists(), entry
    assert eventually(lambda: running(case) == []), running(case)


def running(case: Case) -> list[tuple[int, str]]:
    """Return the processes that live with the environment of this case, and what they run."""
    wanted = os.fsencode(case.folder) + b"/"
    found: list[tuple[int, str]] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if wanted in (entry / "environ").read_bytes():
                argv = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append((int(entry.name), argv))
        except OSError:
            continue
    return found


def eventually(holds: Callable[[], bool], *, seconds: float = 10.0) -> bool:
    """Wait until something holds; whether it did in time."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True
