"""Git notes, written directly as trees with fan-out 2/38 and published in a swap of refs.

The note functions of every library lose notes under concurrent writers; a swap loses none.
Format: https://git-scm.com/docs/git-notes
"""

from __future__ import annotations

from collections.abc import Mapping

from gitmill.git import trees
from gitmill.git.objects import FILE, TREE, Backend, Commit, Entry, Move, read_commit, write_commit


def read_note(backend: Backend, ref: str, commit: str) -> bytes | None:
    """Return the note on a commit, in any fan-out, None if there is none."""
    tip = backend.ref(ref)
    if tip is None:
        return None
    located = _locate(backend, read_commit(backend, tip).tree, commit)
    return backend.read(located[1].oid)[1] if located else None


def noted_commits(backend: Backend, ref: str) -> dict[str, str]:
    """Return the commits that have a note, each with the note's blob, in any fan-out."""
    tip = backend.ref(ref)
    if tip is None:
        return {}
    tree = read_commit(backend, tip).tree
    return {path.replace("/", ""): entry.oid for path, entry in trees.walk(backend, tree)}


def _locate(backend: Backend, tree: str, rest: str, at: str = "") -> tuple[str, Entry] | None:
    entries = trees.entries(backend, tree)
    if rest in entries:
        return at + rest, entries[rest]
    folder = entries.get(rest[:2])
    if folder is None or folder.mode != TREE:
        return None
    return _locate(backend, folder.oid, rest[2:], f"{at}{rest[:2]}/")


def write_notes(backend: Backend, ref: str, notes: Mapping[str, bytes], *, ident: str) -> Move:
    """Store the notes on these commits, replacing older ones; return the move that publishes them.

    One move, however many notes: a transaction moves a ref only once.
    """
    tip = backend.ref(ref)
    tree = read_commit(backend, tip).tree if tip else None
    changes: dict[str, Entry | bytes | None] = {}
    for commit, note in notes.items():
        if tree and (older := _locate(backend, tree, commit)):
            changes[older[0]] = None
        changes[f"{commit[:2]}/{commit[2:]}"] = Entry("", FILE, backend.write("blob", note))
    new = write_commit(
        backend,
        Commit(
            trees.edit(backend, tree, changes), (tip,) if tip else (), ident, ident, _subject(notes)
        ),
    )
    return Move(ref, new, tip)


def _subject(notes: Mapping[str, bytes]) -> str:
    first, *more = notes
    return f"notes on {len(notes)} commits\n" if more else f"note on {first[:12]}\n"
