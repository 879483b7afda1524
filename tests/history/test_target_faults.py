"""fsck holds what the state says against the target: where it was, what is on it, how items ended."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from gitmill.flows.land_queue import land_queue
from gitmill.flows.run import RunRequest, run
from gitmill.history.fsck import Verified, fsck
from gitmill.landing.revert import revert
from gitmill.mill import Mill
from gitmill.people.intake import NewTask, new_task
from tests.history.conftest import CHECK, History, silent
from tests.support.forge import Forgery
from tests.support.repos import Repo
from tests.support.seeds import rest_slow

pytestmark = pytest.mark.forges
POLICY = ".gitmill/config.toml"


def verify(history: History) -> Verified:
    return fsck(Mill.open(history.repo.path))


def rules(history: History) -> set[str]:
    return {fault.rule for fault in verify(history).report.faults}


def notices(history: History) -> list[str]:
    return [notice.rule for notice in verify(history).report.notices]


# -- policies --------------------------------------------------------------------------------------


def claim_at(history: History, oid: str) -> None:
    """Forge the first claim: it names a commit as the one whose policy it read."""
    forgery = Forgery(history.repo)
    forgery.find("claimed", history.second).say(Target=oid)
    forgery.write()


def beside(repo: Repo, files: dict[str, str], message: str = "beside") -> str:
    """Return a commit that the target has never been at."""
    repo.git("checkout", "-q", "-b", "side")
    repo.commit(files, message)
    repo.git("checkout", "-q", "main")
    return repo.git("rev-parse", "side")


def test_a_policy_read_where_the_target_never_was(history: History):
    claim_at(history, beside(history.repo, {"d.txt": "d\n"}))
    assert rules(history) == {"wrong-target"}


def test_a_plan_that_the_named_commit_does_not_give(history: History):
    """It is true that the target was there; its policy had another check, so another plan."""
    other = CHECK.replace("broken", "other")
    history.repo.commit({POLICY: f"[checks]\ntest = '{other}'\n"}, "another policy")
    claim_at(history, history.repo.git("rev-parse", "main"))
    assert rules(history) == {"frozen-plan"}


def test_a_target_that_its_user_has_amended_is_no_fault(history: History):
    """The reflog knows where it was; a clone, which has none, has no such commit either."""
    repo = history.repo
    repo.commit({"d.txt": "d\n"}, "soon amended")
    claim_at(history, repo.git("rev-parse", "main"))
    repo.git("commit", "-q", "--amend", "-m", "amended")
    assert (rules(history), notices(history)) == (set(), [])
    repo.git("reflog", "expire", "--expire=now", "--all")
    repo.git("update-ref", "-d", "ORIG_HEAD")
    repo.git("prune", "--expire=now")
    assert notices(history) == [], "it was verified while the commit was there"
    again = fsck(Mill.open(repo.path), again=True)
    assert (again.holds, [notice.rule for notice in again.report.notices]) == (
        True, ["wrong-target"],
    )  # fmt: skip


# -- commits of the target -------------------------------------------------------------------------


def test_a_landed_commit_that_was_only_merged_is_found(history: History):
    repo = history.repo
    landed = repo.git("rev-parse", "main")
    repo.git("reset", "-q", "--hard", "main^")
    repo.commit({"d.txt": "d\n"}, "meanwhile")
    repo.git("merge", "-q", "--no-edit", landed)
    (fault,) = verify(history).report.faults
    assert fault.rule == "not-on-target"
    assert "merged into it" in fault.what


def test_a_commit_in_the_name_of_an_item_is_found(history: History):
    history.repo.commit({"evil.txt": "x\n"}, f"Once\n\nGitmill-Item: {history.second}")
    (fault,) = verify(history).report.faults
    assert (fault.rule, fault.item) == ("not-landed", history.second)


@pytest.mark.slow
def test_a_message_that_only_quotes_an_item_is_no_fault(history: History):
    history.repo.commit({"d.txt": "d\n"}, f"see\n\nGitmill-Item: {history.second}\n\nand more")
    assert rules(history) == set()


@pytest.mark.slow
def test_a_copy_of_a_landed_commit_is_called_a_copy(history: History):
    """As a rebase or a cherry-pick of its user leaves it."""
    repo = history.repo
    landed = repo.git("rev-parse", "main")
    repo.git("reset", "-q", "--hard", "main^")
    repo.commit({"d.txt": "d\n"}, "meanwhile")
    repo.git("cherry-pick", landed)
    assert rules(history) == {"not-on-target"}
    assert notices(history) == ["not-landed"]


# -- what landed -----------------------------------------------------------------------------------


def landed_as(history: History, new: str) -> None:
    """Let everything name another commit as the last that landed, target and notes as well."""
    repo, old = history.repo, history.repo.git("rev-parse", "main")
    was, tree = (repo.git("rev-parse", f"{oid}^{{tree}}") for oid in (old, new))
    forgery = Forgery(repo)
    for commit in forgery.commits:
        commit.message = commit.message.replace(old, new)
        commit.files = {
            path.replace(f"{was[:2]}/{was}", f"{tree[:2]}/{tree}"):
            data and data.replace(old.encode(), new.encode()).replace(was.encode(), tree.encode())
            for path, data in commit.files.items()
        }  # fmt: skip
    forgery.write()
    note = repo.git("notes", "--ref=gitmill", "show", old) + "\n"
    repo.git("reset", "-q", "--hard", new)
    repo.git("notes", "--ref=gitmill", "add", "-f", "-F", "-", new, stdin=note.encode())


def landed_with(history: History, files: dict[str, str]) -> None:
    """Let everything name a commit with other files as well as the last that landed."""
    repo, message = history.repo, history.repo.git("log", "-1", "--format=%B", "main")
    repo.git("reset", "-q", "--soft", "main^")
    repo.write(files)
    repo.git("add", "-A")
    tree = repo.git("write-tree")
    repo.git("reset", "-q", "--hard", "ORIG_HEAD")
    landed_as(history, repo.git("commit-tree", tree, "-p", "main^", "-m", message))


@pytest.mark.parametrize(
    "change",
    rest_slow(
        [
            lambda message: message.replace("Once", "Twice and more"),
            lambda message: message + "Gitmill-Item: t-00000\n",
        ],
        1,
    ),
)
def test_another_message_of_a_landed_commit_is_found(
    history: History, change: Callable[[str], str]
):
    repo = history.repo
    message = change(repo.git("log", "-1", "--format=%B", "main") + "\n")
    new = repo.git("commit-tree", "main^{tree}", "-p", "main^", "-F", "-", stdin=message.encode())
    landed_as(history, new)
    assert rules(history) == {"wrong-candidate"}


@pytest.mark.slow
def test_a_landed_commit_with_a_second_parent_is_found(history: History):
    repo = history.repo
    side, message = beside(repo, {"d.txt": "d\n"}), repo.git("log", "-1", "--format=%B", "main")
    new = repo.git("commit-tree", "main^{tree}", "-p", "main^", "-p", side, "-m", message)
    landed_as(history, new)
    assert rules(history) == {"wrong-candidate"}


@pytest.mark.slow
def test_what_sanity_refuses_is_found_in_what_landed(history: History):
    """Its rules are asked again, whatever the run log says of them."""
    landed_with(history, {".github/workflows/x.yml": "on: push\n"})
    assert rules(history) >= {"not-sane", "wrong-patch"}


# -- ends ------------------------------------------------------------------------------------------


@pytest.fixture
def reverted(history: History) -> History:
    """A history in which the second landing was reverted."""
    mill = Mill.open(history.repo.path)
    revert(mill, history.second, "")
    run(mill, RunRequest(), *silent())
    assert mill.snapshot().item(history.second).reverted
    assert verify(history).report.faults == []
    return history


def reverted_by(history: History, oid: str) -> list[str]:
    """Forge the event of a revert: another commit is said to have reverted the landing.

    Return what fsck finds wrong with the end, and nothing else.
    """
    forgery = Forgery(history.repo)
    commit = forgery.find("reverted", history.second)
    reason = str(commit.item.value("reason"))
    commit.set(reverted=oid, reason=reason.rpartition(" ")[0] + f" {oid[:10]}")
    commit.say(**{"Reverted-By": oid})
    forgery.write()
    assert rules(history) == {"wrong-end"}
    return [fault.what.partition(" ")[2] for fault in verify(history).report.faults]


def saying(landed: str) -> str:
    """Return the message of a commit that reverts another one, as git writes it."""
    return f"Revert\n\nThis reverts commit {landed}."


def test_a_revert_by_a_commit_beside_the_target_is_found(reverted: History):
    repo = reverted.repo
    landed = repo.git("rev-parse", "main^")
    found = reverted_by(reverted, beside(repo, {"b.txt": "c\n"}, saying(landed)))
    assert found == [f"which reverts {landed[:10]}, is not on refs/heads/main"]


@pytest.mark.slow
def test_a_revert_by_a_commit_that_does_not_say_so_is_found(reverted: History):
    repo = reverted.repo
    landed = repo.git("rev-parse", "main^")
    repo.commit({"b.txt": "c\n"}, "something else")
    found = reverted_by(reverted, repo.git("rev-parse", "main"))
    assert found == [f"does not say that it reverts {landed[:10]}"]


def test_a_landing_that_is_called_its_own_revert_is_found(reverted: History):
    """It names the item, is on the target, and changes the same files."""
    landed = reverted.repo.git("rev-parse", "main^")
    assert reverted_by(reverted, landed) == [f"does not say that it reverts {landed[:10]}"]


@pytest.mark.slow
def test_a_revert_by_a_commit_of_other_files_is_found(reverted: History):
    repo = reverted.repo
    landed = repo.git("rev-parse", "main^")
    repo.commit({"z.txt": "z\n"}, saying(landed))
    found = reverted_by(reverted, repo.git("rev-parse", "main"))
    assert found == [f"changes none of the files of {landed[:10]}"]


@pytest.mark.slow
def test_the_work_of_a_revert_that_is_no_reverse_is_found(reverted: History):
    landed_with(reverted, {"b.txt": "neither\n"})
    (what,) = (one.what for one in verify(reverted).report.faults if one.rule == "wrong-end")
    assert what.startswith("its work does not undo ")


@pytest.fixture
def unchanged(history: History) -> History:
    """The work of an approved item came to the target by a person; the queue found it there."""
    mill = Mill.open(history.repo.path)
    task = NewTask(title="Also", script="echo also > also.txt", criteria=["$ test -e also.txt"])
    item = new_task(mill, task, ready=True).id
    run(mill, RunRequest(through="approved"), *silent())
    history.repo.commit({"also.txt": "also\n"}, "by hand")
    land_queue(mill, lambda _: None)
    assert mill.snapshot().item(item).reason == "already on the target"
    assert verify(history).holds
    return replace(history, third=item)


def ended_at(history: History, oid: str | None) -> list[str]:
    """Forge where the queue found the work; return what is wrong with the end."""
    forgery = Forgery(history.repo)
    commit = forgery.find("finished", history.third)
    if oid is None:
        commit.message = re.sub(r"Gitmill-Onto: .*\n", "", commit.message)
    else:
        commit.say(Onto=oid)
    forgery.write()
    assert rules(history) == {"wrong-end"}
    return [fault.what for fault in verify(history).report.faults]


def test_work_that_was_on_the_target_names_where(unchanged: History):
    assert ended_at(unchanged, None) == [
        "it names no commit of the target that has its work already"
    ]


def test_work_that_was_not_on_the_target_yet(unchanged: History):
    before = unchanged.repo.git("rev-parse", "main^")
    work = Mill.open(unchanged.repo.path).snapshot().item(unchanged.third).work
    what = f"its work {work[:10]} was not on {before[:10]} already"
    assert ended_at(unchanged, before) == [what]


def test_work_that_was_on_another_branch_only(unchanged: History):
    git = unchanged.repo.git
    aside = git("commit-tree", "main^{tree}", "-p", "main", "-m", "beside")
    what = f"{aside[:10]}, which has its work already, is not on refs/heads/main"
    assert ended_at(unchanged, aside) == [what]
