"""Path patterns in gitignore's syntax, for declared, protected and ignored paths."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from io import BytesIO


class Patterns:
    """A list of gitignore patterns; the last match decides, `!` negates."""

    def __init__(self, patterns: Sequence[str]) -> None:
        # the import takes 45 ms, and most reads never need it
        from dulwich.ignore import IgnoreFilter, read_ignore_patterns  # noqa: PLC0415

        text = "\n".join(patterns).encode("utf-8", "surrogateescape")
        self._filter = IgnoreFilter(read_ignore_patterns(BytesIO(text)))

    def match(self, path: str) -> bool:
        """Whether the patterns match a file's path or one of its parent folders."""
        return bool(self._filter.is_ignored(path))


class DeclaredPaths:
    """The paths that an item declares: each matches as it is spelled, and as a pattern.

    A folder can be called `[id]`. Composed and decomposed letters are the same.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._patterns = Patterns([each for path in paths for each in _readings(_composed(path))])

    def match(self, path: str) -> bool:
        """Whether a file's path is declared."""
        return self._patterns.match(_composed(path))


def _readings(path: str) -> Iterator[str]:
    """Yield a pattern, and the one of the path that is spelled like it."""
    yield path
    if "\\" not in path and not path.startswith(("!", "#")):
        spelled = re.sub(r"[][*?]", r"\\\g<0>", path)
        if spelled != path:
            yield spelled


def _composed(path: str) -> str:
    return unicodedata.normalize("NFC", path)
