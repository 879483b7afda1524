"""A secret in what a person types is refused before anything is written, by every command."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.cli import begun, gitmill, new_task
from tests.support.planted import made
from tests.support.repos import Repo, Sandbox

MADE = made()
PASSWORD = 'open "sesame" 77é'
TEXTS = {
    "of the environment": (PASSWORD, PASSWORD),
    "of a known shape": MADE["github"],
    "that a detector knows": MADE["digitalocean"],
}
NEW = ("task", "new", "Say hello", "--script", "true", "--criterion", "$ true")
COMMANDS = {
    "new, title": ("task", "new", "{}"),
    "new, text": (*NEW, "-m", "{}"),
    "new, script": ("task", "new", "T", "--script", "echo '{}'"),
    "new, criterion": ("task", "new", "T", "--criterion", "$ test '{}'"),
    "new, path": ("task", "new", "T", "--path", "{}"),
    "new, label": ("task", "new", "T", "--label", "{}"),
    "edit, title": ("task", "edit", "ready", "--title", "{}"),
    "edit, text": ("task", "edit", "ready", "-m", "{}"),
    "edit, script": ("task", "edit", "ready", "--script", "echo '{}'"),
    "edit, criterion": ("task", "edit", "ready", "--criterion", "{}"),
    "edit, path": ("task", "edit", "ready", "--path", "{}"),
    "edit, label": ("task", "edit", "ready", "--label", "{}"),
    "approve": ("task", "approve", "waiting", "-m", "{}"),
    "return": ("task", "return", "waiting", "-m", "{}"),
    "answer": ("task", "answer", "waiting", "-m", "{}"),
    "block": ("task", "block", "ready", "-m", "{}"),
    "cancel": ("task", "cancel", "ready", "-m", "{}"),
    "submit": ("task", "submit", "taken", "-m", "{}"),
    "pause": ("pause", "-m", "{}"),
    "queue pause": ("queue", "pause", "-m", "{}"),
    "undo": ("undo", "landed", "--criterion", "$ test '{}'"),
}


@pytest.fixture
def repo(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Repo:
    monkeypatch.setenv("MY_PASSWORD", PASSWORD)
    return begun(sandbox)


def everything(repo: Repo) -> bytes:
    """Return every object of the repository, reachable or not."""
    return subprocess.run(
        ["git", "cat-file", "--batch-all-objects", "--batch"],
        cwd=repo.path, capture_output=True, check=True,
    ).stdout  # fmt: skip


def items(repo: Repo) -> dict[str, str]:
    """Make an item for each status that a command needs; return their ids."""
    landed = new_task(repo.path, "Landed", "echo a > a", "--criterion", "$ true")
    assert gitmill(repo.path, "run", landed).code == 0
    waiting = new_task(
        repo.path, "Waiting", "mkdir .github; echo b > .github/x", "--criterion", "$ true"
    )
    gitmill(repo.path, "run", waiting)
    taken = new_task(repo.path, "Taken", "true", "--criterion", "$ true")
    assert gitmill(repo.path, "task", "take", taken).code == 0
    ready = new_task(repo.path, "Ready", "true", "--criterion", "$ true")
    ids = {"landed": landed, "waiting": waiting, "taken": taken, "ready": ready}
    for status, item in {**ids, "running": taken}.items():
        if status != "taken":
            shown = gitmill(repo.path, "task", "show", item, "--json").json["item"]
            assert shown["status"] == status
    return ids


@pytest.mark.slow
def test_no_command_writes_a_secret_that_a_person_types(repo: Repo):
    """Afterwards no object holds one, reachable or not, and no ref has moved."""
    ids = items(repo)
    refs = repo.git("for-each-ref")
    passed = []
    for kind, (_, text) in TEXTS.items():
        for command, arguments in COMMANDS.items():
            words = [ids.get(word, word.replace("{}", text)) for word in arguments]
            result = gitmill(repo.path, *words)
            if result.code != 3 or "error[holds-secret]" not in result.err:
                passed.append(f"{command}, {kind}: exit {result.code} {result.err}")
    assert passed == []
    assert repo.git("for-each-ref") == refs
    objects = everything(repo)
    assert b"Gitmill-Event" in objects
    for value, _ in TEXTS.values():
        assert value.encode() not in objects


def test_the_error_names_the_ways_out(repo: Repo):
    key = MADE["github"][0]
    result = gitmill(repo.path, "task", "new", f"Use {key}", "-m", f"with {PASSWORD}")
    lines = result.err.splitlines()
    assert lines[0] == (
        "error[holds-secret]: what you typed holds a secret, so nothing was written"
    )
    assert lines[1].startswith("    title holds a secret: github token (digest ")
    assert lines[2] == "    body holds a secret: a secret of the environment"
    for line, name in ((lines[3], "NAME"), (lines[4], "MY_PASSWORD")):
        assert (
            f'write ${name} instead, which a command gets with [environment] pass = ["{name}"]'
            in line
        )
    assert "add its digest to `[sanity] allow_secrets` on the target" in lines[5]
    digest = lines[1].partition("digest ")[2].removesuffix(")")
    repo.commit({".gitmill/config.toml": f'[sanity]\nallow_secrets = ["{digest}"]\n'})
    assert gitmill(repo.path, "task", "new", f"Use {key}", "-m", PASSWORD).code == 3
    task = gitmill(repo.path, "task", "new", f"Use {key}")
    assert task.code == 0, task.err
    assert key in repo.git("log", "-1", "--format=%s", "gitmill/state")


def test_a_title_that_is_a_secret_later_gets_into_no_note_and_fsck_accepts_it(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
):
    task = new_task(repo.path, "Open swordfish-99", "echo a > a", "--criterion", "$ true")
    monkeypatch.setenv("OTHER_PASSWORD", "swordfish-99")
    result = gitmill(repo.path, "run", task)
    assert result.code == 0, result.err
    landed = repo.git("log", "-1", "--format=%s%n%N", "--notes=gitmill", "main")
    assert landed.startswith("Open [redacted]\n")
    assert 'title: "Open [redacted]"' in landed
    assert "swordfish-99" not in repo.git("show", "gitmill/state:README.md")
    result = gitmill(repo.path, "undo", task, "--criterion", "$ true")
    assert result.code == 0, result.err
    assert "swordfish-99" not in repo.git("log", "--format=%B%N", "--notes=gitmill", "main")
    result = gitmill(repo.path, "fsck")
    assert result.code == 0, result.out + result.err
