"""The shells of checks and scripts, and what they make of a pipe."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gitmill import shells
from gitmill.errors import HiddenFailureError


def status(argv: tuple[str, ...]) -> int:
    return subprocess.run(argv, check=False, capture_output=True).returncode


@pytest.fixture
def no_bash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shells, "_program", lambda: ("/bin/sh",))
    monkeypatch.setattr(shells, "_sees_pipes", lambda: False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pytest -q | tail -5", True),
        ("pytest -q|tail -5", True),
        ("pytest |& tee log", True),
        ("make test || exit 1", False),
        ("grep 'a|b' file", False),
        ('grep "a|b" file', False),
        ("a && b; c", False),
        ("true\nfalse | true", True),
        ("echo it's | cat", True),
    ],
)
def test_a_pipe_is_told_from_what_looks_like_one(text: str, *, expected: bool):
    assert shells.has_pipe(text) is expected


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("false | true", False),
        ("false; true", False),
        ("true | true", True),
        ("diff <(echo 1) <(echo 1)", True),
        ("false || true", True),
    ],
)
def test_a_check_fails_with_any_of_its_commands(tmp_path: Path, text: str, *, passes: bool):
    assert (status(shells.of_checks().command(tmp_path, "check", text)) == 0) is passes


def test_the_script_of_a_task_is_a_plain_one(tmp_path: Path):
    assert status(shells.of_scripts().command(tmp_path, "script", "false | true")) == 0
    assert status(shells.of_scripts().command(tmp_path, "script", "false; true")) != 0


@pytest.mark.parametrize("shell", [shells.of_checks, shells.of_scripts])
def test_a_script_runs_under_the_program_that_it_names(tmp_path: Path, shell):
    text = "#!/usr/bin/env python3\nimport sys\nsys.exit(7)"
    assert status(shell().command(tmp_path, "own", text)) == 7


def test_nothing_of_the_environment_runs_before_a_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rc = tmp_path / "rc"
    rc.write_text("exit 0\n")
    monkeypatch.setenv("BASH_ENV", str(rc))
    monkeypatch.setenv("BASH_FUNC_false%%", "() { true; }")
    assert status(shells.of_checks().command(tmp_path, "check", "false")) != 0


def test_without_a_shell_that_sees_it_a_pipe_is_refused(tmp_path: Path, no_bash: None):
    with pytest.raises(HiddenFailureError, match="check has a pipe"):
        shells.of_checks().command(tmp_path, "check", "false | true")
    assert status(shells.of_checks().command(tmp_path, "check", "false || true")) == 0
    own = "#!/bin/sh\nfalse | true"
    assert status(shells.of_checks().command(tmp_path, "check", own)) == 0, "it names its program"
    assert status(shells.of_scripts().command(tmp_path, "script", "false | true")) == 0


def test_a_shell_of_the_policy_is_used_as_it_is(tmp_path: Path, no_bash: None):
    for shell in (shells.of_checks("sh -eu"), shells.of_scripts("sh -eu")):
        assert shell.argv == ("sh", "-eu")
        assert status(shell.command(tmp_path, "check", 'echo "$UNSET_HERE"')) != 0
        assert status(shell.command(tmp_path, "check", "false | true")) == 0
