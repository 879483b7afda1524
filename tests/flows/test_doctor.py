"""`gitmill doctor`: each problem is real, diagnosed with a hint, and fixed where safe."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gitmill.agents import _cli
from gitmill.flows.doctor import examine, fix
from gitmill.flows.doctor.diagnosis import Diagnosis, Level
from gitmill.flows.init import init
from gitmill.mill import Mill
from tests.support.cli import gitmill, new_task
from tests.support.hints import shown
from tests.support.repos import Repo, Sandbox
from tests.support.seeds import rest_slow

pytestmark = pytest.mark.forges  # what is damaged here is no true history


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo(files={"a.txt": "one\n", ".gitmill/config.toml": "[checks]\nt = 'true'\n"})
    init(Mill.open(repo.path))
    return repo


def seen(folder: Path, name: str) -> list[Diagnosis]:
    return [one.diagnosis for one in examine(folder) if one.name == name]


def worst(folder: Path) -> set[tuple[str, str]]:
    """Return subject and level of every diagnosis that is not ok."""
    return {
        (one.name, one.diagnosis.level.value)
        for one in examine(folder)
        if one.diagnosis.level is not Level.OK
    }


def the(folder: Path, name: str, level: Level) -> Diagnosis:
    """Return the only diagnosis that is not ok; it has this subject and this level."""
    assert worst(folder) == {(name, level.value)}
    return next(sign for sign in seen(folder, name) if sign.level is level)


def state_file(repo: Repo, path: str, text: str, *, date: str = "2026-01-02T03:04:05Z") -> None:
    """Commit a file to the state branch as a person would, with plumbing."""
    env = os.environ | {"GIT_INDEX_FILE": str(repo.path.parent / "index"),
                        "GIT_COMMITTER_DATE": date}  # fmt: skip

    def git(*args: str, stdin: str = "") -> str:
        done = subprocess.run(["git", *args], cwd=repo.path, env=env, input=stdin, text=True,
                              capture_output=True, check=True)  # fmt: skip
        return done.stdout.strip()

    git("read-tree", "gitmill/state")
    blob = git("hash-object", "-w", "--stdin", stdin=text)
    git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
    commit = git("commit-tree", git("write-tree"), "-p", "gitmill/state", "-m", "by hand")
    git("update-ref", "refs/heads/gitmill/state", commit)


def test_a_healthy_repository_lacks_nothing(repo: Repo):
    repo.git("config", "gitmill.durability", "full")
    assert worst(repo.path) == set()
    assert seen(repo.path, "bubblewrap")[0].text.startswith("0.")
    assert seen(repo.path, "sandbox")[0].text == "auto; the network of checks is on"


@pytest.fixture(autouse=True)
def durable(sealed: Path) -> None:
    """A user's set-up: tests elsewhere switch flushing off, which is a note here."""
    config = sealed / ".gitconfig"
    config.write_text(config.read_text().replace("durability = none", "durability = full"))


def test_looking_changes_nothing(repo: Repo, sealed: Path):
    (repo.git_dir / "refs/heads/gitmill/state.lock").touch()
    age(repo.git_dir / "refs/heads/gitmill/state.lock")
    repo.git("config", "--local", "--unset-all", "notes.rewriteRef")

    def files() -> dict[str, tuple[float, bytes]]:
        return {
            str(path): (path.stat().st_mtime, path.read_bytes())
            for root in (repo.path, sealed)
            for path in root.rglob("*")
            if path.is_file()
        }

    before = files()
    assert len(worst(repo.path)) == 2
    assert files() == before


def test_a_screen_and_the_exit_code(repo: Repo):
    said = gitmill(repo.path, "doctor")
    assert said.code == 0
    assert re.fullmatch(r"\d+ ok\nnext: `gitmill status`\n", said.err)
    assert "\nok       target         main at " in said.out
    assert all(line[:8].strip() in ("ok", "") for line in said.out.splitlines())
    repo.git("branch", "-m", "main", "trunk")
    said = gitmill(repo.path, "doctor", "--json")
    assert (said.code, said.err) == (1, "")
    assert said.json["exit"] == 1
    bad = {one["name"]: one for one in said.json["checks"] if one["level"] == "problem"}
    assert bad["target"]["hints"] == ["if it was renamed, name it: `gitmill init --target BRANCH`"]
    assert "the target branch main does not exist" in bad["target"]["text"]


# -- the machine -----------------------------------------------------------------------------------


def fake_git(folder: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\necho '{said}'\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_no_git(repo: Repo, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    sign = the(repo.path, "git", Level.PROBLEM)
    assert sign.text.startswith("there is no git on PATH")


def test_a_git_that_is_too_old(repo: Repo, monkeypatch: pytest.MonkeyPatch):
    fake_git(repo.path.parent / "bin", monkeypatch, "git version 2.37.1")
    sign = the(repo.path, "git", Level.PROBLEM)
    assert (sign.text, shown(sign.hints)) == ("2.37.1 is too old", ("install git 2.38 or newer",))


def test_a_python_that_is_too_old(repo: Repo, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    assert "is too old" in the(repo.path, "python", Level.PROBLEM).text


@pytest.mark.parametrize(
    ("name", "level"),
    [("linux", Level.OK), ("darwin", Level.NOTE), ("win32", Level.PROBLEM)],
)
def test_systems(monkeypatch: pytest.MonkeyPatch, name: str, level: Level):
    from gitmill.flows.doctor.machine import system

    monkeypatch.setattr(sys, "platform", name)
    assert [sign.level for sign in system()] == [level]


def test_a_libgit2_that_cannot_be_loaded(repo: Repo, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pygit2", None)
    monkeypatch.delitem(sys.modules, "gitmill.git.libgit2", raising=False)
    assert ("libgit2", "problem") in worst(repo.path)
    assert "pip install" in shown(seen(repo.path, "libgit2")[0].hints)[0]


def test_a_home_that_is_not_there(repo: Repo, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/proc/nowhere")
    assert "does not exist" in the(repo.path, "home", Level.WARNING).text


# -- the repository --------------------------------------------------------------------------------


def test_no_repository(tmp_path: Path):
    sign = the(tmp_path, "repository", Level.PROBLEM)
    assert "is not in a git repository" in sign.text
    assert "make one with `git init`" in shown(sign.hints)[0]


def test_a_bare_repository(repo: Repo):
    bare = Repo(repo.path.parent / "bare.git")
    repo.git("clone", "-q", "--bare", str(repo.path), str(bare.path))
    assert "is bare" in seen(bare.path, "repository")[0].text


def test_a_repository_without_a_commit(sandbox: Sandbox):
    path = sandbox.root / "empty"
    subprocess.run(["git", "init", "-q", str(path)], check=True)
    assert worst(path) == {("repository", "problem"), ("state", "problem")}
    assert "git commit --allow-empty" in shown(seen(path, "repository")[0].hints)[0]
    Repo(path).git("commit", "-q", "--allow-empty", "-m", "First commit")
    assert worst(path) == {("state", "problem")}
    assert shown(seen(path, "state")[0].hints)[0] == "start one with `gitmill init`"


@pytest.mark.parametrize(
    "config",
    ["[core]\n\trepositoryformatversion = 1\n[extensions]\n\tnewThing = true\n",
     "[core]\n\trepositoryformatversion = 9\n"],
)  # fmt: skip
def test_a_format_that_this_git_does_not_know(repo: Repo, config: str):
    with (repo.git_dir / "config").open("a") as file:
        file.write(config)
    sign = the(repo.path, "repository", Level.PROBLEM)
    assert "has a format that this git does not know" in sign.text
    said = gitmill(repo.path, "status")
    assert said.err.startswith("error[git-missing]: the repository of . has a format")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_a_repository_of_another_user(repo: Repo):
    subprocess.run(["chown", "-R", "1234", str(repo.path)], check=True)
    sign = the(repo.path, "repository", Level.PROBLEM)
    assert "another user owns it" in sign.text
    assert shown(sign.hints) == (
        f"if you trust it: `git config --global --add safe.directory {repo.path}`",
    )
    subprocess.run(["git", "config", "--global", "--add", "safe.directory", repo.path], check=True)
    assert worst(repo.path) == set()


def test_sha256_goes_through_git_itself(sandbox: Sandbox):
    repo = sandbox.repo(object_format="sha256")
    init(Mill.open(repo.path))
    sign = next(s for s in seen(repo.path, "backend") if s.level is Level.NOTE)
    assert sign.text.startswith("sha256, through git itself")


def test_a_detached_head_and_a_shallow_clone_are_notes(repo: Repo):
    repo.commit({"a.txt": "two\n"})
    repo.git("switch", "-q", "--detach")
    assert "is detached" in the(repo.path, "repository", Level.NOTE).text
    shallow = Repo(repo.path.parent / "shallow")
    repo.git("clone", "-q", "--depth=1", "--branch=main", repo.path.as_uri(), str(shallow.path))
    init(Mill.open(shallow.path))
    sign = the(shallow.path, "repository", Level.NOTE)
    assert shown(sign.hints) == ("fetch it: `git fetch --unshallow`",)


def test_nobody_commits(repo: Repo, sealed: Path):
    config = sealed / ".gitconfig"
    config.write_text("[user]\n\tuseConfigOnly = true\n")
    sign = the(repo.path, "identity", Level.PROBLEM)
    assert any('git config user.name "Your Name"' in hint for hint in shown(sign.hints))


def test_durability(repo: Repo):
    repo.git("config", "gitmill.durability", "none")
    sign = the(repo.path, "durability", Level.NOTE)
    assert shown(sign.hints) == ("flush each write: `git config gitmill.durability full`",)
    repo.git("config", "gitmill.durability", "maybe")
    assert ("durability", "problem") in worst(repo.path)
    assert "full or none, not maybe" in seen(repo.path, "durability")[0].text
    said = gitmill(repo.path, "run")
    assert said.err.startswith(
        "error[bad-config]: gitmill.durability in git's configuration must be"
    )


@pytest.mark.parametrize("value", rest_slow(["now", "1.minute.ago", "all"], 1))
def test_a_collection_that_removes_at_once(repo: Repo, value: str):
    repo.git("config", "gc.pruneExpire", "2.weeks.ago")
    assert worst(repo.path) == set()
    repo.git("config", "gc.pruneExpire", value)
    sign = the(repo.path, "pruning", Level.WARNING)
    assert "which git also starts by itself" in sign.text
    assert shown(sign.hints)[0].endswith("`git config --local --unset gc.pruneExpire`")
    repo.git("config", "gc.auto", "0")
    assert "by itself" not in the(repo.path, "pruning", Level.WARNING).text
    repo.git("config", "--local", "--unset", "gc.pruneExpire")
    assert worst(repo.path) == set()


def test_hooks_that_gitmill_passes_over(repo: Repo):
    hook = repo.git_dir / "hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\n")
    assert worst(repo.path) == set()
    hook.chmod(0o755)
    assert the(repo.path, "hooks", Level.NOTE).text.startswith("pre-commit (hooks) do not run")
    repo.git("config", "core.hooksPath", "husky")
    assert "which does not exist" in the(repo.path, "hooks", Level.NOTE).text
    (repo.path / "husky").mkdir()
    hook.rename(repo.path / "husky/commit-msg")
    assert "commit-msg (core.hooksPath)" in the(repo.path, "hooks", Level.NOTE).text


@pytest.mark.parametrize(
    ("key", "value"),
    rest_slow([
        ("core.fsmonitor", "/tmp/watch"), ("filter.x.clean", "tr a b"), ("alias.co", "!sh"),
        ("merge.x.driver", "m %A"), ("core.sshCommand", "ssh -v"), ("include.path", "more"),
    ], 2, rows=True),
)  # fmt: skip
def test_configuration_that_git_runs(repo: Repo, key: str, value: str):
    repo.git("config", "alias.st", "status")
    repo.git("config", "core.fsmonitor", "false")
    repo.git("config", "--global", key, value)
    assert worst(repo.path) == set()
    repo.git("config", key, value)
    assert key.lower() in the(repo.path, "configuration", Level.NOTE).text


def test_a_file_system_that_takes_upper_case_for_lower(repo: Repo):
    os.link(repo.git_dir / "config", repo.git_dir / "CONFIG")
    assert "names that differ only in case" in the(repo.path, "file system", Level.NOTE).text
    (repo.git_dir / "CONFIG").unlink()
    repo.git("config", "core.ignoreCase", "true")
    assert "names that differ only in case" in the(repo.path, "file system", Level.NOTE).text


def test_worktrees_that_cannot_be_made(repo: Repo):
    repo.git("config", "gitmill.worktreeRoot", str(repo.path / "a.txt/below"))
    assert worst(repo.path) == {("worktrees", "problem"), ("workspace", "note")}
    sign = next(sign for sign in seen(repo.path, "worktrees") if sign.level is Level.PROBLEM)
    assert "cannot be written" in sign.text
    assert shown(sign.hints) == ("choose another folder: `git config gitmill.worktreeRoot DIR`",)


def test_worktrees_in_the_repository(repo: Repo):
    repo.git("config", "gitmill.worktreeRoot", str(repo.path / "trees"))
    assert worst(repo.path) == {("worktrees", "warning"), ("workspace", "note")}
    assert "is inside the repository" in seen(repo.path, "worktrees")[0].text
    assert "trees stand at their own path" in seen(repo.path, "workspace")[0].text


def test_no_room_for_a_worktree(repo: Repo):
    """Files that take next to nothing in git and more than the disk has when checked out."""
    blob = repo.git("hash-object", "-w", "--stdin", stdin=b"\0" * (32 << 20))
    free = os.statvfs(repo.path)
    count = free.f_bavail * free.f_frsize // (32 << 20) + 2

    def target(files: int) -> None:
        lines = "".join(f"100644 blob {blob}\t{n}\n" for n in range(files))
        tree = repo.git("mktree", stdin=lines.encode())
        commit = repo.git("commit-tree", tree, "-m", "huge", "-p", "main")
        repo.git("update-ref", "refs/heads/main", commit)

    target(count // 2)
    assert "there is little room" in seen(repo.path, "worktrees")[0].text
    target(count)
    sign = seen(repo.path, "worktrees")[0]
    assert sign.level is Level.PROBLEM
    assert "there is no room" in sign.text


def elsewhere() -> Path | None:
    """A folder on another file system than the tests' own, where we may write."""
    ours = Path(tempfile.gettempdir()).stat().st_dev
    places = (Path(name) for name in ("/dev/shm", "/run", "/dev", "/var/tmp"))
    there = (p for p in places if p.is_dir() and p.stat().st_dev != ours and os.access(p, os.W_OK))
    return next(there, None)


@pytest.mark.skipif(elsewhere() is None, reason="there is no other file system")
def test_worktrees_on_another_file_system(repo: Repo):
    place = elsewhere()
    assert place is not None
    repo.git("config", "gitmill.worktreeRoot", str(place / "gitmill-test"))
    assert any("on another file system" in sign.text or "little room" in sign.text
               for sign in seen(repo.path, "worktrees"))  # fmt: skip
    assert not (place / "gitmill-test").exists()


def age(path: Path, seconds: float = 600) -> None:
    old = time.time() - seconds
    os.utime(path, (old, old))


@pytest.mark.parametrize("name", ["index.lock", "refs/heads/main.lock"])
def test_stale_locks_of_git_are_reported_and_left_alone(repo: Repo, name: str):
    lock = repo.git_dir / name
    lock.touch()
    assert worst(repo.path) == set()  # git may be at work
    age(lock)
    sign = the(repo.path, "git's locks", Level.WARNING)
    assert sign.text == f"{name} is 10 minutes old: git cannot write what it locks"
    assert fix(examine(repo.path)) == []
    assert lock.exists()


@pytest.mark.parametrize("name", ["refs/heads/gitmill/state.lock", "packed-refs.lock"])
def test_stale_locks_of_gitmill_are_set_aside(repo: Repo, name: str):
    lock = repo.git_dir / name
    lock.touch()
    age(lock)
    lines = examine(repo.path)
    assert [(o.name, o.diagnosis.level) for o in lines if o.diagnosis.fix] == [
        ("our locks", Level.WARNING)
    ]
    assert fix(lines) == [f"our locks: set aside {name}"]
    assert worst(repo.path) == set()
    (aside,) = (repo.git_dir / "gitmill/stale").iterdir()
    assert aside.name.startswith(name.replace("/", "-"))


# -- the state -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text", "level", "said"),
    [
        ("format", "2\n", Level.PROBLEM, "the state branch has format 2, this gitmill reads 1"),
        ("format", "0\n", Level.PROBLEM, "the state branch has format 0, this gitmill reads 1"),
        ("control.md", "stop everything", Level.PROBLEM, "expected front matter"),
        ("tasks/k3/t-k3f9x.md", "garbage", Level.WARNING, "tasks/k3/t-k3f9x.md"),
        ("control.md", '---\ntarget: "main"\npaused: true\nreason: "a freeze"\n---\n',
         Level.WARNING, "work is paused: a freeze"),
        ("control.md", '---\ntarget: "main"\nqueue_paused: true\n---\n',
         Level.WARNING, "the queue is paused: no reason given"),
    ],
)  # fmt: skip
def test_what_stands_on_the_state_branch(repo: Repo, path: str, text: str, level: Level, said: str):
    state_file(repo, path, text)
    found = [one.diagnosis for one in examine(repo.path) if one.diagnosis.level is level]
    assert any(said in sign.text and shown(sign.hints) for sign in found), found


def test_a_state_branch_that_is_garbage(repo: Repo):
    tree = repo.git("mktree", stdin=b"")
    commit = repo.git("commit-tree", tree, "-m", "nothing of ours")
    repo.git("update-ref", "refs/heads/gitmill/state", commit)
    assert "has format (none)" in the(repo.path, "state", Level.PROBLEM).text
    blob = repo.git("hash-object", "-w", "--stdin", stdin=b"no commit")
    (repo.git_dir / "refs/heads/gitmill/state").write_text(f"{blob}\n")
    assert the(repo.path, "state", Level.PROBLEM).text
    (repo.git_dir / "refs/heads/gitmill/state").write_text("rubbish\n")
    assert the(repo.path, "state", Level.PROBLEM).text


def test_a_clock_that_is_behind(repo: Repo):
    state_file(repo, "README.md", "later", date="2099-01-02T03:04:05Z")
    sign = the(repo.path, "clock", Level.WARNING)
    assert "written at 2099-01-02 03:04 UTC, in the future" in sign.text


def test_a_state_branch_that_is_checked_out(repo: Repo):
    repo.git("switch", "-q", "gitmill/state")
    sign = next(s for s in seen(repo.path, "state") if s.level is Level.WARNING)
    assert sign.text.startswith(f"gitmill/state is checked out in {repo.path}")


def test_a_target_in_the_middle_of_something(repo: Repo):
    repo.git("switch", "-q", "-c", "other")
    repo.commit({"a.txt": "other\n"})
    repo.git("switch", "-q", "main")
    repo.commit({"a.txt": "main\n"})
    for command, said in (("rebase", "rebase"), ("merge", "merge"), ("cherry-pick", "cherry-pick")):
        repo.git(command, "other", check=False)
        sign = seen(repo.path, "target")[0]
        assert sign.level is Level.WARNING
        assert f"in the middle of a {said}" in sign.text
        repo.git(command, "--abort")
    repo.git("bisect", "start")
    assert "in the middle of a bisect" in the(repo.path, "target", Level.WARNING).text
    repo.git("bisect", "reset")
    assert worst(repo.path) == set()


def test_where_the_target_is_checked_out(repo: Repo):
    repo.git("switch", "-q", "-c", "mine")
    assert seen(repo.path, "target")[0].text.endswith("not checked out")
    other = repo.path.parent / "other"
    repo.git("worktree", "add", "-q", str(other), "main")
    assert seen(repo.path, "target")[0].text.endswith(f"checked out in {other}")


def test_a_policy_that_does_not_count(sandbox: Sandbox):
    repo = sandbox.repo()
    init(Mill.open(repo.path))
    policy = repo.path / ".gitmill/config.toml"
    sign = the(repo.path, "policy", Level.WARNING)
    assert "is not committed on main" in sign.text
    policy.unlink()
    assert "there is none" in the(repo.path, "policy", Level.NOTE).text
    repo.commit({".gitmill/config.toml": "[checks]\nt = 'true'\n"})
    assert worst(repo.path) == set()
    policy.write_text("[checks]\n")
    assert "differs from the one in force, on main" in the(repo.path, "policy", Level.NOTE).text
    repo.commit({".gitmill/config.toml": "[check]\nt = 'true'\n"})
    assert "there is no key check" in seen(repo.path, "policy")[0].text
    assert ("policy", "problem") in worst(repo.path)


def test_loops_that_do_not_compile(repo: Repo):
    repo.commit({".gitmill/loops/deliver/35-x.md": "---\ntype: agent\nrole: nobody\n---\nDo.\n"})
    assert ("loops", "problem") in worst(repo.path)
    assert "the loop deliver does not compile" in seen(repo.path, "loops")[0].text


def test_settings_of_the_repository_that_run_programs(repo: Repo):
    """Values that run nothing, and the hooks that have a diagnosis of their own, are not listed."""
    for key, value in (
        ("core.hooksPath", ".git/hooks"), ("submodule.a.update", "merge"), ("alias.s", "status"),
        ("pager.log", "false"), ("filter.lfs.clean", "git-lfs clean -- %f"),
    ):  # fmt: skip
        repo.git("config", key, value)
    assert worst(repo.path) == set()
    for key in ("submodule.a.update", "alias.s", "core.sshCommand", "trailer.a.command"):
        repo.git("config", key, "!sh -c true")
    text = the(repo.path, "configuration", Level.NOTE).text
    assert text == (
        ".git/config makes git run programs: "
        "alias.s, core.sshcommand, submodule.a.update, trailer.a.command"
    )


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("no-such-program -q", "no-such-program"), ("A=b no-such-program", "no-such-program"),
        ("./tools/check.sh", "./tools/check.sh"), ("./a.txt", ""), ("sh -c 'x'", ""),
        ("if true; then true; fi", ""), ("(cd x && y)", ""), ("! grep -q x a.txt", ""),
        ("/bin/no-such", "/bin/no-such"), ("# nothing", ""), ("echo 'open", ""),
    ],
)  # fmt: skip
def test_programs_of_checks(repo: Repo, command: str, missing: str):
    text = f"[checks]\nt = {json.dumps(command)}\n"
    repo.commit({".gitmill/config.toml": text})
    if not missing:
        assert worst(repo.path) == set()
    else:
        sign = the(repo.path, "checks", Level.WARNING)
        assert sign.text == f"check t begins with {missing}, which is not on PATH"


def test_an_agent_that_is_missing(repo: Repo):
    policy = "[checks]\nt = 'true'\n[agents.mine]\ncommand = ['no-such-agent']\n"
    repo.commit({".gitmill/config.toml": policy})
    assert "no stage uses it" in the(repo.path, "agents", Level.NOTE).text
    policy += "[modes.offline.roles]\nbuilder = 'mine'\n"
    repo.commit({".gitmill/config.toml": policy})
    sign = the(repo.path, "agents", Level.PROBLEM)
    assert sign.text == "mine is missing: there is no no-such-agent on PATH"


def test_an_agent_that_another_stands_in_for(repo: Repo, tmp_path: Path, monkeypatch):
    repo.commit(
        {
            ".gitmill/config.toml": """mode = 'ours'
[checks]
t = 'true'
[modes.ours]
roles = {builder = ['claude', 'codex'], reviewer = 'rules'}
"""
        }
    )
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    assert (
        "no agent of build is installed: claude, codex"
        in the(repo.path, "agents", Level.PROBLEM).text
    )
    for version, word in (
        ("2.1.329", "not signed in"),
        ("9.0.0", "9.0.0 was not tested with gitmill"),
    ):
        (programs / "claude").write_text(f"#!/bin/sh\necho {version}\n")
        (programs / "claude").chmod(0o755)
        _cli._version.forget()
        told = {sign.level: sign.text for sign in seen(repo.path, "agents")}
        assert word in told[Level.WARNING]
        assert "codex is missing, but other agents have its roles" in told[Level.NOTE]
        assert told[Level.OK] == "claude, rules found"


@pytest.mark.slow
def test_a_lease_whose_process_is_gone(repo: Repo):
    task = new_task(repo.path, "Sleep", "touch started; sleep 60")
    running = subprocess.Popen([sys.executable, "-m", "gitmill", "run"], cwd=repo.path,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    wait(lambda: bool(list((repo.path.parent).rglob("started")) or started(repo)))
    assert f"{task} is held by shell@" in seen(repo.path, "leases")[0].text
    running.kill()
    running.wait()
    wait(lambda: ("leases", "warning") in worst(repo.path))
    lines = examine(repo.path)
    done = fix([line for line in lines if line.name == "leases"])
    assert f"{task} continues at build" in done[0]
    assert ("leases", "warning") not in worst(repo.path)
    assert ("refs", "note") in worst(repo.path)
    assert "git for-each-ref refs/gitmill/rescue" in shown(seen(repo.path, "refs")[0].hints)[0]


def started(repo: Repo) -> bool:
    return any(Mill.open(repo.path).pool.folder.rglob("started"))


def wait(done: Callable[[], bool], seconds: float = 20) -> None:
    give_up = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_a_process_of_an_attempt_that_is_over(repo: Repo):
    folder = Mill.open(repo.path).pool.folder
    env = os.environ | {"GITMILL_CLAIM": "f" * 16, "TMPDIR": f"{folder}/build-1.d/tmp"}
    orphan = subprocess.Popen(["sleep", "60"], env=env)
    other = subprocess.Popen(["sleep", "60"], env=env | {"TMPDIR": "/elsewhere/build-1.d/tmp",
                                                           "GITMILL_CLAIM": "e" * 16})  # fmt: skip
    try:
        sign = the(repo.path, "orphans", Level.WARNING)
        assert f"{orphan.pid} (sleep)" in sign.text
        assert str(other.pid) not in sign.text  # of another repository
        assert sign.fix is not None
        assert sign.fix() == "ended 1"
        assert orphan.wait(5) == -9
        assert worst(repo.path) == set()
    finally:
        for process in (orphan, other):
            process.kill()
            process.wait()


def test_an_entry_of_gits_for_a_worktree_that_is_gone(repo: Repo):
    mill = Mill.open(repo.path)
    slot = mill.pool.acquire("build", lambda *_: None)
    slot.prepare(repo.git("rev-parse", "HEAD"))
    repo.git("worktree", "add", "-q", str(repo.path.parent / "mine"), "-b", "mine")
    slot.release()
    assert worst(repo.path) == set()
    for place in (slot.path, repo.path.parent / "mine"):
        subprocess.run(["mv", str(place), f"{place}-away"], check=True)
    sign = the(repo.path, "entries", Level.WARNING)
    assert sign.text.endswith(f"missing worktrees of gitmill: {slot.path.name}")
    assert sign.fix is not None
    assert sign.fix() == f"removed {slot.path.name}"
    assert worst(repo.path) == set()
    assert [entry.name for entry in (repo.git_dir / "worktrees").iterdir()] == ["mine"]


def test_notes_that_a_rebase_would_lose(repo: Repo):
    repo.git("config", "--local", "--unset-all", "notes.rewriteRef")
    said = gitmill(repo.path, "doctor", "--fix")
    assert said.code == 0
    assert said.err.startswith("notes: set notes.rewriteRef\n")
    assert repo.git("config", "notes.rewriteRef") == "refs/notes/gitmil[l]"


def test_fix_never_touches_what_is_the_users(repo: Repo):
    repo.write({"a.txt": "mine\n", "new.txt": "mine\n"})
    repo.git("add", "new.txt")
    repo.git("config", "--local", "--unset-all", "notes.rewriteRef")
    lock = repo.git_dir / "HEAD.lock"
    lock.touch()
    age(lock)

    def mine() -> tuple[str, ...]:
        refs = repo.git("for-each-ref", "refs/heads/main", "refs/tags", "refs/stash")
        return refs, repo.git("ls-files", "-s"), repo.git("status", "--porcelain"), \
            repo.git("reflog", "--all")  # fmt: skip

    before = mine()
    assert gitmill(repo.path, "doctor", "--fix").code == 0
    assert mine() == before
    assert lock.exists()


def test_work_of_items_that_are_not_in_the_state_is_told(repo: Repo):
    repo.git("update-ref", "refs/gitmill/work/t-zzzzz", "main")
    assert "t-zzzzz" in the(repo.path, "refs", Level.NOTE).text


def test_reports_of_bugs_are_told(repo: Repo):
    (repo.git_dir / "gitmill").mkdir(exist_ok=True)
    (repo.git_dir / "gitmill/bug-20260102-030405.md").write_text("# x\n")
    assert the(repo.path, "bugs", Level.NOTE).text.startswith("bug reports: 1,")
