"""Undo appends the opposite, restores the item, and never removes anything."""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gitmill.core.document import Document
from tests.support.cli import begun, gitmill, new_task
from tests.support.repos import Repo, Sandbox

BOOKS = {"event", "since", "attempt"}


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    files: dict = {"a.txt": "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "b.txt": "b\n"}
    policy = {".gitmill/config.toml": "[checks]\ntest = '! grep -q bad a.txt b.txt'\n"}
    return begun(sandbox, files=files, then=policy)


def item(repo: Repo, task: str) -> dict:
    return gitmill(repo.path, "task", "show", task, "--json").json["item"]


def document(repo: Repo, task: str) -> dict:
    """Return the fields of the document, without those that every event writes."""
    text = repo.git("show", f"gitmill/state:tasks/{task[2:4]}/{task}.md") + "\n"
    parsed = Document(text)
    fields = {key: parsed.value(key) for key in parsed.fields if key not in BOOKS}
    return fields | {"body": parsed.body.strip()}


def events(repo: Repo, task: str) -> list[str]:
    entries = gitmill(repo.path, "log", task, "--json").json["events"]
    return [entry["event"] for entry in entries[::-1]]


def undone(repo: Repo, task: str, event: str) -> None:
    """Undo the last event of a task; `event` was recorded, and the history only grew."""
    tip = repo.git("rev-parse", "gitmill/state")
    runs = repo.git("ls-tree", "-r", "--name-only", tip, "runs").splitlines()
    done = gitmill(repo.path, "undo", task)
    assert done.code == 0, done.err
    assert repo.git("rev-parse", "gitmill/state^") == tip
    assert set(runs) <= set(
        repo.git("ls-tree", "-r", "--name-only", "gitmill/state", "runs").splitlines()
    )
    last, *earlier = gitmill(repo.path, "log", task, "--json").json["events"]
    assert last["event"] == event
    assert set(last["undoes"].split()) <= {entry["id"] for entry in earlier}


def waiting(repo: Repo) -> str:
    """Make a task whose work waits for a person's review."""
    task = new_task(repo.path, "Judge", "echo x >> a.txt", "--criterion", "prose")
    assert gitmill(repo.path, "run", task).code == 3
    return task


def test_typed_commands_are_undone_one_after_the_other(repo: Repo):
    result = gitmill(repo.path, "task", "new", "Typo", "--script", "true",
                   "--criterion", "$ true", "-m", "Why.")  # fmt: skip
    task = result.out.strip()
    draft = document(repo, task)
    gitmill(repo.path, "task", "edit", task, "--title", "Other", "-m", "Else.", "--label", "x")
    edited = document(repo, task)
    gitmill(repo.path, "task", "ready", task)
    assert gitmill(repo.path, "undo").plain() == (
        0, "",
        "undoing T1: ready\nT1 is draft, as before\nnext: `gitmill task ready T1`\n",
    )  # fmt: skip
    assert document(repo, task) == edited
    undone_json = gitmill(repo.path, "undo", task, "--json").json
    assert (undone_json["event"], undone_json["item"]["title"]) == ("edited", "Typo")
    assert document(repo, task) == draft
    assert gitmill(repo.path, "undo").plain() == (
        0, "", "undoing T1: created, Typo\nT1 is cancelled\nnext: `gitmill status`\n",
    )  # fmt: skip
    assert events(repo, task) == ["created", "edited", "readied", "undone", "edited", "cancelled"]
    assert gitmill(repo.path, "undo", task).plain() == (
        1, "",
        "error[cannot-undo]: T1 has no event left to undo\n"
        "hint: see its whole history with `gitmill log T1`\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "decision", "event"),
    [
        ("waiting", ["approve"], "undone"),
        ("waiting", ["return", "-m", "no"], "undone"),
        ("waiting", ["answer", "-m", "yes"], "undone"),
        ("waiting", ["block", "-m", "wait"], "undone"),
        ("waiting", ["cancel", "-m", "never"], "undone"),
        ("waiting", ["reopen"], "undone"),
        ("waiting", ["edit", "--priority", "0", "-m", "new text"], "edited"),
        ("ready", ["block", "-m", "wait"], "unblocked"),
        ("ready", ["cancel"], "reopened"),
        ("ready", ["take"], "released"),
        ("ready", ["edit", "--criterion", "$ test -e a.txt"], "edited"),
        ("draft", ["cancel"], "undone"),
        ("draft", ["ready"], "undone"),
        ("blocked", ["retry"], "blocked"),
        ("blocked", ["reopen"], "undone"),
        ("cancelled", ["reopen"], "cancelled"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_decision_is_undone_with_everything_it_changed(repo: Repo, before, decision, event):
    if before == "waiting":
        task = waiting(repo)
    else:
        task = new_task(repo.path, "One", "echo x >> a.txt", "--criterion", "$ true")
    if before == "draft":
        undone(repo, task, "undone")
    if verb := {"blocked": "block", "cancelled": "cancel"}.get(before):
        assert gitmill(repo.path, "task", verb, task, "-m", "x").code == 0
    was, verb = document(repo, task), decision[0]
    assert was["status"] == before
    assert gitmill(repo.path, "task", verb, task, *decision[1:]).code == 0
    assert document(repo, task) != was
    undone(repo, task, event)
    assert document(repo, task) == was


def test_an_undone_decision_can_be_made_differently(repo: Repo):
    task = waiting(repo)
    assert gitmill(repo.path, "task", "approve", task).code == 0
    assert gitmill(repo.path, "queue", "add", task).code == 0
    undone(repo, task, "dequeued")
    undone(repo, task, "undone")
    assert gitmill(repo.path, "task", "return", task, "-m", "no").code == 0
    assert item(repo, task)["status"] == "ready"
    assert item(repo, task)["attempt"] == 4  # build, review, the approval that was undone, return
    logs = repo.git("ls-tree", "-r", "--name-only", "gitmill/state", "runs").splitlines()
    assert [Path(path).name for path in logs] == [
        "001-build.md", "002-review.md", "003-review.md", "004-review.md",
    ]  # fmt: skip


@pytest.mark.slow
def test_an_attempt_is_undone_with_its_claim_and_its_work_is_rescued(repo: Repo):
    task = new_task(repo.path, "Built", "echo x >> a.txt", "--criterion", "prose")
    ready = document(repo, task)
    assert gitmill(repo.path, "run", task).code == 3
    work = item(repo, task)["work"]
    undone(repo, task, "undone")  # the question of the review
    assert (item(repo, task)["status"], item(repo, task)["stage"]) == ("ready", "review")
    assert item(repo, task)["counters"] == {"build": 1}
    assert repo.git("rev-parse", f"refs/gitmill/work/{task}") == work
    undone(repo, task, "undone")  # the build
    assert document(repo, task) == ready
    assert repo.git("for-each-ref", f"refs/gitmill/work/{task}") == ""
    assert repo.git("rev-parse", f"refs/gitmill/rescue/{task}/1") == work
    assert gitmill(repo.path, "run", task).code == 3
    assert item(repo, task)["counters"] == {"build": 1, "review": 1}
    assert item(repo, task)["attempt"] == 4


@pytest.mark.slow
def test_an_approval_by_a_review_can_be_undone_before_the_landing(repo: Repo):
    task = new_task(repo.path, "Approved", "echo x >> a.txt")
    assert gitmill(repo.path, "run", task, "--through", "approved").code == 0
    undone(repo, task, "undone")
    current = item(repo, task)
    assert (current["status"], current["stage"], current["reviewed"]) == ("ready", "review", [])
    assert gitmill(repo.path, "queue", "land", task).code == 1
    assert gitmill(repo.path, "run").code == 0
    assert item(repo, task)["status"] == "landed"


@pytest.mark.slow
def test_an_undone_attempt_keeps_edits_by_a_person_while_it_ran(repo: Repo):
    repo.unfence()
    task = new_task(repo.path, "Edited", "true")
    mine = f'cd {repo.path} && {sys.executable} -m gitmill task edit {task} --priority "$GITMILL_ATTEMPT"'
    gitmill(repo.path, "task", "edit", task, "--script", f"{mine}; exit 3")
    assert gitmill(repo.path, "run", task).code == 1
    assert events(repo, task)[-3:] == ["claimed", "edited", "blocked"]
    assert gitmill(repo.path, "undo", task).code == 0
    current = item(repo, task)
    assert (current["status"], current["counters"]) == ("ready", {"build": 2})
    assert current["priority"] == 3
    undone(repo, task, "edited")  # that edit still counts, so it is the next to go
    assert item(repo, task)["priority"] == 2


def test_pruned_work_cannot_be_restored(repo: Repo):
    task = waiting(repo)
    work = item(repo, task)["work"]
    assert gitmill(repo.path, "task", "reopen", task).code == 0
    Path(repo.git_dir, "objects", work[:2], work[2:]).unlink()
    tip = repo.git("rev-parse", "gitmill/state")
    result = gitmill(repo.path, "undo", task)
    assert result.code == 1
    assert "its earlier work is no longer in this repository" in result.err
    assert repo.git("rev-parse", "gitmill/state") == tip


def test_the_undo_of_a_block_restores_the_last_attempt(repo: Repo):
    task = new_task(repo.path, "Fails", "exit 3")
    assert gitmill(repo.path, "run", task).code == 1
    undone(repo, task, "unblocked")
    assert item(repo, task)["status"] == "ready"
    assert item(repo, task)["counters"] == {"build": 2}
    assert item(repo, task)["attempt"] == 3


def test_a_pause_can_be_undone(repo: Repo):
    gitmill(repo.path, "pause", "-m", "lunch")
    new_task(repo.path, "Meanwhile", "true")
    for _ in range(2):
        assert gitmill(repo.path, "undo").code == 0
    control = repo.git("show", "gitmill/state:control.md")
    assert gitmill(repo.path, "undo").plain() == (
        0, "",
        "undoing paused: lunch\nwork continues; the queue continues\nnext: `gitmill status`\n",
    )  # fmt: skip
    assert "lunch" in control
    assert "lunch" not in repo.git("show", "gitmill/state:control.md")
    assert gitmill(repo.path, "undo").code == 1  # no own event is left
    gitmill(repo.path, "queue", "pause", "-m", "one")
    other = {"GIT_COMMITTER_NAME": "Bo", "GIT_COMMITTER_EMAIL": "bo@example.com"}
    gitmill(repo.path, "queue", "pause", "-m", "two", env=other)
    assert "control.md was changed since" in gitmill(repo.path, "undo").err


# -- what cannot be undone -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_running_item_cannot_be_undone(repo: Repo):
    repo.unfence()
    file = repo.path.parent / "output"
    task = new_task(repo.path, "Runs", "true")
    script = f"cd {repo.path}; {sys.executable} -m gitmill undo {task} 2> {file} || echo $? >> {file}; exit 3"
    gitmill(repo.path, "task", "edit", task, "--script", script)
    gitmill(repo.path, "run", task, "-n", "1")
    output = file.read_text()
    assert output.startswith(f"error[leased]: {task} is being worked on\n")
    assert output.endswith("hint: end it with `gitmill stop`\n4\n")


def test_a_lease_of_a_dead_process_is_recovered_first(repo: Repo):
    repo.unfence()
    task = new_task(repo.path, "Dies", "kill -9 $(cut -d' ' -f4 /proc/$PPID/stat); sleep 60")
    assert gitmill(repo.path, "run", task).code == -9
    result = gitmill(repo.path, "undo", task)
    assert result.code == 4
    assert "hint: its process is dead, so run `gitmill recover`" in result.err
    assert gitmill(repo.path, "recover").code == 0
    assert gitmill(repo.path, "undo", task).code == 1


@pytest.mark.slow
def test_a_landing_item_cannot_be_undone_but_a_cancel_request_can(repo: Repo):
    repo.unfence()
    file = repo.path.parent / "output"
    task = new_task(repo.path, "Lands", "echo x >> a.txt", "--criterion", "$ true")
    assert gitmill(repo.path, "run", task, "--through", "approved").code == 0
    mine = f"cd {repo.path}; {sys.executable} -m gitmill"
    check = (
        f"{mine} undo {task} 2> {file} || echo $? >> {file}; {mine} task cancel {task};"
        f" {mine} undo {task} 2>> {file}; cd -"
    )
    repo.commit({".gitmill/config.toml": f"[checks]\ntest = '''{check}'''\n"})
    assert gitmill(repo.path, "queue", "land").code == 0
    output = file.read_text()
    assert output.startswith(f"error[leased]: {task} is being landed\n")
    assert "hint: wait for the landing to end; watch it with `gitmill queue`\n4\n" in output
    assert f"undoing {task}: cancel requested (Ada)" in output
    assert item(repo, task)["status"] == "landed"


def test_an_item_taken_by_another_person_cannot_be_undone(repo: Repo):
    task = new_task(repo.path, "Theirs", "true")
    other = {"GIT_COMMITTER_NAME": "Bo", "GIT_COMMITTER_EMAIL": "bo@example.com"}
    assert gitmill(repo.path, "task", "take", task, env=other).code == 0
    assert gitmill(repo.path, "undo", task).plain() == (
        4, "",
        "error[leased]: T1 is taken by someone else\n"
        "    Bo <bo@example.com> holds it\nhint: see `gitmill task show T1`\n",
    )  # fmt: skip


def test_a_release_cannot_be_undone_and_the_hint_names_a_command(repo: Repo):
    task = new_task(repo.path, "Broken", "true")
    repo.commit(
        {".gitmill/config.toml": "[checks]\ntest = 'true'\n[worktree]\nsetup = ['exit 9']\n"}
    )
    gitmill(repo.path, "run", task)
    assert events(repo, task)[-1] == "released"
    assert gitmill(repo.path, "undo", task).plain() == (
        1, "",
        "error[cannot-undo]: the last event of T1 is released, which cannot be undone\n"
        "    T1: build released, set-up `exit 9` exited with status 9\n"
        "hint: block it with `gitmill task block T1 -m WHY`\n",
    )  # fmt: skip


def test_a_commit_by_hand_is_an_event_that_can_be_undone(repo: Repo):
    task = new_task(repo.path, "Hands", "true")
    hand = repo.path.parent / "hand"
    repo.git("worktree", "add", "-q", str(hand), "gitmill/state")
    path = hand / f"tasks/{task[2:4]}/{task}.md"
    path.write_text(path.read_text().replace('"Hands"', '"By hand"'))
    Repo(hand).git("commit", "-q", "-am", "by hand")
    repo.git("worktree", "remove", str(hand))
    assert gitmill(repo.path, "recover").code == 0
    assert item(repo, task)["title"] == "By hand"
    undone(repo, task, "edited")
    assert item(repo, task)["title"] == "Hands"


@pytest.mark.forges
def test_meaningless_trailers_cannot_be_undone(repo: Repo):
    task = new_task(repo.path, "Odd", "true")
    tree, tip = (repo.git("rev-parse", f"gitmill/state{end}") for end in ("^{tree}", ""))
    trailers = f"Gitmill-Item: {task}\nGitmill-Event: readied\nGitmill-Id: x\nGitmill-To: odd\n"
    odd = repo.git("commit-tree", tree, "-p", tip, "-m", f"odd\n\n{trailers}")
    repo.git("update-ref", "refs/heads/gitmill/state", odd)
    assert gitmill(repo.path, "undo", task).code == 1


def test_an_undo_that_would_close_a_dependency_cycle_is_refused(repo: Repo):
    first = new_task(repo.path, "First", "true")
    second = new_task(repo.path, "Second", "true", "--after", first)
    assert gitmill(repo.path, "task", "edit", second, "--after", "").code == 0
    assert gitmill(repo.path, "task", "edit", first, "--after", second).code == 0
    assert gitmill(repo.path, "undo", second).code == 1
    assert item(repo, second)["after"] == []


def test_without_an_id_it_undoes_the_users_own_last_event(repo: Repo):
    mine = new_task(repo.path, "Mine", "true")
    other = {"GIT_COMMITTER_NAME": "Bo", "GIT_COMMITTER_EMAIL": "bo@example.com"}
    theirs = gitmill(repo.path, "task", "new", "Theirs", "--criterion", "$ true", env=other)
    assert f"undoing {mine}: ready" in gitmill(repo.path, "undo").err
    assert item(repo, theirs.out.strip())["status"] == "draft"
    nobody = {"GIT_COMMITTER_NAME": "Cy", "GIT_COMMITTER_EMAIL": "cy@example.com"}
    assert gitmill(repo.path, "undo", env=nobody).plain() == (
        1, "",
        "error[cannot-undo]: none of your last events can be undone\n"
        "hint: name an item: `gitmill undo ID`\n",
    )  # fmt: skip


def test_an_undo_fails_when_another_event_came_first(repo: Repo):
    """Another person may change the item between the read and the write."""
    from gitmill.errors import CannotUndoError
    from gitmill.history import undo, undo_target
    from gitmill.mill import Mill

    task = new_task(repo.path, "Race", "true")
    mill = Mill.open(repo.path)
    found = undo_target.target_for_item(mill, task)
    commit = mill.store.commit

    def slow(*builds):
        assert gitmill(repo.path, "task", "cancel", task).code == 0
        return commit(*builds)

    mill.store.commit = slow
    with pytest.raises(CannotUndoError) as refused:
        undo.undo_event(mill, found)
    assert refused.value.evidence == (f"{task}: cancelled (Ada)",)
    assert item(repo, task)["status"] == "cancelled"


# -- landings --------------------------------------------------------------------------------------


def landed(repo: Repo, script: str = "echo x >> b.txt", *more: str) -> str:
    task = new_task(repo.path, "Change", script, *more)
    result = gitmill(repo.path, "run", task)
    assert result.code == 0, result.err
    return task


def test_a_landing_is_undone_by_landing_its_reverse(repo: Repo):
    task = landed(repo)
    commit = item(repo, task)["landed"]
    later = landed(repo, "sed -i s/2/two/ a.txt")
    (repo.path / "mine.txt").write_text("mine\n")
    result = gitmill(repo.path, "undo", task)
    assert result.plain() == (
        0, "T1\n",
        "undoing T1: landed as HASH\nT2 reverts T1; landing\n"
        "T2  land ................. landed    Revert: Change\n"
        "T2 is landed as HASH; T1 is waiting\n"
        "next: `gitmill task reopen T1`, then `gitmill task cancel T1`\n",
    )  # fmt: skip
    back = result.out.strip()
    assert repo.git("log", "-1", "--format=%B", "main") == (
        f"Revert: Change\n\nThis reverts commit {commit}.\n\nGitmill-Item: {back}\n"
    )
    assert repo.git("show", "main:b.txt") == "b"
    assert (repo.path / "b.txt").read_text() == "b\n"
    assert (repo.path / "mine.txt").read_text() == "mine\n"
    assert "two" in repo.git("show", "main:a.txt")
    assert item(repo, later)["status"] == "landed"
    made = item(repo, back)
    assert (made["parent"], made["source"]) == (task, f"revert:{task}:{commit}")
    assert events(repo, back) == [
        "created", "readied", "claimed", "approved", "queued", "land-started", "landed",
    ]  # fmt: skip
    assert f'item: "{back}"' in repo.git("notes", "--ref=gitmill", "show", "main")
    current = item(repo, task)
    assert (current["status"], current["reverted"]) == ("waiting", made["landed"])
    assert not current.get("landed")


@pytest.mark.slow
def test_reverted_work_cannot_be_approved_again(repo: Repo):
    task = landed(repo)
    assert gitmill(repo.path, "undo", task).code == 0
    assert gitmill(repo.path, "task", "approve", task).plain() == (
        1, "",
        "error[illegal-transition]: T1 was reverted, so it cannot be approved\n"
        "    its commit HASH was reverted by HASH\n"
        "hint: reopen it with `gitmill task reopen T1`\n"
        "hint: or cancel it with `gitmill task cancel T1`\n",
    )  # fmt: skip
    assert gitmill(repo.path, "run").code == 5
    assert repo.git("show", "main:b.txt") == "b"
    assert gitmill(repo.path, "undo", task).code == 1
    assert gitmill(repo.path, "task", "reopen", task).code == 0
    assert gitmill(repo.path, "run").code == 0
    assert repo.git("show", "main:b.txt") == "b\nx"
    assert gitmill(repo.path, "undo", task).code == 0  # and this landing can be undone as well
    assert repo.git("show", "main:b.txt") == "b"


@pytest.mark.slow
def test_a_revert_can_be_undone_too(repo: Repo):
    task = landed(repo)
    back = gitmill(repo.path, "undo", task).out.strip()
    assert gitmill(repo.path, "undo").plain() == (
        1, "",
        "error[cannot-undo]: your last event cannot be undone, and the one before it is a landing\n"
        "    T1: reverted by HASH\n    T2: landed as HASH\n"
        "hint: name it to revert it: `gitmill undo T2`\n",
    )  # fmt: skip
    again = gitmill(repo.path, "undo", back)
    assert again.code == 0, again.err
    assert repo.git("show", "main:b.txt") == "b\nx"
    assert item(repo, back)["status"] == "waiting"


@pytest.mark.slow
@pytest.mark.forges
def test_the_undo_of_a_reopen_requires_the_landed_commit_on_the_target(repo: Repo):
    task = landed(repo)
    was, since = document(repo, task), item(repo, task)["since"]
    while f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}" == since:
        time.sleep(0.1)
    assert gitmill(repo.path, "task", "reopen", task).code == 0
    undone(repo, task, "undone")
    assert document(repo, task) == was
    assert item(repo, task)["since"] == since  # it did not land just now
    assert gitmill(repo.path, "task", "reopen", task).code == 0
    repo.git("reset", "-q", "--hard", "main~1")
    result = gitmill(repo.path, "undo", task)
    assert result.code == 1
    assert re.search("it landed as [0-9a-f]{10}, which is not on main\n", result.err)
    assert item(repo, task)["status"] == "ready"


def test_a_conflict_names_the_files_and_changes_nothing(repo: Repo):
    task = landed(repo, "sed -i s/5/five/ a.txt")
    landed(repo, "sed -i s/five/V/ a.txt")
    refs = repo.git("for-each-ref")
    assert gitmill(repo.path, "undo", task).plain() == (
        3, "",
        "undoing T1: landed as HASH\n"
        "error[revert-conflict]: the revert of T1 conflicts with later landings; nothing was "
        "changed\n    a.txt\n"
        "hint: revert it by hand with `git revert HASH`; `gitmill recover` detects it\n"
        "hint: or describe the result you want with "
        '`gitmill task new "What to do"`\n',
    )  # fmt: skip
    assert repo.git("for-each-ref") == refs


@pytest.mark.slow
def test_a_revert_that_fails_a_check_is_sent_back_and_can_be_tried_again(repo: Repo):
    task = landed(repo, "echo x >> b.txt")
    repo.commit({".gitmill/config.toml": "[checks]\ntest = 'grep -q x b.txt'\n"}, "b needs x")
    result = gitmill(repo.path, "undo", task)
    assert result.code == 3
    back = result.out.strip()
    assert "check test failed" in result.err
    assert (item(repo, task)["status"], item(repo, back)["status"]) == ("landed", "ready")
    assert events(repo, back)[-1] == "ejected"
    repo.commit({".gitmill/config.toml": "[checks]\ntest = 'true'\n"}, "it does not")
    assert gitmill(repo.path, "undo", task).out.strip() == back
    assert item(repo, back)["status"] == "landed"
    assert item(repo, task)["status"] == "waiting"


@pytest.mark.slow
def test_a_revert_of_several_tries_is_undone_in_one_step(repo: Repo):
    task = landed(repo, "echo x >> b.txt")
    repo.commit({".gitmill/config.toml": "[checks]\ntest = 'grep -q x b.txt'\n"}, "b needs x")
    for _ in range(3):
        assert gitmill(repo.path, "undo", task).code == 3
    back = gitmill(repo.path, "undo", task, "--through", "approved").out.strip()
    undone(repo, back, "cancelled")
    assert gitmill(repo.path, "undo", back).code == 1
    assert gitmill(repo.path, "undo", task, "--through", "approved").out.strip() == back
    assert item(repo, back)["status"] == "approved"


@pytest.mark.slow
def test_a_revert_stops_before_the_landing_and_is_itself_undone(repo: Repo):
    task = landed(repo)
    result = gitmill(repo.path, "undo", task, "--through", "approved", "--json")
    back = result.json["revert"]["id"]
    assert result.code == 0
    assert (item(repo, back)["status"], item(repo, task)["status"]) == ("approved", "landed")
    assert (
        gitmill(repo.path, "undo").plain()[2].endswith("T1 is cancelled\nnext: `gitmill status`\n")
    )
    assert item(repo, back)["status"] == "cancelled"
    again = gitmill(repo.path, "undo", task, "--through", "approved", "--json").json
    assert (again["revert"]["id"], again["revert"]["status"]) == (back, "approved")
    assert gitmill(repo.path, "run").code == 0
    assert item(repo, task)["status"] == "waiting"


@pytest.mark.slow
def test_a_paused_queue_and_auto_off_leave_the_revert_approved(repo: Repo):
    task = landed(repo)
    assert gitmill(repo.path, "queue", "pause", "-m", "freeze").code == 0
    assert gitmill(repo.path, "undo", task).code == 3
    assert gitmill(repo.path, "queue", "resume").code == 0
    repo.commit({".gitmill/config.toml": "[checks]\ntest = 'true'\n[land]\nauto = false\n"})
    result = gitmill(repo.path, "undo", task)
    assert (result.code, item(repo, task)["status"]) == (0, "landed")
    assert "next: `gitmill queue land`" in result.err
    assert gitmill(repo.path, "queue", "land").code == 0
    assert item(repo, task)["status"] == "waiting"


@pytest.mark.slow
def test_a_revert_needs_a_check_or_a_command_criterion(sandbox: Sandbox):
    repo = sandbox.repo(name="bare", files={"b.txt": "b\n"})
    assert gitmill(repo.path, "init").code == 0
    (repo.path / ".gitmill/config.toml").unlink(missing_ok=True)
    task = landed(repo, "echo x >> b.txt", "--criterion", "$ grep -q x b.txt")
    result = gitmill(repo.path, "undo", task)
    assert result.code == 1
    assert f"gitmill undo {task} --criterion '$ python -m pytest -q'" in result.err
    assert gitmill(repo.path, "undo", task, "--criterion", "$ ! grep -q x b.txt").code == 0
    assert repo.git("show", "main:b.txt") == "b"


def test_a_target_that_is_not_checked_out_is_reverted_without_a_checkout(repo: Repo):
    task = landed(repo)
    repo.git("switch", "-q", "-c", "topic")
    (repo.path / "b.txt").write_text("my own\n")
    assert gitmill(repo.path, "undo", task).code == 0
    assert repo.git("show", "main:b.txt") == "b"
    assert (repo.path / "b.txt").read_text() == "my own\n"
    assert repo.git("symbolic-ref", "HEAD") == "refs/heads/topic"


@pytest.mark.slow
def test_a_landing_is_undone_in_a_repository_that_libgit2_cannot_open(sandbox: Sandbox):
    repo = sandbox.repo("sha256", object_format="sha256", files={"b.txt": "b\n"})
    assert gitmill(repo.path, "init").code == 0
    repo.commit({".gitmill/config.toml": "[checks]\ntest = 'true'\n"})
    first, second = landed(repo), landed(repo, "echo y > c.txt")
    assert gitmill(repo.path, "undo", first).code == 0
    by_hand(repo, item(repo, second)["landed"])
    gitmill(repo.path, "recover")
    assert [item(repo, task)["status"] for task in (first, second)] == ["waiting", "waiting"]
    assert gitmill(repo.path, "status", "--at", "gitmill/state~4").code == 0


@pytest.mark.slow
@pytest.mark.forges
def test_two_clones_that_revert_the_same_landing_make_one_item(repo: Repo, sandbox: Sandbox):
    """The id of a revert depends only on the landed commit."""
    task = landed(repo)
    clone = Repo(sandbox.root / "clone")
    repo.git("clone", "-q", str(repo.path), str(clone.path))
    clone.git("fetch", "-q", "origin", "refs/heads/gitmill/state:refs/heads/gitmill/state")
    first, second = (gitmill(at.path, "undo", task).out.strip() for at in (repo, clone))
    assert first == second != ""


# -- reverts by hand -------------------------------------------------------------------------------


def by_hand(repo: Repo, *args: str) -> str:
    repo.git("revert", "--no-edit", *args)
    return repo.git("rev-parse", "HEAD")


@pytest.mark.parametrize("how", [["recover"], ["run"], ["queue", "land"]], ids=" ".join)
def test_a_revert_by_hand_is_detected(repo: Repo, how: list[str]):
    task = landed(repo)
    sha = by_hand(repo, item(repo, task)["landed"])
    gitmill(repo.path, *how)
    current = item(repo, task)
    assert (current["status"], current["reverted"]) == ("waiting", sha)
    last = gitmill(repo.path, "log", task, "-n", "1", "--json").json["events"][0]
    assert (last["event"], last["by"]) == ("reverted", "Ada <ada@example.com>")
    tip = repo.git("rev-parse", "gitmill/state")
    assert gitmill(repo.path, "recover").out == ""
    assert repo.git("rev-parse", "gitmill/state") == tip


def test_a_landing_reverted_by_hand_cannot_be_undone(repo: Repo):
    task = landed(repo)
    by_hand(repo, item(repo, task)["landed"])
    tip = repo.git("rev-parse", "main")
    result = gitmill(repo.path, "undo", task)
    assert result.code == 1
    assert f"the last event of {task} is reverted, which cannot be undone" in result.err
    assert repo.git("rev-parse", "main") == tip


@pytest.mark.slow
def test_the_mark_of_the_last_search_is_disposable(repo: Repo):
    first = landed(repo)
    gitmill(repo.path, "recover")
    by_hand(repo, item(repo, first)["landed"])
    mark = repo.git_dir / "gitmill/seen.json"
    mark.write_text("[")
    gitmill(repo.path, "recover")
    assert item(repo, first)["status"] == "waiting"
    assert repo.git("rev-parse", "main") in mark.read_text()
    second = landed(repo)
    mark.write_text(f'{{"ref": "refs/heads/main", "tip": "{"1" * 40}"}}')
    by_hand(repo, item(repo, second)["landed"])
    gitmill(repo.path, "recover")
    assert item(repo, second)["status"] == "waiting"


@pytest.mark.slow
def test_our_own_landings_are_not_searched(repo: Repo):
    """A run that only lands needs no git process for the search; a foreign commit does."""
    from gitmill import process
    from gitmill.landing import detect_reverts
    from gitmill.mill import Mill

    def searched() -> bool:
        calls, real = [], process.run
        process.run = lambda argv, **more: (calls.append(argv), real(argv, **more))[1]
        try:
            detect_reverts.detect_reverts(Mill.open(repo.path))
        finally:
            process.run = real
        return any("log" in argv for argv in calls)

    first = landed(repo)
    searched()
    landed(repo, "echo y > c.txt")
    assert not searched()
    by_hand(repo, item(repo, first)["landed"])
    assert searched()
    assert item(repo, first)["status"] == "waiting"


def test_a_reverted_revert_does_not_count(repo: Repo):
    task = landed(repo)
    by_hand(repo, by_hand(repo, item(repo, task)["landed"]))
    gitmill(repo.path, "recover")
    assert item(repo, task)["status"] == "landed"
    assert repo.git("show", "main:b.txt") == "b\nx"


@pytest.mark.slow
def test_a_revert_line_written_by_an_agent_does_not_count(repo: Repo):
    task = landed(repo)
    commit = item(repo, task)["landed"]
    body = f"This reverts commit {commit}."
    liar = new_task(repo.path, "Liar", "echo y >> a.txt", "-m", body)
    assert gitmill(repo.path, "run", liar).code == 0
    assert re.search(f"^{body}$", repo.git("log", "-1", "--format=%B", "main"), re.MULTILINE)
    gitmill(repo.path, "recover")
    assert item(repo, task)["status"] == "landed"


def test_a_change_that_is_already_reverted_is_not_reverted_again(repo: Repo):
    task = landed(repo)
    by_hand(repo, item(repo, task)["landed"])
    repo.git("commit", "-q", "--amend", "-m", "Take it back in my own words")
    result = gitmill(repo.path, "undo", task)
    assert result.code == 1
    assert f"main no longer contains the change of {task}" in result.err
