"""Secrets that people commit to the state branch by hand: copied no further, held, reported."""

from __future__ import annotations

import subprocess

import pytest

from tests.people.test_hand_edits import edited, item, path_of, recover, text_of
from tests.support.cli import begun, gitmill, new_task
from tests.support.hands import STATE, by_hand
from tests.support.planted import made
from tests.support.repos import Repo, Sandbox

KEY = made()["github"][0]


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    return begun(sandbox)


def holders(repo: Repo) -> int:
    """Return how many objects of the repository hold the key."""
    done = subprocess.run(
        ["git", "cat-file", "--batch-all-objects", "--batch"],
        cwd=repo.path, capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout.count(KEY.encode())


def diagnosis(repo: Repo) -> list[str]:
    lines = gitmill(repo.path, "doctor").out.splitlines()
    at = next(n for n, line in enumerate(lines) if line.split()[1:2] == ["secrets"])
    return lines[at : at + 5]


@pytest.mark.parametrize("where", ["title", "text", "own field", "comment", "answer"])
def test_an_edit_with_a_secret_is_not_applied_and_holds_the_item(repo: Repo, where: str):
    task = new_task(repo.path, "Before", "true")
    before = text_of(repo, task)
    after = {
        "title": edited(before, title=f"Use {KEY}"),
        "text": f"{before}\nUse {KEY}.\n",
        "own field": edited(before, mine=f"[{KEY}]"),
        "comment": edited(before, priority=f"1  # {KEY}"),
        "answer": edited(before, status="cancelled", reason=KEY),
    }[where]
    commit = by_hand(repo, {path_of(task): after})
    assert f"{task}: held, a hand edit holds a secret" in recover(repo)
    held = item(repo, task)
    assert (held["status"], held["title"], held["priority"]) == ("waiting", "Before", 2)
    assert held["reason"].startswith("a hand edit holds a secret (github token): change the secret")
    assert KEY not in text_of(repo, task)
    text = diagnosis(repo)
    assert "holds a secret: github token (digest " in text[0]
    assert f"committed by hand in {commit[:10]}" in text[0]
    assert "change it at its service first" in text[0]
    assert text[1].strip() == f"hint: see the commit: `git show {commit[:10]}`"
    assert text[2].strip() == "hint: then rewrite the branch, see `gitmill explain holds-secret`"
    assert holders(repo) == 1


def test_a_held_item_goes_on_and_only_the_hand_edit_holds_the_secret(repo: Repo):
    task = new_task(repo.path, "Before", "echo a > a", "--criterion", "$ true")
    by_hand(repo, {path_of(task): edited(text_of(repo, task), title=f"Use {KEY}", paths="[a]")})
    recover(repo)
    assert gitmill(repo.path, "task", "answer", task, "-m", "go on").code == 0
    assert gitmill(repo.path, "run").code == 0
    assert item(repo, task)["status"] == "landed"
    assert gitmill(repo.path, "fsck").code == 0
    assert holders(repo) == 1


def test_a_waiting_item_keeps_its_question_and_an_ended_one_its_end(repo: Repo):
    task = new_task(repo.path, "Before", "true")
    for key in ("one", "two"):
        by_hand(repo, {path_of(task): edited(text_of(repo, task), title=f"{key} {KEY}")})
        recover(repo)
    assert "it was waiting already: a hand edit" in item(repo, task)["reason"]
    assert gitmill(repo.path, "task", "cancel", task).code == 0
    by_hand(repo, {path_of(task): edited(text_of(repo, task), title=f"three {KEY}")})
    assert f"{task}: restored, a hand edit holds a secret" in recover(repo)
    assert (item(repo, task)["status"], item(repo, task)["title"]) == ("cancelled", "Before")


def test_a_new_document_with_a_secret_is_redacted_and_held(repo: Repo):
    text = (
        f'---\ntitle: Use {KEY}\nstatus: ready\ncriteria: ["$ test {KEY}"]\nwhen: 2026-01-02\n'
        f"# {KEY}\n---\n\nWith {KEY}.\n"
    )
    by_hand(repo, {"tasks/ab/t-abcde.md": text.replace("---\n", "---\nid: t-abcde\n", 1)})
    assert "t-abcde: held, a hand edit holds a secret" in recover(repo)
    held = item(repo, "t-abcde")
    assert (held["status"], held["title"]) == ("waiting", "Use [redacted]")
    assert held["body"] == "With [redacted]."
    assert held["criteria"] == ["$ test [redacted]"]
    assert holders(repo) == text.count(KEY)
    assert gitmill(repo.path, "fsck").code == 0


def test_a_pause_by_hand_keeps_its_reason_without_the_secret(repo: Repo):
    text = repo.git("show", f"{STATE}:control.md") + "\n"
    by_hand(repo, {"control.md": edited(text, paused="true", reason=f"because of {KEY}")})
    recover(repo)
    assert repo.git("show", f"{STATE}:control.md").count("because of [redacted]") == 1
    assert gitmill(repo.path, "resume").code == 0
    assert holders(repo) == 1


def test_an_inbox_file_with_a_secret_stays_and_doctor_names_its_commit(repo: Repo):
    commit = by_hand(repo, {"inbox/idea.md": f"Use {KEY}\n"})
    recover(repo)
    new_task(repo.path, "Other", "true")
    assert holders(repo) == 1
    assert "inbox/idea.md holds a secret: github token" in diagnosis(repo)[0]
    assert commit[:10] in diagnosis(repo)[0]


def test_doctor_names_the_message_of_a_commit_too(repo: Repo):
    tree = repo.git("rev-parse", f"{STATE}^{{tree}}")
    commit = repo.git("commit-tree", tree, "-p", STATE, "-m", f"with {KEY}")
    repo.git("update-ref", STATE, commit)
    text = diagnosis(repo)[0]
    assert "the message of a commit holds a secret: github token" in text
    assert commit[:10] in text


def test_an_allowed_value_is_an_edit_like_any_other(repo: Repo):
    task = new_task(repo.path, "Before", "true")
    refused = gitmill(repo.path, "task", "edit", task, "--title", f"Use {KEY}")
    digest = refused.err.partition("(digest ")[2].partition(")")[0]
    repo.commit({".gitmill/config.toml": f'[sanity]\nallow_secrets = ["{digest}"]\n'})
    by_hand(repo, {path_of(task): edited(text_of(repo, task), title=f"Use {KEY}")})
    assert f"{task}: edited by hand (Bob)" in recover(repo)
    assert item(repo, task)["title"] == f"Use {KEY}"
    assert gitmill(repo.path, "task", "edit", task, "-m", f"Not {KEY}").code == 0
    assert item(repo, task)["body"] == f"Not {KEY}"
    assert diagnosis(repo)[0].endswith("no hand edit holds a secret")
