"""Undo: the opposite is appended, the item stands as it did, and nothing is ever removed."""

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
    """Return what the document says, without what every event writes anew."""
    text = repo.git("show", f"gitmill/state:tasks/{task[2:4]}/{task}.md") + "\n"
    parsed = Document(text)
    fields = {key: parsed.value(key) for key in parsed.fields if key not in BOOKS}
    return fields | {"body": parsed.body.strip()}


def events(repo: Repo, task: str) -> list[str]:
    told = gitmill(repo.path, "log", task, "--json").json["events"]
    return [event["event"] for event in told[::-1]]


def undone(repo: Repo, task: str, said: str) -> None:
    """Undo the last event of a task: this one was said, and the history only grew."""
    tip = repo.git("rev-parse", "gitmill/state")
    runs = repo.git("ls-tree", "-r", "--name-only", tip, "runs").splitlines()
    done = gitmill(repo.path, "undo", task)
    assert done.code == 0, done.err
    assert repo.git("rev-parse", "gitmill/state^") == tip
    assert set(runs) <= set(
        repo.git("ls-tree", "-r", "--name-only", "gitmill/state", "runs").splitlines()
    )
    last, *earlier = gitmill(repo.path, "log", task, "--json").json["events"]
    assert last["event"] == said
    assert set(last["undoes"].split()) <= {event["id"] for event in earlier}


def waiting(repo: Repo) -> str:
    """Make a task that waits for a person's judgement of its work."""
    task = new_task(repo.path, "Judge", "echo x >> a.txt", "--criterion", "prose")
    assert gitmill(repo.path, "run", task).code == 3
    return task


def test_what_was_typed_is_taken_back_one_step_after_the_other(repo: Repo):
    said = gitmill(repo.path, "task", "new", "Typo", "--script", "true",
                   "--criterion", "$ true", "-m", "Why.")  # fmt: skip
    task = said.out.strip()
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
        "error[cannot-undo]: nothing of T1 is left to undo\n"
        "hint: its whole story: `gitmill log T1`\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "decision", "said"),
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
def test_a_decision_is_taken_back_with_everything_it_changed(repo: Repo, before, decision, said):
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
    undone(repo, task, said)
    assert document(repo, task) == was


def test_a_decision_taken_back_can_be_decided_otherwise(repo: Repo):
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


def test_what_an_agent_did_is_taken_back_with_its_claim_and_its_work_is_kept(repo: Repo):
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


def test_a_yes_of_a_review_can_be_taken_back_before_it_lands(repo: Repo):
    task = new_task(repo.path, "Approved", "echo x >> a.txt")
    assert gitmill(repo.path, "run", task, "--through", "approved").code == 0
    undone(repo, task, "undone")
    stands = item(repo, task)
    assert (stands["status"], stands["stage"], stands["reviewed"]) == ("ready", "review", [])
    assert gitmill(repo.path, "queue", "land", task).code == 1
    assert gitmill(repo.path, "run").code == 0
    assert item(repo, task)["status"] == "landed"


def test_an_attempt_given_back_keeps_what_a_person_edited_while_it_ran(repo: Repo):
    repo.unfence()
    task = new_task(repo.path, "Edited", "true")
    mine = f'cd {repo.path} && {sys.executable} -m gitmill task edit {task} --priority "$GITMILL_ATTEMPT"'
    gitmill(repo.path, "task", "edit", task, "--script", f"{mine}; exit 3")
    assert gitmill(repo.path, "run", task).code == 1
    assert events(repo, task)[-3:] == ["claimed", "edited", "blocked"]
    assert gitmill(repo.path, "undo", task).code == 0
    stands = item(repo, task)
    assert (stands["status"], stands["counters"]) == ("ready", {"build": 2})
    assert stands["priority"] == 3
    undone(repo, task, "edited")  # that edit still counts, so it is the next to go
    assert item(repo, task)["priority"] == 2


def test_work_that_was_pruned_does_not_count_again(repo: Repo):
    task = waiting(repo)
    work = item(repo, task)["work"]
    assert gitmill(repo.path, "task", "reopen", task).code == 0
    Path(repo.git_dir, "objects", work[:2], work[2:]).unlink()
    tip = repo.git("rev-parse", "gitmill/state")
    said = gitmill(repo.path, "undo", task)
    assert said.code == 1
    assert "the work that it had is not in this repository any more" in said.err
    assert repo.git("rev-parse", "gitmill/state") == tip


def test_a_blocked_task_gets_the_attempt_back_that_used_it_up(repo: Repo):
    task = new_task(repo.path, "Fails", "exit 3")
    assert gitmill(repo.path, "run", task).code == 1
    undone(repo, task, "unblocked")
    assert item(repo, task)["status"] == "ready"
    assert item(repo, task)["counters"] == {"build": 2}
    assert item(repo, task)["attempt"] == 3


def test_a_pause_is_undone_like_anything(repo: Repo):
    gitmill(repo.path, "pause", "-m", "lunch")
    new_task(repo.path, "Meanwhile", "true")
    for _ in range(2):
        assert gitmill(repo.path, "undo").code == 0
    control = repo.git("show", "gitmill/state:control.md")
    assert gitmill(repo.path, "undo").plain() == (
        0, "",
        "undoing paused: lunch\nwork goes on; the queue goes on\nnext: `gitmill status`\n",
    )  # fmt: skip
    assert "lunch" in control
    assert "lunch" not in repo.git("show", "gitmill/state:control.md")
    assert gitmill(repo.path, "undo").code == 1  # nothing of one's own is left
    gitmill(repo.path, "queue", "pause", "-m", "one")
    other = {"GIT_COMMITTER_NAME": "Bo", "GIT_COMMITTER_EMAIL": "bo@example.com"}
    gitmill(repo.path, "queue", "pause", "-m", "two", env=other)
    assert "control.md was changed since" in gitmill(repo.path, "undo").err


# -- what cannot be undone -------------------------------------------------------------------------


def test_what_runs_is_not_undone(repo: Repo):
    repo.unfence()
    word = repo.path.parent / "said"
    task = new_task(repo.path, "Runs", "true")
    script = f"cd {repo.path}; {sys.executable} -m gitmill undo {task} 2> {word} || echo $? >> {word}; exit 3"
    gitmill(repo.path, "task", "edit", task, "--script", script)
    gitmill(repo.path, "run", task, "-n", "1")
    said = word.read_text()
    assert said.startswith(f"error[leased]: {task} is being worked on\n")
    assert said.endswith("hint: end it with `gitmill stop`\n4\n")


def test_what_a_dead_process_holds_is_recovered_first(repo: Repo):
    repo.unfence()
    task = new_task(repo.path, "Dies", "kill -9 $(cut -d' ' -f4 /proc/$PPID/stat); sleep 60")
    assert gitmill(repo.path, "run", task).code == -9
    said = gitmill(repo.path, "undo", task)
    assert said.code == 4
    assert "hint: its process is gone: `gitmill recover`" in said.err
    assert gitmill(repo.path, "recover").code == 0
    assert gitmill(repo.path, "undo", task).code == 1


def test_what_is_being_landed_is_not_undone_and_a_wish_to_cancel_is(repo: Repo):
    repo.unfence()
    word = repo.path.parent / "said"
    task = new_task(repo.path, "Lands", "echo x >> a.txt", "--criterion", "$ true")
    assert gitmill(repo.path, "run", task, "--through", "approved").code == 0
    mine = f"cd {repo.path}; {sys.executable} -m gitmill"
    check = (
        f"{mine} undo {task} 2> {word} || echo $? >> {word}; {mine} task cancel {task};"
        f" {mine} undo {task} 2>> {word}; cd -"
    )
    repo.commit({".gitmill/config.toml": f"[checks]\ntest = '''{check}'''\n"})
    assert gitmill(repo.path, "queue", "land").code == 0
    said = word.read_text()
    assert said.startswith(f"error[leased]: {task} is being landed\n")
    assert "hint: wait until that has ended: `gitmill queue`\n4\n" in said
    assert f"undoing {task}: cancel requested (Ada)" in said
    assert item(repo, task)["status"] == "landed"


def test_what_another_person_has_taken_is_theirs(repo: Repo):
    task = new_task(repo.path, "Theirs", "true")
    other = {"GIT_COMMITTER_NAME": "Bo", "GIT_COMMITTER_EMAIL": "bo@example.com"}
    assert gitmill(repo.path, "task", "take", task, env=other).code == 0
    assert gitmill(repo.path, "undo", task).plain() == (
        4, "",
        "error[leased]: somebody else has taken T1\n"
        "    Bo <bo@example.com> holds it\nhint: see `gitmill task show T1`\n",
    )  # fmt: skip


def test_what_cost_nothing_is_not_undone_and_the_next_command_is_named(repo: Repo):
    task = new_task(repo.path, "Broken", "true")
    repo.commit(
        {".gitmill/config.toml": "[checks]\ntest = 'true'\n[worktree]\nsetup = ['exit 9']\n"}
    )
    gitmill(repo.path, "run", task)
    assert events(repo, task)[-1] == "released"
    assert gitmill(repo.path, "undo", task).plain() == (
        1, "",
        "error[cannot-undo]: the last event of T1 is released, which cannot be undone\n"
        "    T1: build given back, the set-up failed\n"
        "hint: take it out with `gitmill task block T1 -m WHY`\n",
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
def test_trailers_that_mean_nothing_are_no_event_to_undo(repo: Repo):
    task = new_task(repo.path, "Odd", "true")
    tree, tip = (repo.git("rev-parse", f"gitmill/state{end}") for end in ("^{tree}", ""))
    trailers = f"Gitmill-Item: {task}\nGitmill-Event: readied\nGitmill-Id: x\nGitmill-To: odd\n"
    odd = repo.git("commit-tree", tree, "-p", tip, "-m", f"odd\n\n{trailers}")
    repo.git("update-ref", "refs/heads/gitmill/state", odd)
    assert gitmill(repo.path, "undo", task).code == 1


def test_an_undo_that_would_close_a_circle_is_refused(repo: Repo):
    first = new_task(repo.path, "First", "true")
    second = new_task(repo.path, "Second", "true", "--after", first)
    assert gitmill(repo.path, "task", "edit", second, "--after", "").code == 0
    assert gitmill(repo.path, "task", "edit", first, "--after", second).code == 0
    assert gitmill(repo.path, "undo", second).code == 1
    assert item(repo, second)["after"] == []


def test_without_a_name_it_is_ones_own_last_event(repo: Repo):
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


def test_it_stops_at_what_came_meanwhile(repo: Repo):
    """Between looking and writing somebody else may go on with the item."""
    from gitmill.errors import CannotUndoError
    from gitmill.history import undo, undo_target
    from gitmill.mill import Mill

    task = new_task(repo.path, "Race", "true")
    mill = Mill.open(repo.path)
    found = undo_target.last_of(mill, task)
    commit = mill.store.commit

    def slow(*builds):
        assert gitmill(repo.path, "task", "cancel", task).code == 0
        return commit(*builds)

    mill.store.commit = slow
    with pytest.raises(CannotUndoError) as refused:
        undo.take_back(mill, found)
    assert refused.value.evidence == (f"{task}: cancelled (Ada)",)
    assert item(repo, task)["status"] == "cancelled"


# -- landings --------------------------------------------------------------------------------------


def landed(repo: Repo, script: str = "echo x >> b.txt", *more: str) -> str:
    task = new_task(repo.path, "Change", script, *more)
    said = gitmill(repo.path, "run", task)
    assert said.code == 0, said.err
    return task


def test_a_landing_is_undone_by_landing_its_opposite(repo: Repo):
    task = landed(repo)
    commit = item(repo, task)["landed"]
    later = landed(repo, "sed -i s/2/two/ a.txt")
    (repo.path / "mine.txt").write_text("mine\n")
    said = gitmill(repo.path, "undo", task)
    assert said.plain() == (
        0, "T1\n",
        "undoing T1: landed as HASH\nT2 takes T1 back and lands now\n"
        "T2  land ................. landed    Revert: Change\n"
        "T2 is landed as HASH; T1 is waiting\n"
        "next: `gitmill task reopen T1`, then `gitmill task cancel T1`\n",
    )  # fmt: skip
    back = said.out.strip()
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
    stands = item(repo, task)
    assert (stands["status"], stands["reverted"]) == ("waiting", made["landed"])
    assert not stands.get("landed")


def test_reverted_work_does_not_come_back_by_a_yes(repo: Repo):
    task = landed(repo)
    assert gitmill(repo.path, "undo", task).code == 0
    assert gitmill(repo.path, "task", "approve", task).plain() == (
        1, "",
        "error[illegal-transition]: T1 was reverted, so it cannot be approved\n"
        "    its commit HASH was reverted by HASH\n"
        "hint: begin it again with `gitmill task reopen T1`\n"
        "hint: or give it up with `gitmill task cancel T1`\n",
    )  # fmt: skip
    assert gitmill(repo.path, "run").code == 5
    assert repo.git("show", "main:b.txt") == "b"
    assert gitmill(repo.path, "undo", task).code == 1
    assert gitmill(repo.path, "task", "reopen", task).code == 0
    assert gitmill(repo.path, "run").code == 0
    assert repo.git("show", "main:b.txt") == "b\nx"
    assert gitmill(repo.path, "undo", task).code == 0  # and this landing can be undone as well
    assert repo.git("show", "main:b.txt") == "b"


def test_a_revert_can_be_undone_too(repo: Repo):
    task = landed(repo)
    back = gitmill(repo.path, "undo", task).out.strip()
    assert gitmill(repo.path, "undo").plain() == (
        1, "",
        "error[cannot-undo]: your last event cannot be undone, and the one before it is a landing\n"
        "    T1: reverted by HASH\n    T2: landed as HASH\n"
        "hint: name it to take it back: `gitmill undo T2`\n",
    )  # fmt: skip
    again = gitmill(repo.path, "undo", back)
    assert again.code == 0, again.err
    assert repo.git("show", "main:b.txt") == "b\nx"
    assert item(repo, back)["status"] == "waiting"


@pytest.mark.forges
def test_what_was_reopened_has_landed_again_only_where_it_still_has(repo: Repo):
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
    said = gitmill(repo.path, "undo", task)
    assert said.code == 1
    assert re.search("it had landed as [0-9a-f]{10}, which is not on main\n", said.err)
    assert item(repo, task)["status"] == "ready"


def test_a_conflict_names_the_files_and_changes_nothing(repo: Repo):
    task = landed(repo, "sed -i s/5/five/ a.txt")
    landed(repo, "sed -i s/five/V/ a.txt")
    refs = repo.git("for-each-ref")
    assert gitmill(repo.path, "undo", task).plain() == (
        3, "",
        "undoing T1: landed as HASH\n"
        "error[revert-conflict]: taking T1 back conflicts with what landed later; nothing was "
        "changed\n    a.txt\n"
        "hint: revert it by hand: `git revert HASH`; `gitmill recover` notices it\n"
        "hint: or describe what is to be: `gitmill task new`\n",
    )  # fmt: skip
    assert repo.git("for-each-ref") == refs


def test_a_red_revert_is_sent_back_and_can_be_tried_again(repo: Repo):
    task = landed(repo, "echo x >> b.txt")
    repo.commit({".gitmill/config.toml": "[checks]\ntest = 'grep -q x b.txt'\n"}, "b needs x")
    said = gitmill(repo.path, "undo", task)
    assert said.code == 3
    back = said.out.strip()
    assert "check test failed" in said.err
    assert (item(repo, task)["status"], item(repo, back)["status"]) == ("landed", "ready")
    assert events(repo, back)[-1] == "ejected"
    repo.commit({".gitmill/config.toml": "[checks]\ntest = 'true'\n"}, "it does not")
    assert gitmill(repo.path, "undo", task).out.strip() == back
    assert item(repo, back)["status"] == "landed"
    assert item(repo, task)["status"] == "waiting"


def test_a_revert_that_was_tried_often_is_undone_as_one(repo: Repo):
    task = landed(repo, "echo x >> b.txt")
    repo.commit({".gitmill/config.toml": "[checks]\ntest = 'grep -q x b.txt'\n"}, "b needs x")
    for _ in range(3):
        assert gitmill(repo.path, "undo", task).code == 3
    back = gitmill(repo.path, "undo", task, "--through", "approved").out.strip()
    undone(repo, back, "cancelled")
    assert gitmill(repo.path, "undo", back).code == 1
    assert gitmill(repo.path, "undo", task, "--through", "approved").out.strip() == back
    assert item(repo, back)["status"] == "approved"


def test_a_revert_stops_before_the_landing_and_is_itself_undone(repo: Repo):
    task = landed(repo)
    said = gitmill(repo.path, "undo", task, "--through", "approved", "--json")
    back = said.json["revert"]["id"]
    assert said.code == 0
    assert (item(repo, back)["status"], item(repo, task)["status"]) == ("approved", "landed")
    assert (
        gitmill(repo.path, "undo").plain()[2].endswith("T1 is cancelled\nnext: `gitmill status`\n")
    )
    assert item(repo, back)["status"] == "cancelled"
    again = gitmill(repo.path, "undo", task, "--through", "approved", "--json").json
    assert (again["revert"]["id"], again["revert"]["status"]) == (back, "approved")
    assert gitmill(repo.path, "run").code == 0
    assert item(repo, task)["status"] == "waiting"


def test_a_paused_queue_and_auto_off_leave_the_revert_approved(repo: Repo):
    task = landed(repo)
    assert gitmill(repo.path, "queue", "pause", "-m", "freeze").code == 0
    assert gitmill(repo.path, "undo", task).code == 3
    assert gitmill(repo.path, "queue", "resume").code == 0
    repo.commit({".gitmill/config.toml": "[checks]\ntest = 'true'\n[land]\nauto = false\n"})
    said = gitmill(repo.path, "undo", task)
    assert (said.code, item(repo, task)["status"]) == (0, "landed")
    assert "next: `gitmill queue land`" in said.err
    assert gitmill(repo.path, "queue", "land").code == 0
    assert item(repo, task)["status"] == "waiting"


def test_a_revert_needs_something_that_could_go_red(sandbox: Sandbox):
    repo = sandbox.repo(name="bare", files={"b.txt": "b\n"})
    assert gitmill(repo.path, "init").code == 0
    (repo.path / ".gitmill/config.toml").unlink(missing_ok=True)
    task = landed(repo, "echo x >> b.txt", "--criterion", "$ grep -q x b.txt")
    said = gitmill(repo.path, "undo", task)
    assert said.code == 1
    assert f"gitmill undo {task} --criterion '$ python -m pytest -q'" in said.err
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


@pytest.mark.forges
def test_two_clones_that_undo_at_once_make_one_item(repo: Repo, sandbox: Sandbox):
    """The id of a revert is of the landed commit, whoever makes it."""
    task = landed(repo)
    clone = Repo(sandbox.root / "clone")
    repo.git("clone", "-q", str(repo.path), str(clone.path))
    clone.git("fetch", "-q", "origin", "refs/heads/gitmill/state:refs/heads/gitmill/state")
    here, there = (gitmill(one.path, "undo", task).out.strip() for one in (repo, clone))
    assert here == there != ""


# -- reverts by hand -------------------------------------------------------------------------------


def by_hand(repo: Repo, *args: str) -> str:
    repo.git("revert", "--no-edit", *args)
    return repo.git("rev-parse", "HEAD")


@pytest.mark.parametrize("how", [["recover"], ["run"], ["queue", "land"]], ids=" ".join)
def test_a_revert_by_hand_is_noticed(repo: Repo, how: list[str]):
    task = landed(repo)
    sha = by_hand(repo, item(repo, task)["landed"])
    gitmill(repo.path, *how)
    stands = item(repo, task)
    assert (stands["status"], stands["reverted"]) == ("waiting", sha)
    told = gitmill(repo.path, "log", task, "-n", "1", "--json").json["events"][0]
    assert (told["event"], told["by"]) == ("reverted", "Ada <ada@example.com>")
    tip = repo.git("rev-parse", "gitmill/state")
    assert gitmill(repo.path, "recover").out == ""
    assert repo.git("rev-parse", "gitmill/state") == tip


def test_what_was_reverted_by_hand_is_not_undone_again(repo: Repo):
    task = landed(repo)
    by_hand(repo, item(repo, task)["landed"])
    tip = repo.git("rev-parse", "main")
    said = gitmill(repo.path, "undo", task)
    assert said.code == 1
    assert f"the last event of {task} is reverted, which cannot be undone" in said.err
    assert repo.git("rev-parse", "main") == tip


def test_the_mark_of_what_was_seen_is_disposable(repo: Repo):
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


def test_what_we_landed_ourselves_is_not_looked_through(repo: Repo):
    """So a run that only lands costs no git process for it; a commit in between is found."""
    from gitmill import process
    from gitmill.landing import detect_reverts
    from gitmill.mill import Mill

    def looked() -> bool:
        found, real = [], process.run
        process.run = lambda argv, **more: (found.append(argv), real(argv, **more))[1]
        try:
            detect_reverts.notice(Mill.open(repo.path))
        finally:
            process.run = real
        return any("log" in argv for argv in found)

    first = landed(repo)
    looked()
    landed(repo, "echo y > c.txt")
    assert not looked()
    by_hand(repo, item(repo, first)["landed"])
    assert looked()
    assert item(repo, first)["status"] == "waiting"


def test_a_revert_that_was_reverted_is_none(repo: Repo):
    task = landed(repo)
    by_hand(repo, by_hand(repo, item(repo, task)["landed"]))
    gitmill(repo.path, "recover")
    assert item(repo, task)["status"] == "landed"
    assert repo.git("show", "main:b.txt") == "b\nx"


def test_what_an_agent_says_reverts_nothing(repo: Repo):
    task = landed(repo)
    commit = item(repo, task)["landed"]
    body = f"This reverts commit {commit}."
    liar = new_task(repo.path, "Liar", "echo y >> a.txt", "-m", body)
    assert gitmill(repo.path, "run", liar).code == 0
    assert re.search(f"^{body}$", repo.git("log", "-1", "--format=%B", "main"), re.MULTILINE)
    gitmill(repo.path, "recover")
    assert item(repo, task)["status"] == "landed"


def test_what_is_reverted_already_is_not_reverted_again(repo: Repo):
    task = landed(repo)
    by_hand(repo, item(repo, task)["landed"])
    repo.git("commit", "-q", "--amend", "-m", "Take it back in my own words")
    said = gitmill(repo.path, "undo", task)
    assert said.code == 1
    assert f"nothing of {task} is left on main" in said.err
