"""What a read command imports: half of its cost, and it grows unseen. Adding to a list is a choice."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox

# What opening a repository and reading its state needs.
STATE = {
    "caches", "errors", "failpoints", "files", "hints", "process", "mill",
    "cli", "cli.command_line", "cli.main", "cli.dispatch", "cli.fast_status", "cli.output", "cli.session",
    "flows", "flows.open_mill", "flows.show",
    "core", "core.document", "core.ids", "core.item", "core.item_reader", "core.lease",
    "core.lifecycle", "core.shown_text", "core.trailers",
    "git", "git.differ", "git.executable", "git.executable_settings", "git.locks", "git.objects",
    "git.find_repository", "git.per_thread", "git.plumbing", "git.repo", "git.trees",
    "store", "store.events", "store.foreign_commits", "store.history", "store.journal",
    "store.layout", "store.snapshot", "store.transaction", "store.write_lock",
}  # fmt: skip
START = {
    "errors", "hints",
    "cli", "cli.command_line", "cli.main", "cli.dispatch", "cli.fast_status", "cli.output",
}  # fmt: skip
ALLOWED = {
    "--version": START | {"process", "files", "failpoints"},
    "status": START | {"process", "files", "failpoints", "cli.show", "core", "core.board",
                       "core.lifecycle", "core.shown_text"},
    "task list": STATE | {"cli.task_list"},
    "task show ID": STATE | {"cli.task", "cli.task_list", "cli.show", "flows.attempts"},
    "log": STATE | {"cli.history", "cli.show"},
    "log ID": STATE | {"cli.history", "cli.show"},
    "attempt list": STATE | {"cli.history", "cli.show", "flows.attempts"},
    "queue": STATE | {"cli.queue", "core.queue", "core.dependencies"},
}  # fmt: skip
# What costs more than all of a read: it belongs to writing, or to what people wrote.
HEAVY = {
    "pydantic", "pygit2", "yaml", "jinja2", "rich", "dulwich", "frontmatter", "kingfisher_sdk",
    "psutil", "tomllib", "importlib.metadata", "hashlib", "random",
}  # fmt: skip
CODE = """\
import os, sys
sys.stdout = sys.stderr = open(os.devnull, "w")
from gitmill.cli.main import run
try:
    run()
except SystemExit as ended:
    assert not ended.code, ended.code
os.write(1, " ".join(sys.modules).encode())
"""


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo()
    assert gitmill(repo.path, "init").code == 0
    new_task(repo.path, "Say hello", "echo hello > hello.txt")
    assert gitmill(repo.path, "status").code == 0  # the board is stored from here on
    return repo


@pytest.mark.parametrize("command", ALLOWED)
def test_a_read_command_imports_what_is_on_its_list(repo: Repo, command: str):
    item = gitmill(repo.path, "task", "list", "--json").json["items"][0]["id"]
    argv = [sys.executable, "-c", CODE, *command.replace("ID", item).split()]
    done = subprocess.run(argv, cwd=repo.path, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    ours = {name.removeprefix("gitmill.") for name in imported if name.startswith("gitmill.")}
    assert ours - ALLOWED[command] == set()
    assert imported & HEAVY == set()
