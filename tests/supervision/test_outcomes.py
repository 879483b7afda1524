"""A command's input and output, and its own ways to end."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from gitmill.supervision import local
from gitmill.supervision.local import LocalEngine
from tests.supervision.processes import command, python, running, shell


@pytest.mark.parametrize("status", [0, 1, 3, 127, 255])
def test_the_exit_status_is_the_commands(engine, status):
    outcome = engine.execute(shell(f"exit {status}"))
    assert (outcome.ended, outcome.status, outcome.cut) == ("exited", status, 0)
    assert outcome.passed == (status == 0)
    assert 0 < outcome.seconds < 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_death_by_a_signal_is_a_negative_status(engine, number):
    outcome = engine.execute(shell(f"kill -{number:d} $$"))
    assert (outcome.ended, outcome.status) == ("exited", -number)
    assert not outcome.passed


def test_outputs_are_bytes_and_separate(engine):
    every_byte = bytes(range(256))
    outcome = engine.execute(
        command(
            python(
                "import os; os.write(1, bytes(range(256))); os.write(2, bytes(range(256))[::-1])"
            )
        )
    )
    assert outcome.stdout == every_byte
    assert outcome.stderr == every_byte[::-1]


def test_arguments_and_environment_need_not_be_utf8(engine):
    argv = ("printf", "%s", b"caf\xe9".decode("utf-8", "surrogateescape"))
    assert engine.execute(command(argv)).stdout == b"caf\xe9"
    env = dict(os.environ) | {"ODD": b"\xff\xfe".decode("utf-8", "surrogateescape")}
    assert engine.execute(shell('printf %s "$ODD"', env=env)).stdout == b"\xff\xfe"


def test_the_environment_is_the_given_one_and_the_claim(token):
    engine = LocalEngine(claim=token)
    outcome = engine.execute(command(("/usr/bin/env",), env={"ONLY": "this"}))
    names = {line.partition(b"=")[0] for line in outcome.stdout.splitlines()}
    assert names == {b"ONLY", b"GITMILL_CLAIM", b"GITMILL_COMMAND"}
    assert f"GITMILL_CLAIM={token}".encode() in outcome.stdout.splitlines()


def test_the_command_runs_in_its_directory(engine, tmp_path):
    assert engine.execute(shell("pwd -P", cwd=tmp_path)).stdout == f"{tmp_path}\n".encode()


def test_the_command_gets_three_descriptors_and_default_signals(engine):
    outcome = engine.execute(shell("ls /proc/self/fd; grep -E 'Sig(Ign|Blk)' /proc/self/status"))
    *fds, blocked, ignored = outcome.stdout.split(b"\n")[:-1]
    assert sorted(fds)[:3] == [b"0", b"1", b"2"]
    assert len(fds) == 4, "the fourth is the folder that ls reads"
    assert {blocked.split()[1], ignored.split()[1]} == {b"0" * 16}


def test_signals_that_are_ignored_here_are_not_ignored_there(engine):
    numbers = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        outcome = engine.execute(shell("grep SigIgn /proc/self/status"))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert outcome.stdout.split() == [b"SigIgn:", b"0" * 16]


def test_signals_that_are_blocked_here_are_not_blocked_there(engine):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    try:
        outcome = engine.execute(shell("grep SigBlk /proc/self/status"))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert outcome.stdout.split() == [b"SigBlk:", b"0" * 16]


def test_without_input_standard_input_is_empty(engine):
    assert engine.execute(shell("cat; echo end")).stdout == b"end\n"


@pytest.mark.parametrize("size", [1, 65_536, 5_000_000])
def test_input_of_any_size_arrives_whole(engine, size):
    data = os.urandom(size)
    outcome = engine.execute(command(("sha256sum",), stdin=data))
    assert outcome.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_a_slow_reader_of_much_input_also_writes_much(engine):
    """Both pipes are full at the same time, over and over; neither side may wait for the other."""
    code = """
import os, time
total = 0
while part := os.read(0, 40_000):
    total += len(part)
    os.write(1, b"." * 40_000)
    time.sleep(0.002)
os.write(2, str(total).encode())
"""
    outcome = engine.execute(command(python(code), stdin=b"x" * 5_000_000))
    assert outcome.stderr == b"5000000"
    assert outcome.passed


def test_input_that_nobody_reads_is_no_error(engine):
    outcome = engine.execute(shell("sleep 0.2; echo done", stdin=b"x" * 5_000_000))
    assert (outcome.ended, outcome.status, outcome.stdout) == ("exited", 0, b"done\n")


def test_input_that_is_closed_early_is_no_error(engine):
    outcome = engine.execute(shell("exec 0<&-; sleep 0.2; echo done", stdin=b"x" * 5_000_000))
    assert (outcome.ended, outcome.status, outcome.stdout) == ("exited", 0, b"done\n")


def test_output_that_is_closed_early_does_not_end_the_wait(engine):
    outcome = engine.execute(shell("echo out; exec >&- 2>&-; sleep 0.3; exit 7"))
    assert (outcome.ended, outcome.status, outcome.stdout) == ("exited", 7, b"out\n")
    assert outcome.seconds >= 0.3


def test_long_output_keeps_its_ends_and_counts_the_rest(token):
    engine = LocalEngine(claim=token, half=1000)
    outcome = engine.execute(shell("echo begin; head -c 1000000 /dev/zero; echo end; echo e >&2"))
    assert outcome.stdout.startswith(b"begin\n\0")
    assert outcome.stdout.endswith(b"\0end\n")
    assert outcome.cut == 1_000_010 - 2000
    assert b"\n[998010 bytes cut]\n" in outcome.stdout
    assert outcome.stderr == b"e\n"


def test_memory_stays_flat_while_200_megabytes_are_printed(engine):
    """The command's parent is the supervisor, so the command can look how large that has become."""
    script = "head -c 200000000 /dev/zero; grep VmHWM /proc/$PPID/status >&2"
    outcome = engine.execute(shell(script))
    assert outcome.cut == 200_000_000 - 2 * (1 << 20)
    assert int(outcome.stderr.split()[1]) < 50_000, outcome.stderr


def test_the_transcript_has_everything_as_it_came(engine, tmp_path):
    transcript = tmp_path / "transcript"
    transcript.write_bytes(b"before\n")
    outcome = engine.execute(shell("echo out; sleep 0.1; echo err >&2", transcript=transcript))
    assert outcome.passed
    assert transcript.read_bytes() == b"before\nout\nerr\n"


def test_the_transcript_can_be_followed_and_is_private(engine, tmp_path):
    transcript = tmp_path / "transcript"
    script = f"echo here; until grep -q here {transcript}; do sleep 0.01; done; echo seen"
    outcome = engine.execute(shell(script, transcript=transcript, wall=20.0))
    assert outcome.stdout == b"here\nseen\n"
    assert stat.S_IMODE(transcript.stat().st_mode) == 0o600


def test_the_transcript_is_capped(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "_TRANSCRIPT_LIMIT", 100)
    transcript = tmp_path / "transcript"
    outcome = engine.execute(shell("head -c 100000 /dev/zero", transcript=transcript))
    assert len(outcome.stdout) == 100_000
    assert transcript.read_bytes() == b"\0" * 100 + b"\n[transcript is full]\n"


def test_a_full_disk_ends_the_transcript_and_not_the_command(engine):
    outcome = engine.execute(shell("echo out; exit 3", transcript=Path("/dev/full")))
    assert (outcome.ended, outcome.status, outcome.stdout) == ("exited", 3, b"out\n")


@pytest.mark.parametrize(
    ("argv", "status", "reason"),
    [
        (("no-such-program",), 127, b"cannot start no-such-program: No such file or directory\n"),
        (("/no/such",), 127, b"cannot start /no/such: No such file or directory\n"),
        (("/etc/passwd",), 126, b"cannot start /etc/passwd: Permission denied\n"),
        (("/",), 126, b"cannot start /: Permission denied\n"),
        (("true", "a\0b"), 126, b"cannot start true: embedded null byte\n"),
        (("true", "x" * 300_000), 126, b"cannot start true: Argument list too long\n"),
    ],
)
def test_a_command_that_cannot_start_gives_its_reason(engine, argv, status, reason):
    outcome = engine.execute(command(argv, stdin=b"input"))
    assert (outcome.ended, outcome.status, outcome.stderr) == ("unstartable", status, reason)


def test_a_script_without_an_interpreter_line_is_unstartable(engine, tmp_path):
    script = tmp_path / "script"
    script.write_text("echo hello\n")
    script.chmod(0o755)
    outcome = engine.execute(command((str(script),)))
    assert (outcome.ended, outcome.status) == ("unstartable", 126)
    assert outcome.stderr.endswith(b"Exec format error\n")


def test_a_missing_folder_is_unstartable(engine, tmp_path):
    gone = tmp_path / "gone"
    outcome = engine.execute(shell("true", cwd=gone))
    assert (outcome.ended, outcome.status) == ("unstartable", 127)
    assert outcome.stderr == f"cannot enter {gone}: No such file or directory\n".encode()


def test_a_transcript_that_cannot_be_opened_is_unstartable(engine, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    outcome = engine.execute(shell("true", transcript=link))
    assert outcome.ended == "unstartable"
    assert b"cannot write" in outcome.stderr
    assert not (tmp_path / "elsewhere").exists()


def test_a_watch_sees_lines_as_they_come_and_can_end_the_command(engine, tmp_path):
    seen: list[bytes] = []

    def watch(line: bytes) -> str:
        seen.append(line)
        (tmp_path / "go").touch()  # the command waits for this: nothing is held back to the end
        return "that is enough" if line == b"second" else ""

    script = f"echo first; until test -e {tmp_path}/go; do sleep 0.01; done; echo second; sleep 60"
    outcome = engine.execute(replace(shell(script), watch=watch))
    assert (outcome.ended, outcome.why) == ("stopped", "that is enough")
    assert seen == [b"first", b"second"]
    assert outcome.seconds < 30


def test_a_watch_does_not_change_the_recorded_output(engine):
    script = "seq 1 5; seq 6 9 >&2; printf end"
    seen: list[bytes] = []
    watched = engine.execute(replace(shell(script), watch=lambda line: seen.append(line) or ""))
    plain = engine.execute(shell(script))
    assert (watched.ended, watched.stdout, watched.stderr) == ("exited", plain.stdout, plain.stderr)
    assert seen == [b"1", b"2", b"3", b"4", b"5", b"end"]


def test_a_watch_that_fails_ends_the_command(engine, token):
    def watch(line: bytes) -> str:
        raise ValueError(line)

    with pytest.raises(ValueError, match="boom"):
        engine.execute(replace(shell("echo boom; sleep 60"), watch=watch))
    assert not running(token)
