"""Text by agents, trackers and people, for a place where others see it.

Invisible and directional characters (Unicode category Cf) let a text read differently from what it
is. On a page that a forge renders, links and images of such a text would be live.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_SUSPECT = re.compile(r"[^\t\n\x20-\x7e\xa0-\xac\xae-\u02ff]")  # the rest is always visible
_JOINERS = "\u200c\u200d"  # between letters of some scripts, and in emoji
_HIDDEN = frozenset({"Cf", "Cc", "Co", "Cn", "Zl", "Zp"})  # not Cs: bytes that are not UTF-8
_BLANK = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
)  # letters and marks without a shape
_SELECTOR = re.compile(
    "[\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)  # a variant of the character before it
_KEYCAPS = frozenset("0123456789#*")
_MARKDOWN = re.compile(
    r"[\\<]|&(?=[#\w])|!(?=\[)|\](?=[(\[:])|^ {0,3}\[|(?<=:)//|(?<=[Ww]{3})\.|(?<=[\w.+-])@(?=\w)",
    re.MULTILINE,
)
_LINKS = re.compile(r"(?<=[A-Za-z]):(?=//)|(?<=[Ww]{3})\.")
_MARKUP = re.compile(r"!(?=\[)|\](?=[(\[:])|<(?=[A-Za-z][\w-]*[\s/])")
_CALLS = re.compile(r"(?<![\w/])@(?=\w)|#(?=\d)|(?<!\w)#(?=\w)|(?<!\w)!(?=\d)|\bGH-(?=\d)")
_TRAILER = re.compile(r"^([A-Za-z]+(?:-[A-Za-z]+)+)[ \t]*:", re.MULTILINE)


def visible(text: str) -> str:
    """Return a text without characters that nobody sees, except line feeds and tabs.

    A joiner stays between two characters that are not ASCII, and one variation selector after a
    character that can have variants: a run of either would carry text that only a machine reads.
    """
    return marked(text, lambda _: "")


def spelled(text: str) -> str:
    r"""Return a text with an escape such as `\u202e` for each character that nobody sees.

    That is for text that lands as it is: what a reviewer cannot see must not be left out.
    """
    return marked(text, lambda char: char.encode("unicode_escape").decode())


def marked(text: str, mark: Callable[[str], str]) -> str:
    """Return a text with a mark for each character that nobody sees."""
    parts, done, last = list[str](), 0, ""
    for found in _SUSPECT.finditer(text):
        at = found.start()
        last = text[at - 1] if at > done else last
        parts.append(text[done:at])
        if _is_seen(found[0], last, text[at + 1 : at + 2]):
            parts.append(found[0])
            last = found[0]
        else:
            parts.append(mark(found[0]))
        done = at + 1
    return "".join((*parts, text[done:]))


def _is_seen(char: str, last: str, after: str) -> bool:
    """Whether a character is one to see; `last` is the one before it that is kept."""
    if _SELECTOR.match(char):
        if last.isascii():
            return last in _KEYCAPS and char in "\ufe0e\ufe0f"
        return last not in _JOINERS and not _SELECTOR.match(last)
    if char not in _JOINERS:
        return _has_shape(char)
    joined = not last.isascii() and last not in _JOINERS and not after.isascii()
    return joined and _has_shape(after) and not _SELECTOR.match(after)


def _has_shape(char: str) -> bool:
    return unicodedata.category(char) not in _HIDDEN and char not in _BLANK


def in_markdown(text: str) -> str:
    """Return a text for a rendered page: as it reads, without live links, images and HTML."""
    return _MARKDOWN.sub(lambda found: _escaped(found[0]), visible(text))


def _escaped(part: str) -> str:
    return "&lt;" if part == "<" else part[:-1] + "\\" + part[-1]


def in_message(text: str, *, calls: bool = True) -> str:
    """Return a text for a commit message, in which a forge makes addresses live.

    A forge also offers a message as the text of a pull request, which it renders as Markdown.
    Without `calls`, the text names no person and no issue and has no trailer either: it is an
    agent's, and a forge would close the issue that it claims to fix.
    """
    plain = _MARKUP.sub(lambda found: f"{found[0]} ", visible(text))
    plain = _LINKS.sub(lambda found: f"[{found[0]}]", plain)
    if calls:
        return plain
    return _TRAILER.sub(r"\1[:]", _CALLS.sub(lambda found: f"{found[0]} ", plain))
