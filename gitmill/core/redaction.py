"""Find secrets in text, and redact them before text is recorded: the one search of gitmill.

A text is searched as it is, and again with its escapes resolved, for values, for shapes, and with
the detectors that the caller has.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import string
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from gitmill.core.escapes import GAP, readings

MARK = "[redacted]"
_EDGE = r"(?<![A-Za-z0-9])"
_PRIVATE = "private key"
# Keys with a telltale sign, found anywhere in a text: the library's detectors need to see the end
# of a key, and some require entropy. To look for a sign is much faster than to look for a pattern.
# All patterns run in linear time.
_SHAPES = [
    (what, signs, re.compile(pattern))
    for what, signs, pattern in (
        ("ai key", ("sk-",), rf"{_EDGE}sk-[A-Za-z0-9_-]{{20,}}"),
        ("github token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
         rf"{_EDGE}(?:gh[pousr]_[A-Za-z0-9]{{30,}}|github_pat_[A-Za-z0-9_]{{30,}})"),
        ("gitlab token", ("glpat-", "gldt-", "glrt-", "glptt-", "glcbt-"),
         rf"{_EDGE}gl(?:pat|dt|rt|ptt|cbt)-[A-Za-z0-9_-]{{20,}}"),
        ("aws key id", ("AKIA", "ASIA"), rf"{_EDGE}A[KS]IA[0-9A-Z]{{16}}"),
        ("slack token", ("xox", "hooks.slack.com/"),
         rf"{_EDGE}(?:xox[abeoprs]-[A-Za-z0-9-]{{10,}}"
         r"|hooks\.slack\.com/services/T[A-Za-z0-9_]+/B[A-Za-z0-9_]+/[A-Za-z0-9_]+)"),
        ("stripe key", ("k_live_",), rf"{_EDGE}[rs]k_live_[A-Za-z0-9]{{16,}}"),
        ("google key", ("AIza", "GOCSPX-"),
         rf"{_EDGE}(?:AIza[0-9A-Za-z_-]{{30,}}|GOCSPX-[0-9A-Za-z_-]{{20,}})"),
        ("package index token", ("npm_", "pypi-AgE"),
         rf"{_EDGE}(?:npm_[A-Za-z0-9]{{36}}|pypi-AgE[A-Za-z0-9_-]{{40,}})"),
        ("azure key", ("AccountKey=",), rf"{_EDGE}AccountKey=[A-Za-z0-9+/]{{40,}}={{0,2}}"),
        ("hugging face token", ("hf_",), rf"{_EDGE}hf_[A-Za-z0-9]{{30,}}"),
        ("json web token", ("eyJ",),
         rf"{_EDGE}eyJ[A-Za-z0-9_-]{{10,1000}}\.[A-Za-z0-9_-]{{10,}}\.[A-Za-z0-9_-]{{5,}}"),
        (_PRIVATE, ("-----BEGIN", "-----END"),
         r"-----BEGIN[\s+][A-Z\s+]*PRIVATE[\s+]+KEY(?:[\s+]+BLOCK)?-----"),
    )
]  # fmt: skip
# YAML may break a line at a space, and a form has `+` for it.
_END = re.compile(r"-----END[\s+][A-Z\s+]*PRIVATE[\s+]+KEY(?:[\s+]+BLOCK)?-----")
# What a private key consists of, with the quotes and colours between its lines.
_BODY = string.ascii_letters + string.digits + "+/=\r\n\t \\\"',\x1b[;("
_BODY_LINE = re.compile(r"[A-Za-z0-9+/=]{40,}")
_LONGEST = 1 << 14  # characters of a private key
_SHORT = 8  # shorter values are searched for as they are: other spellings would match words
_GUESSABLE = 16  # characters; a shorter value could be guessed from its digest


# A value with one of these is what a wrong guess at an escape makes of a text.
_NO_KEY = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd\udfff]")
_ROUNDS = 4  # a mark is a boundary: a key that ran into a secret has its shape only then

# Returns the start, end and kind of each secret that it finds in a text.
Detect = Callable[[str], Iterable[tuple[int, int, str]]]


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret in a text: its value, its probable kind, and its value as `written` in that text.

    `guessable` if a person might have chosen it: its digest would confirm a correct guess.
    """

    value: str
    what: str
    guessable: bool = False
    written: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Take a value without escapes for written as it is."""
        if not self.written:
            object.__setattr__(self, "written", self.value)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that identify the value, for a project's `allow_secrets`.

        They are the same however a text escapes the value.
        """
        return hashlib.sha256(self.value.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def described(self) -> str:
        """That something holds it, with its kind; with its digest unless that can be guessed."""
        guessable = self.guessable or len(self.value) < _GUESSABLE
        return f"holds a secret: {self.what}" + ("" if guessable else f" (digest {self.digest})")

    def is_in(self, text: str) -> bool:
        """Whether a text has it, plain or as written here."""
        return self.value in text or self.written in text


@dataclass(frozen=True, slots=True)
class _Match:
    """A secret and its place in a text; `depth` is the number of escapes resolved to find it."""

    start: int
    end: int
    secret: Secret
    whole: bool = True  # False if its end is missing, so that all that follows may be part of it
    shown: bool = True  # False if only the words around it show that it is a secret
    depth: int = 0

    def replaces(self, other: _Match) -> bool:
        """Whether another match is a part of this secret, or this one with escapes left in it."""
        if not self.whole or other.start < self.start or other.end > self.end:
            return False
        if not other.whole:
            return True
        return self.escaped and self.depth > other.depth and self.secret != other.secret

    @property
    def escaped(self) -> bool:
        """Whether the text has its value in another form."""
        return self.secret.value != self.secret.written


def _no_detectors(_: str) -> Iterable[tuple[int, int, str]]:
    return ()


def find_secrets(
    text: str, known: Collection[str] = (), detect: Detect = _no_detectors
) -> list[Secret]:
    """Return each secret in a text, once for each way in which it is written, the surest first.

    `known` has values that are secrets; they and keys of well-known shapes are always found.
    """
    secrets = (match.secret for match in _matches(text, known, detect))
    return list({(secret.value, secret.written): secret for secret in secrets}.values())


def redact(
    text: str,
    known: Collection[str],
    allowed: Collection[str] = frozenset(),
    detect: Detect = _no_detectors,
) -> str:
    """Return the text with each of its secrets redacted, as `find_secrets` finds them.

    Those whose digest is one of `allowed` stay.
    """
    for _ in range(_ROUNDS):
        matches = [
            match
            for match in _matches(text, known, detect)
            if not allowed or match.secret.digest not in allowed
        ]
        if not matches:
            break
        text = _marked(text, matches)
        # What one place shows to be a secret is one in all places.
        known = {*known, *(match.secret.value for match in matches if not match.shown)}
    return text


def _marked(text: str, matches: Iterable[_Match]) -> str:
    pieces, at = [], 0
    for start, end in sorted((match.start, match.end) for match in matches):
        if start >= at:
            pieces += [text[at:start], MARK]
        at = max(at, end)
    return "".join([*pieces, text[at:]])


def _matches(text: str, known: Collection[str], detect: Detect) -> list[_Match]:
    """Return the secrets in a text with their places in it, the surest first."""
    matches: dict[tuple[int, int, str], _Match] = {}
    for reading in readings(text):
        for match in _found_in(reading.text, known, detect):
            if reading.depth and _NO_KEY.search(match.secret.value):
                continue
            start, end = reading.span(match.start, match.end)
            secret = replace(match.secret, written=text[start:end])
            matches.setdefault(
                (start, end, secret.value),
                replace(match, start=start, end=end, secret=secret, depth=reading.depth),
            )
    return _without_parts(list(matches.values()))


def _without_parts(matches: list[_Match]) -> list[_Match]:
    """Return the matches without those that others replace."""
    parts, open_ = set[_Match](), dict[tuple[int, int, int, bool], list[_Match]]()
    for match in sorted(matches, key=lambda each: (each.start, -each.end, -each.depth)):
        open_ = {place: group for place, group in open_.items() if place[1] > match.start}
        if any(each.replaces(match) for group in open_.values() for each in group):
            parts.add(match)
            continue
        group = open_.setdefault((match.start, match.end, match.depth, match.escaped), [])
        if match.whole and len(group) < 2:  # of two at one place, one is not the next match
            group.append(match)
    return [match for match in matches if match not in parts]


def _found_in(text: str, known: Collection[str], detect: Detect) -> Iterator[_Match]:
    """Yield the secrets in a text as it is, in this order: known values, shapes, detected."""
    for value in filter(None, known):
        secret = Secret(value, "a secret of the environment", guessable=True)
        for spelled in _spellings(value):
            at = text.find(spelled)
            while at >= 0:
                yield _Match(at, at + len(spelled), secret)
                at = text.find(spelled, at + len(spelled))
    yield from _shapes_in(text)
    for start, end, what in detect(text):
        yield _Match(start, end, Secret(text[start:end], what), shown=False)


def _shapes_in(text: str) -> Iterator[_Match]:
    """Yield the keys in a text that have a well-known shape."""
    for what, signs, pattern in _SHAPES:
        if not any(sign in text for sign in signs):
            continue
        if what == _PRIVATE:
            yield from _private_keys_in(text, pattern)
            continue
        for match in pattern.finditer(text):
            yield _Match(*match.span(), Secret(match[0], what))


def _private_keys_in(text: str, begin: re.Pattern[str]) -> Iterator[_Match]:
    """Yield the private keys in a text, without its end as much as may be part of one."""
    at, endless = 0, -1  # the part of the text that ends there has no more ends of keys
    while match := begin.search(text, at):
        start, header = match.span()
        yield from _ends_in(text, at, start)
        part = text.find(GAP, header) if header > endless else endless
        part = len(text) if part < 0 else part
        end = None if part == endless else _END.search(text, header, part)
        if end is not None:
            at = end.end()
            yield _Match(start, at, Secret(text[start:at], _PRIVATE))
        else:  # its length is unknown, and other keys may follow
            endless, at = part, header
            after = text.find("-----BEGIN", at, part)
            last = part if after < 0 else after
            yield _Match(start, last, Secret(match[0], _PRIVATE), whole=False)
    yield from _ends_in(text, at, len(text))


def _ends_in(text: str, start: int, end: int) -> Iterator[_Match]:
    """Yield the ends of private keys whose beginnings are missing: long outputs are cut."""
    for match in _END.finditer(text, start, end):
        before = text[max(start, match.start() - _LONGEST) : match.start()]
        body = before[len(before.rstrip(_BODY)) :]
        if line := _BODY_LINE.search(body):
            first = match.start() - len(body) + line.start()
            yield _Match(first, match.end(), Secret(text[first : match.end()], _PRIVATE))


def is_redacted(redacted: str, text: str) -> bool:
    """Whether a text is another one with parts of it redacted."""
    parts = map(re.escape, redacted.split(MARK))
    return redacted != text and re.fullmatch(".+".join(parts), text, re.DOTALL) is not None


def _spellings(secret: str) -> set[str]:
    """Return a value as it is, and as written in JSON, in a URL and in base64."""
    if len(secret) < _SHORT:
        return {secret}
    data = secret.encode("utf-8", "surrogateescape")
    plain = secret.encode("utf-8", "replace").decode("utf-8", "replace")
    return {
        secret,
        json.dumps(plain)[1:-1],
        json.dumps(plain, ensure_ascii=False)[1:-1],  # as in documents
        quote(plain, safe=""),
        # Its last digits depend on what follows the value.
        base64.b64encode(data[: len(data) // 3 * 3]).decode(),
    }
