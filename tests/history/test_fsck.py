"""fsck finds no fault in a true history, and each forgery by its rule and commit."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gitmill.attempts.stage_types import all_types
from gitmill.core.audit.event import RULES
from gitmill.core.check_record import definition_of
from gitmill.core.document import Document
from gitmill.core.item import frozen_hash
from gitmill.flows import land_queue
from gitmill.flows.init import init
from gitmill.flows.run import RunRequest, run
from gitmill.history.fsck import Verified, fsck
from gitmill.mill import Mill
from gitmill.people import decisions
from gitmill.people.intake import NewTask, new_task
from gitmill.store.audit.replay_history import audit, line_of
from gitmill.workspace.own_files import VERIFIED
from tests.history import forged_claims
from tests.history.conftest import CHECK, History, silent
from tests.history.forgeries import CASES, forged
from tests.history.parts import in_two_parts
from tests.support.cli import gitmill
from tests.support.forge import STATE, Forgery, Written, json_list
from tests.support.repos import Repo, Sandbox
from tests.support.seeds import rest_slow

pytestmark = pytest.mark.forges
MORE = (forged_claims,)  # modules that register forgeries too
BY = "Gitmill-By: Ada <ada@example.com>\n"
RULES_2 = "Gitmill-Rules: 2\n"
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def verify(repo: Repo) -> Verified:
    return fsck(Mill.open(repo.path))


def found(verified: Verified) -> list[tuple[str, str]]:
    return [(fault.rule, fault.commit) for fault in verified.report.faults]


def test_a_true_history_is_clean(history: History):
    verified = verify(history.repo)
    assert found(verified) == []
    assert verified.report.unknown == verified.report.notices == []
    assert verified.holds
    assert (len(verified.report.items), verified.landings) == (4, 2)
    count = int(history.repo.git("rev-list", "--count", STATE))
    assert verified.report.commits == count


def test_a_forgery_without_changes_rewrites_the_same_history(history: History):
    """The forger itself can be trusted: without a change, it changes nothing."""
    before = history.repo.git("rev-parse", STATE)
    forgery = Forgery(history.repo)
    forgery.write()
    assert history.repo.git("rev-parse", STATE) == before
    assert forgery.oids[-1] == before


# -- forged histories ------------------------------------------------------------------------------
# Each function changes a history and returns the commit to blame; its decorator names the rules.


@forged("root")
def another_root(forgery: Forgery, _: History) -> Written:
    root = forgery.commits[0]
    root.author = root.committer = "Eve <eve@example.com> 1767000000 +0000"
    return root


@forged("broken-chain", "wrong-status", "illegal-event")
def a_commit_dropped(forgery: Forgery, history: History) -> Written:
    forgery.commits.remove(forgery.find("queued", history.first))
    return forgery.find("land-started", history.first)


@forged("broken-chain")
def another_event_named_as_the_one_before(forgery: Forgery, history: History) -> Written:
    return forgery.find("queued", history.first).say(After="0123456789abcdef")


@forged("wrong-bytes")
def a_field_in_other_bytes(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("readied", history.third)
    data = commit.files[commit.document] or b""
    commit.files[commit.document] = data.replace(b"title: ", b"title:  ")
    return commit


@forged("duplicate-event", "disagrees")
def an_event_that_happened_before(forgery: Forgery, history: History) -> Written:
    old = forgery.find("created", history.first).trailer("Id")
    return forgery.find("cancelled", history.third).say(Id=old)


@forged("illegal-event")
def an_event_that_the_lifecycle_does_not_have_there(forgery: Forgery, history: History) -> Written:
    return forgery.find("readied", history.third).say(Event="unblocked")


@forged("unknown-event")
def an_event_that_nobody_knows(forgery: Forgery, history: History) -> Written:
    return forgery.find("readied", history.third).say(Event="blessed")


@forged("unknown-event", "wrong-files", "pass-without-run")
def an_event_of_the_branch_that_nobody_knows(forgery: Forgery, _: History) -> Written:
    return forgery.find("checked", nth=-1).say(Event="blessed")


@forged("bad-trailers")
def an_event_without_a_name(forgery: Forgery, history: History) -> Written:
    return forgery.find("cancelled", history.third).say(Event=None)


@forged("bad-trailers")
def a_trailer_that_stands_twice(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("cancelled", history.third)
    commit.message += "Gitmill-Event: edited\n"
    return commit


@forged("wrong-status")
def another_status_before(forgery: Forgery, history: History) -> Written:
    return forgery.find("cancelled", history.third).say(From="blocked")


@forged("wrong-status")
def another_status_after(forgery: Forgery, history: History) -> Written:
    return forgery.find("cancelled", history.third).say(To="done")


@forged("wrong-status")
def a_status_that_does_not_follow(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("cancelled", history.third).say(To="done")
    forgery.amend_item(commit, status="done")
    return commit


@forged("disagrees")
def another_stage_than_the_documents(forgery: Forgery, history: History) -> Written:
    return forgery.find("advanced", history.first).say(Stage="approve")


@forged("disagrees")
def another_plan_than_the_documents(forgery: Forgery, history: History) -> Written:
    return forgery.find("advanced", history.first).say(Plan="0123456789ab")


@forged("disagrees")
def an_event_that_leaves_its_document_alone(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("cancelled", history.third)
    commit.files = {}
    return commit


@forged("hand-edit")
def a_status_changed_without_an_event(forgery: Forgery, history: History) -> Written:
    before = forgery.find("cancelled", history.third)
    document = before.item.set("status", "done").to_bytes()
    hand = forgery.insert(before, message="done\n", files={before.document: document})
    message = f"board\n\nGitmill-Event: board\nGitmill-Id: feedfeedfeedfeed\n{BY}{RULES_2}"
    forgery.insert(hand, message=message)
    return hand


@forged("wrong-claim", "evidence")
def the_claim_of_another(forgery: Forgery, history: History) -> Written:
    return forgery.find("advanced", history.first).say(Claim="0123456789abcdef")


@forged("wrong-claim", "evidence")
def no_claim_at_all(forgery: Forgery, history: History) -> Written:
    return forgery.find("advanced", history.first).say(Claim=None)


@forged("wrong-claim")
def a_claim_by_a_person(forgery: Forgery, history: History) -> Written:
    return forgery.find("cancelled", history.third).say(Claim="0123456789abcdef")


@forged("wrong-claim")
def a_claim_that_was_used_before(forgery: Forgery, history: History) -> Written:
    old = forgery.find("claimed", history.first).trailer("Claim")
    commit = forgery.find("land-started", history.second).say(Claim=old)
    commit.set(lease=commit.item.value("lease") | {"claim": old})
    forgery.find("landed", history.second).say(Claim=old)
    return commit


@forged("wrong-lease")
def a_lease_kept_after_the_work(forgery: Forgery, history: History) -> Written:
    lease = forgery.find("claimed", history.first).item.value("lease")
    return forgery.find("advanced", history.first).set(lease=lease)


@forged("wrong-files")
def the_file_of_another_item_changed_along(forgery: Forgery, history: History) -> Written:
    other = forgery.find("landed", history.first)
    commit = forgery.find("queued", history.second)
    commit.files[other.document] = other.item.set("labels", ["x"]).to_bytes()
    return commit


@forged("wrong-files", before="wrong-target")
def the_control_changed_by_an_item(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("queued", history.second)
    commit.files["control.md"] = b'---\ntarget: "other"\n---\n'
    return commit


@forged("wrong-files")
def an_item_changed_by_an_event_of_the_branch(forgery: Forgery, history: History) -> Written:
    other = forgery.find("land-started", history.second)
    commit = forgery.find("checked", nth=-1)
    commit.files[other.document] = other.item.set("labels", ["x"]).to_bytes()
    forgery.amend_item(forgery.find("landed", history.second), labels=["x"])
    return commit


@forged("wrong-fields")
def a_title_changed_by_a_worker(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("queued", history.first)
    forgery.amend_item(commit, title="Another")
    return commit


@forged("wrong-fields")
def a_risk_lowered_before_the_gate(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("claimed", history.second)
    forgery.amend_item(commit, risk="low")
    return commit


@forged("wrong-fields")
def an_item_born_with_approvals(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("created", history.third)
    entry = {"commit": "0" * 40, "patch": "p", "by": "eve", "run": 1, "stage": "review"}
    forgery.amend_item(commit, reviewed=[entry])
    return commit


@forged("evidence", "wrong-actor")
def a_run_log_by_another(forgery: Forgery, history: History) -> Written:
    return forgery.find("returned", history.first).relog(by="eve@elsewhere")


@forged("document")
def a_document_that_cannot_be_read(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("cancelled", history.third)
    commit.files[commit.document] = b"---\nid: [\n---\n"
    return commit


@forged("criteria-changed", "wrong-fields")
def criteria_changed_after_the_claim(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("advanced", history.first)
    forgery.amend_item(commit, criteria=["$ true"])
    return commit


@forged("wrong-fields", "wrong-fields")
def criteria_frozen_anew_after_the_claim(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("advanced", history.first)
    forgery.amend_item(
        commit, criteria=["$ true"], frozen=frozen_hash(["$ true"], commit.item.value("script"), [])
    )
    return commit


@forged("evidence")
def an_attempt_without_its_run_log(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("returned", history.first)
    del commit.files[commit.path("runs/")]
    return commit.say(Evidence=None)


@forged("evidence")
def another_run_log_than_the_one_named(forgery: Forgery, history: History) -> Written:
    return forgery.find("returned", history.first).say(Evidence="0" * 40)


@forged("evidence")
def the_run_log_of_another_claim(forgery: Forgery, history: History) -> Written:
    return forgery.find("returned", history.first).relog(claim="0123456789abcdef")


@forged("evidence")
def a_run_log_that_is_none(forgery: Forgery, history: History) -> Written:
    return forgery.find("returned", history.first).relog(verdict="splendid")


@forged("run-log-changed")
def a_run_log_rewritten_later(forgery: Forgery, history: History) -> Written:
    old = forgery.find("returned", history.first)
    commit = forgery.find("queued", history.first)
    commit.files[old.path("runs/")] = old.log.set("summary", "never mind").to_bytes()
    return commit


@forged("run-log-changed")
def a_run_log_removed_later(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("queued", history.first)
    commit.files[forgery.find("returned", history.first).path("runs/")] = None
    return commit


@forged("outcome")
def a_red_review_called_passed(forgery: Forgery, history: History) -> Written:
    return forgery.find("approved", history.first).relog(verdict="return")


@forged("outcome")
def a_stage_left_out(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("advanced", history.first)
    path = commit.path("checks/")
    stages = json_list(commit.log, "stages")[:-1]
    del commit.files[path]
    return commit.relog(stages=stages, checks=[])


@forged("outcome")
def a_review_left_out(forgery: Forgery, history: History) -> Written:
    """The build is approved immediately, without a review."""
    built, approved = (forgery.find(e, history.second) for e in ("advanced", "approved"))
    forgery.commits.remove(forgery.find("claimed", history.second, 1))
    forgery.commits.remove(approved)
    forgery.amend_item(built, reviewed=None, attempt=1, counters=built.item.value("counters"))
    event = approved.trailer("Id")
    return built.say(Event="approved", To="approved", Id=event).set(status="approved", event=event)


@forged("counters")
def counters_set_back(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("returned", history.first)
    forgery.amend_item(commit, counters=None)
    return commit


@forged("counters")
def counters_set_back_by_a_claim(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("claimed", history.first, 2)
    forgery.amend_item(commit, counters={})
    return commit


@forged("wrong-fields")
def a_budget_that_begins_anew(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("returned", history.first)
    forgery.amend_item(commit, budget_after=9)
    return commit


@forged("evidence")
def a_cost_below_nothing(forgery: Forgery, history: History) -> Written:
    return forgery.find("returned", history.first).relog(cost=-5.0)


@forged("wrong-review")
def an_approval_that_nobody_gave(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("advanced", history.second)
    entry = {"commit": "0" * 40, "patch": "p", "by": "eve", "run": 1, "stage": "review"}
    forgery.amend_item(commit, reviewed=[entry])
    return commit


@forged("wrong-review", "wrong-review")
def a_review_of_other_work(forgery: Forgery, history: History) -> Written:
    return forgery.find("approved", history.second).relog(work="1" * 40)


@forged("wrong-review", "wrong-patch")
def a_review_of_another_patch(forgery: Forgery, history: History) -> Written:
    return forgery.find("approved", history.second).relog(patch="1" * 64)


@forged("wrong-work", "wrong-review")
def the_work_exchanged_by_its_reviewer(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("approved", history.second)
    forgery.amend_item(commit, work=forgery.repo.git("rev-parse", "main"))
    return commit


@forged("missing-check")
def a_check_that_did_not_pass(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("advanced", history.first)
    del commit.files[commit.path("checks/")]
    return commit


@forged("missing-check", "pass-without-run")
def a_check_that_did_not_run(forgery: Forgery, history: History) -> Written:
    return forgery.find("advanced", history.first).relog(checks=[])


@forged("missing-check")
def a_candidate_that_was_not_checked(forgery: Forgery, history: History) -> Written:
    forgery.commits.remove(forgery.find("checked", nth=-1))
    return forgery.find("landed", history.second)


@forged("missing-check", "note")
def a_landing_that_does_not_say_what_passed(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("landed", history.second)
    forgery.amend_item(commit, checked=None)
    return commit


@forged("frozen-plan", "frozen-plan")
def a_frozen_plan_edited(forgery: Forgery, history: History) -> Written:
    first = forgery.find("claimed", history.first)
    path = first.path("frozen/")
    commit = forgery.find("queued", history.first)
    commit.files[path] = (first.files[path] or b"") + b"\n"
    return commit


@forged("frozen-plan", "wrong-files")
def a_frozen_plan_that_is_no_plan(forgery: Forgery, history: History) -> Written:
    data = b"---\nformat: 1\n---\n"
    commit = forgery.find("checked", nth=-1)
    commit.files[f"frozen/{hashlib.sha256(data).hexdigest()[:12]}.md"] = data
    return commit


@forged("frozen-plan")
def a_plan_that_is_not_there(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("claimed", history.first)
    del commit.files[commit.path("frozen/")]
    return commit


@forged("wrong-fields", "frozen-plan")
def another_plan_on_the_way(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("advanced", history.first)
    for one in forgery.later(commit):
        if one.trailer("Item") == history.first and one.trailer("Plan"):
            one.say(Plan="0123456789ab")
    forgery.amend_item(commit, plan="0123456789ab")
    return commit


@forged("pass-changed", "missing-check")
def a_pass_that_stands_for_another_definition(forgery: Forgery, history: History) -> Written:
    """The same record, of a command that always passes."""
    commit = forgery.find("advanced", history.first)
    path = commit.path("checks/")
    record = Document.from_bytes(commit.files[path] or b"")
    commit.files[path] = record.set("command", "true").to_bytes()
    return commit


@forged("pass-changed")
def a_pass_rewritten_later(forgery: Forgery, history: History) -> Written:
    first = forgery.find("advanced", history.first)
    path = first.path("checks/")
    commit = forgery.find("queued", history.second)
    record = Document.from_bytes(first.files[path] or b"")
    commit.files[path] = record.set("seconds", 99).to_bytes()
    return commit


def pass_on(tree: str, command: str = CHECK) -> dict[str, bytes | None]:
    definition = definition_of(command, (), "", "Linux")
    fields = {
        "name": "test", "command": command, "tree": tree, "definition": definition,
        "platform": "Linux",
    }  # fmt: skip
    path = f"checks/{tree[:2]}/{tree}-{definition}.md"
    return {path: Document.new(fields, "").to_bytes()}


@forged("pass-without-run")
def a_pass_on_a_tree_that_never_ran(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("queued", history.second)
    commit.files |= pass_on(EMPTY_TREE)
    return commit


@forged("pass-without-run")
def a_pass_on_a_tree_that_nobody_lands(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("checked", nth=-1)
    commit.files |= pass_on(EMPTY_TREE)
    return commit


@forged("wrong-candidate")
def another_candidate_named(forgery: Forgery, history: History) -> Written:
    return forgery.find("landed", history.second).say(Candidate="1" * 40)


@forged("wrong-candidate", "wrong-candidate", "wrong-candidate", "missing-check", "wrong-patch")
def another_commit_landed_than_tested(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("landed", history.second)
    mine = forgery.repo.git("rev-parse", "main^")
    note = forgery.repo.git("notes", "--ref=gitmill", "show", "main")
    forgery.repo.git("notes", "--ref=gitmill", "add", "-f", "-m", note, mine)
    forgery.amend_item(commit, landed=mine)
    return commit


@forged("landed-twice", "wrong-patch", "wrong-candidate", "missing-check")
def a_commit_landed_twice(forgery: Forgery, history: History) -> Written:
    """The second task lands the commit of the first."""
    old = forgery.find("landed", history.first)
    commit = forgery.find("landed", history.second)
    start = forgery.find("land-started", history.second)
    landing = {
        "candidate": old.trailer("Candidate"), "onto": old.trailer("Onto"),
        "target": "refs/heads/main",
    }  # fmt: skip
    onto = landing["onto"]
    start.say(Candidate=landing["candidate"], Onto=onto, Target=onto).set(landing=landing)
    commit.say(Candidate=landing["candidate"], Onto=landing["onto"])
    forgery.amend_item(commit, landed=landing["candidate"])
    return commit


@forged("rules")
def an_event_under_older_rules(forgery: Forgery, history: History) -> Written:
    return forgery.find("cancelled", history.third).say(Rules=None)


@forged("rules")
def an_event_under_rules_that_nobody_knows(forgery: Forgery, history: History) -> Written:
    return forgery.find("cancelled", history.third).say(Rules="99")


@forged("wrong-target")
def a_claim_that_hides_whose_policy_it_read(forgery: Forgery, history: History) -> Written:
    return forgery.find("claimed", history.first).say(Target=None)


@forged("wrong-target")
def a_start_of_a_landing_elsewhere(forgery: Forgery, history: History) -> Written:
    return forgery.find("land-started", history.first).say(Target="1" * 40)


@forged("wrong-fields")
def a_field_that_no_model_defines(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("cancelled", history.third)
    forgery.amend_item(commit, mood="good")
    return commit


@forged("wrong-undo")
def an_undo_of_what_was_not_the_last(forgery: Forgery, history: History) -> Written:
    first = forgery.find("created", history.fourth).trailer("Id")
    return forgery.find("unblocked", history.fourth).say(Undoes=first)


@forged("wrong-undo")
def an_undo_that_brings_something_new(forgery: Forgery, history: History) -> Written:
    return forgery.find("unblocked", history.fourth).set(title="Another")


@forged("not-reviewed", before="outcome")
def a_landed_item_that_was_never_reviewed(forgery: Forgery, history: History) -> Written:
    a_review_left_out(forgery, history)
    return forgery.find("landed", history.second)


def messages(history: History, forgery: Forgery) -> list[str]:
    """Write a forged history; return what fsck finds in its landings' reviews."""
    forgery.write()
    faults = verify(history.repo).report.faults
    return [fault.what for fault in faults if fault.rule == "not-reviewed"]


def test_a_landing_with_too_few_approvals_is_found(history: History):
    """The plan asks for one approval at its stage; the item has one of another stage."""
    forgery = Forgery(history.repo)
    commit = forgery.find("queued", history.second)
    (entry,) = commit.item.value("reviewed")
    forgery.amend_item(commit, reviewed=[entry | {"stage": "elsewhere"}])
    assert messages(history, forgery) == ["review approved it 0 of 1 times"]


def test_an_approval_whose_run_log_is_of_other_work_is_found(history: History):
    forgery = Forgery(history.repo)
    commit = forgery.find("approved", history.second)
    (entry,) = commit.item.value("reviewed")
    commit.relog(work="1" * 40)
    assert messages(history, forgery) == [
        f"run log {entry['run']} does not record a passed review of the work"
    ]


# Events that no longer fit once an earlier one is forged.
AFTERWARDS = ("checked", "landed")


@pytest.mark.parametrize("name", rest_slow(CASES, len(CASES) // 2))
def test_a_forged_history_is_found_and_named(history: History, name: str):
    forge, rules, before = CASES[name]
    forgery = Forgery(history.repo)
    blamed = forge(forgery, history)
    forgery.write()
    verified = verify(history.repo)
    assert not verified.holds
    violations = found(verified)
    own = [rule for rule, commit in violations if commit == forgery.oid(blamed)]
    assert set(own) >= set(rules), verified.report.faults
    late = {forgery.oid(one) for one in forgery.commits if one.trailer("Event") in AFTERWARDS}
    elsewhere = {rule for rule, commit in violations if commit not in late} - {
        *rules,
        before,
        "work-ref",
        "wrong-bytes",  # where lines came in another order
    }
    assert not elsewhere, verified.report.faults
    in_parts(history.repo, verified, forgery.oid(blamed))


def in_parts(repo: Repo, verified: Verified, blamed: str) -> None:
    """Require the same faults where all before the first blamed commit is remembered as verified."""
    mill = Mill.open(repo.path)
    line = line_of(mill.store.backend, verified.report.tip)
    faults = audit(mill.store.backend, line, all_types()).faults
    first = min(line.commits.index(one) for one in {blamed, *(fault.commit for fault in faults)})
    if first > 0:
        assert in_two_parts(mill, line, first).faults == faults


def test_every_rule_has_a_history_that_breaks_it():
    elsewhere = {  # where refs or commits of the target are forged
        "work-ref", "not-on-target", "note", "anchor", "not-landed", "not-sane", "wrong-end",
    }  # fmt: skip
    assert {rule for _, rules, _ in CASES.values() for rule in rules} | elsewhere == set(RULES)


# -- refs, notes, the target -----------------------------------------------------------------------


def landed_in(history: History, item: str) -> str:
    """Return the state commit of the last landing of an item."""
    return history.repo.git(
        "log", "-1", "--format=%H", "--grep", f"^{item}: landed as", "gitmill/state"
    )


def faults(history: History) -> list[tuple[str, str, str]]:
    return [(fault.rule, fault.commit, fault.item) for fault in verify(history.repo).report.faults]


@pytest.mark.parametrize("key", ["checks", "patch", "reviews", "built_by", "attempts"])
def test_an_edited_note_is_found_and_the_field_named(history: History, key: str):
    note = history.repo.git("notes", "--ref=gitmill", "show", "main")
    forged = Document(note + "\n").set(key, ["eve"]).text
    history.repo.git(
        "notes", "--ref=gitmill", "add", "-f", "-F", "-", "main", stdin=forged.encode()
    )
    assert faults(history) == [("note", landed_in(history, history.second), history.second)]
    what = verify(history.repo).report.faults[0].what
    assert (
        what
        == f"the note on {history.repo.git('rev-parse', '--short=10', 'main')} differs from the state in {key}"
    )


def test_a_removed_note_is_found(history: History):
    history.repo.git("notes", "--ref=gitmill", "remove", "main")
    assert faults(history) == [("note", landed_in(history, history.second), history.second)]


def test_a_truncated_history_leaves_a_note_that_the_state_does_not_know(history: History):
    history.repo.git("update-ref", STATE, f"{landed_in(history, history.second)}^")
    history.repo.git("update-ref", "-d", f"refs/gitmill/candidate/{history.second}")
    assert faults(history) == []  # as a landing that was killed half-way leaves it
    history.repo.git("update-ref", STATE, f"{STATE}~3")
    landed = history.repo.git("rev-parse", "main")
    assert sorted(faults(history)) == [
        ("not-landed", landed, history.second), ("note", landed, history.second)
    ]  # fmt: skip


def test_notes_copied_by_a_rebase_are_no_fault(history: History):
    note = history.repo.git("notes", "--ref=gitmill", "show", "main") + "\n"
    history.repo.git("notes", "--ref=gitmill", "add", "-F", "-", "main^", stdin=note.encode())
    assert faults(history) == []


def test_every_fault_of_a_history_is_reported(history: History):
    forgery = Forgery(history.repo)
    blamed = [
        another_status_before(forgery, history),
        another_event_named_as_the_one_before(forgery, history),
        a_check_that_did_not_pass(forgery, history),
    ]
    forgery.write()
    commits = {commit for _, commit in found(verify(history.repo))}
    assert {forgery.oid(commit) for commit in blamed} <= commits


def test_a_target_reset_to_an_earlier_commit_is_found(history: History):
    history.repo.git("update-ref", "refs/heads/main", "main^")
    assert faults(history) == [
        ("not-on-target", landed_in(history, history.second), history.second)
    ]


def test_a_landed_commit_may_be_missing_once_its_revert_is_recorded(history: History):
    """A landing with a later `reverted` event need not be on the target."""
    forgery = Forgery(history.repo)
    landed = forgery.find("landed", history.second)
    document = landed.item.update(
        {"status": "waiting", "event": "feedfeedfeedfeed", "landed": None, "checked": None,
         "reviewed": None, "reverted": "1" * 40, "reason": "by hand"}
    )  # fmt: skip
    message = (
        f"{history.second}: reverted\n\nGitmill-Item: {history.second}\nGitmill-Event: reverted\n"
        f"Gitmill-Id: feedfeedfeedfeed\nGitmill-After: {landed.trailer('Id')}\n"
        f"Gitmill-From: landed\nGitmill-To: waiting\nGitmill-Stage: {landed.trailer('Stage')}\n"
        f"Gitmill-By: Ada <ada@example.com>\nGitmill-Plan: {landed.trailer('Plan')}\n"
        f"Gitmill-Reverted-By: {'1' * 40}\n{RULES_2}"
    )
    files = {landed.document: document.to_bytes()}
    forgery.insert(landed, message=message, files=files)
    forgery.write()
    history.repo.git("update-ref", "refs/heads/main", "main^")
    assert faults(history) == []


def test_a_moved_work_ref_is_found(history: History):
    tip = history.repo.git("rev-parse", "main")
    history.repo.git("update-ref", f"refs/gitmill/work/{history.first}", tip)
    assert faults(history) == [("work-ref", tip, history.first)]


def test_a_work_ref_without_an_item_is_found(history: History):
    tip = history.repo.git("rev-parse", "main")
    history.repo.git("update-ref", "refs/gitmill/work/t-00000", tip)
    assert faults(history) == [("work-ref", tip, "t-00000")]


def test_a_candidate_with_other_content_is_another_patch(history: History):
    """Everything names the forged commit, even target and notes; its patch gives it away."""
    repo, old = history.repo, history.repo.git("rev-parse", "main")
    oid = repo.git("hash-object", "-w", "--stdin", stdin=b"evil\n")
    tree = repo.git("mktree", stdin=f"{repo.git('ls-tree', 'main')}\n".replace(
        repo.git("rev-parse", "main:b.txt"), oid).encode())  # fmt: skip
    message = repo.git("log", "-1", "--format=%B", "main")
    new = repo.git("commit-tree", tree, "-p", "main^", "-m", message)
    forgery = Forgery(repo)
    for commit in forgery.commits:
        commit.message = commit.message.replace(old, new)
        commit.files = {
            p: d and d.replace(old.encode(), new.encode()) for p, d in commit.files.items()
        }
    checked = forgery.find("checked", nth=-1)
    was = repo.git("rev-parse", "main^{tree}")
    checked.files = {
        path.replace(was[:2], tree[:2], 1).replace(was, tree): data.replace(was.encode(), tree.encode())
        for path, data in checked.files.items() if data
    }  # fmt: skip
    forgery.write()
    note = repo.git("notes", "--ref=gitmill", "show", old) + "\n"
    repo.git("update-ref", "refs/heads/main", new)
    repo.git("notes", "--ref=gitmill", "add", "-f", "-F", "-", new, stdin=note.encode())
    violations = [(rule, commit) for rule, commit, _ in faults(history)]
    assert ("wrong-patch", forgery.oid(forgery.find("landed", history.second))) in violations


# -- by hand ---------------------------------------------------------------------------------------


def by_hand(history: History, where: str, change: Callable[[Document], Document]) -> Forgery:
    """Append a commit by hand."""
    forgery = Forgery(history.repo)
    document = history.repo.git("show", f"{STATE}:{where}") + "\n"
    files: dict = {where: change(Document(document)).to_bytes()}
    forgery.insert(forgery.commits[-1], message="by hand\n", files=files)
    return forgery


def test_a_hand_edit_that_is_not_applied_yet_is_a_notice(history: History):
    path = f"tasks/{history.third[2:4]}/{history.third}.md"
    forgery = by_hand(history, path, lambda document: document.set("priority", 0))
    forgery.write()
    verified = verify(history.repo)
    assert verified.holds
    (notice,) = verified.report.notices
    assert (notice.rule, notice.commit) == ("hand-edit", forgery.oids[-1])
    assert notice.what == f"changed by hand and not applied: {path}"


def test_a_hand_edit_is_applied_by_the_next_event(history: History):
    path = f"tasks/{history.third[2:4]}/{history.third}.md"
    forgery = by_hand(history, path, lambda document: document.set("priority", 0))
    hand, last = forgery.commits[-1], forgery.find("cancelled", history.third)
    document = Document.from_bytes(hand.files[path] or b"").set("event", "feedfeedfeedfeed")
    message = re.sub("Gitmill-(Event|Id|From|After).*\n", "", last.message) + (
        f"Gitmill-Event: edited\nGitmill-Id: feedfeedfeedfeed\nGitmill-From: cancelled\n"
        f"Gitmill-After: {last.trailer('Id')}\n"
    )
    forgery.insert(hand, message=message, files={path: document.to_bytes()})
    forgery.write()
    verified = verify(history.repo)
    assert (verified.report.faults, verified.report.notices) == ([], [])


def test_a_hand_edit_that_was_restored_does_not_count(history: History):
    path = f"tasks/{history.third[2:4]}/{history.third}.md"
    forgery = by_hand(history, path, lambda document: document.set("status", "landed"))
    message = f"board\n\nGitmill-Event: board\nGitmill-Id: feedfeedfeedfeed\n{BY}{RULES_2}"
    back = forgery.find("cancelled", history.third).files[path]
    forgery.insert(forgery.commits[-1], message=message, files={path: back})
    forgery.write()
    verified = verify(history.repo)
    assert (verified.report.faults, verified.report.notices) == ([], [])


def file_by_hand(history: History, where: str, data: bytes | None) -> None:
    """Commit a file on the state branch, as a person does; None removes it."""
    forgery = Forgery(history.repo)
    forgery.insert(forgery.commits[-1], message="by hand\n", files={where: data})
    forgery.write()


@pytest.mark.parametrize("where", ["tasks/README.txt", "notes.txt", "tasks/zz/t-00000.md"])
def test_a_file_that_a_person_adds_and_removes_again_is_no_fault(history: History, where: str):
    file_by_hand(history, where, b"what the folders are\n")
    if where.endswith(".txt"):  # gitmill has no business with it
        decisions.unblock(Mill.open(history.repo.path), blocked(history), reset=False)
        assert verify(history.repo).report.faults == verify(history.repo).report.notices == []
    file_by_hand(history, where, None)
    decisions.cancel(Mill.open(history.repo.path), history.fourth, "no")
    verified = verify(history.repo)
    assert (verified.report.faults, verified.report.notices) == ([], [])


def blocked(history: History) -> str:
    decisions.block(Mill.open(history.repo.path), history.fourth, "not now")
    return history.fourth


def test_a_merge_by_hand_counts_as_its_difference_to_the_first_parent(history: History):
    """A pull request onto the state branch is merged like this."""
    repo, path = history.repo, f"tasks/{history.third[2:4]}/{history.third}.md"
    before = repo.git("rev-parse", STATE)
    by_hand(history, path, lambda document: document.set("priority", 0)).write()
    side, tree = repo.git("rev-parse", STATE), repo.git("rev-parse", f"{STATE}^{{tree}}")
    merge = repo.git("commit-tree", tree, "-p", before, "-p", side, "-m", "Merge by hand")
    repo.git("update-ref", STATE, merge)
    verified = verify(repo)
    assert verified.holds
    assert [(one.rule, one.commit) for one in verified.report.notices] == [("hand-edit", merge)]


def test_an_emergency_stop_by_hand_needs_no_event(history: History):
    by_hand(history, "control.md", lambda document: document.set("paused", True)).write()
    verified = verify(history.repo)
    assert (verified.report.faults, verified.report.notices) == ([], [])


# -- what cannot be checked ------------------------------------------------------------------------


def clone(history: History, *more: str) -> Repo:
    target = history.repo.path.parent / "clone"
    history.repo.git("clone", "-q", *more, f"file://{history.repo.path}", str(target))
    copy = Repo(target)
    copy.git("update-ref", STATE, "refs/remotes/origin/gitmill/state")
    return copy


def unknown(repo: Repo) -> list[str]:
    verified = verify(repo)
    assert not verified.holds
    assert verified.report.faults == []
    return [one.what for one in verified.report.unknown]


def test_a_clone_without_notes_reports_that_it_cannot_check_them(history: History):
    copy = clone(history)
    assert unknown(copy) == ["there is no refs/notes/gitmill in this clone"] * 2
    copy.git("fetch", "-q", "origin", "refs/notes/gitmill:refs/notes/gitmill")
    assert verify(copy).holds


def test_a_clone_without_work_refs_reports_that_it_cannot_check_them(history: History):
    mill = Mill.open(history.repo.path)
    task = NewTask(title="Open", script="echo d > d.txt", criteria=["$ true"])
    new_task(mill, task, ready=True)
    run(mill, RunRequest(through="approved"), *silent())
    copy = clone(history)
    copy.git("fetch", "-q", "origin", "refs/notes/gitmill:refs/notes/gitmill")
    assert unknown(copy) == ["this clone has no work refs, but 1 open items have work"]


def test_a_lost_work_ref_is_found(history: History):
    mill = Mill.open(history.repo.path)
    task = NewTask(title="Open", script="echo d > d.txt", criteria=["$ true"])
    item = new_task(mill, task, ready=True).id
    run(mill, RunRequest(through="approved"), *silent())
    commit = history.repo.git("rev-parse", f"refs/gitmill/work/{item}")
    history.repo.git("update-ref", "-d", f"refs/gitmill/work/{item}")
    assert faults(history) == [("work-ref", commit, item)]


def test_a_shallow_clone_reports_what_it_lacks(history: History):
    copy = clone(history, "--depth", "5", "--no-single-branch")
    copy.git("fetch", "-q", "origin", "refs/notes/gitmill:refs/notes/gitmill")
    reasons = unknown(copy)
    assert reasons[0] == "this state commit and all its ancestors are not in this clone"
    assert verify(copy).report.commits == 5


def test_a_partial_clone_fetches_nothing_and_reports_it(history: History):
    history.repo.git("config", "uploadpack.allowFilter", "true")
    copy = clone(history, "--filter=blob:none", "--no-checkout")
    copy.git("fetch", "-q", "origin", "refs/notes/gitmill:refs/notes/gitmill")
    before = copy.git("count-objects", "-v")
    assert unknown(copy)
    assert copy.git("count-objects", "-v") == before


def test_a_lost_object_cannot_be_checked(history: History):
    log = Forgery(history.repo).find("returned", history.first)
    oid = log.trailer("Evidence")
    (pack,) = (history.repo.git_dir / "objects/pack").glob("*.pack")
    data = pack.read_bytes()
    for path in pack.parent.iterdir():
        path.unlink()
    history.repo.git("unpack-objects", "-q", stdin=data)
    (history.repo.git_dir / "objects" / oid[:2] / oid[2:]).unlink()
    (reason,) = unknown(history.repo)
    assert reason == f"there is no object {oid[:12]}; nothing after it was checked"


# -- the command -----------------------------------------------------------------------------------


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_it_writes_nothing_but_what_it_has_verified(history: History):
    before = everything(history.repo.path)
    assert gitmill(history.repo.path, "fsck").code == 0
    after = everything(history.repo.path)
    del after[str(history.repo.git_dir / "gitmill" / VERIFIED)]
    assert after == before


def test_it_does_not_apply_hand_edits(history: History):
    path = f"tasks/{history.third[2:4]}/{history.third}.md"
    by_hand(history, path, lambda document: document.set("priority", 0)).write()
    before = everything(history.repo.path)
    result = gitmill(history.repo.path, "fsck")
    assert (result.code, result.out.splitlines()[0].split()[0]) == (0, "notice[hand-edit]:")
    after = everything(history.repo.path)
    del after[str(history.repo.git_dir / "gitmill" / VERIFIED)]
    assert after == before


def test_the_screen_of_a_clean_history(history: History):
    result = gitmill(history.repo.path, "fsck")
    count = history.repo.git("rev-list", "--count", STATE)
    assert (result.code, result.out, result.err) == (
        0, f"{count} commits, 4 items, 2 landings verified\n", "",
    )  # fmt: skip


def test_the_screen_of_a_forged_history(history: History):
    forgery = Forgery(history.repo)
    commit = another_event_named_as_the_one_before(forgery, history)
    old = commit.item.value("event")
    forgery.write()
    blamed, before = forgery.oid(commit), forgery.find("approved", history.first).trailer("Id")
    result = gitmill(history.repo.path, "fsck")
    assert old != before
    assert result.out.splitlines() == [
        f"error[broken-chain]: {blamed[:10]} {history.first}: it names 0123456789abcdef as the event "
        f"before it, not {before}",
        f"{len(forgery.oids)} commits, 4 items, 2 landings verified, 1 error",
    ]
    assert result.err == f"next: `gitmill log {history.first}`, then `git show {blamed[:10]}`\n"
    assert result.code == 1


def test_the_json_of_a_forged_history(history: History):
    history.repo.git("notes", "--ref=gitmill", "remove", "main")
    result = gitmill(history.repo.path, "fsck", "--json")
    output = result.json
    assert result.code == 1
    assert output["schema"] == 1
    assert (output["holds"], output["items"], output["landings"]) == (False, 4, 1)
    short = history.repo.git("rev-parse", "--short=10", "main")
    assert output["faults"] == [
        {"rule": "note", "commit": landed_in(history, history.second), "item": history.second,
         "what": f"{short} has no note"},
    ]  # fmt: skip
    assert output["unknown"] == output["notices"] == []


def test_a_rule_can_be_explained(history: History):
    assert gitmill(history.repo.path, "explain", "root").out.splitlines()[0] == (
        "The rules of `gitmill fsck`:"
    )
    output = gitmill(history.repo.path, "explain", "fsck").out
    assert all(f"{rule:<22} {meaning}" in output for rule, meaning in RULES.items())


def test_the_page_has_every_rule_as_it_is_and_a_test_that_breaks_it():
    page = (Path(__file__).parents[2] / "docs/verify.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*) \| `(\w+)` \|$", page, re.MULTILINE)
    assert {rule: meaning for rule, meaning, _ in rows} == RULES
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("*.py"))
    for rule, _, breaks in rows:
        if breaks.startswith("test_"):
            body = tests.partition(f"def {breaks}(")[2].partition("\n\n\n")[0]
            assert f'"{rule}"' in body, breaks
        else:
            assert rule in CASES[breaks][1], breaks


# -- what gitmill itself wrote ---------------------------------------------------------------------


def test_an_edit_during_a_landing_is_in_its_note(sandbox: Sandbox):
    """The check itself edits the task, as a person would from another terminal."""
    repo = sandbox.repo(files={"a.txt": "a\n"})
    repo.unfence()
    mill = Mill.open(repo.path)
    init(mill)
    task = NewTask(title="Old", script="echo b > b.txt", criteria=["$ true"])
    item = new_task(mill, task, ready=True).id
    run(mill, RunRequest(through="approved"), *silent())
    edit = f"{sys.executable} -m gitmill task edit {item} --title New"
    policy = f"[checks]\ntest = '(cd {repo.path} && {edit})'\n"
    repo.commit({".gitmill/config.toml": policy})
    land_queue.land_queue(mill, lambda _: None)
    assert found(verify(repo)) == []
    assert 'title: "New"' in repo.git("notes", "--ref=gitmill", "show", "main")


def test_a_pass_names_its_inputs_so_that_its_definition_can_be_computed(sandbox: Sandbox):
    policy = "[checks.test]\ncommand = 'true'\ninputs = ['a.txt', 'c/*.txt']\n"
    repo = sandbox.repo(files={"a.txt": "a\n", ".gitmill/config.toml": policy})
    mill = Mill.open(repo.path)
    init(mill)
    task = NewTask(title="One", script="echo b > b.txt", criteria=["$ true"])
    new_task(mill, task, ready=True)
    run(mill, RunRequest(), *silent())
    verified = verify(repo)
    assert (verified.holds, verified.landings) == (True, 1)
    (path,) = repo.git("ls-tree", "-r", "--name-only", STATE, "checks").splitlines()
    assert 'inputs: ["a.txt", "c/*.txt"]' in repo.git("show", f"{STATE}:{path}")
