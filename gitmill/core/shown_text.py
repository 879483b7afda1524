"""Text by agents, trackers and people, for a place where others see it.

Invisible and directional characters (Unicode category Cf) let a text read differently from what it
is. On a page that a forge renders, links and images of such a text would be live.
"""

from __future__ import annotations

import re
import unicodedata

_SUSPECT = re.compile(r"[^\t\n\x20-\x7e\xa0-\xac\xae-\u02ff]")  # the rest is always visible
_JOINERS = "\u200c\u200d"  # between letters of some scripts, and in emoji
_HIDDEN = frozenset({"Cf", "Cc", "Co", "Cn"})  # not Cs: bytes that are not UTF-8
_MARKDOWN = re.compile(
    r"[\\<]|&(?=[#\w])|!(?=\[)|\](?=[(\[:])|^ {0,3}\[|(?<=:)//|(?<=\b[Ww]{3})\.|(?<=\w)@(?=\w)",
    re.MULTILINE,
)
_LINKS = re.compile(r"(?<=[A-Za-z]):(?=//)|(?<=\b[Ww]{3})\.")
_CALLS = re.compile(r"(?<![\w/])@(?=\w)|#(?=\d)|\bGH-(?=\d)")


def visible(text: str) -> str:
    """Return a text without characters that nobody sees, except line feeds and tabs.

    A joiner stays between two characters that are not ASCII.
    """
    return _SUSPECT.sub(lambda found: _seen(found, text), text)


def _seen(found: re.Match[str], text: str) -> str:
    char, at = found[0], found.start()
    if unicodedata.category(char) not in _HIDDEN:
        return char
    around = text[at - 1 : at] + text[at + 1 : at + 2]
    joins = char in _JOINERS and len(around) == 2 and not any(c.isascii() for c in around)
    return char if joins and not any(unicodedata.category(c) in _HIDDEN for c in around) else ""


def in_markdown(text: str) -> str:
    """Return a text for a rendered page: as it reads, without live links, images and HTML."""
    return _MARKDOWN.sub(lambda found: _escaped(found[0]), visible(text))


def _escaped(part: str) -> str:
    return "&lt;" if part == "<" else part[:-1] + "\\" + part[-1]


def in_message(text: str, *, calls: bool = True) -> str:
    """Return a text for a commit message, in which a forge makes addresses live.

    Without `calls`, it names no person and no issue either: such a text is an agent's, and a forge
    would close the issue that it claims to fix.
    """
    plain = _LINKS.sub(lambda found: f"[{found[0]}]", visible(text))
    return plain if calls else _CALLS.sub(lambda found: f"{found[0]} ", plain)
