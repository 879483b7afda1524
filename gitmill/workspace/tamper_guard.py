"""Notice what an agent's code does to the repository while it runs without a sandbox.

The git directory is writable for it then. Planted executables are moved aside, gitmill's refs are
restored, any other change is reported; the item is held in each case. Changes that the user and
other attempts make at the same time are left alone: see docs/hostile.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from gitmill.core.item import Item
from gitmill.core.verdict import Finding, Severity
from gitmill.git import tamper
from gitmill.git.objects import Move
from gitmill.git.ref_changes import Actor, RefChange, moved_refs
from gitmill.git.tamper import GitDirSnapshot
from gitmill.git.trace import mentions
from gitmill.mill import Mill
from gitmill.store import layout
from gitmill.store.history import entries
from gitmill.store.write_lock import WriteLock
from gitmill.workspace import own_files
from gitmill.workspace.rescue import keep_commit

_LOGGED = ("refs/heads/", "refs/remotes/", "refs/notes/", "refs/stash")  # with reflogs


def identity(claim: str) -> dict[str, str]:
    """Return the variables that mark an attempt's own moves in reflogs.

    Checks and criteria do without: a test may depend on the identity of the committer.
    """
    return {"GIT_COMMITTER_NAME": "gitmill attempt", "GIT_COMMITTER_EMAIL": _mail(claim)}


def _mail(claim: str) -> str:
    return f"{claim}@attempts.gitmill.invalid"


class Guard:
    """Compares the repository with its state at the last check, or at the creation of the guard."""

    def __init__(self, mill: Mill, claim: str, trace: Path) -> None:
        self._mill = mill
        self._claim = claim
        self._trace = trace
        self._common = mill.repository.common
        self._aside = mill.repository.private / "tampered"
        self._undone = self._aside / "undone"  # restored changes of all guards, one JSON a line
        self._links: list[Path] = []
        self._take_baseline()

    def _take_baseline(self) -> None:
        with self._mill.store.refs_lock():
            self._journal = self._mill.store.journal.hold()
            self._position = self._journal.position
            self._own = own_files.hold(self._mill)
            self._read = self._undone.stat().st_size if self._undone.exists() else 0
            self._before = tamper.take_snapshot(self._common, self._mill.store.backend)

    def check(self) -> None:
        """Undo and report what has changed; `mill.tampered` gets a finding for each change.

        Findings of high severity hold the item.
        """
        self._require_private_folder()
        with self._mill.store.refs_lock() as lock:
            after = tamper.take_snapshot(self._common, self._mill.store.backend)
            findings = [*self._restored_by_others(), *self._own_journal()]
            if after != self._before:
                findings += self._compare(after, lock)
            # After the state: it lists the commands that a person typed meanwhile.
            for text in own_files.restore(self._mill, self._own, self._is_alone):
                findings.append(self._restored(text, ""))
        if findings or after != self._before:
            self._mill.tampered.setdefault(self._claim, []).extend(findings)
            self._take_baseline()

    def _require_private_folder(self) -> None:
        """Remove links in the place of the folder and the lock that the comparison itself uses."""
        private = self._mill.repository.private
        for path in (private, private / "write.lock"):
            if path.is_symlink():
                path.unlink()
                self._links.append(path)

    def _own_journal(self) -> Iterable[Finding]:
        """Restore the journal from memory, before a comparison relies on it."""
        links, self._links = self._links, []
        for path in links:
            yield self._restored(f"{path} was replaced by a link; it was removed", path.name)
        if position := self._mill.store.journal.restore(self._journal):
            self._position = position
            yield self._restored("gitmill's journal was changed; it was restored", "journal")

    def _compare(self, after: GitDirSnapshot, lock: WriteLock) -> list[Finding]:
        before = self._before
        # Git's settings come first: the calls that follow must not run planted programs.
        notes = tamper.undo_planted(self._mill.repository.git, before, after, self._aside)
        findings = [self._restored(note.text, note.key) for note in notes]
        changes = moved_refs(self._common, before, after, _mail(self._claim))
        findings += self._own_refs([c for c in changes if layout.is_own(c.ref)], lock)
        for change in changes:
            if not layout.is_own(change.ref):
                findings += self._report(change, lock)
        return findings

    def _own_refs(self, changes: list[RefChange], lock: WriteLock) -> Iterable[Finding]:
        who = {change.ref: change.who for change in changes}
        seen = {ref: oid for ref, oid in self._before.refs.items() if layout.is_own(ref)}

        def theirs(move: Move) -> bool:
            return who.get(move.ref) is Actor.OTHERS

        if changes:
            for move in self._mill.store.restore_refs(seen, self._position, theirs, lock):
                kept = f"; the replaced value is {self._keep(move.old, lock)}" if move.old else ""
                text = f"{move.ref} was {_verb(move.new, move.old)}; it was restored{kept}"
                yield self._restored(text, move.ref, proven=who.get(move.ref) is Actor.AGENT)

    def _restored(self, text: str, name: str, *, proven: bool = False) -> Finding:
        """Log a restored change for other guards; a mere bystander is not held."""
        self._aside.mkdir(parents=True, exist_ok=True)
        with self._undone.open("ab") as file:
            file.write(json.dumps({"text": text, "name": name}).encode() + b"\n")
        grave = proven or mentions(self._trace, name) or self._is_alone()
        return Finding(text, Severity.HIGH if grave else Severity.LOW)

    def _restored_by_others(self) -> list[Finding]:
        """Return the changes of this attempt that another guard restored first."""
        if not self._undone.exists():
            return []
        lines = self._undone.read_bytes()[self._read :].splitlines()
        entries = [json.loads(line) for line in lines]
        named = [(entry, mentions(self._trace, str(entry["name"]))) for entry in entries]
        return [
            Finding(str(entry["text"]), Severity.HIGH if ours else Severity.LOW)
            for entry, ours in named
            if ours or not entry["name"]
        ]

    def _is_alone(self) -> bool:
        """Whether no other attempt or landing of this repository has run code since `_before`.

        Those of other machines count too, though they cannot have changed this clone.
        """
        snapshot = self._mill.snapshot()
        claims = {item.lease.claim for item in snapshot.items.values() if item.lease}
        began = self._before.refs.get(layout.STATE)
        for entry in entries(self._mill.store.backend, snapshot.commit):
            if entry.commit == began:
                break
            if entry.record is not None and entry.record.claim:
                claims.add(entry.record.claim)
        return not claims - {self._claim}

    def _report(self, change: RefChange, lock: WriteLock) -> Iterable[Finding]:
        """Report a moved ref of the user; it stays as it is, and its old commit is kept."""
        if change.who is Actor.OTHERS:
            return
        kept = ""
        if change.ref != "HEAD" and change.old is not None:
            kept = f"; its old value is {self._keep(change.old, lock)}"
        severity = Severity.HIGH if self._is_tampering(change) else Severity.LOW
        yield Finding(f"{change.ref} was {_verb(change.old, change.new)}{kept}", severity)

    def _is_tampering(self, change: RefChange) -> bool:
        """Whether the user cannot have moved a ref: the user's git leaves a line in the reflog."""
        if change.who is Actor.AGENT:
            return True
        kind, _, name = change.ref.removeprefix("refs/").partition("/")
        if mentions(self._trace, "replace" if kind == "replace" else name):
            return True
        return change.new is not None and change.ref.startswith(_LOGGED) and self._is_alone()

    def _keep(self, oid: str, lock: WriteLock) -> str:
        """Keep a commit that may have lost its ref; return the rescue ref."""
        mill = self._mill
        if mill.store.backend.read(oid)[0] != "commit":
            return oid[:12]
        item = next((i for i in mill.snapshot().items.values() if _has(i, self._claim)), None)
        return keep_commit(mill, item.id if item else self._claim, oid, lock=lock)


def _has(item: Item, claim: str) -> bool:
    return item.lease is not None and item.lease.claim == claim


def _verb(old: str | None, new: str | None) -> str:
    if old is None:
        return f"created at {(new or '')[:12]}"
    return "removed" if new is None else f"moved from {old[:12]} to {new[:12]}"
