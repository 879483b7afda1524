"""Cuts secrets out of text before it is recorded."""

from __future__ import annotations

import re
from collections.abc import Iterable

MARK = "[redacted]"
# Shapes of keys that announce themselves.
_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}"
    r"|AKIA[0-9A-Z]{16}|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[0-9A-Za-z_-]{30,}"
    r"|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return the text with known secret values and well-known shapes of keys cut out."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, MARK)
    return _SHAPES.sub(MARK, text)


def has_secret(text: str, secrets: Iterable[str]) -> bool:
    """Whether there is anything that `redact` would cut."""
    return redact(text, secrets) != text
