"""The evidence of a landing: the note on the landed commit, and what is read back afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gitmill.core.document import Document
from gitmill.core.item import Item
from gitmill.git.notes import read_note
from gitmill.git.objects import read_commit
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.snapshot import Snapshot
from gitmill.workspace.run_checks import CheckResult
from gitmill.workspace.work import patch_of


def check_entries(results: Sequence[CheckResult]) -> list[dict[str, Any]]:
    """Return what a candidate passed, as its item and its note say it."""
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
    """Return the note that a landed commit carries; docs/formats.md names its fields.

    It is made of the state alone, so that it can be made again from the item once that has landed.
    """
    patch = patch_of(mill, onto, candidate)
    usage, cost = _spent(snapshot, item)
    fields = {
        "item": item.id,
        "title": item.title,
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
    return dict(usage), sum(costs) or None  # nothing spent is not worth a line


def not_as_reviewed(mill: Mill, item: Item, base: str) -> list[str]:
    """Return how what landed on `base` differs from the patch that each reviewer judged."""
    patch = patch_of(mill, base, item.landed)
    if any(entry.patch != patch for entry in item.reviewed):
        return [f"the patch of {item.landed[:10]} is not the reviewed one"]
    return []


def verify_landed(mill: Mill, item: Item) -> list[str]:
    """Read target, note and commit again through git itself; return what does not hold.

    What landed is the candidate that was tested, on the target that it was tested on; its patch is
    the reviewed one; it changes no other paths; its note says so.
    """
    fresh = Mill.open(mill.repository.top or mill.repository.common)
    repository, backend = fresh.repository, fresh.repository.reader
    ref = mill.target_ref(mill.snapshot())
    on_target = repository.git.run("merge-base", "--is-ancestor", item.landed, ref, check=False)
    if on_target.returncode != 0:
        return [f"{item.landed[:10]} is not on {ref}"]
    commit = read_commit(backend, item.landed)
    note = read_note(backend, layout.NOTES, item.landed)
    if note is None:
        return [f"{item.landed[:10]} has no note"]
    told = Document.from_bytes(note, f"note on {item.landed[:10]}")
    base = commit.parents[0] if told.value("base") not in commit.parents else told.value("base")
    problems = []
    if told.text_value("item") != item.id:
        problems.append(f"the note on {item.landed[:10]} is about {told.text_value('item')}")
    if told.value("base") != base:
        problems.append(f"{item.landed[:10]} does not stand on the commit it was tested on")
    if told.value("patch") != patch_of(fresh, base, item.landed):
        problems.append(f"the note on {item.landed[:10]} names another patch")
    problems += not_as_reviewed(fresh, item, base)
    reviewed = {change.path for change in fresh.changes(item.base, item.work)}
    landed = {change.path for change in fresh.changes(base, item.landed)}
    problems += [f"{path} was not part of the review" for path in sorted(landed - reviewed)]
    return problems
