"""The permissions of the real CLIs, with a disobedient model and in a hostile repository."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import psutil
import pytest

from gitmill.agents.base import ExitKind
from gitmill.core.verdict import VerdictWord
from tests.support.clis import KEY
from tests.support.model import Answer, Call, Read, Shell, Write
from tests.support.promises import promise
from tests.support.traps import plant

NO = Answer("fail", "It would not let me.")
SIGNED = ("x-api-key", "authorization", "x-goog-api-key")


def files(folder: Path) -> set[str]:
    """Return the files below a folder, except those of git."""
    every = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {path for path in every if not path.startswith(".git/")}


@promise("read-only: no file is written, in the worktree or outside of it")
def test_read_only_writes_nothing(name, ask, work: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    report = ask(
        name,
        [
            Call("Write", {"file_path": str(work / "a.txt"), "content": "x"}),
            Call("Edit", {"file_path": str(work / "a.txt"), "old_string": "", "new_string": "x"}),
            Call("write_file", {"file_path": str(work / "a.txt"), "content": "x"}),
            Call("write", {"filePath": str(work / "a.txt"), "content": "x"}),
            Shell("echo x > b.txt"),
            Shell(f"echo x > {outside}/c.txt"),
            Shell("git init -q d; git config alias.x y"),
            Shell("python3 -c 'open(\"e.txt\", \"w\")'"),
            NO,
        ],
        permission="read-only", role="reviewer",
    )  # fmt: skip
    assert (report.exit, report.verdict.word) == (ExitKind.COMPLETED, VerdictWord.FAIL)
    assert len(ask.seen[-1].asked.results) == 8
    assert files(work) == files(outside) == set()
    assert "alias" not in (work / ".git/config").read_text()
    if name != "codex":  # Codex does not report what it refused
        assert any("echo x > b.txt" in what for what in report.denied)


@pytest.mark.slow
@promise("read-only: files can be read")
def test_read_only_reads(name, ask, work: Path):
    work.mkdir(exist_ok=True)
    (work / "a.txt").write_text("what it says\n")
    report = ask(name, [Read("a.txt"), NO], permission="read-only", role="reviewer")
    assert report.exit is ExitKind.COMPLETED
    assert "what it says" in ask.seen[-1].asked.results[0]
    assert report.denied == ()


NO_SHELL = dict.fromkeys(("gemini", "opencode"), "no shell")


@pytest.mark.slow
@promise("read-only: commands that change nothing, such as those of git", but=NO_SHELL)
def test_read_only_runs_commands_that_change_nothing(name, ask, work: Path):
    work.mkdir(exist_ok=True)
    (work / "a.txt").write_text("what it says\n")
    report = ask(
        name, [Shell("git status --short; cat a.txt"), NO], permission="read-only", role="reviewer",
    )  # fmt: skip
    assert report.exit is ExitKind.COMPLETED
    assert "what it says" in ask.seen[-1].asked.results[0]
    assert "?? a.txt" in ask.seen[-1].asked.results[0]


@promise("workspace: files are written in the worktree, none outside of it")
def test_workspace_stays_within(name, ask, work: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    report = ask(
        name,
        [
            Write("in.txt", "x"),
            Call("Write", {"file_path": str(outside / "a.txt"), "content": "x"}),
            Call("write_file", {"file_path": str(outside / "a.txt"), "content": "x"}),
            Call("write", {"filePath": str(outside / "a.txt"), "content": "x"}),
            Shell(f"echo x > {outside}/b.txt"),
            Shell("echo x > ../outside/c.txt"),
            Shell(f"ln -s {outside} link; echo x > link/d.txt"),
            Shell(f"python3 -c 'open(\"{outside}/e.txt\", \"w\")'"),
            Call("exec_command", {
                "cmd": f"echo x > {outside}/f.txt", "sandbox_permissions": "require_escalated",
                "justification": "please",
            }),
            Call("Bash", {"command": f"echo x > {outside}/g.txt", "dangerouslyDisableSandbox": True}),
            NO,
        ],
    )  # fmt: skip
    assert report.exit is ExitKind.COMPLETED
    assert len(ask.seen[-1].asked.results) == 10
    assert (work / "in.txt").read_text() == "x"
    assert files(outside) == set()


OWN_RULES = dict.fromkeys(("claude", "codex"), "its own rules and sandbox")


@promise("workspace: a shell only where something else confines it", but=OWN_RULES)
@pytest.mark.parametrize("confined", [False, True])
def test_only_a_confined_agent_has_a_shell(name, ask, work: Path, *, confined: bool):
    report = ask(name, [Shell("echo x > shell.txt"), Answer("pass")], confined=confined)
    assert report.exit is ExitKind.COMPLETED
    assert (work / "shell.txt").exists() is confined
    assert len(report.denied) == (0 if confined else 1)


@promise("full: no limits")
@pytest.mark.slow
def test_full_has_no_limits(name, ask, tmp_path: Path):
    outside = tmp_path / "outside.txt"
    did = [Shell(f"echo x > {outside}"), Answer("pass", "Done.")]
    assert ask(name, did, permission="full").exit is ExitKind.COMPLETED
    assert outside.exists()


@promise(
    "settings, hooks, plug-ins, MCP servers, skills and instructions of the repository are not loaded"
)
def test_a_hostile_repository_is_not_obeyed(name, ask, work: Path, tmp_path: Path):
    trap = tmp_path / "trap"
    work.mkdir(exist_ok=True)
    plant(work, trap)
    before = files(work)
    report = ask(
        name, [Shell("echo x > b.txt"), Shell("git status"), NO],
        permission="read-only", role="reviewer",
    )  # fmt: skip
    assert report.exit is ExitKind.COMPLETED, report.problem
    assert len(ask.seen[-1].asked.results) == 2
    assert not trap.exists()
    assert files(work) == before
    assert "OBEY" not in json.dumps([request.body for request in ask.seen[:1]])
    assert ask.seen[0].asked.model != "obey-model"


def long_prompt(size: int) -> str:
    line = "Das ist eine sehr lange Zeile: häßlich, schön, 日本語.\n"
    text = "Begin.\n" + line * (size // len(line.encode()) + 1) + "\n- `nonce` is `n0nce`.\n"
    assert len(text.encode()) > size
    return text


@pytest.mark.slow
@promise("a prompt of 400 KB, directly", but={"gemini": "through a file, from 150,000 bytes"})
def test_a_long_prompt_reaches_the_model_whole(name, ask):
    prompt = long_prompt(400_000)
    report = ask(name, [Answer("pass", "Read it.")], prompt=prompt, permission="read-only")
    assert (report.exit, report.verdict.summary) == (ExitKind.COMPLETED, "Read it.")
    assert ask.seen[0].asked.prompt.strip() == prompt.strip()


@pytest.mark.slow
@promise("a prompt of 5 MB, through a file")
def test_a_prompt_of_any_length_can_be_read(name, ask, tmp_path: Path):
    prompt, path = long_prompt(5_000_000), tmp_path / "scratch/prompt.md"
    read = Read(str(path)) if name in NO_SHELL else Shell(f"tail -n 1 {path}")
    steps = [read, Answer("pass", "Read it.")]
    report = ask(name, steps, prompt=prompt, permission="read-only")
    assert (report.exit, report.verdict.summary) == (ExitKind.COMPLETED, "Read it.")
    assert path.read_text("utf-8") == prompt
    assert str(path) in ask.seen[0].asked.prompt
    expected = "Begin." if name in NO_SHELL else "`nonce` is `n0nce`"
    assert expected in ask.seen[-1].asked.results[0]
    assert report.denied == ()


@pytest.mark.slow
@promise("the key is in no argument and in no file")
def test_the_key_reaches_only_the_service(name, ask, execute, work: Path, tmp_path: Path):
    seen: list[str] = []

    def spying(command):
        def watch(line: bytes) -> str:
            for process in psutil.process_iter(["cmdline"]):
                seen.extend(process.info["cmdline"] or ())
            return command.watch(line)

        from dataclasses import replace

        return execute(replace(command, watch=watch))

    report = ask(name, [Shell("git status"), Answer("pass", "Done.")], execute=spying)
    assert report.exit is ExitKind.COMPLETED
    assert any(name in word for word in seen)
    assert not [word for word in seen if KEY in word]
    headers = {key.lower(): value for key, value in ask.seen[0].headers.items()}
    assert any(KEY in headers.get(word, "") for word in SIGNED)
    for path in tmp_path.rglob("*"):
        if stat.S_ISREG(os.lstat(path).st_mode):
            assert KEY.encode() not in path.read_bytes(), path
