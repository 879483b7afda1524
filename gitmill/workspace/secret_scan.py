"""Find secrets in the work of agents and people, so that no commit, ref or document holds one.

Three searches add up: the values of the environment's secret variables, keys of well-known shapes,
and the detectors of a library. The library is loaded only for a text that could hold a secret,
works in this process, obeys no comment that would silence it, and never asks a provider.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from gitmill import process
from gitmill.core import redaction, sanity
from gitmill.core.redaction import Secret
from gitmill.core.verdict import Finding, Verdict
from gitmill.errors import GitmillError
from gitmill.git import trees
from gitmill.git.differ import Differ
from gitmill.git.objects import GITLINK, Entry
from gitmill.mill import Mill
from gitmill.plans.policy import policy_now

if TYPE_CHECKING:
    from kingfisher_sdk import Scanner

# Every secret that the detectors know has one of these: a long word, a URL with a password, or a
# typical name. For a text with none of them they are not loaded.
_WORTH = re.compile(
    r"[A-Za-z0-9_+=-]{20}|://[^\s/]{0,128}:[^\s/]{0,128}@"
    r"|(?i:secret|token|passw|api_?key|credential|private|auth(?!or)|authoriz|bearer|curl)"
)
_CONTROLS = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 0x7F, 0xFEFF], " ")
_HELPER = 20  # shorter companions of a key are account names and the like


def search(text: str) -> Iterator[Secret]:
    """Yield every secret in a text, the surest first."""
    yield from redaction.known_in(text, process.secrets())
    yield from redaction.shapes_in(text)
    yield from _detected(text)


def clean(text: str, *, known: Sequence[str] | None = None) -> str:
    """Return a text with every secret redacted, before it is recorded.

    `known` are the secrets of the environment, for a caller with many texts; else they are read.
    """
    known = process.secrets() if known is None else known
    return redaction.redact(text, [*known, *(s.value for s in _detected(text))])


def clean_verdict(verdict: Verdict) -> Verdict:
    """Return a verdict with every secret redacted."""
    findings = tuple(
        replace(finding, message=clean(finding.message), file=clean(finding.file))
        for finding in verdict.findings
    )
    return replace(verdict, summary=clean(verdict.summary), findings=findings)


def _detected(text: str) -> Iterator[Secret]:
    if not _WORTH.search(text):
        return
    # To the detectors a key ends at a space or a quote, not at a NUL or a colour code.
    data = text.translate(_CONTROLS).encode("utf-8", "replace")
    for match in _scanner().scan(data):
        at = match.location
        value = data[at["start_offset"] : at["end_offset"]].decode("utf-8", "replace")
        if match.confidence != "low" and (match.visible or len(value) >= _HELPER):
            yield Secret(value, _name(match.rule_id))


def _name(rule: str) -> str:
    name = rule.partition(".")[2].removeprefix("secrets/")
    return re.sub(r"\.\d+$", "", name).replace("-", " ")


@cache
def _scanner() -> Scanner:
    """Load the detectors: 4 s the first time on a machine, then 0.3 s from their compiled form."""
    from kingfisher_sdk import Scanner  # noqa: PLC0415  (most commands inspect nothing)

    return Scanner()


@dataclass(frozen=True, slots=True)
class ScrubbedTree:
    """A tree without the files that add secrets, and the findings in those files."""

    tree: str
    findings: tuple[Finding, ...]


def scrub(mill: Mill, base: str, tree: str) -> ScrubbedTree:
    """Remove secrets from a tree: files that add one keep their content of the tree `base`."""
    changes = list(Differ(mill.store.backend).changes(base, tree))
    secrets = sanity.secrets_in(changed_files(mill, changes), search, allowed_now(mill))
    undo: dict[str, Entry | bytes | None] = {c.path: c.old for c in changes if c.path in secrets}
    if undo:
        tree = trees.edit(mill.store.backend, tree, undo)
    return ScrubbedTree(tree, tuple(finding for group in secrets.values() for finding in group))


def allowed_now(mill: Mill) -> tuple[str, ...]:
    """Return the digests that the policy allows at the tip of the target; none if unreadable.

    They do not come from the frozen plan, so that a person can help an item under way.
    """
    try:
        return policy_now(mill).sanity.allow_secrets
    except GitmillError:
        return ()


def changed_files(mill: Mill, changes: Iterable[trees.Change]) -> list[sanity.ChangedFile]:
    """Return changed files with their contents."""
    backend = mill.store.backend

    def content(entry: Entry | None) -> bytes | None:
        if entry is None:
            return None
        return b"" if entry.mode == GITLINK else backend.read(entry.oid)[1]

    return [
        sanity.ChangedFile(
            change.path,
            content(change.old),
            content(change.new),
            change.old.mode if change.old else "",
            change.new.mode if change.new else "",
        )
        for change in changes
    ]
