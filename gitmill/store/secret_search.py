"""Find secrets in text: the one search for everything that gitmill writes.

Three searches add up: the values of the environment's secret variables, keys of well-known shapes,
and the detectors of a library. The library is loaded only for a text that could hold a secret,
works in this process, obeys no comment that would silence it, and never asks a provider.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from gitmill import process
from gitmill.core import redaction
from gitmill.core.redaction import Secret
from gitmill.core.verdict import Verdict

if TYPE_CHECKING:
    from kingfisher_sdk import Scanner

# Every secret that the detectors know has one of these: a long word, a URL with a password, or a
# typical name. For a text with none of them they are not loaded.
_WORTH = re.compile(
    r"[A-Za-z0-9_+=-]{20}|://[^\s/]{0,128}:[^\s/]{0,128}@"
    r"|(?i:secret|token|passw|api_?key|credential|private|auth(?!or)|authoriz|bearer|curl)"
)
# To the detectors a key ends at a space or a quote, not at a NUL, a tag or an arrow.
_NO_EDGE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\U0010ffff]")
_TAG = re.compile(r"<(?<=[A-Za-z0-9_=/+-]<)(?=[/A-Za-z])")
_HELPER = 20  # shorter companions of a key are account names and the like


def search(text: str) -> list[Secret]:
    """Return every secret in a text, the surest first."""
    return redaction.find_secrets(text, process.secrets(), _detect)


def plain(text: str) -> list[Secret]:
    """Return the secrets in a text that are found without the detectors."""
    return redaction.find_secrets(text, process.secrets())


def clean(
    text: str, *, known: Sequence[str] | None = None, allowed: Collection[str] = frozenset()
) -> str:
    """Return a text with every secret redacted, before it is recorded.

    `known` are the secrets of the environment, for a caller with many texts; else they are read.
    `allowed` has the digests of values that are not secrets.
    """
    known = process.secrets() if known is None else known
    return redaction.redact(text, known, allowed, _detect)


def clean_verdict(verdict: Verdict) -> Verdict:
    """Return a verdict with every secret redacted, before parts of it are cut."""
    findings = tuple(
        replace(finding, message=clean(finding.message), file=clean(finding.file))
        for finding in verdict.findings
    )
    return replace(verdict, summary=clean(verdict.summary), findings=findings)


def _detect(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield the secrets in a text that the detectors of the library find."""
    if not _WORTH.search(text):
        return
    data = _TAG.sub(" ", _NO_EDGE.sub(" ", text)).encode()  # each character is one byte
    for match in _scanner().scan(data):
        at = match.location
        start, end = (at[f"{side}_offset"] for side in ("start", "end"))
        if match.confidence != "low" and (match.visible or end - start >= _HELPER):
            yield start, end, _name(match.rule_id)


def _name(rule: str) -> str:
    name = rule.partition(".")[2].removeprefix("secrets/")
    return re.sub(r"\.\d+$", "", name).replace("-", " ")


@cache
def _scanner() -> Scanner:
    """Load the detectors: 4 s the first time on a machine, then 0.3 s from their compiled form."""
    from kingfisher_sdk import Scanner  # noqa: PLC0415  (most commands inspect nothing)

    return Scanner()
