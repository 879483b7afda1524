"""fsck of a range: faults outside of it are not reported, and what a range can be is clear."""

from __future__ import annotations

import pytest

from gitmill.history.fsck import Verified, fsck
from gitmill.mill import Mill
from tests.history.conftest import History
from tests.support.cli import Said, gitmill
from tests.support.forge import STATE, Forgery, Written

pytestmark = pytest.mark.forges


def verify(history: History, commits: str = "", since: str = "") -> Verified:
    return fsck(Mill.open(history.repo.path), commits=commits, since=since)


def found(verified: Verified) -> list[tuple[str, str]]:
    return [(fault.rule, fault.commit) for fault in verified.report.faults]


def forged(history: History) -> tuple[str, str]:
    """Forge an event of the first item and one of the third; return their commits."""
    forgery = Forgery(history.repo)
    early: Written = forgery.find("queued", history.first).say(After="0123456789abcdef")
    late: Written = forgery.find("cancelled", history.third).say(To="done")
    forgery.write()
    return forgery.oid(early), forgery.oid(late)


def landed(history: History, item: str) -> tuple[str, str]:
    """Return the state commit that recorded a landing, and the landed commit."""
    forgery = Forgery(history.repo)
    forgery.write()
    commit = forgery.find("landed", item)
    return forgery.oid(commit), commit.trailer("Candidate")


def test_only_faults_of_the_range_are_reported(history: History):
    early, late = forged(history)
    both = [("broken-chain", early), ("wrong-status", late)]
    assert found(verify(history)) == both
    assert found(verify(history, f"{early}..")) == both[1:]
    assert found(verify(history, f"{early}^..{late}~1")) == both[:1]
    assert found(verify(history, f"..{late}^")) == both[:1]
    assert found(verify(history, "..")) == both
    assert verify(history, f"{late}..").holds


def test_a_range_says_how_many_commits_and_landings_it_has(history: History):
    git = history.repo.git
    commit, _ = landed(history, history.first)
    before, after = f"{commit}^", "gitmill/state~2"
    verified = verify(history, f"{before}..{after}")
    assert verified.commits == int(git("rev-list", "--count", f"{before}..{after}"))
    assert verified.report.commits == int(git("rev-list", "--count", STATE))
    assert (verified.landings, verified.is_partial) == (2, True)
    assert verify(history, f"{commit}..").landings == 1
    assert verify(history, f"{after}..{after}").commits == 0


def test_since_a_note_is_what_came_after_its_landing(history: History):
    commit, candidate = landed(history, history.first)
    verified = verify(history, since=f"{candidate[:12]}")
    assert (verified.range.after, verified.range.upto) == (
        commit,
        history.repo.git("rev-parse", STATE),
    )
    assert (verified.landings, verified.holds) == (1, True)
    assert verify(history, since="main").landings == 0


def test_a_landing_before_the_range_is_not_verified_and_its_note_is_no_strangers(history: History):
    commit, candidate = landed(history, history.first)
    history.repo.git("notes", "--ref=gitmill", "append", "-m", "more", candidate)
    assert found(verify(history)) == [("note", commit)]
    assert verify(history, f"{commit}..").holds


def test_notes_and_refs_of_no_landing_are_reported_if_the_range_ends_at_the_tip(history: History):
    history.repo.git("notes", "--ref=gitmill", "add", "-m", "x", "main~1")
    assert [rule for rule, _ in found(verify(history, "gitmill/state~1.."))] == ["note"]
    assert verify(history, "..gitmill/state~1").holds


def test_the_screen_and_the_json_say_what_was_verified(history: History):
    git = history.repo.git
    after, tip = git("rev-parse", "gitmill/state~3"), git("rev-parse", STATE)
    total = git("rev-list", "--count", STATE)
    said = gitmill(history.repo.path, "fsck", "gitmill/state~3..")
    assert (said.code, said.out) == (
        0,
        f"3 of {total} commits, 0 landings verified, after {after[:10]} up to {tip[:10]}\n",
    )
    output = gitmill(history.repo.path, "fsck", f"..{after[:10]}", "--json").json
    assert output["range"] == {"after": None, "upto": after}
    assert (output["tip"], output["commits"]) == (tip, int(total) - 3)
    whole = gitmill(history.repo.path, "fsck", "--json").json
    assert (whole["range"], whole["commits"]) == ({"after": None, "upto": tip}, int(total))


def lines(said: Said) -> list[str]:
    return said.err.splitlines()


def test_a_range_that_is_none_is_an_error_with_the_next_command(history: History):
    def say(*args: str) -> tuple[int, list[str]]:
        said = gitmill(history.repo.path, "fsck", *args)
        return said.code, lines(said)

    main = history.repo.git("rev-parse", "--short=10", "main")
    state = "hint: see the commits of the state branch with `gitmill log`"
    landings = "hint: see landed commits with `git log --notes=gitmill`"
    assert say("nowhere..") == (
        1,
        [
            "error[not-a-state-commit]: there is no commit nowhere",
            "hint: see its commits with `gitmill log`",
        ],
    )
    assert say("main..") == (
        1,
        [
            f"error[not-a-state-commit]: main ({main}) is not a first parent on the state branch",
            state,
        ],
    )
    assert say("gitmill/state") == (
        2,
        [
            "error[usage]: gitmill/state is not a range of state commits, which is written A..B",
            "hint: verify all that came after a commit with `gitmill fsck gitmill/state..`",
        ],
    )
    assert say("gitmill/state...main")[0] == 2
    assert say("gitmill/state..gitmill/state~1") == (
        2,
        [
            "error[usage]: gitmill/state comes after gitmill/state~1 on the state branch",
            "hint: swap them: `gitmill fsck 'gitmill/state~1..gitmill/state'`",
        ],
    )
    assert say("..", "--since", "main")[0] == 2
    assert say("--since", "nowhere") == (
        1,
        ["error[no-such-landing]: there is no commit nowhere", landings],
    )
    root = history.repo.git("rev-list", "--max-parents=0", "main")
    named = f"error[no-such-landing]: {root} has no note, so nothing landed as this commit"
    assert say("--since", root) == (1, [named, landings])
    history.repo.git("update-ref", "-d", "refs/notes/gitmill")
    fetch = "`git fetch origin refs/notes/gitmill:refs/notes/gitmill`"
    hint = f"hint: if the notes are not in this clone, fetch them with {fetch}"
    assert say("--since", root) == (1, [named, hint])


def test_a_note_that_a_person_copied_names_no_landing(history: History):
    root = history.repo.git("rev-list", "--max-parents=0", "main")
    history.repo.git("notes", "--ref=gitmill", "copy", "main", root)
    said = gitmill(history.repo.path, "fsck", "--since", root)
    assert said.code == 1
    assert lines(said)[0].endswith(f"{root} has a note, but no event of the state branch landed it")
