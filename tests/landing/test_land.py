"""Landing: the reviewed and tested commit lands, and each verification of that can fail."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from gitmill.core.document import Document
from gitmill.git.replay import Replayed
from gitmill.landing.evidence import verify_landed
from gitmill.landing.move_checkout import MOVING
from gitmill.landing.publish import LandLock
from gitmill.mill import Mill
from gitmill.workspace.work import patch_of, replayed
from tests.support.cli import begun, gitmill, new_task
from tests.support.forge import Forgery
from tests.support.repos import Repo, Sandbox
from tests.support.seeds import rest_slow


@pytest.fixture
def repo(sandbox: Sandbox) -> Repo:
    return begun(sandbox, files={"a.txt": "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "b.txt": "b\n"})


def checks(repo: Repo, **commands: str) -> None:
    lines = [f"{name} = {command!r}" for name, command in commands.items()]
    repo.commit({".gitmill/config.toml": "[checks]\n" + "\n".join(lines) + "\n"}, "policy")


def approved(repo: Repo, script: str, *more: str) -> str:
    task = new_task(repo.path, "Change", script, *more)
    result = gitmill(repo.path, "run", task, "--through", "approved")
    assert result.code == 0, result.err
    return task


def item(repo: Repo, task: str) -> dict:
    return gitmill(repo.path, "task", "show", task, "--json").json["item"]


def log_events(repo: Repo, task: str) -> list[str]:
    events = gitmill(repo.path, "log", task, "--json").json["events"]
    return [event["event"] for event in events[::-1]]


def test_work_is_replayed_on_a_target_that_moved_and_that_commit_is_checked(repo: Repo):
    checks(repo, test="cat a.txt b.txt >> $OUT")
    out = repo.path.parent / "out"
    repo.commit({".gitmill/config.toml": f"[checks]\ntest = 'cat a.txt b.txt >> {out}'\n"})
    task = approved(repo, "echo more >> a.txt")
    moved = repo.commit({"b.txt": "moved\n"})
    out.unlink()
    result = gitmill(repo.path, "queue", "land")
    assert result.code == 0, result.err
    assert out.read_text().endswith("9\nmore\nmoved\n")
    assert repo.git("rev-parse", "main^") == moved
    assert item(repo, task)["landed"] == repo.git("rev-parse", "main")


def test_a_conflict_is_ejected_and_built_again_on_the_new_tip(repo: Repo):
    first = approved(repo, "sed -i s/5/five/ a.txt")
    second = approved(repo, "sed -i 's/^5$/V/; s/^five$/V/' a.txt")
    result = gitmill(repo.path, "queue", "land")
    assert result.code == 3
    assert item(repo, first)["status"] == "landed"
    assert item(repo, second)["status"] == "ready"
    assert gitmill(repo.path, "run").code == 0
    assert repo.git("show", "main:a.txt").splitlines()[4] == "V"
    assert "ejected" in log_events(repo, second)


def test_a_candidate_that_fails_a_check_is_ejected_with_the_output(repo: Repo):
    checks(repo, test="! grep -q bad a.txt || ! grep -q bad b.txt || { echo TWO BADS; exit 7; }")
    first = approved(repo, "echo bad >> a.txt")
    second = approved(repo, "echo bad >> b.txt")
    assert gitmill(repo.path, "queue", "land").code == 3
    assert item(repo, first)["status"] == "landed"
    ejected = item(repo, second)
    assert (ejected["status"], ejected["stage"]) == ("ready", "build")
    log = repo.git("show", f"gitmill/state:{ejected['feedback']}")
    assert "exited 7" in log
    assert "TWO BADS" in log


def test_a_check_that_is_red_on_the_target_holds_its_candidates_back_until_that_moves(repo: Repo):
    runs = repo.path.parent / "runs"
    checks(repo, test=f"echo x >> {runs}; test ! -e broken")
    task = approved(repo, "echo x >> a.txt")
    tip = repo.commit({"broken": "yes\n"})
    result = gitmill(repo.path, "queue", "land")
    assert result.code == 3
    assert f"{task} queued: red-target: `test` is red on main" in result.err
    held = item(repo, task)
    assert (held["status"], held["counters"].get("aborts")) == ("queued", None)
    assert held["red_target"] == {"check": "test", "commit": tip}
    assert "red target: `test` is red on main" in gitmill(repo.path, "status").out
    before = len(runs.read_text())
    assert gitmill(repo.path, "queue", "land").code == 3
    assert len(runs.read_text()) == before  # nothing ran again
    repo.commit({"broken": None})
    assert gitmill(repo.path, "queue", "land").code == 0
    assert item(repo, task)["status"] == "landed"


@pytest.mark.slow
def test_a_candidate_that_turns_the_target_green_lands_before_those_that_leave_it_red(repo: Repo):
    checks(repo, test="test ! -e broken")
    first = approved(repo, "echo x >> a.txt", "--priority", "0")
    repo.commit({"broken": "yes\n"})
    fixer = approved(repo, "rm broken")
    result = gitmill(repo.path, "queue", "land")
    assert result.code == 0, result.err
    assert [item(repo, task)["status"] for task in (first, fixer)] == ["landed"] * 2
    events = log_events(repo, first)
    assert (events.count("land-started"), events.count("land-aborted")) == (2, 1)


@pytest.mark.slow
def test_naming_a_queued_item_asks_the_target_again(repo: Repo):
    service = repo.path.parent / "service"
    service.touch()
    checks(repo, test=f"test -e {service}")
    task = approved(repo, "echo x >> a.txt")
    repo.commit({"c.txt": "c\n"})
    service.unlink()
    assert gitmill(repo.path, "queue", "land").code == 3
    service.touch()
    assert gitmill(repo.path, "queue", "land").code == 3
    assert gitmill(repo.path, "queue", "land", task).code == 0
    assert item(repo, task)["status"] == "landed"


@pytest.mark.slow
def test_a_red_criterion_of_a_candidate_never_waits_for_the_target(repo: Repo):
    task = approved(repo, "echo x >> a.txt", "--criterion", "$ test ! -e broken")
    repo.commit({"broken": "yes\n"})
    assert gitmill(repo.path, "queue", "land").code == 3
    assert log_events(repo, task)[-1] == "ejected"


@pytest.mark.slow
def test_a_check_that_cannot_start_on_the_target_too_stops_the_landing_at_no_cost(repo: Repo):
    task = approved(repo, "echo x >> a.txt")
    checks(repo, test="no-such-tool")
    result = gitmill(repo.path, "queue", "land")
    assert (result.code, "error[cannot-start]" in result.err) == (1, True)
    assert (item(repo, task)["status"], item(repo, task)["counters"].get("aborts")) == (
        "queued", None,
    )  # fmt: skip


def test_a_flaky_check_runs_again_and_is_recorded_as_flaky(repo: Repo):
    state = repo.path.parent / "count"
    task = approved(repo, "echo x >> a.txt")
    checks(repo, test=f"echo x >> {state}; test $(wc -l < {state}) -ge 2")
    assert gitmill(repo.path, "queue", "land").code == 0
    assert '"flaky": true' in repo.git("notes", "--ref=gitmill", "show", "main")
    assert item(repo, task)["status"] == "landed"


def test_a_check_that_passed_on_the_same_tree_is_not_run_again(repo: Repo):
    count = repo.path.parent / "count"
    checks(repo, test=f"echo x >> {count}")
    approved(repo, "echo x >> a.txt")
    assert gitmill(repo.path, "queue", "land").code == 0
    assert count.read_text() == "x\n"
    assert '"cached": true' in repo.git("notes", "--ref=gitmill", "show", "main")


def test_an_item_whose_change_is_already_on_the_target_is_done(repo: Repo):
    task = approved(repo, "echo x >> a.txt")
    repo.commit({"a.txt": (repo.path / "a.txt").read_text() + "x\n"})
    assert gitmill(repo.path, "queue", "land").code == 0
    assert (item(repo, task)["status"], item(repo, task)["reason"]) == (
        "done", "already on the target",
    )  # fmt: skip


def test_a_patch_that_replay_changes_goes_back_to_review(repo: Repo):
    """The target removed one of the same lines, so less of the patch remains to land."""
    repo.commit({"a.txt": "".join(f"{n}\n" for n in range(40))})
    task = approved(repo, "sed -i '/^3$/d; /^30$/d' a.txt")
    repo.commit({"a.txt": "".join(f"{n}\n" for n in range(40) if n != 3)})
    result = gitmill(repo.path, "queue", "land")
    assert result.code == 3, result.err
    back = item(repo, task)
    assert (back["status"], back["stage"]) == ("ready", "sanity")
    assert gitmill(repo.path, "run").code == 0
    assert log_events(repo, task)[-8:] == [
        "re-review", "claimed", "advanced", "claimed", "approved", "queued", "land-started",
        "landed",
    ]  # fmt: skip


@pytest.mark.parametrize("how", rest_slow(["dirty", "untracked", "ignored"], 1))
def test_an_overlapping_checkout_blocks_the_landing_and_names_the_file(repo: Repo, how: str):
    if how == "ignored":
        repo.commit({".gitignore": "new.txt\n"})
        gitmill(repo.path, "init")
    script = "echo agent >> a.txt" if how == "dirty" else "echo agent > new.txt"
    if how == "ignored":
        script = "printf '' > .gitignore; echo agent > new.txt"
    task = approved(repo, script)
    mine = repo.path / ("a.txt" if how == "dirty" else "new.txt")
    mine.write_text("mine\n")
    before = repo.git("status", "--porcelain", "--ignored")
    tip = repo.git("rev-parse", "main")
    result = gitmill(repo.path, "queue", "land")
    assert result.code == 3
    assert f"    {mine.name}\n" in result.err
    assert mine.read_text() == "mine\n"
    assert repo.git("status", "--porcelain", "--ignored") == before
    assert repo.git("rev-parse", "main") == tip
    assert item(repo, task)["status"] == "queued"


def test_the_users_own_changes_to_other_files_stay_byte_for_byte(repo: Repo):
    approved(repo, "echo agent >> a.txt")
    (repo.path / "b.txt").write_text("mine\n")
    (repo.path / "staged.txt").write_text("mine too\n")
    repo.git("add", "staged.txt")
    before = repo.git("status", "--porcelain")
    assert gitmill(repo.path, "queue", "land").code == 0
    assert repo.git("status", "--porcelain") == before
    assert (repo.path / "b.txt").read_text() == "mine\n"
    assert (repo.path / "a.txt").read_text().endswith("agent\n")


def test_without_a_checkout_of_the_target_everything_moves_in_one_swap(repo: Repo):
    approved(repo, "echo agent >> a.txt")
    repo.git("switch", "-q", "-c", "mine")
    assert gitmill(repo.path, "queue", "land").code == 0
    assert repo.git("show", "main:a.txt").endswith("agent")
    assert repo.git("status", "--porcelain") == ""
    assert repo.git("log", "-1", "--format=%s", "mine") == "first"


def test_a_rebase_of_the_target_blocks_the_landing(repo: Repo):
    repo.git("switch", "-q", "-c", "other")
    repo.commit({"a.txt": "other\n"})
    repo.git("switch", "-q", "main")
    repo.commit({"a.txt": "main\n"})
    task = approved(repo, "echo agent >> b.txt")
    repo.git("rebase", "other", check=False)
    result = gitmill(repo.path, "queue", "land")
    assert result.code == 3
    assert "main is in the middle of a rebase" in result.err
    repo.git("rebase", "--abort")
    assert gitmill(repo.path, "queue", "land").code == 0
    assert item(repo, task)["status"] == "landed"


def test_a_land_lock_cannot_be_made_by_hand():
    with pytest.raises(TypeError):
        LandLock(0, object())


def landed_item(repo: Repo):
    task = approved(repo, "echo agent >> a.txt")
    assert gitmill(repo.path, "queue", "land").code == 0
    mill = Mill.open(repo.path)
    return mill, mill.snapshot().item(task)


@pytest.mark.forges
def test_reading_back_finds_a_target_that_lost_the_commit(repo: Repo):
    mill, landed = landed_item(repo)
    assert verify_landed(mill, landed) == []
    repo.git("update-ref", "refs/heads/main", "main^")
    assert verify_landed(mill, landed) == [f"{landed.landed[:10]} is not on refs/heads/main"]


@pytest.mark.forges
def test_reading_back_finds_a_lost_or_foreign_note(repo: Repo):
    mill, landed = landed_item(repo)
    note = repo.git("notes", "--ref=gitmill", "show", "main")
    repo.git(
        "notes", "--ref=gitmill", "add", "-f", "-m", re.sub('t-[^"]*', "t-00000", note), "main"
    )
    assert verify_landed(mill, landed) == [
        f"the note on {landed.landed[:10]} names another item: t-00000"
    ]
    repo.git("notes", "--ref=gitmill", "remove", "main")
    assert verify_landed(mill, landed) == [f"{landed.landed[:10]} has no note"]


@pytest.mark.forges
def test_reading_back_finds_another_base_than_the_tested_one(repo: Repo):
    """The patch is the same on both: the note alone names the commit that was tested."""
    mill, landed = landed_item(repo)
    note = repo.git("notes", "--ref=gitmill", "show", "main")
    other = repo.git("commit-tree", repo.tree("main^"), "-m", "another base")
    forged = note.replace(repo.git("rev-parse", "main^"), other)
    assert forged != note
    repo.git("notes", "--ref=gitmill", "add", "-f", "-m", forged, "main")
    assert verify_landed(mill, landed) == [
        f"{landed.landed[:10]} is not based on the commit that it was tested on"
    ]


def forge_reviews(repo: Repo, task: str, change: Callable[[dict], list[dict]]) -> None:
    """Rewrite the approvals of an approved item."""
    forgery = Forgery(repo)
    commit = forgery.find("approved", task)
    (review,) = commit.item.value("reviewed")
    commit.set(reviewed=change(review))
    forgery.write()


@pytest.mark.forges
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"commit": "1" * 40}, "the work to land was not reviewed"),
        ({"patch": "1" * 64}, "replayed onto the target, its patch differs from the reviewed one"),
    ],
    ids=["commit", "patch"],
)
@pytest.mark.parametrize("others", [0, 1], ids=["alone", "beside a good one"])
def test_an_approval_of_something_else_sends_the_item_back(repo: Repo, changed, reason, others):
    task = approved(repo, "echo agent >> a.txt")
    tip = repo.git("rev-parse", "main")
    forge_reviews(repo, task, lambda review: [*[review] * others, review | changed])
    assert gitmill(repo.path, "queue", "land").code == 3
    assert (item(repo, task)["status"], item(repo, task)["reason"]) == ("ready", reason)
    assert repo.git("rev-parse", "main") == tip


@pytest.mark.forges
def test_a_path_that_only_the_replay_touches_sends_the_item_back(repo: Repo):
    """The target renamed the folder, so a new file in it lands elsewhere; its patch is approved."""
    repo.git("config", "merge.directoryRenames", "true")
    repo.commit({"old/one.txt": "one\n" * 20, "old/two.txt": "two\n" * 20})
    task = approved(repo, "echo new > old/new.txt")
    repo.git("mv", "old", "moved")
    tip = repo.commit({})
    mill = Mill.open(repo.path)
    replay = replayed(mill, mill.snapshot().item(task), tip)
    assert isinstance(replay, Replayed)
    patch = patch_of(mill, tip, replay.tip)
    forge_reviews(repo, task, lambda review: [review | {"patch": patch}])
    assert gitmill(repo.path, "queue", "land").code == 3
    assert item(repo, task)["reason"] == (
        "replayed onto the target, the change also touches moved/new.txt"
    )
    assert repo.git("rev-parse", "main") == tip


def test_reading_back_finds_another_patch_than_the_reviewed_one(repo: Repo):
    mill, landed = landed_item(repo)
    other = replace(landed.reviewed[0], patch="0" * 64)
    forged = replace(landed, reviewed=(other,))
    assert verify_landed(mill, forged) == [
        f"the patch of {landed.landed[:10]} is not the reviewed one"
    ]


def test_reading_back_finds_paths_that_were_not_reviewed(repo: Repo):
    mill, landed = landed_item(repo)
    forged = replace(landed, work=landed.base)
    assert verify_landed(mill, forged) == ["a.txt was not part of the review"]


@pytest.mark.slow
def test_a_cancel_during_a_landing_takes_effect_when_the_landing_fails(repo: Repo):
    """The check itself cancels the task, as a person would from another terminal."""
    repo.unfence()
    task = approved(repo, "echo x >> a.txt")
    cancel = f"{sys.executable} -m gitmill task cancel {task} -m no"
    checks(
        repo, test=f"if test -e a.txt && grep -q x a.txt; then cd {repo.path}; {cancel}; exit 1; fi"
    )
    gitmill(repo.path, "queue", "land")
    assert item(repo, task)["status"] == "cancelled"
    assert "x" not in repo.git("show", "main:a.txt")


@pytest.mark.forges
def test_notes_survive_a_rebase_by_the_user(repo: Repo):
    landed_item(repo)
    note = repo.git("notes", "--ref=gitmill", "show", "main")
    repo.git("commit", "-q", "--amend", "-m", "another message")
    assert repo.git("notes", "--ref=gitmill", "show", "main") == note
    assert Document(note).value("built_by") == "shell"


# A process that starts a landing, runs its checks if told so, and dies.
START = """
import sys
from pathlib import Path
from gitmill.flows.land_queue import enqueue
from gitmill.landing.publish import record_passes
from gitmill.landing.started import StartedLanding, start
from gitmill.mill import Mill
from gitmill.plans.policy import policy_at
from gitmill.store.events import timestamp
from gitmill.workspace.run_checks import landing_checks, run_checks
from gitmill.workspace.stop_token import StopToken
from gitmill.workspace.work import replayed
mill = Mill.open(Path(sys.argv[1]))
enqueue(mill, sys.argv[2], after=mill.snapshot().item(sys.argv[2]).event)
snapshot = mill.snapshot()
item, onto = snapshot.item(sys.argv[2]), mill.target_tip(snapshot)
candidate = replayed(mill, item, onto).tip
landing = StartedLanding(item, mill.target_ref(snapshot), onto, policy_at(mill, onto), candidate,
                         mill.new_token(), timestamp(mill.now()))
start(mill, landing)
if sys.argv[3:]:
    wanted = landing_checks(landing.policy, item)
    results = run_checks(mill, landing.policy, wanted, candidate, claim=landing.claim,
                         stop=StopToken(), again=True)
    record_passes(mill, item, landing.policy, candidate, results)
print(candidate)
"""


@pytest.mark.parametrize(
    "passed", [pytest.param(False, marks=pytest.mark.slow), True], ids=["untested", "tested"]
)
def test_a_killed_fast_forward_is_finished_only_with_recorded_passes(repo: Repo, passed):
    """The process died while the checkout was being moved: all of it had, but the branch."""
    checks(repo, test="true" if passed else "! grep -q moved b.txt || ! grep -q agent a.txt")
    task = approved(repo, "echo agent >> a.txt")
    tip = repo.commit({"b.txt": "moved\n"})
    argv = [sys.executable, "-c", START, str(repo.path), task, *["tested"] * passed]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    candidate = done.stdout.strip()
    (repo.git_dir / "gitmill" / MOVING).write_text(candidate)
    repo.git("read-tree", "-m", "-u", "HEAD", candidate)
    result = gitmill(repo.path, "recover")
    assert result.code == 0, result.err
    landed = repo.git("rev-parse", "main")
    assert (landed, item(repo, task)["status"]) == (
        (candidate, "landed") if passed else (tip, "queued")
    )
