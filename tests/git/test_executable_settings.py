"""The one list of settings that git executes: what git really runs is in it."""

from __future__ import annotations

import pytest

from gitmill.git.executable_settings import SWITCHED_OFF, is_executable, runs_program
from tests.support.repos import Sandbox

# A setting that names a program, and a command of git that runs it.
RUN = {
    "alias.x": ("!{}", ["x"]),
    "core.fsmonitor": ("{}", ["status"]),
    "core.editor": ("{}", ["commit", "--amend"]),
    "sequence.editor": ("{}", ["rebase", "-i", "--autostash", "HEAD"]),
    "diff.external": ("{}", ["diff"]),
    "diff.own.command": ("{}", ["diff"]),
    "diff.own.textconv": ("{}", ["diff"]),
    "filter.own.clean": ("{}", ["add", "-A"]),
    "filter.own.process": ("{}", ["add", "-A"]),
    "trailer.own.command": ("{}", ["interpret-trailers", "--trailer", "own=x"]),
    "gpg.program": ("{}", ["commit", "--allow-empty", "-S", "-m", "x"]),
    "tar.own.command": ("{}", ["archive", "--format=own", "HEAD"]),
    "remote.own.uploadpack": ("{}", ["ls-remote", "own"]),
    "credential.helper": ("!{}", ["credential", "fill"]),
}


@pytest.mark.parametrize("key", RUN)
def test_what_git_runs_is_in_the_list(sandbox: Sandbox, key: str):
    repo = sandbox.repo(files={".gitattributes": "*.txt diff=own filter=own\n", "a.txt": "1\n"})
    program = repo.path.parent / "program"
    program.write_text(f"#!/bin/sh\ntouch {program}.ran\nexit 1\n")
    program.chmod(0o755)
    value, command = RUN[key]
    repo.git("config", "remote.own.url", str(repo.path))
    repo.git("config", key, value.format(program))
    (repo.path / "a.txt").write_text("2\n")
    text = b"protocol=https\nhost=example.invalid\n\n"
    repo.git(*command, stdin=text, check=False)
    assert program.with_name("program.ran").exists(), "git does not run it: the test is wrong"
    assert runs_program(key)
    assert is_executable(key)


@pytest.mark.parametrize(
    "key",
    [
        "user.name",
        "core.autocrlf",
        "branch.main.remote",
        "remote.origin.url",
        "lfs.url",
        "gc.auto",
    ],
)
def test_other_settings_run_nothing(key: str):
    assert not runs_program(key)


def test_what_leads_git_elsewhere_may_not_be_planted_either():
    for key in ("core.worktree", "url.x.insteadof", "remote.origin.proxy", "gitmill.sandbox"):
        assert is_executable(key)
        assert not runs_program(key)


def test_what_gitmill_switches_off_is_in_the_list():
    assert all(runs_program(key.lower()) for key in SWITCHED_OFF)
