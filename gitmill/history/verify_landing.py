"""Verify a past landing: its commit, patch, reviews, checks and note."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from gitmill.attempts.stage_types import all_types
from gitmill.core.audit.actors import has_person
from gitmill.core.audit.event import Fault
from gitmill.core.document import Document
from gitmill.core.item import is_revert_task
from gitmill.core.plans.plan import FrozenPlan, Performer, PlannedStage
from gitmill.core.redaction import is_redacted
from gitmill.core.runlog import Log, read_log
from gitmill.core.shown_text import in_message
from gitmill.core.verdict import VerdictWord
from gitmill.errors import BadDocumentError, GitFailedError, MissingObjectError
from gitmill.git.notes import read_note
from gitmill.git.objects import read_commit
from gitmill.landing.evidence import note_for, review_mismatches
from gitmill.mill import Mill
from gitmill.plans.policy import policy_at
from gitmill.store import layout
from gitmill.store.audit.report import NewLanding
from gitmill.store.snapshot import Snapshot
from gitmill.workspace.inspect_change import inspect_change
from gitmill.workspace.run_checks import landing_checks
from gitmill.workspace.work import patch_of

_ITEM = "Gitmill-Item: "


def landing_faults(mill: Mill, landing: NewLanding, titles: Collection[str]) -> Iterator[Fault]:
    """Yield the faults of a landing; `titles` are all that its item ever had.

    Raises `MissingObjectError` or `GitFailedError` when this clone lacks an object to check it.
    """
    snapshot = mill.store.at(landing.commit)
    plan = _plan(snapshot, landing.item.plan)
    yield from _candidate(mill, landing, titles)
    for problem in review_mismatches(mill, landing.item, landing.onto):
        yield Fault("wrong-patch", problem)
    yield from _reviews(mill, landing, snapshot, plan)
    if plan is not None and not is_revert_task(landing.item):
        yield from _sanity(mill, landing, plan)
    yield from _checks(mill, landing)
    yield from _note(mill, landing, snapshot)


def _candidate(mill: Mill, landing: NewLanding, titles: Collection[str]) -> Iterator[Fault]:
    """Require one commit on the target's tip, with the title of its item and its trailer."""
    name, commit = (
        landing.candidate[:10],
        read_commit(mill.store.backend, landing.candidate),
    )
    if commit.parents != (landing.onto,):
        yield Fault("wrong-candidate", f"{name} is not based on {landing.onto[:10]} alone")
    named = [line for line in commit.message.splitlines() if line.startswith(_ITEM)]
    if named != [f"{_ITEM}{landing.item.id}"]:
        yield Fault("wrong-candidate", f"{name} does not name {landing.item.id}")
    subject = commit.message.partition("\n")[0]
    if not any(_is_title(subject, title) or subject == in_message(title) for title in titles):
        yield Fault("wrong-candidate", f"the title of {name} is not that of {landing.item.id}")


def _sanity(mill: Mill, landing: NewLanding, plan: FrozenPlan) -> Iterator[Fault]:
    """Ask the rules of the plan about the landed change again; what they ask a person, one passed.

    A plan without such a stage has none of them. Secrets are not searched for again: a newer
    gitmill may know more kinds of them.
    """
    types, item = all_types(), landing.item
    stages = [stage.type for stage in plan.stages if stage.type in types]
    if not any(types[kind].drops_work for kind in stages):
        return
    verdict = inspect_change(mill, plan, item, landing.onto, landing.candidate, search=lambda _: ())
    asked = verdict.word is VerdictWord.ASK and has_person(item)
    if verdict.word is not VerdictWord.PASS and not asked:
        yield Fault("not-sane", f"sanity does not pass what landed: {verdict.summary}")


def _reviews(
    mill: Mill, landing: NewLanding, snapshot: Snapshot, plan: FrozenPlan | None
) -> Iterator[Fault]:
    item = landing.item
    logs = dict(_readable_logs(snapshot.run_logs(item.id)))
    for entry in item.reviewed:
        log = logs.get(entry.run)
        if log is None or log.verdict is not VerdictWord.PASS or log.work != entry.commit:
            what = f"run log {entry.run} does not record a passed review of the work"
            yield Fault("not-reviewed", what)
        if entry.commit != item.work:
            what = f"the approval is of {entry.commit[:10]}, but the work is {item.work[:10]}"
            yield Fault("not-reviewed", what)
    if not item.reviewed:
        yield Fault("not-reviewed", "it has no review")
    is_revert = is_revert_task(item)  # approved as a whole by the person who asked for it
    for stage in _review_stages(plan) if plan is not None and not is_revert else ():
        count = sum(entry.stage == stage.name for entry in item.reviewed)
        required = max(1, stage.approvals)
        if count < required:
            yield Fault("not-reviewed", f"{stage.name} approved it {count} of {required} times")
    try:
        patch = patch_of(mill, item.base, item.work)
    except (MissingObjectError, GitFailedError):
        return  # pruned since the landing; the landed patch is compared with the review itself
    if any(entry.patch != patch for entry in item.reviewed):
        yield Fault("wrong-patch", f"the reviewed patch is not that of {item.work[:10]}")


def _plan(snapshot: Snapshot, hash12: str) -> FrozenPlan | None:
    """Return a frozen plan, None if it is missing or invalid: the replay has reported that."""
    data = snapshot.read(layout.plan_path(hash12)) if hash12 else None
    try:
        return FrozenPlan.parse(data.decode("utf-8", "replace")) if data is not None else None
    except BadDocumentError:
        return None


def _readable_logs(documents: Iterable[Document]) -> Iterator[tuple[int, Log]]:
    for document in documents:
        try:
            log = read_log(document)
        except BadDocumentError:
            continue
        yield log.number, log


def _review_stages(plan: FrozenPlan) -> list[PlannedStage]:
    """Return the review stages along the `pass` edges, from the first stage to the last."""
    path: list[PlannedStage] = []
    names, name = {stage.name for stage in plan.stages}, plan.first.name
    while name in names and all(stage.name != name for stage in path):
        path.append(plan.stage(name))
        name = path[-1].edges.get(VerdictWord.PASS, "")
    agents = [stage for stage in path if stage.performer is Performer.AGENT]
    return [stage for stage in agents if not stage.is_authoring]


def _checks(mill: Mill, landing: NewLanding) -> Iterator[Fault]:
    """Verify that every check of the target then, and every `$` criterion, passed on that tree."""
    required = landing_checks(policy_at(mill, landing.onto), landing.before)
    passed = {(record.command, record.inputs) for record in landing.passes}
    entries = {str(entry.get("name")): entry for entry in landing.item.checked}
    if not required:
        yield Fault("missing-check", "it had no check to land by")
    for check in required:
        flaky = entries.get(check.name, {}).get("flaky") is True
        if check.name not in entries:
            yield Fault("missing-check", f"it does not record the result of check {check.name}")
        elif not flaky and (check.command, check.inputs) not in passed:
            tree = f"the tree of {landing.candidate[:10]}"
            yield Fault("missing-check", f"check {check.name} has no recorded pass on {tree}")


def _is_title(noted: str, title: str) -> bool:
    """Whether a note has a title as other versions write it, or with a secret redacted."""
    shown = in_message(title)
    return noted == title or is_redacted(noted, title) or is_redacted(noted, shown)


def _note(mill: Mill, landing: NewLanding, snapshot: Snapshot) -> Iterator[Fault]:
    name, backend = landing.candidate[:10], mill.store.backend
    actual = read_note(backend, layout.NOTES, landing.candidate)
    if actual is None:
        if backend.ref(layout.NOTES) is None:
            raise MissingObjectError(f"there is no {layout.NOTES} in this clone")
        yield Fault("note", f"{name} has no note")
        return
    item = landing.item
    expected = note_for(
        mill,
        snapshot,
        item,
        onto=landing.onto,
        candidate=landing.candidate,
        checks=item.checked,
    )
    if actual == expected:
        return
    try:
        state, note = Document.from_bytes(expected), Document.from_bytes(actual)
        keys = sorted(state.fields.keys() | note.fields.keys())
        differing = [key for key in keys if state.value(key) != note.value(key)]
        if differing == ["title"] and _is_title(note.text_value("title"), item.title):
            return
    except BadDocumentError:
        differing = []
    what = f"the note on {name} differs from the state in {', '.join(differing) or 'its text'}"
    yield Fault("note", what)
