"""The record of a check that passed on a tree: its name, and the fields that must agree with it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from gitmill.core.document import Document


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """One passed check, from its document."""

    name: str
    command: str
    inputs: tuple[str, ...]
    tree: str
    definition: str
    lent: bool = False  # it could use folders outside of the tree, so it proves nothing again


def definition_of(
    command: str, inputs: Sequence[str], setup: str, platform: str, shared: str = ""
) -> str:
    """Return the definition of a passed check as 12 hexadecimal digits, see docs/formats.md."""
    text = "\n".join((command, *inputs, setup, platform, *([shared] if shared else [])))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def read_check_record(document: Document) -> CheckRecord:
    """Read the document of a passed check.

    Raises `BadDocumentError` unless path, tree and definition agree.
    """
    names = {key: document.value(key) for key in ("name", "command", "tree", "definition")}
    inputs, setup = document.value("inputs", []), document.value("setup", "")
    platform, shared = document.value("platform"), document.value("shared", "")
    texts = [
        *names.values(),
        setup,
        platform,
        shared,
        *(inputs if isinstance(inputs, list) else [None]),
    ]
    if not all(isinstance(value, str) for value in texts):
        raise document.error(0, "this is not the record of a passed check")
    lent = document.value("lent", False) is not False
    record = CheckRecord(**names, inputs=tuple(inputs), lent=lent)
    if record.definition != definition_of(record.command, record.inputs, setup, platform, shared):
        what = f"definition {record.definition} does not match its command, inputs and platform"
        raise document.error(document.line_of("definition"), what)
    if document.path.rpartition("/")[2] != f"{record.tree}-{record.definition}.md":
        raise document.error(document.line_of("tree"), "its path names another passed check")
    return record
