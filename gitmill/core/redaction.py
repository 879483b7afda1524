"""Find secrets in text by value and by shape, and redact them before text is recorded."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

MARK = "[redacted]"
# Keys with a telltale prefix, found anywhere in a text: the library's detectors need to see the end
# of a key, and some require entropy. All patterns run in linear time.
_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?P<ai_key>sk-[A-Za-z0-9_-]{20,})"
    r"|(?P<github_token>gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})"
    r"|(?P<gitlab_token>gl(?:pat|dt|rt|ptt|cbt)-[A-Za-z0-9_-]{20,})"
    r"|(?P<aws_key_id>(?:AKIA|ASIA)[0-9A-Z]{16})"
    r"|(?P<slack_token>xox[abeoprs]-[A-Za-z0-9-]{10,}"
    r"|hooks\.slack\.com/services/T[A-Za-z0-9_]+/B[A-Za-z0-9_]+/[A-Za-z0-9_]+)"
    r"|(?P<stripe_key>[rs]k_live_[A-Za-z0-9]{16,})"
    r"|(?P<google_key>AIza[0-9A-Za-z_-]{30,}|GOCSPX-[0-9A-Za-z_-]{20,})"
    r"|(?P<package_index_token>npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{40,})"
    r"|(?P<azure_key>AccountKey=[A-Za-z0-9+/]{40,}={0,2})"
    r"|(?P<hugging_face_token>hf_[A-Za-z0-9]{30,})"
    r"|(?P<json_web_token>eyJ[A-Za-z0-9_-]{10,1000}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,})"
    r")"
    r"|(?P<private_key>-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:.*?-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|(?P<cut>.*)\Z))",
    re.DOTALL,
)
_SHORT = 8  # shorter values are searched for as they are: other spellings would match words
_GUESSABLE = 16  # characters; a shorter value could be guessed from its digest


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret in a text: its value as written there, and its probable kind.

    `guessable` if a person might have chosen it: its digest would confirm a correct guess.
    """

    value: str
    what: str
    guessable: bool = False

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that identify the value, for a project's `allow_secrets`."""
        return hashlib.sha256(self.value.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def described(self) -> str:
        """That something holds it, with its kind; with its digest unless that can be guessed."""
        guessable = self.guessable or len(self.value) < _GUESSABLE
        return f"holds a secret: {self.what}" + ("" if guessable else f" (digest {self.digest})")


def known_in(text: str, secrets: Iterable[str]) -> Iterator[Secret]:
    """Yield the given secret values that a text contains, in any spelling."""
    for secret in filter(None, secrets):
        for spelled in _spellings(secret):
            if spelled in text:
                yield Secret(spelled, "a secret of the environment", guessable=True)


def shapes_in(text: str) -> Iterator[Secret]:
    """Yield the keys in a text that have a well-known shape."""
    yield from map(_key, _SHAPES.finditer(text))


def _key(match: re.Match[str]) -> Secret:
    value, kind = match[0], match.lastgroup or ""
    if match["cut"] is not None:  # without its end the length is unknown
        value = value[: match.start("cut") - match.start()]
    return Secret(value, kind.replace("_", " "))


def redact(text: str, secrets: Iterable[str], allowed: Collection[str] = frozenset()) -> str:
    """Return the text with the secret values and all keys of well-known shapes redacted.

    Keys whose digest is one of `allowed` stay.
    """
    spelled = {spelling for secret in filter(None, secrets) for spelling in _spellings(secret)}
    for secret in sorted(spelled, key=len, reverse=True):
        text = text.replace(secret, MARK)
    return _SHAPES.sub(lambda m: m[0] if allowed and _key(m).digest in allowed else MARK, text)


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
