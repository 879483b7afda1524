"""Forgeries of who did something and when: names, starts, leases, pauses."""

from __future__ import annotations

import json
import re

from gitmill.core.document import Document
from tests.history.conftest import History
from tests.history.forgeries import forged
from tests.support.forge import Forgery, Written, json_list

BY = "Gitmill-By: Ada <ada@example.com>\nGitmill-Rules: 2\n"
ID = "Gitmill-Id: feedfeedfeedfeed\n"


def lease(commit: Written) -> dict:
    return json.loads(json.dumps(commit.item.value("lease")))


def holder(commit: Written, who: str) -> Written:
    """Let another one claim an item, in the trailers and in the lease."""
    return commit.set(lease=lease(commit) | {"who": who}).say(By=who)


@forged("wrong-actor")
def a_claim_in_the_name_of_another(forgery: Forgery, history: History) -> Written:
    return forgery.find("claimed", history.first).say(By="eve@vm")


@forged("wrong-actor")
def a_review_by_an_agent_that_the_plan_does_not_name(forgery: Forgery, history: History) -> Written:
    commit = holder(forgery.find("claimed", history.first, 1), "shell@vm")
    forgery.find("returned", history.first).say(By="shell@vm").relog(by="shell@vm", agent="shell")
    return commit


@forged("wrong-actor")
def a_verdict_by_another_than_who_claimed_it(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("returned", history.first)
    return commit.say(By="shell@vm").relog(by="shell@vm", agent="shell")


@forged("wrong-actor")
def a_stage_of_another_agent_in_the_run_log(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("returned", history.first)
    (stage,) = json_list(commit.log, "stages")
    return commit.relog(stages=[stage | {"agent": "codex"}])


@forged("wrong-actor")
def an_agent_that_takes_an_item_like_a_person(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("claimed", history.second, 1)
    kept = {key: value for key, value in lease(commit).items() if key in ("claim", "who", "until")}
    return commit.set(lease=kept)


@forged("evidence")
def a_run_log_of_another_plan(forgery: Forgery, history: History) -> Written:
    return forgery.find("returned", history.first).relog(plan="0123456789ab")


@forged("wrong-lease")
def a_lease_for_a_year(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("claimed", history.first)
    return commit.set(lease=lease(commit) | {"until": "2099-01-01T00:00:00Z"})


def pause(forgery: Forgery, before: Written, fields: str) -> Written:
    """Insert a true pause in front of a commit."""
    at = forgery.commits[forgery.commits.index(before) - 1]
    message = f"paused\n\nGitmill-Event: paused\n{ID}{BY}"
    control = f'---\ntarget: "main"\n{fields}by: "Ada <ada@example.com>"\n---\n'
    return forgery.insert(at, message=message, files={"control.md": control.encode()})


@forged("too-early")
def a_claim_during_a_pause(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("claimed", history.first)
    pause(forgery, commit, 'paused: true\nreason: "stop"\n')
    return commit


@forged("too-early")
def a_landing_while_the_queue_is_paused(forgery: Forgery, history: History) -> Written:
    commit = forgery.find("land-started", history.first)
    pause(forgery, commit, 'paused: false\nqueue_paused: true\nqueue_reason: "stop"\n')
    return commit


@forged("too-early")
def a_claim_before_what_it_comes_after(forgery: Forgery, history: History) -> Written:
    for commit in forgery.commits:
        if commit.trailer("Item") == history.second and commit.document in commit.files:
            commit.set(after=[history.fourth])
    return forgery.find("claimed", history.second)


@forged("wrong-control")
def a_pause_that_moves_the_target_as_well(forgery: Forgery, history: History) -> Written:
    commit = pause(forgery, forgery.find("created", history.fourth), "paused: true\nreason: stop\n")
    data = commit.files["control.md"] or b""
    commit.files["control.md"] = data.replace(b'"main"', b'"other"')
    return commit


@forged("wrong-control")
def another_target_with_more_than_that(forgery: Forgery, _: History) -> Written:
    commit = forgery.find("upgraded")
    data = commit.files["control.md"] or b""
    commit.files["control.md"] = Document.from_bytes(data).set("zebra", 1).to_bytes()
    return commit


@forged("wrong-undo")
def an_undo_of_a_pause_that_there_was_not(forgery: Forgery, history: History) -> Written:
    commit = pause(forgery, forgery.find("created", history.fourth), "paused: false\n")
    commit.message = re.sub("paused", "resumed", commit.message)
    return commit.say(Undoes="0123456789abcdef")


@forged("hand-edit")
def a_restored_file_of_nobody(forgery: Forgery, history: History) -> Written:
    before = forgery.find("created", history.fourth)
    return forgery.insert(before, message=f"restored\n\nGitmill-Event: put-back\n{ID}{BY}")


@forged("wrong-patch")
def a_patch_that_is_not_that_of_the_work(forgery: Forgery, history: History) -> Written:
    return forgery.find("returned", history.first).relog(patch="0" * 40)


@forged("wrong-patch")
def work_without_a_patch(forgery: Forgery, history: History) -> Written:
    return forgery.find("returned", history.first).relog(patch=None)


@forged("outcome")
def a_verdict_of_no_stage(forgery: Forgery, history: History) -> Written:
    return forgery.find("returned", history.first).relog(stages=None)


@forged("wrong-undo")
def a_birth_that_undoes_something(forgery: Forgery, history: History) -> Written:
    return forgery.find("created", history.third).say(Undoes="feedfeedfeedfeed")
