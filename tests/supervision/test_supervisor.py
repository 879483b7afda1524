"""The supervisor as a program: the cost of its start, and its protection from tampering."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gitmill.supervision import local
from tests.supervision.processes import ROOT, shell

HEAVY = {"re", "enum", "json", "signal", "subprocess", "typing", "collections", "pathlib"}


def test_it_imports_nothing_that_every_command_would_have_to_pay_for():
    code = (
        "import sys; sys.path.append(sys.argv[1]); import gitmill.supervision.supervisor;"
        " print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, ROOT], capture_output=True, check=True
    )
    assert not HEAVY & set(done.stdout.decode().split())


@pytest.mark.parametrize("told", [b"", b"\0\0\0", b"\0" * 7 + b"\x50" + b"half of it"])
def test_an_end_of_file_before_the_whole_frame_ends_it(told):
    done = subprocess.run(local._SUPERVISOR, input=told, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_modules_in_the_current_folder_are_not_imported(engine, tmp_path, monkeypatch):
    for name in ("os", "select", "ctypes", "gitmill", "marshal", "struct"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('planted')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert engine.execute(shell("true")).passed


def test_a_supervisor_that_fails_is_a_lost_command_with_its_traceback(engine, monkeypatch):
    monkeypatch.setattr(local, "_TRANSCRIPT_LIMIT", "many")
    outcome = engine.execute(shell("echo out; sleep 1000", transcript=Path("/dev/null")))
    assert outcome.ended == "lost"
    assert b"Traceback" in outcome.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_a_command_cannot_open_its_supervisors_pipes(engine):
    outcome = engine.execute(shell("echo forged > /proc/$PPID/fd/1 || echo refused"))
    assert outcome.stdout == b"refused\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n",
        b"[]\n",
        b"{}\n",
        b'{"ended":"exited"}\n',
        b'{"ended":"exited","status":0,"seconds":1,"cut":0,"stdout":3,"stderr":0}\nab',
        b"Traceback (most recent call last):\n",
        b"\xff\n",
    ],
)
def test_an_answer_that_is_cut_off_or_none_is_not_believed(answer):
    assert local._outcome(answer) is None
