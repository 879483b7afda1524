"""Ids: one letter for the kind and five or more Crockford base32 characters, `t-k3f9x`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base32: without i, l, o, u
LENGTH = 5
# Use `fullmatch`: with `match` a newline could follow.
PATTERN = re.compile(rf"^[agdpt]-[{ALPHABET}]{{{LENGTH},}}$")


class Kind(StrEnum):
    """The kind of an item; its ids begin with the first letter of the kind's name."""

    ANALYSIS = "analysis"
    GOAL = "goal"
    DESIGN = "design"
    PLAN = "plan"
    TASK = "task"

    @property
    def letter(self) -> str:
        """The first character of this kind's ids."""
        return self.value[0]

    @property
    def folder(self) -> str:
        """The folder of this kind on the state branch."""
        return {"analysis": "analyses"}.get(self.value, f"{self.value}s")


_BY_LETTER = {kind.letter: kind for kind in Kind}


def kind_of(item_id: str) -> Kind:
    """Return the kind of an id, by its letter. Raises `KeyError` for an unknown letter."""
    return _BY_LETTER[item_id[:1]]


def base32(data: bytes) -> str:
    """Return one character for each byte, from its low five bits."""
    return "".join(ALPHABET[byte & 31] for byte in data)


def new_id(kind: Kind, random: bytes, taken: Iterable[str] = ()) -> str:
    """Return a free id from random bytes: each taken id makes it one character longer."""
    used = set(taken)
    text = base32(random)
    for length in range(LENGTH, len(text) + 1):
        candidate = f"{kind.letter}-{text[:length]}"
        if candidate not in used:
            return candidate
    raise ValueError("not enough random bytes for a free id")


def derived_id(kind: Kind, source: str) -> str:
    """Return the id of an imported or expanded item: the same source gives the same id."""
    import hashlib  # noqa: PLC0415  (reads hash nothing, and it costs 3 ms)

    digest = hashlib.sha256(f"{kind.value}\0{source}".encode()).digest()
    return f"{kind.letter}-{base32(digest[:10])}"


def matches(item_id: str, typed: str) -> bool:
    """Whether an id starts with what the user typed, with or without the kind's letter."""
    return item_id.startswith(typed) or item_id.partition("-")[2].startswith(typed)
