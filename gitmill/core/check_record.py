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


def definition_of(command: str, inputs: Sequence[str], setup: str, platform: str) -> str:
    """Return the definition of a pass as 12 digits, see docs/formats.md."""
    text = "\n".join((command, *inputs, setup, platform))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def read_pass(document: Document) -> CheckRecord:
    """Read the document of a passed check.

    Raises `BadDocumentError` unless path, tree and definition agree.
    """
    told = {key: document.value(key) for key in ("name", "command", "tree", "definition")}
    inputs, setup = document.value("inputs", []), document.value("setup", "")
    platform = document.value("platform")
    texts = [*told.values(), setup, platform, *(inputs if isinstance(inputs, list) else [None])]
    if not all(isinstance(value, str) for value in texts):
        raise document.error(0, "this is not the record of a passed check")
    found = CheckRecord(**told, inputs=tuple(inputs))
    if found.definition != definition_of(found.command, found.inputs, setup, platform):
        what = f"definition {found.definition} is not that of its command, inputs and platform"
        raise document.error(document.line_of("definition"), what)
    if document.path.rpartition("/")[2] != f"{found.tree}-{found.definition}.md":
        raise document.error(document.line_of("tree"), "its path is that of another pass")
    return found
