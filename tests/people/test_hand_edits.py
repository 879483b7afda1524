"""Hand edits: what people commit to the state branch with plain git."""

from __future__ import annotations

import pytest

from tests.support.cli import begun, gitmill, new_task
from tests.support.hands import STATE, by_hand
from tests.support.repos import Repo, Sandbox


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    return begun(sandbox)


def path_of(task: str) -> str:
    return f"tasks/{task[2:4]}/{task}.md"


def text_of(repo: Repo, task: str) -> str:
    return repo.git("show", f"{STATE}:{path_of(task)}") + "\n"


def item(repo: Repo, task: str) -> dict:
    return gitmill(repo.path, "task", "show", task, "--json").json["item"]


def history(repo: Repo, task: str) -> list[tuple[str, str]]:
    events = gitmill(repo.path, "log", task, "--json").json["events"]
    return [(event["event"], event["by"].partition(" <")[0]) for event in events[::-1]]


def recover(repo: Repo) -> str:
    result = gitmill(repo.path, "recover")
    assert result.code == 0, result.err
    return result.out + result.err


def edited(text: str, **fields: str) -> str:
    """Return a document with lines of its front matter replaced or added, as typed."""
    head, rest = text.removeprefix("---\n").split("\n---\n", 1)
    lines = head.split("\n")
    for key, value in fields.items():
        lines = [line for line in lines if not line.startswith(f"{key}:")]
        lines.append(f"{key}: {value}")
    return "---\n" + "\n".join(lines) + "\n---\n" + rest


def test_edits_of_free_fields_and_text_become_an_event_by_their_author(repo: Repo):
    task = new_task(repo.path, "Before", "true")
    text = edited(text_of(repo, task), title="After  # better", priority="1", mine="[kept, too]")
    by_hand(repo, {path_of(task): text + "\nMore about it.\n"})
    assert f"{task}: edited by hand (Bob)" in recover(repo)
    after = item(repo, task)
    assert (after["title"], after["priority"], after["body"]) == ("After", 1, "More about it.")
    assert "title: After  # better\n" in text_of(repo, task)
    assert "mine: [kept, too]\n" in text_of(repo, task)
    assert history(repo, task)[-1] == ("edited", "Bob")
    assert recover(repo).startswith("nothing to clean up")


@pytest.mark.parametrize("key", ["event", "stage", "work", "attempt", "counters", "lease", "id"])
def test_fields_that_only_gitmill_writes_are_restored_and_the_rest_is_applied(repo: Repo, key: str):
    task = new_task(repo.path, "Before", "true")
    before = item(repo, task)
    value = {"attempt": "7", "counters": '{"build": 2}', "work": "a" * 40, "lease": LEASE,
             "id": "t-00000"}.get(key, "other")  # fmt: skip
    by_hand(repo, {path_of(task): edited(text_of(repo, task), **{key: value, "title": "New"})})
    result = recover(repo)
    assert f"restored {key} (only gitmill writes it)" in result
    after = item(repo, task)
    ignored = {"event", "title"}
    assert after["title"] == "New"
    assert {k: v for k, v in after.items() if k not in ignored} == {
        k: v for k, v in before.items() if k not in ignored
    }
    assert "Gitmill-Put-Back: " in repo.git("log", "-1", "--format=%B", STATE)


LEASE = '{"claim": "c", "who": "w", "until": "2999-01-01T00:00:00Z"}'


@pytest.mark.parametrize(
    ("steps", "fields", "status", "event"),
    [
        ((), {"status": "blocked", "reason": "wait for Eve"}, "blocked", "blocked"),
        ((), {"status": "cancelled"}, "cancelled", "cancelled"),
        ((("cancel",),), {"status": "ready"}, "ready", "reopened"),
        ((("block", "-m", "x"),), {"status": "ready"}, "ready", "unblocked"),
    ],
)
def test_a_permitted_status_edit_becomes_its_event(
    repo: Repo, steps: tuple, fields: dict[str, str], status: str, event: str
):
    task = new_task(repo.path, "Task", "true")
    for verb, *more in steps:
        assert gitmill(repo.path, "task", verb, task, *more).code == 0
    by_hand(repo, {path_of(task): edited(text_of(repo, task), title="Too", **fields)})
    recover(repo)
    after = item(repo, task)
    assert (after["status"], after["title"]) == (status, "Too")
    assert after.get("reason", "") == (fields.get("reason") or "")
    assert history(repo, task)[-2:] == [("edited", "Bob"), (event, "Bob")]


def waiting(repo: Repo) -> str:
    """Return a task whose finished work waits for a person."""
    task = new_task(repo.path, "Risky", "echo x > x.txt", "--criterion", "It is nice",
                    "--criterion", "$ true")  # fmt: skip
    assert gitmill(repo.path, "run").code == 3
    assert item(repo, task)["status"] == "waiting"
    return task


def test_approve_by_hand_and_it_lands(repo: Repo):
    task = waiting(repo)
    by_hand(repo, {path_of(task): edited(text_of(repo, task), status="approved")})
    assert gitmill(repo.path, "run").code == 0
    assert item(repo, task)["status"] == "landed"
    assert ("approved", "Bob") in history(repo, task)
    assert "Bob <bob@example.com>" in repo.git("notes", "--ref", "gitmill", "show", "main")


@pytest.mark.parametrize(
    ("fields", "event"), [({"answer": "yes, do"}, "answered"), ({"reason": "too ugly"}, "returned")]
)
def test_answer_and_return_by_hand(repo: Repo, fields: dict[str, str], event: str):
    task = waiting(repo)
    by_hand(repo, {path_of(task): edited(text_of(repo, task), status="ready", **fields)})
    recover(repo)
    assert item(repo, task)["status"] == "ready"
    assert history(repo, task)[-1] == (event, "Bob")


def test_a_forbidden_status_edit_is_restored_with_the_reason(repo: Repo):
    task = new_task(repo.path, "Task", "echo x > y.txt")
    by_hand(repo, {path_of(task): edited(text_of(repo, task), status="landed")})
    assert "restored status (a person cannot move it from ready to landed)" in recover(repo)
    assert item(repo, task)["status"] == "ready"
    assert gitmill(repo.path, "task", "cancel", task).code == 0
    other = waiting(repo)
    by_hand(repo, {path_of(other): edited(text_of(repo, other), status="ready")})
    assert "restored status (set `answer` to answer it, or `reason`" in recover(repo)


def test_a_malformed_file_is_named_and_blocks_nothing_else(repo: Repo):
    broken, other = (new_task(repo.path, name, "echo x > x.txt") for name in ("One", "Two"))
    good = text_of(repo, broken)
    by_hand(repo, {path_of(broken): edited(good, priority="urgent")})
    result = gitmill(repo.path, "run")
    assert result.code == 0
    line = 1 + edited(good, priority="urgent").split("\n").index("priority: urgent")
    assert f"{path_of(broken)}:{line}: priority must be a whole number" in result.err
    assert item(repo, other)["status"] == "landed"
    by_hand(repo, {path_of(broken): edited(good, priority="1")})
    assert f"{broken}: edited by hand (Bob)" in recover(repo)
    assert item(repo, broken)["priority"] == 1


def test_a_new_document_becomes_an_item(repo: Repo):
    by_hand(repo, {
        "tasks/ab/t-abcde.md": '---\ntitle: By hand\nstatus: ready\nscript: "echo x > x.txt"\n'
        'criteria: ["$ true"]\nattempt: 9\n---\n\nText.\n',
    })  # fmt: skip
    assert gitmill(repo.path, "run").code == 0
    assert item(repo, "t-abcde")["status"] == "landed"
    assert history(repo, "t-abcde")[:2] == [("created", "Bob"), ("readied", "Bob")]


def test_a_removed_document_and_evidence_are_restored(repo: Repo):
    task = new_task(repo.path, "Task", "echo x > x.txt")
    assert gitmill(repo.path, "run").code == 0
    names = repo.git("ls-tree", "-r", "--name-only", STATE).split()
    mine = [n for n in names if n.startswith(("runs/", "checks/", "frozen/"))] + [path_of(task)]
    before = [repo.git("show", f"{STATE}:{name}") for name in mine[:-1]]
    by_hand(repo, dict.fromkeys(mine, None) | {"NOTES.md": "ours\n"})
    result = recover(repo)
    assert "restored its document (an item is cancelled, not removed)" in result
    assert [repo.git("show", f"{STATE}:{name}") for name in mine[:-1]] == before
    assert item(repo, task)["status"] == "landed"
    assert repo.git("show", f"{STATE}:NOTES.md") == "ours"


def test_anyone_can_stop_everything_by_a_commit(repo: Repo):
    new_task(repo.path, "Task", "true")
    control = repo.git("show", f"{STATE}:control.md") + "\n"
    by_hand(repo, {"control.md": edited(control, paused="true", reason="fire")})
    result = gitmill(repo.path, "run")
    assert (result.code, "fire" in result.err) == (3, True)
    last = gitmill(repo.path, "log", "--json").json["events"][0]
    assert (last["event"], last["by"]) == ("paused", "Bob <bob@example.com>")
    assert gitmill(repo.path, "resume").code == 0
    assert gitmill(repo.path, "run").code != 3


def test_several_commits_and_a_merged_pull_request_are_applied_together(repo: Repo):
    one, two = (new_task(repo.path, name, "true") for name in ("One", "Two"))
    base = repo.git("rev-parse", STATE)
    side = by_hand(repo, {path_of(one): edited(text_of(repo, one), priority="0")}, parent=base)
    by_hand(repo, {path_of(two): edited(text_of(repo, two), status="cancelled")})
    tree = repo.git("merge-tree", "--write-tree", STATE, side)
    merge = repo.git("commit-tree", "-m", "pull request", "-p", STATE, "-p", side, tree)
    repo.git("update-ref", STATE, merge)
    recover(repo)
    assert item(repo, one)["priority"] == 0
    assert item(repo, two)["status"] == "cancelled"
    assert repo.git("merge-base", "--is-ancestor", side, STATE) == ""


def test_frozen_fields_cannot_change_while_work_is_under_way(repo: Repo):
    task = waiting(repo)
    by_hand(repo, {path_of(task): edited(text_of(repo, task), script="echo y > y.txt")})
    assert f"restored script ({task} is waiting" in recover(repo)
    assert item(repo, task)["script"] == "echo x > x.txt"


def test_a_change_of_frozen_fields_voids_the_work_of_an_idle_item(repo: Repo):
    task = new_task(repo.path, "Task", "exit 3")
    assert gitmill(repo.path, "run").code == 1
    assert item(repo, task)["status"] == "blocked"
    text = edited(text_of(repo, task), script="echo x > x.txt", status="ready")
    by_hand(repo, {path_of(task): text})
    assert gitmill(repo.path, "run").code == 0
    assert item(repo, task)["status"] == "landed"
    assert repo.git("show", "main:x.txt") == "x"


def test_a_command_that_writes_applies_hand_edits_first(repo: Repo):
    task = new_task(repo.path, "Task", "true")
    by_hand(repo, {path_of(task): edited(text_of(repo, task), priority="0")})
    assert gitmill(repo.path, "task", "block", task, "-m", "x").code == 0
    assert [event for event, _ in history(repo, task)[-2:]] == ["edited", "blocked"]
    assert item(repo, task)["priority"] == 0
