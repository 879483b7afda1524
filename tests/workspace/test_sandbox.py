"""The sandbox for users: its limits, its messages and its settings.

Without a sandbox these tests fail instead of being skipped: a skip would look like a pass.
"""

from __future__ import annotations

import os
import pwd
import socket
import sys
from pathlib import Path

import pytest

from tests.support.cli import gitmill, new_task
from tests.support.nobody import as_nobody
from tests.support.repos import Repo, Sandbox

NO_SUCH = "/no/such/bwrap"


@pytest.fixture
def repo(sandbox: Sandbox, sealed: Path) -> Repo:
    """A repository, and a folder `word` beside it that scripts may write to."""
    config = sealed / ".gitconfig"
    kept = [
        line
        for line in config.read_text().splitlines()
        if "able = " not in line and "bubblewrap = " not in line
    ]
    config.write_text("\n".join([*kept, f"\twritable = {sandbox.root}/word", ""]))
    (sandbox.root / "word").mkdir()
    repo = sandbox.repo()
    assert gitmill(repo.path, "init").code == 0
    return repo


def log_of(repo: Repo, task: str, name: str = "001-build") -> str:
    return repo.git("show", f"gitmill/state:runs/{task[2:4]}/{task}/{name}.md")


def policy(repo: Repo, text: str) -> None:
    repo.commit({".gitmill/config.toml": text}, "policy")


def word(repo: Repo) -> Path:
    return repo.path.parent / "word"


def test_agents_and_checks_reach_nothing_but_their_worktree(repo: Repo, sealed: Path):
    places = [repo.path.parent / "evil", repo.git_dir / "hooks/post-commit", sealed / "evil",
              Path("/etc/gitmill-evil"), Path("/var/tmp/gitmill-evil")]  # fmt: skip
    tries = "; ".join(f"(echo x > {place}) || true" for place in places)
    task = new_task(repo.path, "T", f"echo x > x.txt; {tries}", "--criterion", f"$ {tries}; true")
    policy(repo, f"[checks]\nit = '''{tries}; true'''\n[worktree]\nsetup = ['''{tries}; true''']\n")
    result = gitmill(repo.path, "run")
    assert result.code == 0, result.err
    assert [place for place in places if place.exists()] == []
    for log in ("001-build", "002-review"):
        assert 'sandbox: "bubblewrap"' in log_of(repo, task, log)
    assert "/etc/gitmill-evil: Read-only file system" in log_of(repo, task)


def test_only_folders_that_the_user_allows_can_be_written(repo: Repo):
    (word(repo) / "cache").mkdir()
    new_task(repo.path, "T", f"echo x > {word(repo)}/cache/x; echo x > x.txt")
    assert gitmill(repo.path, "run").code == 0
    assert (word(repo) / "cache/x").exists()
    # Not even a repository that lies in it: the worktree is in its place.
    repo.git("config", "gitmill.writable", str(repo.path.parent))
    before = (repo.git_dir / "config").read_text()
    script = f"echo x > {repo.git_dir}/config; rm -r {repo.git_dir}; echo y > {repo.path}/x.txt"
    new_task(repo.path, "U", script)
    assert gitmill(repo.path, "run").code == 0
    assert (repo.git_dir / "config").read_text() == before
    assert repo.git("show", "main:x.txt") == "y"


def test_keys_are_hidden_unless_the_user_makes_them_readable(repo: Repo, sealed: Path):
    """The real home of this user, whatever HOME is, so that no test's /tmp hides it."""
    real = Path(pwd.getpwuid(os.getuid()).pw_dir)
    key = real / ".boto"
    if key.exists():
        pytest.fail(f"{key} is there: this test would have to remove it")
    key.write_text("s3cret\n")
    try:
        task = new_task(repo.path, "T", f"cat {key} > seen.txt; echo x >> seen.txt; ls {real}/.ssh")
        gitmill(repo.path, "run", task)
        assert "s3cret" not in log_of(repo, task)
        assert "s3cret" not in repo.git("log", "-p", "--all")
        repo.git("config", "gitmill.readable", str(key))
        task = new_task(repo.path, "U", f"grep -c s3cret {key} > seen.txt")
        assert gitmill(repo.path, "run", task).code == 0
    finally:
        key.unlink()


def test_tokens_in_gits_configuration_are_hidden(repo: Repo):
    """As the checkout action of GitHub leaves one, and as some write them into an address."""
    header = "http.https://github.com/.extraheader"
    repo.git("config", header, "AUTHORIZATION: basic c2VjcmV0LTE=")
    repo.git("remote", "add", "origin", "https://me:secret-2@example.com/a.git")
    repo.git("config", "core.autocrlf", "input")
    look = f"git config --list > seen.txt; git remote -v >> seen.txt; cat {repo.git_dir}/config"
    new_task(repo.path, "T", f"{look} >> seen.txt")
    assert gitmill(repo.path, "run").code == 0
    seen = repo.git("show", "main:seen.txt")
    assert "core.autocrlf=input" in seen  # it decides the bytes of files
    assert "example.com/a.git" not in seen
    assert "c2VjcmV0" not in seen
    assert "secret-2" not in seen
    assert repo.git("config", header).endswith("c2VjcmV0LTE=")
    repo.git("config", "remote.origin.url", "https://example.com/a.git")


def test_variables_of_sockets_outside_are_removed(repo: Repo):
    task = new_task(repo.path, "T", "env > env.txt; ls /run/user 2>/dev/null | wc -l >> env.txt")
    env = {"SSH_AUTH_SOCK": "/tmp/agent", "XDG_RUNTIME_DIR": "/run/user/0", "PLAIN": "1"}
    assert gitmill(repo.path, "run", task, env=env).code == 0
    seen = repo.git("show", "main:env.txt")
    assert "PLAIN=1" in seen
    assert "SSH_AUTH_SOCK" not in seen
    assert "XDG_RUNTIME_DIR" not in seen


def test_a_script_has_a_home_of_its_own_in_which_git_knows_the_user(repo: Repo, sealed: Path):
    (sealed / ".local/bin").mkdir(parents=True)
    (sealed / ".local/bin/tool").write_text("#!/bin/sh\necho tool\n")
    (sealed / ".local/bin/tool").chmod(0o755)
    script = (
        'echo "$HOME" > home.txt; ~/.local/bin/tool >> home.txt; mkdir t; cd t; git init -q .;'
        " git commit -q --allow-empty -m a; git log --format='%an <%ae>' >> ../home.txt; cd ..;"
        ' rm -rf t; touch ~/mine; test -n "$XDG_CACHE_HOME"; mkdir -p "$XDG_CACHE_HOME/x"'
    )
    new_task(repo.path, "T", script, "--criterion", "$ test ! -e ~/mine -a -e ~/.gitconfig")
    result = gitmill(repo.path, "run")
    assert result.code == 0, result.err
    home, *rest = repo.git("show", "main:home.txt").splitlines()
    assert home.endswith("/build-1.d/home")
    assert rest == ["tool", "Ada <ada@example.com>"]
    assert not (sealed / "mine").exists()


@pytest.mark.parametrize("where", ["policy", "git config"])
def test_a_required_sandbox_that_is_not_available_is_one_clear_error(repo: Repo, where: str):
    repo.git("config", "gitmill.bubblewrap", NO_SUCH)
    task = new_task(repo.path, "T", "echo x > x.txt")
    if where == "policy":
        policy(repo, '[sandbox]\nenforce = "required"\n')
        repo.git("config", "gitmill.sandbox", "off")  # which nobody can say then
    else:
        repo.git("config", "gitmill.sandbox", "required")
    result = gitmill(repo.path, "run")
    assert result.code == 1
    assert result.err.splitlines()[0].endswith(
        "the sandbox is required and not available on this machine"
    )
    assert result.err.splitlines()[1].strip() == f"{NO_SUCH}: No such file or directory"
    assert "hint: install it" in result.err
    shown = gitmill(repo.path, "task", "show", task, "--json").json
    assert (shown["item"]["status"], shown["attempts"]) == ("ready", [])
    assert "error" not in gitmill(repo.path, "log").err
    report = gitmill(repo.path, "doctor", "--json").json
    assert report["exit"] == 1


def test_approved_work_stays_queued_where_the_sandbox_is_missing(repo: Repo):
    task = new_task(repo.path, "T", "echo x > x.txt")
    assert gitmill(repo.path, "run", "--through", "approved").code == 0
    repo.git("config", "gitmill.bubblewrap", NO_SUCH)
    repo.git("config", "gitmill.sandbox", "required")
    result = gitmill(repo.path, "queue", "land")
    assert "error[sandbox-missing]" in result.err
    assert gitmill(repo.path, "task", "show", task, "--json").json["item"]["status"] == "queued"
    repo.git("config", "--unset", "gitmill.bubblewrap")
    assert gitmill(repo.path, "queue", "land").code == 0


def test_a_missing_sandbox_is_reported_everywhere(repo: Repo):
    repo.git("config", "gitmill.bubblewrap", NO_SUCH)
    task = new_task(repo.path, "T", f"echo x > x.txt; echo x > {repo.path.parent}/outside")
    assert gitmill(repo.path, "run").code == 0
    assert (repo.path.parent / "outside").exists()
    assert 'sandbox: "not enforced"' in log_of(repo, task)
    why = f"{NO_SUCH}: No such file or directory"
    result = gitmill(repo.path, "status")
    assert result.out.splitlines()[-1] == f"sandbox not enforced: {why}"
    assert gitmill(repo.path, "status", "--json").json["not_enforced"] == why
    # And no more, once it is there.
    repo.git("config", "--unset", "gitmill.bubblewrap")
    new_task(repo.path, "U", "echo u > u.txt")
    assert gitmill(repo.path, "run").code == 0
    assert "not enforced" not in gitmill(repo.path, "status").out
    assert gitmill(repo.path, "status", "--json").json["not_enforced"] is None


def test_it_can_be_switched_off_in_the_clone_or_in_the_policy(repo: Repo):
    outside = repo.path.parent / "outside"
    policy(repo, '[sandbox]\nenforce = "off"\n')
    task = new_task(repo.path, "T", f"echo x > x.txt; echo x > {outside}")
    assert gitmill(repo.path, "run").code == 0
    assert outside.exists()
    assert 'sandbox: "off"' in log_of(repo, task)
    assert "sandbox not enforced: it is switched off" in gitmill(repo.path, "status").out
    assert "switched off by .gitmill/config.toml" in gitmill(repo.path, "doctor").out
    repo.git("config", "gitmill.sandbox", "auto")
    new_task(repo.path, "U", f"echo x > {outside}.2")
    gitmill(repo.path, "run")
    assert not outside.with_name("outside.2").exists()


def test_an_unknown_setting_is_an_error(repo: Repo):
    repo.git("config", "gitmill.sandbox", "maybe")
    new_task(repo.path, "T", "true")
    result = gitmill(repo.path, "run")
    assert result.code == 1
    assert (
        "gitmill.sandbox in git's configuration is auto, required or off, not maybe" in result.err
    )


@pytest.mark.parametrize(
    ("setting", "stage", "reaches"),
    [("on", "", True), ("off", "", False), ("on", "off", False), ("off", "on", True)],
)
def test_checks_have_the_network_of_policy_and_stage(
    repo: Repo, setting: str, stage: str, *, reaches: bool
):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = f'import socket; socket.create_connection(("127.0.0.1", {port}))'
        text = f"[checks]\nit = '''{sys.executable} -c '{connect}' '''\n[sandbox]\nnetwork = \"{setting}\"\n"
        files = {".gitmill/config.toml": text}
        if stage:
            own = f"---\ntype: checks\nnetwork: {stage}\n---\nThe checks.\n"
            files[".gitmill/loops/deliver/30-checks.md"] = own
            files[".gitmill/loops/deliver/loop.md"] = "---\nserves: task\n---\n"
        repo.commit(files, "policy")
        new_task(repo.path, "T", "echo x > x.txt")
        code = gitmill(repo.path, "run", "--through", "approved").code
    assert (code == 0) is reaches


def test_full_permission_has_no_limits_and_still_a_process_namespace(repo: Repo):
    outside = repo.path.parent / "outside"
    build = "---\ntype: agent\nrole: builder\npermission: full\n---\nDo it.\n"
    repo.commit({".gitmill/loops/deliver/10-build.md": build}, "loop")
    task = new_task(repo.path, "T", f"echo x > {outside}; echo $PPID > x.txt; git tag v1;"
                    f" git -C {repo.path} tag v2")  # fmt: skip
    gitmill(repo.path, "run")
    assert outside.exists()
    assert repo.git("show", f"refs/gitmill/work/{task}:x.txt") == "1"
    # It can reach the repository, so that is compared as without a sandbox.
    item = gitmill(repo.path, "task", "show", task, "--json").json["item"]
    assert (item["status"], "refs/tags/v2 was created" in item["reason"]) == ("waiting", True)
    assert repo.git("tag") == "v2"  # the other one is in its own git directory


def test_the_scripts_that_gitmill_writes_follow_no_link(repo: Repo):
    """A criterion plants a link where the script of the next one will be."""
    (word(repo) / "precious").write_text("mine\n")
    script = f'echo x > x.txt; ln -s {word(repo)}/precious "$TMPDIR/criterion-1.sh"'
    plant = f'$ ln -sf {word(repo)}/precious "$TMPDIR/criterion-1.sh"'
    new_task(repo.path, "T", script, "--criterion", plant, "--criterion", "$ echo second")
    repo.git("config", "gitmill.sandbox", "off")
    gitmill(repo.path, "run")
    assert (word(repo) / "precious").read_text() == "mine\n"


@pytest.mark.timeout(60)
def test_a_check_that_replaces_its_script_hangs_nobody(repo: Repo):
    """The script of a red command is searched for the name of a hidden socket."""
    plant = '$ rm "$TMPDIR/criterion-1.sh"; mkfifo "$TMPDIR/criterion-1.sh"; exit 1'
    policy(repo, "[limits]\nreturns = 1\n")
    new_task(repo.path, "T", "echo x > x.txt", "--criterion", plant)
    assert gitmill(repo.path, "run").code == 1


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_it_works_for_an_ordinary_user(tmp_path: Path):
    home = tmp_path / "nobody"
    home.mkdir()
    script = (
        "git init -q repo; cd repo; echo a > a.txt; git add .; git commit -q -m first\n"
        "gitmill init; rm -r .gitmill\n"
        "gitmill task new T --script 'id -u > x.txt; ! touch ../../evil; ! touch $HOME/repo/evil'"
        " --criterion '$ test -e x.txt' --ready\n"
        "gitmill run\n"
        "git show HEAD:x.txt; git log -p --all | grep '^+sandbox: '\n"
    )
    done = as_nobody(home, script)
    assert done.returncode == 0, done.stderr
    assert "65534" in done.stdout
    assert '+sandbox: "bubblewrap"' in done.stdout
    assert not list(home.rglob("evil"))


def test_the_raw_output_of_other_attempts_is_hidden(repo: Repo):
    """It lies in the git directory before it is redacted."""
    raw = repo.git_dir / "gitmill/transcripts/t-other.001-build.0123.raw"
    raw.parent.mkdir(parents=True, exist_ok=True)
    raw.write_text("s3cret of another\n")
    look = f"cat {raw} > seen.txt || true; ls -A {repo.git_dir}/gitmill >> seen.txt || true"
    script = f"{look}; git log -1 >> seen.txt"
    task = new_task(repo.path, "T", script, "--criterion", f"$ test ! -e {raw}")
    result = gitmill(repo.path, "run", task)
    assert result.code == 0, result.err
    assert repo.git("show", "main:seen.txt").startswith("commit ")


def test_the_agents_homes_of_other_repositories_are_hidden(repo: Repo, sealed: Path):
    """They hold sessions and credentials; the user has made the folder around them readable."""
    homes = sealed / "state" / "gitmill" / "other-01234567" / "homes"
    (homes / "t-1" / "claude").mkdir(parents=True)
    (homes / "t-1" / "claude" / "token").write_text("s3cret of another\n")
    (homes.parent / "plain").write_text("readable\n")
    repo.git("config", "gitmill.readable", str(sealed))
    look = f"cat {homes}/t-1/claude/token > seen.txt || true; cat {homes.parent}/plain >> seen.txt"
    task = new_task(repo.path, "T", look)
    result = gitmill(repo.path, "run", task)
    assert result.code == 0, result.err
    assert repo.git("show", "main:seen.txt") == "readable"


def test_a_git_directory_outside_of_the_checkout_is_hidden(repo: Repo):
    """Even in a folder that the user has made writable."""
    folder = word(repo) / "elsewhere"
    folder.mkdir()
    repo.git("init", "-q", f"--separate-git-dir={folder}/git")
    script = f"echo x > {folder}/allowed; ls -A {folder}/git > x; touch {folder}/git/evil || true"
    task = new_task(repo.path, "T", script)
    result = gitmill(repo.path, "run", task)
    assert result.code == 0, result.err
    assert (folder / "allowed").exists()
    assert repo.git("show", "main:x") == ""
    assert not (folder / "git/evil").exists()
    assert "git/evil': Read-only file system" in log_of(repo, task)
