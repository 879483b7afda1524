"""What the stage of an agent produces: work, a document, or nothing but its verdict.

A document is the text of its item. It is named by its hash, and approving it is approving that
hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gitmill.core.shown_text import visible

DOCUMENT_LIMIT = 200_000  # characters


class Product(StrEnum):
    """What a stage of an agent produces."""

    WORK = "work"  # a change of files, which gitmill commits
    DOCUMENT = "document"  # the text of the item
    VERDICT = "verdict"


@dataclass(frozen=True, slots=True)
class DocumentPayload:
    """The document in a verdict: its text, or the file in the agent's directory that has it.

    `file` is untrusted text.
    """

    text: str = ""
    file: str = ""


def document_text(text: str) -> str:
    """Return a document as an item stores it: line feeds, nothing invisible, one line end."""
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    return f"\n{visible(unified).strip()}\n"


def document_hash(body: str) -> str:
    """Return the name of a document: the SHA-256 of an item's text in hexadecimal digits."""
    import hashlib  # noqa: PLC0415  (reads hash nothing, and it costs 3 ms)

    return hashlib.sha256(body.encode("utf-8", "surrogateescape")).hexdigest()
