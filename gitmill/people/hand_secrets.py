"""Secrets in hand edits: they are in the history already, and gitmill copies them no further.

The item of such an edit is held with its document as it was before; `doctor` names the commit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from gitmill.core import changes
from gitmill.core.document import Document, to_json
from gitmill.core.item import Item
from gitmill.core.lifecycle import Status
from gitmill.core.redaction import Secret
from gitmill.core.trailers import one_line
from gitmill.git.differ import Differ
from gitmill.git.objects import GITLINK, Commit, Entry, read_commit
from gitmill.mill import Mill
from gitmill.store import layout, secret_search
from gitmill.store.events import Step
from gitmill.store.foreign_commits import HandEdit
from gitmill.store.redactor import mapped
from gitmill.workspace.secret_scan import without_allowed


def secrets_added(mill: Mill, edit: HandEdit) -> list[Secret]:
    """Return the secrets that a hand edit brings to its path, without allowed values."""
    return list(_added(mill, edit.path, edit.old, edit.new))


def _added(mill: Mill, path: str, old: Entry | None, new: Entry | None) -> Iterator[Secret]:
    text = f"{path if old is None else ''}\n{_text(mill, new)}"
    for secret in without_allowed(mill, secret_search.search(text)):
        if not secret.is_in(_text(mill, old)):
            yield secret


def _text(mill: Mill, entry: Entry | None) -> str:
    if entry is None or entry.mode == GITLINK:
        return ""
    return mill.store.backend.read(entry.oid)[1].decode("utf-8", "replace")


def holding_step(item: Item, edit: HandEdit, secrets: Collection[Secret]) -> Step:
    """Return the step on an item whose document gets its old text back, because of its secrets.

    It holds the item, unless the item has ended or is landing.
    """
    kinds = ", ".join(dict.fromkeys(secret.what for secret in secrets))
    reason = f"a hand edit holds a secret ({kinds}): change the secret, then see `gitmill doctor`"
    holds = not item.is_final and item.status is not Status.LANDING
    if item.status is Status.WAITING and item.reason:
        reason = f"{reason}; it was waiting already: {item.reason}"
    return Step(
        change=changes.held(item, one_line(reason, changes.REASON))
        if holds
        else changes.edited(item, {}),
        subject=f"{'held' if holds else 'restored'}, a hand edit holds a secret",
        by=edit.person,
        extra={"Hand": edit.commit, "Put-Back": f"its document (it holds a secret: {kinds})"},
    )


def without_secrets(mill: Mill, document: Document) -> Document:
    """Return a document with each secret redacted and without the comments of its front matter.

    Raises `BadDocumentError` if a field cannot be read.
    """
    redact = mill.store.redactor.text
    fields = {redact(key): _json(mapped(document.value(key), redact)) for key in document.fields}
    return Document.new(fields, redact(document.body), document.path)


def _json(value: Any) -> Any:
    """Return a value that a document can hold; a date of YAML becomes text."""
    try:
        to_json(value)
    except (TypeError, ValueError):
        return str(value)
    return value


def secrets_in_history(mill: Mill) -> Iterator[tuple[str, str, Secret]]:
    """Yield commit, place and secret of each hand edit on the state branch that holds one."""
    seen = set[str]()
    by_hand = ("--basic-regexp", "--invert-grep", "--grep=^Gitmill-Event: ")
    for oid in mill.repository.git.out("rev-list", "--reverse", *by_hand, layout.STATE).split():
        for place, secret in _secrets_of(mill, read_commit(mill.store.backend, oid)):
            if secret.value not in seen:
                seen.add(secret.value)
                yield oid, secret_search.clean(place), secret


def _secrets_of(mill: Mill, commit: Commit) -> Iterator[tuple[str, Secret]]:
    """Yield the secrets in the message of a commit and in the files that it changes."""
    if not commit.parents:
        return
    for secret in without_allowed(mill, secret_search.search(commit.message)):
        yield "the message of a commit", secret
    backend = mill.store.backend
    before = read_commit(backend, commit.parents[0]).tree
    for change in Differ(backend).changes(before, commit.tree):
        for secret in _added(mill, change.path, change.old, change.new):
            yield change.path, secret
