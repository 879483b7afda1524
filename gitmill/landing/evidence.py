"""The evidence of a landing: the note on the landed commit, and the verification afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gitmill.core.document import Document
from gitmill.core.item import Item
from gitmill.core.shown_text import in_message
from gitmill.git.notes import read_note
from gitmill.git.objects import read_commit
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.snapshot import Snapshot
from gitmill.workspace.run_checks import CheckResult
from gitmill.workspace.work import patch_of


def check_entries(results: Sequence[CheckResult]) -> list[dict[str, Any]]:
    """Return the checks that a candidate passed, as its item and its note record them."""
    return [
        {"name": r.check.name, "definition": r.definition, "cached": r.cached}
        | ({"flaky": True} if r.flaky else {})
        for r in results
    ]


def note_for(
    mill: Mill,
    snapshot: Snapshot,
    item: Item,
    *,
    onto: str,
    candidate: str,
    checks: Sequence[Mapping[str, Any]],
) -> bytes:
    """Return the note for a landed commit; docs/formats.md lists its fields.

    It depends on the state alone, so it can be computed again from the item after the landing.
    """
    patch = patch_of(mill, onto, candidate)
    usage, cost = _spent(snapshot, item)
    fields = {
        "item": item.id,
        "title": in_message(item.title),
        "base": onto,
        "work": item.work,
        "patch": patch,
        "plan": item.plan,
        "built_by": item.builder,
        "reviews": [{"by": entry.by, "run": entry.run} for entry in item.reviewed],
        "checks": [dict(check) for check in checks],
        "attempts": item.attempt,
        "usage": usage or None,
        "cost": cost,
    }
    return Document.new(fields, "").to_bytes()


def _spent(snapshot: Snapshot, item: Item) -> tuple[dict[str, int], float | None]:
    usage: Counter[str] = Counter()
    costs: list[float] = []
    for log in snapshot.run_logs(item.id):
        used: Any = log.value("usage")
        if isinstance(used, dict):
            usage.update({key: n for key, n in used.items() if isinstance(n, int)})
        cost: Any = log.value("cost")
        if isinstance(cost, int | float):
            costs.append(float(cost))
    return dict(usage), sum(costs) or None  # a total of 0 is left out


def review_mismatches(mill: Mill, item: Item, base: str) -> list[str]:
    """Return a problem when the patch that landed on `base` is not the one each reviewer passed."""
    patch = patch_of(mill, base, item.landed)
    if any(entry.patch != patch for entry in item.reviewed):
        return [f"the patch of {item.landed[:10]} is not the reviewed one"]
    return []


def verify_landed(mill: Mill, item: Item) -> list[str]:
    """Read target, note and commit again through git itself; return every problem found.

    The landed commit must be the tested candidate, on the target that it was tested on; its patch
    must be the reviewed one, change no other paths, and match its note.
    """
    repository = mill.repository
    top = repository.top if repository.top and repository.top.is_dir() else None  # removed since
    fresh = Mill.open(repository.own_git_dir or top or repository.common)
    repository, backend = fresh.repository, fresh.repository.reader
    ref, name = mill.target_ref(mill.snapshot()), item.landed[:10]
    on_target = repository.git.run("merge-base", "--is-ancestor", item.landed, ref, check=False)
    if on_target.returncode != 0:
        return [f"{name} is not on {ref}"]
    commit = read_commit(backend, item.landed)
    data = read_note(backend, layout.NOTES, item.landed)
    if data is None:
        return [f"{name} has no note"]
    note = Document.from_bytes(data, f"note on {name}")
    base = commit.parents[0] if note.value("base") not in commit.parents else note.value("base")
    problems = []
    if note.text_value("item") != item.id:
        problems.append(f"the note on {name} names another item: {note.text_value('item')}")
    if note.value("base") != base:
        problems.append(f"{name} is not based on the commit that it was tested on")
    if note.value("patch") != patch_of(fresh, base, item.landed):
        problems.append(f"the note on {name} records another patch")
    problems += review_mismatches(fresh, item, base)
    reviewed = {change.path for change in fresh.changes(item.base, item.work)}
    landed = {change.path for change in fresh.changes(base, item.landed)}
    problems += [f"{path} was not part of the review" for path in sorted(landed - reviewed)]
    return problems
