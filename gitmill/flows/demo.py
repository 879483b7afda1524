"""The demo: a small real project, tasks from ready to landed, a report read back from git."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gitmill import process
from gitmill.attempts.attempt import StageProgress
from gitmill.core.item import Item
from gitmill.core.lifecycle import Status
from gitmill.errors import AccountError, UsageError
from gitmill.flows.init import init
from gitmill.flows.land_queue import land_queue
from gitmill.flows.run import RunRequest, run
from gitmill.flows.try_agent import require_agent
from gitmill.git.repo import Repository
from gitmill.hints import Gitmill, Hint
from gitmill.landing import evidence
from gitmill.landing.land import LandingProgress
from gitmill.mill import Mill
from gitmill.people.intake import NewTask, new_task
from gitmill.plans.policy import POLICY, policy_now
from gitmill.store import history, layout
from gitmill.workspace.trust import trust

ROLES = ("builder", "reviewer", "troubleshooter", "consultant")
FILES = {
    "basket.py": '''\
"""Prices in a basket."""

VERSION = "1.0"


def total(prices):
    return sum(prices)


def dearest(prices):
    return max(prices)
''',
    "test_basket.py": """\
import unittest

import basket


class BasketTest(unittest.TestCase):
    def test_total(self):
        self.assertEqual(basket.total([1, 2]), 3)

    def test_dearest(self):
        self.assertEqual(basket.dearest([1, 2]), 2)


if __name__ == "__main__":
    unittest.main()
""",
    POLICY: '[checks]\ntest = "python3 -m unittest -q"\n',
    ".gitignore": "__pycache__/\n",
}

# The scripts are Python: sed differs between systems, python3 does not.
_EDIT = """\
python3 - <<'END'
from pathlib import Path
{body}
END"""


def _script(body: str) -> str:
    return _EDIT.format(body=body.strip())


RENAME = NewTask(
    title="Rename total to total_price",
    body="The name says what is added up.",
    script=_script("""
for path in (Path("basket.py"), Path("test_basket.py")):
    path.write_text(path.read_text().replace("total(", "total_price("))
"""),
    criteria=["$ ! grep -qw total basket.py"],
)
HEADER = NewTask(
    title="Add a licence header to every module",
    script=_script("""
for path in Path(".").glob("*.py"):
    path.write_text("# SPDX-License-Identifier: Apache-2.0\\n" + path.read_text())
"""),
    criteria=["$ test $(grep -l SPDX *.py | wc -l) -eq 2"],
)
EMPTY = NewTask(
    title="Let an empty basket have no dearest price",
    body="The first attempt forgets the test, review returns it, the second one reads why.",
    script=_script("""
import os
path = Path("basket.py")
path.write_text(path.read_text().replace("max(prices)", "max(prices, default=None)"))
if "test_empty" in Path(os.environ["GITMILL_FINDINGS"]).read_text():
    path = Path("test_basket.py")
    test = "    def test_empty(self):\\n        self.assertIsNone(basket.dearest([]))\\n"
    path.write_text(path.read_text().replace("\\n\\nif __name__", test + "\\n\\nif __name__"))
"""),
    criteria=["$ grep -q 'def test_empty' test_basket.py"],
)
NUMBER = NewTask(
    title="Raise the version to 1.1",
    script=_script("""
path = Path("basket.py")
path.write_text(path.read_text().replace('VERSION = "1.0"', 'VERSION = "1.1"'))
"""),
    criteria=["""$ grep -q 'VERSION = "1.1"' basket.py"""],
)
REMARK = NewTask(
    title="Say where the version is used",
    body="It touches the line of the task before it: the first landing makes the second conflict.",
    script=_script("""
path = Path("basket.py")
lines = path.read_text().splitlines()
lines = [l + "  # shown by --version" if l.startswith("VERSION") else l for l in lines]
path.write_text("\\n".join(lines) + "\\n")
"""),
    criteria=["$ grep -q '^VERSION.*shown by' basket.py"],
)

# Tasks for a coding agent: no script, only what a person would write.
AGENT_TASKS = (
    NewTask(
        title="Rename total to total_price",
        body="The name says what is added up. Rename it where it is used as well.",
        criteria=["nothing is called `total` any more", "the tests pass"],
    ),
    NewTask(
        title="Let an empty basket have no dearest price",
        body="`dearest([])` raises an error today; it returns None then.",
        criteria=["a test holds that `dearest([])` is None"],
    ),
)


class Screen(Protocol):
    """The display of progress."""

    def stage(self, progress: StageProgress) -> None:
        """Show a stage."""
        ...

    def landing(self, progress: LandingProgress) -> None:
        """Show a landing."""
        ...


@dataclass
class DemoReport:
    """The report, read back from refs and notes; without `problems` all tasks landed as tested."""

    folder: Path
    tasks: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every task landed as reviewed and tested."""
        return not self.problems

    @property
    def lines(self) -> Sequence[str]:
        """The report for people."""
        rows = [
            f"{task['id']}  {task['landed'][:10]}  {task['attempts']} attempts"
            f"{'  ' + task['story'] if task['story'] else ''}  {task['title']}"
            for task in self.tasks
        ]
        if self.problems:
            return [*rows, *(f"not verified: {problem}" for problem in self.problems)]
        return [*rows, f"{len(rows)} tasks landed; target, notes and history agree"]

    def as_json(self) -> dict[str, Any]:
        """Return the report for `--json`."""
        return {
            "folder": str(self.folder), "tasks": self.tasks, "problems": self.problems,
            "holds": self.holds,
        }  # fmt: skip


def demo(
    folder: Path | None, report: Callable[[str], None], screen: Screen, *, agent: str = ""
) -> DemoReport:
    """Run the demo in an empty or new folder, a temporary one when None is given.

    An `agent` builds and reviews two of the tasks; that calls its service.
    Raises `UsageError` when the folder is not empty, `AccountError` when a task did not land.
    """
    if agent:
        require_agent(agent)
    root = _folder(folder)
    project = root / "project"
    report(f"a project of three files in {project}")
    mill = _project(root, project, _mode(agent) if agent else "")
    init(mill)
    trust(mill, policy_now(mill).commands.values())
    if agent:
        report(f"two tasks that {agent} builds and, in separate sessions, reviews")
        items = _add(mill, AGENT_TASKS)
        run(mill, RunRequest(), screen.stage, screen.landing)
    else:
        items = _run_scripts(mill, report, screen)
    return _verified(project, [item.id for item in items])


def _run_scripts(mill: Mill, report: Callable[[str], None], screen: Screen) -> list[Item]:
    """Run the tasks that have scripts; return them."""
    report("three tasks, one after the other; the third is returned once")
    items = _add(mill, (RENAME, HEADER, EMPTY))
    run(mill, RunRequest(), screen.stage, screen.landing)
    report("two tasks that change the same line, both approved before either lands")
    items += _add(mill, (NUMBER, REMARK))
    run(mill, RunRequest(through="approved"), screen.stage, screen.landing)
    land_queue(mill, screen.landing)
    report("the second one conflicts with the new tip; it is built again on it")
    run(mill, RunRequest(), screen.stage, screen.landing)
    return items


def _add(mill: Mill, tasks: Sequence[NewTask]) -> list[Item]:
    return [new_task(mill, task, ready=True) for task in tasks]


def _folder(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="gitmill-demo-"))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is not an empty folder",
            hints=[Hint("name a new one:", Gitmill("demo", "--dir", "demo"))],
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _mode(agent: str) -> str:
    """Return the part of the policy that gives one agent every role."""
    roles = ", ".join(f'{role} = "{agent}"' for role in ROLES)
    return f'\n[modes.demo]\nroles = {{{roles}}}\ngates = {{approve = "never"}}\n'


def _project(root: Path, project: Path, mode: str) -> Mill:
    process.run(("git", "init", "-q", "-b", "main", str(project)))
    policy = FILES[POLICY] if not mode else f'mode = "demo"\n\n{FILES[POLICY]}{mode}'
    for name, text in {**FILES, POLICY: policy}.items():
        path = project / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    for key, value in (
        ("user.name", "gitmill demo"),
        ("user.email", "demo@gitmill.invalid"),
        ("gitmill.worktreeRoot", str(root / "worktrees")),
    ):
        process.run(("git", "-C", str(project), "config", key, value))
    process.run(("git", "-C", str(project), "add", "-A"))
    process.run(("git", "-C", str(project), "commit", "-q", "-m", "A basket"))
    return Mill.open(project)


def _verified(project: Path, ids: Sequence[str]) -> DemoReport:
    """Return the report, read back from git by a newly opened mill."""
    mill = Mill(Repository.open(project))
    snapshot, report = mill.snapshot(), DemoReport(project)
    for item_id in ids:
        item = snapshot.item(item_id)
        if item.status is not Status.LANDED:
            raise AccountError(
                f"{item.id} is {item.status.value}, not landed",
                evidence=[item.reason],
                hints=[Hint("see", Gitmill("-C", str(project), "task", "show", item.id))],
            )
        report.problems += evidence.verify_landed(mill, item)
        report.tasks.append(_task_report(mill, item))
    git = mill.repository.git
    commits = git.out("rev-list", "--count", "--no-merges", mill.target_ref(snapshot))
    if int(commits) != len(ids) + 1:
        report.problems.append(f"main has {commits} commits, not {len(ids) + 1}")
    if git.run("fsck", "--no-dangling", check=False).returncode != 0:
        report.problems.append("git fsck reports a damaged repository")
    return report


def _task_report(mill: Mill, item: Item) -> dict[str, Any]:
    """Return the report on one task, from its commits on the state branch."""
    tip = mill.store.backend.ref(layout.STATE) or ""
    events = [e.record.event for e in history.entries(mill.store.backend, tip, item.id) if e.record]
    setbacks = ", ".join(event for event in ("returned", "ejected") if event in events)
    return {
        "id": item.id, "title": item.title, "landed": item.landed, "attempts": item.attempt,
        "story": setbacks, "events": events[::-1],
    }  # fmt: skip
