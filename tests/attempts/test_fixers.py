"""`[fix]`: commands that correct what a builder leaves, before its tree is taken."""

from __future__ import annotations

import pytest

from tests.support.cli import gitmill, new_task
from tests.support.repos import Repo, Sandbox

POLICY = ".gitmill/config.toml"
SPACES = "sed -i 's/ *= */ = /' *.py"  # as a formatter does


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    repo = sandbox.repo(files={"a.py": "x = 1\n", POLICY: f'[fix]\nformat = "{SPACES}"\n'})
    assert gitmill(repo.path, "init").code == 0
    return repo


def policy(repo: Repo, **fixers: str) -> None:
    lines = "".join(f"{name} = '''{command}'''\n" for name, command in fixers.items())
    repo.commit({POLICY: f"[limits]\nattempts = 1\n[fix]\n{lines}"})


def landed(repo: Repo, script: str) -> list[str]:
    """Land the work of a script; return the findings of its build."""
    task = new_task(repo.path, "A task", script)
    said = gitmill(repo.path, "run", task)
    assert said.code == 0, said.err
    found = (
        gitmill(repo.path, "task", "show", task, "--json").json["attempts"][0].get("findings", [])
    )
    return [finding["message"] for finding in found]


def test_what_lands_is_what_the_fixer_made_of_it(repo: Repo):
    assert landed(repo, "printf 'y=2\\n' >> a.py") == []
    assert repo.git("show", "main:a.py") == "x = 1\ny = 2"
    assert repo.git("show", "--stat", "--format=", "main").split()[0] == "a.py"


def test_the_fixers_run_in_their_order_and_may_add_files(repo: Repo):
    policy(repo, first="cat b.txt > index.txt", second="tr b B < index.txt > shown.txt")
    assert landed(repo, "echo b > b.txt") == []
    assert repo.git("show", "main:shown.txt") == "B"


def test_a_fixer_that_fails_when_it_has_corrected_something_is_fine(repo: Repo):
    """As the hooks of pre-commit do: red after a change, green when nothing is left to change."""
    policy(repo, hook="grep -q foo a.py && { sed -i s/foo/bar/ a.py; exit 1; } || true")
    assert landed(repo, "echo 'z = foo' >> a.py") == []
    assert repo.git("show", "main:a.py") == "x = 1\nz = bar"


def test_a_red_fixer_is_noted_and_the_checks_decide(repo: Repo):
    policy(repo, broken="echo cannot parse >&2; exit 3", missing="no-such-tool .")
    broken, missing = landed(repo, "echo b > b.txt")
    assert broken.startswith("fixer broken (`echo cannot parse >&2; exit 3`) exited 3")
    assert broken.endswith("cannot parse")
    assert missing.startswith("fixer missing (`no-such-tool .`) exited 127")
    doctor = gitmill(repo.path, "doctor").out
    assert "fixer missing begins with no-such-tool, which is not on PATH" in doctor


def test_fixers_that_do_not_settle_are_named(repo: Repo):
    policy(repo, stamp="echo x >> log.txt")
    assert landed(repo, "echo b > b.txt") == [
        "the fixers do not settle: run again, stamp changed the files again"
    ]
    assert repo.git("show", "main:log.txt") == "x\nx"


def test_a_fixer_that_hangs_ends_at_its_limit(repo: Repo):
    repo.commit({POLICY: "[fix.slow]\ncommand = 'sleep 60'\ntimeout = '1s'\n"})
    (slow,) = landed(repo, "echo b > b.txt")
    assert slow == "fixer slow (`sleep 60`) timed-out"


def test_a_fixer_cannot_bring_a_secret_in(repo: Repo):
    policy(repo, leak="echo 'key = AKIA' | sed 's/$/IOSFODNN7EXAMPLQ/' > key.py")
    task = new_task(repo.path, "A task", "echo b > b.txt")
    gitmill(repo.path, "run", task)
    item = gitmill(repo.path, "task", "show", task, "--json").json["item"]
    assert item["status"] == "blocked", item


def test_what_a_fixer_makes_of_nothing_is_no_work(repo: Repo):
    """The target is formatted, so nothing is left to do."""
    task = new_task(repo.path, "A task", "true")
    assert gitmill(repo.path, "run", task).code == 0
    assert gitmill(repo.path, "task", "show", task, "--json").json["item"]["status"] == "done"


def test_a_fixer_must_be_trusted(repo: Repo, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("GITMILL_TRUST")
    gitmill(repo.path, "task", "new", "A task", "--script", "echo b > b.txt",
            "--criterion", "$ true", "--ready")  # fmt: skip
    said = gitmill(repo.path, "run")
    assert said.code != 0
    assert "fix.format" in said.out + said.err


@pytest.mark.parametrize("line", ['format = ""', "format = 3", '[fix.format]\ntimeout = "2m"'])
def test_a_fixer_without_a_command_is_refused(repo: Repo, line: str):
    text = line if line.startswith("[") else f"[fix]\n{line}"
    repo.commit({POLICY: f"{text}\n"})
    said = gitmill(repo.path, "loop", "check")
    assert (said.code, "error[bad-config]" in said.err, "fix" in said.err) == (1, True, True)
