"""The chokepoint: what the store writes passes here, so that no state commit brings a secret.

Text of people and agents is redacted. Ids, hashes, times, refs, names and frozen plans are never
altered, because other records refer to them: a secret there is an error, and nothing is written.
What the branch holds already is not searched again, and stays as it is to the byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from gitmill.core import redaction
from gitmill.core.document import Document
from gitmill.core.redaction import Secret
from gitmill.core.trailers import EventRecord
from gitmill.errors import HoldsSecretError
from gitmill.git.objects import Entry
from gitmill.hints import Gitmill, Hint
from gitmill.store import secret_search

# The keys of documents that identify something, or that other records repeat. Agents cause none of
# their values: these come from gitmill, git and the policy.
FIXED = frozenset({
    "id", "kind", "status", "event", "created", "since", "by", "stage", "parent", "source", "plan",
    "frozen", "lease", "counters", "attempt", "budget_after", "builder", "base", "work", "tree",
    "patch", "reviewed", "feedback", "returned", "bare", "landing", "landed", "reverted",
    "disputed", "red_target", "on_target", "checked", "cancel_requested", "priority", "risk",
    "after", "item", "number",
    "stages", "verdict", "exit", "agent", "claim", "started", "seconds", "usage", "cost",
    "sandbox", "target", "paused", "queue_paused", "built_by", "reviews", "attempts",
})  # fmt: skip
# Text that the detectors do not search: models and sessions look like keys to them.
_NAMES = frozenset({"model", "session"})
# Commands and patterns with another meaning once they are redacted.
TERMS = frozenset({"criteria", "script", "paths", "fixes_check"})
# Commands and inputs of checks. Passes and `fsck` repeat them from the frozen plan and the item,
# which were searched when they came in.
_CHECKS = "checks"
_PLANS = "frozen/"
_WORD = 8  # characters
_TEXT_TRAILERS = frozenset({"Put-Back"})
_HINT = Hint("see what to do:", Gitmill("explain", "holds-secret"))
Search = Callable[[str], Iterable[Secret]]
_KEY = re.compile(r"([A-Za-z_][\w.-]*):")


@dataclass
class _Pieces:
    """What a commit adds: free text, names; fixed values and terms, each with where it is."""

    text: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    fixed: list[tuple[str, str]] = field(default_factory=list)
    terms: list[tuple[str, str]] = field(default_factory=list)

    def all_of(self, *, detectable: bool = False) -> str:
        """Return all pieces as one text, or those that the detectors search."""
        located = self.terms if detectable else [*self.terms, *self.fixed]
        names = [] if detectable else self.names
        return "\n".join([*self.text, *names, *(value for _, value in located)])

    def found(self) -> Iterator[Secret]:
        """Yield the secrets in all pieces."""
        yield from secret_search.plain(self.all_of())
        yield from secret_search.search(self.all_of(detectable=True))


@dataclass(frozen=True, slots=True)
class Redactor:
    """Redacts what is about to be written; `allowed` returns digests of values that may be."""

    allowed: Callable[[], Collection[str]] = tuple

    def message(self, subject: str, record: EventRecord, ident: str) -> tuple[str, EventRecord]:
        """Return a subject and an event without secrets. Raises `HoldsSecretError`.

        `ident` is the identity of the commit, which cannot be redacted either.
        """
        pieces = _Pieces([subject], fixed=[("the identity that git has for you", ident)])
        for key, value in record.extra.items():
            if key in _TEXT_TRAILERS:
                pieces.text.append(value)
            else:
                pieces.fixed.append((f"the trailer Gitmill-{key}", value))
        named = {each.name: getattr(record, each.name) for each in fields(record)}
        pieces.fixed += [
            (f"the field {name} of the event", value)
            for name, value in named.items()
            if isinstance(value, str)
        ]
        if not self._needs_change(pieces):
            return subject, record
        extra = {
            key: self.text(value) if key in _TEXT_TRAILERS else value
            for key, value in record.extra.items()
        }
        return self.text(subject), replace(record, extra=extra)

    def files(
        self,
        files: Mapping[str, Entry | bytes | None],
        read: Callable[[str], bytes | None],
    ) -> dict[str, Entry | bytes | None]:
        """Return files without secrets; `read` returns a file as it is on the branch now.

        An existing object is in the repository already. Raises `HoldsSecretError`.
        """
        return {
            path: self.file(path, data, read(path) or b"") if isinstance(data, bytes) else data
            for path, data in files.items()
        }

    def file(self, path: str, data: bytes, old: bytes = b"") -> bytes:
        """Return the content of a file without secrets that are new. Raises `HoldsSecretError`."""
        if path.startswith(f"{_CHECKS}/") or data == old:
            return data
        new = Document.from_bytes(data, path)
        was = Document.from_bytes(old, path)
        pieces = _pieces(new, was)
        if not self._needs_change(pieces):
            return data
        found = [each.value for each in self._unless_allowed(pieces.found())]
        # A detector can find in lines together what it does not find in one text of them.
        for redact in (lambda text: self.text(text, found), _hide):
            new = _redacted(new, was, redact)
            if not self._needs_change(_pieces(new, was)):
                return new.to_bytes()
        raise HoldsSecretError(f"{path} would hold a secret, so nothing was written", hints=[_HINT])

    def text(self, text: str, more: Sequence[str] = ()) -> str:
        """Return a text without secrets, and without the values `more`."""
        text = redaction.redact(text, more, self.allowed()) if more else text
        if not self._found(secret_search.search(text)):
            return text
        return secret_search.clean(text, allowed=self.allowed())

    def _needs_change(self, pieces: _Pieces) -> bool:
        """Whether a secret is in text or names. Raises `HoldsSecretError` for another piece."""
        if not self._found(pieces.found()):
            return False  # nearly always, and with one search instead of one for each kind
        self._refuse(pieces.fixed, secret_search.plain)
        self._refuse(pieces.terms, secret_search.search)
        names, text = "\n".join(pieces.names), "\n".join(pieces.text)
        return self._found(secret_search.plain(names)) or self._found(secret_search.search(text))

    def _refuse(self, values: Sequence[tuple[str, str]], search: Search) -> None:
        """Raise `HoldsSecretError` for the first of the values that holds a secret."""
        for where, value in values:
            for secret in self._unless_allowed(search(value)):
                raise HoldsSecretError(
                    f"{where} {secret.described}, so nothing was written", hints=[_HINT]
                )

    def _found(self, secrets: Iterable[Secret]) -> bool:
        return any(True for _ in self._unless_allowed(secrets))

    def _unless_allowed(self, secrets: Iterable[Secret]) -> Iterator[Secret]:
        for secret in secrets:
            if secret.digest not in self.allowed():
                yield secret


def _pieces(new: Document, was: Document) -> _Pieces:
    """Return what a document adds to the one before it, by how it may change."""
    pieces = _Pieces(fixed=[("the path of a file", new.path)])
    if new.path.startswith(_PLANS):
        pieces.fixed.append((new.path, new.text))
        return pieces
    known, key = set(was.text.split("\n")), ""
    if new.body != was.body:
        pieces.names.append(new.body)  # whole, because some keys have many lines
        pieces.text += [line for line in new.body.split("\n") if line not in known]
    if not new.has_front_matter:
        return pieces
    for line in new.text[: len(new.text) - len(new.body)].split("\n"):
        key = match[1] if (match := _KEY.match(line)) else key
        if line in known or key == _CHECKS:
            continue
        if key in FIXED:
            pieces.fixed.append((f"{key} of {new.path}", line))
        elif key in TERMS:
            pieces.terms.append((f"{key} of {new.path}", line))
        else:
            (pieces.names if key in _NAMES else pieces.text).append(line)
    return pieces


def _redacted(new: Document, was: Document, redact: Callable[[str], str]) -> Document:
    """Return a document with a function applied to each text that differs from the one before."""
    changed = {
        key: mapped(new.value(key), redact)
        for key in (new.fields if new.has_front_matter else ())
        if key not in FIXED | TERMS and key != _CHECKS
        if _lines_of(new, key) != _lines_of(was, key)
    }
    document = new.update({k: value for k, value in changed.items() if value != new.value(k)})
    return document if new.body == was.body else document.with_body(redact(new.body))


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with each of its texts, keys too, changed by a function."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [mapped(each, change) for each in value]
    if isinstance(value, dict):
        return {mapped(key, change): mapped(each, change) for key, each in value.items()}
    return value


def _hide(text: str) -> str:
    """Return nothing of a text, unless it is a word such as a severity."""
    return redaction.MARK if len(text) > _WORD else text


def _lines_of(document: Document, key: str) -> list[str]:
    known = document.fields.get(key) if document.has_front_matter else None
    return document.text.split("\n")[known.start : known.end] if known else []
