"""Hints: what to do next, as data. Only a face renders a command line."""

from __future__ import annotations

from dataclasses import dataclass


class Blank(str):
    """A word that the user replaces, written as it is printed: `WHY`, `"What to do"`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, init=False)
class Gitmill:
    """A gitmill command: the verb, or the noun and its verb, then the arguments, unquoted."""

    words: tuple[str, ...]

    def __init__(self, *words: str) -> None:
        object.__setattr__(self, "words", words)


@dataclass(frozen=True, slots=True)
class Shell:
    """A command line that is not a gitmill command, quoted for a shell."""

    line: str


@dataclass(frozen=True, slots=True, init=False)
class Hint:
    """One way out: prose with its commands at their places; without a command it is advice."""

    parts: tuple[str | Gitmill | Shell, ...]

    def __init__(self, *parts: str | Gitmill | Shell) -> None:
        object.__setattr__(self, "parts", parts)

    @property
    def commands(self) -> tuple[Gitmill | Shell, ...]:
        """The commands in their order."""
        return tuple(part for part in self.parts if not isinstance(part, str))
