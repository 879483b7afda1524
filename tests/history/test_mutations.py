"""Small forgeries of a true history, made by a generator: each is found, or listed with a reason."""

from __future__ import annotations

import re

import pytest

from gitmill.history.fsck import fsck
from gitmill.mill import Mill
from tests.history.conftest import History
from tests.support.forge import STATE, Forgery
from tests.support.mutations import forged, mutations

pytestmark = pytest.mark.forges
SHARES = 6
STRIDE = 108  # each share tries one of so many mutations

# What fsck does not report, as a pattern of "event: what: how", and why not.
NOT_FOUND = {
    r"commit: swapped with the next": "events of two items have no order",
    r"author: another$": "no rule reads the author: Gitmill-By says who",
    r"subject: changed$": "the subject is for people, the trailers count",
    r"README\.md( |: )": "the board is drawn for people and is no evidence",
    r"checks (by|seconds|at|name): ": "what the worker noted beside the pass",
    r"runs (by|agent|mounted|sandbox|seconds|started|summary|findings|earlier|usage|cost|body|"
    r"output|transcript|session|model|tokens)\b": "what the worker recorded of the attempt",
    r"runs \w+: moved": "the order of the facts in a run log has no meaning",
    r"tasks \w+: moved$": "the order of the lines that an event adds has no meaning",
    r"created: tasks (priority|risk|script|criteria|title|paths|body)": "a person's own text",
    r"tasks (reason|answer): (changed|dropped)": "a person's or a worker's own words",
    r"tasks since: as before(, carried)?$": "within the minutes between the choice of a time and its commit",
    r"time: ": "the clocks of two machines may differ; the order of the history counts",
    r"^(upgraded|board|checked|compiled|paused|resumed): trailer Id: changed": "a random id that"
    " no later event names",
    r"upgraded: trailer Rules: dropped": "an upgrade under the first rules, as older versions wrote it",
    r"upgraded: control\.md( target: dropped|: left out)": "without it the target is main, as it says",
    r"landed: trailer By: changed": "any user may finish a landing that was interrupted",
    r"undo as \w+: trailer Undoes: dropped": "the same event, by a person who names no other",
    r"trailer Target: swapped": "the target was at that commit too, with the same policy",
    r"trailer Target: changed": "no such commit here: a notice, or unknown if only it gave the plan",
    r"(created|readied|queued|blocked|unblocked|cancelled|edited|upgraded): trailer By: swapped": "any"
    " person may do it",
    r"returned: runs work: changed": "work that never landed can be pruned: nothing to compare",
}


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_each_mutation_is_found_or_listed(history: History, share: int):
    forgery, tip = Forgery(history.repo), history.repo.git("rev-parse", STATE)
    missed = []
    for mutation in list(mutations(forgery))[share * STRIDE // SHARES :: STRIDE]:
        if re.search(r"format: left out|commit: dropped", mutation.name):
            continue  # a branch without a format is refused before it is verified
        forged(forgery, mutation).write()
        if history.repo.git("rev-parse", STATE) != tip and fsck(Mill.open(history.repo.path)).holds:
            missed.append(mutation.name)
    listed = [name for name in missed if any(re.search(p, name) for p in NOT_FOUND)]
    assert [name for name in missed if name not in listed] == []


def test_the_generator_tries_every_kind_of_path(history: History):
    tried = {mutation.what.split(" ")[0] for mutation in mutations(Forgery(history.repo))}
    assert tried >= {"tasks", "runs", "checks", "frozen", "control.md", "README.md", "trailer"}


def test_a_mutation_changes_one_history_and_not_the_next(history: History):
    forgery = Forgery(history.repo)
    before = [dict(commit.files) for commit in forgery.commits]
    for mutation in list(mutations(forgery))[::500]:
        forged(forgery, mutation)
    assert [commit.files for commit in forgery.commits] == before
