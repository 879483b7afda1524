r"""Read a text again with its escapes resolved, and know where each part of that was written.

Each carrier escapes in its own way: strings of JSON and programs, terminals, URLs, HTML, base64. A
key behind an escape has no boundary before it (`\nKEY`) or is in pieces. Only the parts of a text
around an escape are read again.
"""

from __future__ import annotations

import binascii
import html
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

GAP = "\udfff"  # stands between parts; it is in no file
DEEPEST = 4  # readings of a reading: a URL in base64 in HTML, for example
_NEAR = 160  # characters; parts that are closer to each other are read as one
_AROUND = 100  # characters of its line that are read with base64: the name of a value
# A detector must not take a name in one part for that of a value in the next.
_APART = "\n" + " " * 64 + GAP + "\n"
_LINE = 60  # characters; base64 with shorter lines is not taken for wrapped

# A string in a string doubles the backslashes, so any number of them counts as one. Each
# alternative begins with a literal, and takes all backslashes: the search is fast and linear.
_SEQUENCE = (  # of a terminal, after its escape character
    r"(?:\[[0-?]*[ -/]*[@-~]"
    r"|\][^\x07\x1b\\\n]{0,1000}(?:\x07|\x1b\\|\\+(?:u0007|x07|a|007|(?:u001[bB]|x1[bB]|033|e)\\+))"
    r"|[ -/]+[0-~])"
)
_ESCAPE = re.compile(
    rf"\x1b{_SEQUENCE}"
    r"|\\\\*+(?:(?P<sign>[\"'/bfnrt])"
    rf"|(?:u001[bB]|x1[bB]|033|e){_SEQUENCE}|\r?\n[ \t]*"
    r"|u(?P<pair>[dD][89abAB][0-9a-fA-F]{2}\\+u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|u(?P<point>[0-9a-fA-F]{4}|\{[0-9a-fA-F]{1,6}\})|x(?P<byte>[0-9a-fA-F]{2})"
    r"|(?P<none>))"
    r"|%(?:25)*(?P<url>[0-7][0-9a-fA-F]|[c-fC-F][0-9a-fA-F](?:%(?:25)*[89abAB][0-9a-fA-F]){1,3})"
    r"|&(?:amp;)*(?P<entity>#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
)
_SIGNS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
_NEXT_LINE = re.compile(r"\r?\n[ \t]*([A-Za-z0-9+/_-]+={0,2})(?=\s|\Z)")
_STANDARD = str.maketrans("-_", "+/")
_SPACE = re.compile(r"[\t\n\r\x1b]")
_NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Reading:
    """A text, or parts of one as they read without escapes.

    `places` has for each piece its start here, its start and end in `source`, and whether it was
    copied; the pieces are in order and cover the reading.
    """

    text: str
    source: Reading | None = None
    places: list[tuple[int, int, int, bool]] = field(default_factory=list)

    @property
    def depth(self) -> int:
        """How many readings it is away from the text as it is."""
        return self.source.depth + 1 if self.source else 0

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return where a part of this reading was written in the original text."""
        if self.source is None:
            return start, end
        here, there, until, copied = self._piece(start)
        first = there + start - here if copied else there
        here, there, until, copied = self._piece(end - 1)
        return self.source.span(first, there + end - here if copied else until)

    def _piece(self, at: int) -> tuple[int, int, int, bool]:
        return self.places[bisect_right(self.places, at, key=lambda place: place[0]) - 1]


def readings(text: str) -> Iterator[Reading]:
    """Yield a text as it is, then its parts with escapes as they read without them."""
    level, known = [Reading(text)], set[str]()
    yield level[0]
    for _ in range(DEEPEST):
        level = [
            again
            for reading in level
            for changes in (_unescaped(reading.text), _decoded(reading.text, known))
            if (again := _reread(reading, changes)) is not None
        ]
        yield from level


@dataclass(frozen=True, slots=True)
class _Change:
    """What a part of a text reads as, and how much around it has to be read with it."""

    start: int
    end: int
    text: str
    first: int
    last: int


def _reread(source: Reading, changes: Iterable[_Change]) -> Reading | None:
    """Return the parts of a reading around changes, with the changes made; None without any."""
    pieces: list[str] = []
    places: list[tuple[int, int, int, bool]] = []
    size = at = until = 0  # `at`: read so far; `until`: where the current part ends

    def add(text: str, start: int, end: int, *, copied: bool) -> None:
        nonlocal size
        places.append((size, start, end, copied))
        pieces.append(text)
        size += len(text)

    for change in changes:
        if places and change.first > until + _NEAR:
            add(source.text[at:until], at, until, copied=True)
            add(_APART, until, until, copied=False)
            at = change.first
        elif not places:
            at = change.first
        if change.start > at:
            add(source.text[at : change.start], at, change.start, copied=True)
        add(change.text, change.start, change.end, copied=False)
        at, until = change.end, max(change.end, change.last)
    if not places:
        return None
    add(source.text[at:until], at, until, copied=True)
    return Reading("".join(pieces), source, places)


def _unescaped(text: str) -> Iterator[_Change]:
    """Yield what the escapes of a text stand for, each with the lines that it is in."""
    first = last = -1
    for match in _ESCAPE.finditer(text):
        resolved = _resolved(match)
        if resolved is None:
            continue
        start, end = match.span()
        if start > last:
            first = text.rfind("\n", 0, start) + 1
        if end > last:
            last = text.find("\n", end)
            last = len(text) if last < 0 else last
        yield _Change(start, end, resolved, first, last)


def _resolved(match: re.Match[str]) -> str | None:
    """Return the text that an escape stands for, None if it is no escape."""
    kind, found = match.lastgroup, match[match.lastgroup or 0]
    if kind is None:
        return ""  # colours, links, and the end of a line that continues
    if kind == "sign":
        return _SIGNS.get(found, found)
    if kind == "url":
        pairs = re.findall(r"([0-9a-fA-F]{2})(?:%|\Z)", found)
        return _text(bytes.fromhex("".join(pairs)))
    if kind == "entity":
        resolved = html.unescape(f"&{found};")
        return resolved if resolved != f"&{found};" else None
    if kind == "pair":
        units = bytes.fromhex(found[:4] + found[-4:])
        return units.decode("utf-16-be")
    code = int(found.strip("{}"), 16) if kind != "none" else -1
    return chr(code) if 0 <= code < 0xD800 or 0xDFFF < code < 0x110000 else None


def _decoded(text: str, known: set[str]) -> Iterator[_Change]:
    """Yield the base64 in a text that holds text and is not one of `known`; add it to these."""
    until = 0
    for match in _BASE64.finditer(text):
        start, end = match.span()
        if start < until or match[0] in known or not _may_be_text(match[0][:16]):
            continue
        lines = [(match[0], end), *_next_lines(text, match[0], end)]
        # The last line may be a word that follows.
        for count in dict.fromkeys((len(lines), len(lines) - 1)):
            until = lines[count - 1][1]
            plain = _from_base64("".join(line for line, _ in lines[:count])) if count else None
            if plain is not None:
                known.add(match[0])
                first = max(text.rfind("\n", 0, start) + 1, start - _AROUND)
                last = text.find("\n", until)
                last = min(len(text) if last < 0 else last, until + _AROUND)
                yield _Change(start, until, plain, first, last)
                break


def _next_lines(text: str, first: str, end: int) -> Iterator[tuple[str, int]]:
    """Yield the lines on which a line of base64 goes on, each with where it ends."""
    line = first
    while len(line) == len(first) >= _LINE and len(first) % 4 == 0:
        match = _NEXT_LINE.match(text, end)
        if match is None or len(match[1]) > len(first) or not _may_be_text(match[1]):
            return
        line, end = match[1], match.end()
        yield line, end


def _from_base64(value: str) -> str | None:
    """Return the text that a base64 value holds, None if it holds none."""
    data = _bytes(value)
    return None if data is None else _text(data, printed=True)


def _may_be_text(value: str) -> bool:
    data = _bytes(value)
    return data is not None and not _NO_TEXT.search(data)


def _bytes(value: str) -> bytes | None:
    digits = value.rstrip("=").translate(_STANDARD)
    if len(digits) % 4 == 1:
        return None
    return binascii.a2b_base64(digits + "=" * (-len(digits) % 4))


def _text(data: bytes, *, printed: bool = False) -> str | None:
    """Return bytes as text, None for other bytes, which only a wrong guess would decode."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if not printed or _SPACE.sub("", text).isprintable() else None
