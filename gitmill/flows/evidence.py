"""The evidence of a landing: the note on the landed commit, and what is read back afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from gitmill.core.document import Document
from gitmill.core.item import Item
from gitmill.flows import gates, work
from gitmill.git.notes import read_note
from gitmill.git.objects import read_commit
from gitmill.git.patch import patch_identity
from gitmill.mill import Mill, layout
from gitmill.store.snapshot import Snapshot


def note_for(
    mill: Mill, item: Item, *, onto: str, candidate: str, results: Sequence[gates.Result]
) -> bytes:
    """Return the note that a landed commit carries; docs/formats.md names its fields."""
    patch = work.patch_of(mill, onto, candidate)
    usage, cost = _spent(mill.snapshot(), item)
    fields = {
        "item": item.id,
        "title": item.title,
        "base": onto,
        "work": item.work,
        "patch": patch,
        "plan": item.plan,
        "built_by": item.builder,
        "reviews": [{"by": entry.by, "run": entry.run} for entry in item.reviewed],
        "checks": [
            {"name": r.check.name, "definition": r.definition, "cached": r.cached}
            | ({"flaky": True} if r.flaky else {})
            for r in results
        ],
        "attempts": item.attempt,
        "usage": usage or None,
        "cost": cost,
    }
    return Document.new(fields, "").to_bytes()


def run_logs(snapshot: Snapshot, item: Item) -> Iterator[Document]:
    """Yield the run logs of an item in order."""
    for path in snapshot.files(layout.runs_folder(item.id)):
        yield Document.from_bytes(snapshot.read(path) or b"", path)


def _spent(snapshot: Snapshot, item: Item) -> tuple[dict[str, int], float | None]:
    usage: Counter[str] = Counter()
    costs: list[float] = []
    for log in run_logs(snapshot, item):
        used: Any = log.value("usage")
        if isinstance(used, dict):
            usage.update({key: n for key, n in used.items() if isinstance(n, int)})
        cost: Any = log.value("cost")
        if isinstance(cost, int | float):
            costs.append(float(cost))
    return dict(usage), sum(costs) if costs else None


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
    patch = patch_identity(repository.git, base, item.landed)
    if patch != told.value("patch") or any(entry.patch != patch for entry in item.reviewed):
        problems.append(f"the patch of {item.landed[:10]} is not the reviewed one")
    reviewed = {change.path for change in fresh.changes(item.base, item.work)}
    landed = {change.path for change in fresh.changes(base, item.landed)}
    problems += [f"{path} was not part of the review" for path in sorted(landed - reviewed)]
    return problems
