"""A user who signed in through an agent's own CLI stays signed in, whatever happens to a run."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gitmill import files
from gitmill.agents import command
from gitmill.agents.base import Login
from gitmill.failpoints import VARIABLE
from gitmill.flows.doctor import examine
from gitmill.flows.run import RunRequest, run
from gitmill.mill import Mill
from gitmill.workspace import agent_homes, credentials
from tests.support.cli import gitmill, new_task
from tests.support.crash_cases import eventually
from tests.support.repos import Repo, Sandbox
from tests.support.seeds import rest_slow

LOGIN = ".tool/auth.json"
OLD = {"access": "a-1", "refresh": "r-1"}
NEW = {"access": "a-2", "refresh": "r-2"}
# A small agent CLI: it needs its login, runs the given code with it, and builds.
CLI = r"""
import json, os, sys
from pathlib import Path
auth = Path(os.environ["HOME"], ".tool/auth.json")
sys.stdin.read()
word = Path(sys.argv[1])
(word / "saw").write_text(f"{oct(auth.stat().st_mode & 0o777)} {auth.read_text()}")
exec((word / "do.py").read_text())
Path("x.txt").write_text("x\n")
print(json.dumps({"verdict": "pass", "summary": "done"}))
"""


@pytest.fixture
def repo(sandbox: Sandbox, sealed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repo]:
    """A repository whose builder is that CLI, and a user who is signed in."""
    word = sandbox.root / "word"
    word.mkdir()
    (word / "cli.py").write_text(CLI)
    argv = json.dumps([sys.executable, str(word / "cli.py"), str(word)])
    roles = 'builder = "tool"\nreviewer = "rules"\n'
    text = f'mode = "ours"\n[modes.ours.roles]\n{roles}[agents.tool]\ncommand = {argv}\n'
    repo = sandbox.repo(files={".gitmill/config.toml": text})
    assert gitmill(repo.path, "init").code == 0
    own = sealed / LOGIN
    own.parent.mkdir()
    own.write_text(json.dumps(OLD))
    own.chmod(0o640)
    monkeypatch.setattr(command, "LOGIN", (Login(LOGIN, "TOOL_HOME", ".tool"),))
    return repo


def word(repo: Repo) -> Path:
    return repo.path.parent / "word"


def goes(repo: Repo, do: str = "") -> str:
    """Run a task whose agent does that; return the id of the task."""
    (word(repo) / "do.py").write_text(do)
    task = new_task(repo.path, "T", "")
    mill = Mill.open(repo.path)
    run(mill, RunRequest([task]), lambda _: None, lambda _: None)
    return task


def left(repo: Repo) -> list[str]:
    """Return the login files that are still below the pool."""
    pool = Mill.open(repo.path).pool.folder
    return sorted(
        path.name for path in pool.rglob("*") if "auth" in path.name or "login" in path.name
    )


def own(sealed: Path) -> dict:
    return json.loads((sealed / LOGIN).read_text())


REFRESH = f"auth.write_text(json.dumps({NEW!r}))"
REPLACE = f"new = auth.with_suffix('.new'); new.write_text(json.dumps({NEW!r})); new.replace(auth)"


def test_the_login_exists_during_the_run_and_not_after_it(repo: Repo, sealed: Path):
    goes(repo)
    assert (word(repo) / "saw").read_text() == f"0o600 {json.dumps(OLD)}"
    assert own(sealed) == OLD
    assert left(repo) == []


@pytest.mark.parametrize("how", [REFRESH, REPLACE], ids=["in place", "renamed"])
def test_a_refreshed_token_is_restored_to_the_user(repo: Repo, sealed: Path, how: str):
    goes(repo, how)
    assert own(sealed) == NEW
    assert (sealed / LOGIN).stat().st_mode & 0o777 == 0o640
    assert left(repo) == []


def test_a_token_that_the_user_renewed_meanwhile_is_never_overwritten(repo: Repo, sealed: Path):
    """The user signs in again while the agent runs; its code plays that here, unsandboxed."""
    repo.unfence()
    mine = {"access": "mine", "refresh": "mine"}
    goes(repo, f"{REFRESH}; Path({str(sealed / LOGIN)!r}).write_text(json.dumps({mine!r}))")
    assert own(sealed) == mine
    assert left(repo) == []


def test_a_login_in_another_folder_is_copied_and_hidden_too(
    repo: Repo, sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    elsewhere = tmp_path / "elsewhere"
    (sealed / LOGIN).parent.rename(elsewhere)
    monkeypatch.setenv("TOOL_HOME", str(elsewhere))
    path = elsewhere / "auth.json"
    goes(repo, f"{REFRESH}; (word / 'seen').write_text(str(os.path.exists({str(path)!r})))")
    assert (word(repo) / "saw").read_text() == f"0o600 {json.dumps(OLD)}"
    assert json.loads(path.read_text()) == NEW
    assert (word(repo) / "seen").read_text() == "False"
    assert left(repo) == []


@pytest.mark.parametrize(
    "do",
    rest_slow([
        "auth.write_text('not json')",
        "auth.write_text('[]')",
        "auth.write_text('{}')",
        "auth.write_text('x' * (2 << 20))",
        "auth.unlink()",
        "auth.unlink(); auth.symlink_to('/etc/hostname')",
        "auth.unlink(); os.mkfifo(auth)",
        "auth.unlink(); auth.mkdir(); (auth / 'x').touch()",
        "auth.unlink(); auth.parent.rmdir(); auth.parent.symlink_to('/etc')",
    ], 3),
)  # fmt: skip
def test_a_file_that_is_no_token_is_not_restored(repo: Repo, sealed: Path, do: str):
    goes(repo, do)
    assert own(sealed) == OLD
    assert not (sealed / LOGIN).is_symlink()
    assert left(repo) == []


def test_a_link_of_one_run_does_not_redirect_the_next_login(repo: Repo, sealed: Path):
    """The first attempt fails and leaves a link to a folder outside; the second gets a login."""
    outside = word(repo) / "outside"
    outside.mkdir()
    plant = f"auth.unlink(); auth.parent.rmdir(); auth.parent.symlink_to({str(outside)!r})"
    first = f"state = word / 'n'\nif not state.exists():\n    state.touch(); {plant}; sys.exit(3)"
    goes(repo, first)
    assert list(outside.iterdir()) == []
    assert own(sealed) == OLD


@pytest.mark.parametrize("keeps", [True, False])
def test_a_token_that_cannot_be_restored_is_kept_until_it_can(
    repo: Repo, sealed: Path, monkeypatch: pytest.MonkeyPatch, *, keeps: bool
):
    """The disk is full, and still full when the next run starts."""
    mill, real = Mill.open(repo.path), files.replace

    def full(path: Path, data: bytes, **how: Any) -> None:
        if path == sealed / LOGIN:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, data, **how)

    monkeypatch.setattr(files, "replace", full)
    with agent_homes.agent_home(mill, "t-1", "tool", (Login(LOGIN),), keeps=keeps) as home:
        (home / LOGIN).write_text(json.dumps(NEW))
    with agent_homes.agent_home(mill, "t-1", "tool", (Login(LOGIN),), keeps=keeps) as again:
        assert json.loads((again / LOGIN).read_text()) == (NEW if keeps else OLD)
    assert (again == home) is keeps
    monkeypatch.setattr(files, "replace", real)
    assert agent_homes.clean_up(mill) == [f"restored the refreshed {sealed / LOGIN}"]
    assert own(sealed) == NEW
    assert left(repo) == []


def test_a_restored_token_is_hidden_from_other_runs(repo: Repo, sealed: Path):
    """It replaces the file: a mount that hid only the old file would no longer hide it."""
    path = sealed / LOGIN

    def renew() -> None:
        eventually((word(repo) / "ready").exists, seconds=30.0)
        files.replace(path, json.dumps(NEW).encode())
        (word(repo) / "renewed").touch()

    other = threading.Thread(target=renew)
    other.start()
    wait = "import time\nwhile not (word / 'renewed').exists(): time.sleep(0.01)\n"
    seen = f"(word / 'seen').write_text(str(os.path.exists({str(path)!r})))"
    goes(repo, f"(word / 'ready').touch()\n{wait}{seen}")
    other.join()
    assert (word(repo) / "seen").read_text() == "False"


def test_no_login_is_copied_if_the_user_is_not_signed_in(repo: Repo, sealed: Path):
    (sealed / LOGIN).unlink()
    (word(repo) / "cli.py").write_text(CLI.replace('(word / "saw")', "#"))
    goes(repo, REFRESH.replace("auth.", "auth.parent.mkdir(exist_ok=True); auth."))
    assert not (sealed / LOGIN).exists()


def test_other_runs_cannot_see_the_login(repo: Repo, sealed: Path):
    """Neither in the user's home nor in other agents' homes."""
    pool = Mill.open(repo.path).pool.folder
    other = pool / agent_homes.FOLDER / "t-other" / "tool" / ".tool"
    other.mkdir(parents=True)
    (other / "auth.json").write_text("theirs")
    goes(repo, f"(word / 'seen').write_text(str([os.path.exists(p) for p in "
               f"({str(other)!r}, {str(sealed / LOGIN)!r})]))")  # fmt: skip
    assert (word(repo) / "seen").read_text() == "[False, False]"


STEPS = 2  # the user's file is replaced, the copy removed


@pytest.mark.parametrize("point", range(1, 2 * STEPS + 2))
def test_a_kill_at_any_point_of_the_return_loses_no_token(
    tmp_path: Path, sealed: Path, monkeypatch: pytest.MonkeyPatch, point: int
):
    """The run has refreshed its token, and then gitmill dies at a chokepoint, before and after."""
    user, home = sealed / LOGIN, tmp_path / "homes" / "t-1" / "tool"
    user.parent.mkdir()
    user.write_text(json.dumps(OLD))
    home.mkdir(parents=True)

    def lend_and_die() -> None:
        with credentials.copied(home, (Login(LOGIN),)):
            (home / LOGIN).write_text(json.dumps(NEW))
            os.environ[VARIABLE] = f"{'before' if point % 2 else 'after'}:{(point + 1) // 2}"

    status = in_a_child(lend_and_die)
    assert (status == -9) is (point <= 2 * STEPS)
    record = home.with_name(f"tool{credentials.RECORD}")
    credentials.return_tokens(record)
    assert json.loads(user.read_text()) == NEW
    assert not (home / LOGIN).exists()
    assert not record.exists()
    assert [path.name for path in user.parent.iterdir()] == ["auth.json"]


def in_a_child(what: Callable[[], None]) -> int:
    """Return the exit status of a forked process that does this, or its signal, negative."""
    pid = os.fork()
    if pid == 0:
        try:
            what()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_recover_restores_a_token_refreshed_by_a_killed_run(repo: Repo, sealed: Path):
    do = f"{REFRESH}; (word / 'refreshed').touch(); import time; time.sleep(60)"

    def kill_when_refreshed() -> None:
        pid = os.fork()
        if pid == 0:
            goes(repo, do)
            os._exit(0)
        eventually((word(repo) / "refreshed").exists, seconds=30.0)
        os.kill(pid, 9)
        os.waitpid(pid, 0)

    in_a_child(kill_when_refreshed)
    assert own(sealed) == OLD
    assert len(left(repo)) == 2
    diagnosis = next(o for o in examine(repo.path) if o.name == "homes").diagnosis
    assert "the credentials of tool are still in the home of a killed run" in diagnosis.text
    result = gitmill(repo.path, "recover")
    assert f"restored the refreshed {sealed / LOGIN}" in result.out
    assert own(sealed) == NEW
    assert left(repo) == []


@pytest.mark.slow
def test_homes_are_removed_when_their_item_has_ended(repo: Repo, sealed: Path):
    root = Mill.open(repo.path).pool.folder / agent_homes.FOLDER
    task = goes(repo, "Path.home().joinpath('session').touch(); sys.exit(3)")
    assert (root / task / "tool/session").exists()  # it is blocked, and may go on
    gitmill(repo.path, "task", "cancel", task)
    assert "agent homes of ended items: 1 (" in gitmill(repo.path, "doctor").out
    assert gitmill(repo.path, "doctor", "--fix").code == 0
    assert not (root / task).exists()
    assert not (root / goes(repo)).exists()  # it has landed
