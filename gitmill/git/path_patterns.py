"""Path patterns in gitignore's syntax, for declared, protected and ignored paths."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO


class Patterns:
    """A list of gitignore patterns; the last one that matches decides, `!` takes back."""

    def __init__(self, patterns: Sequence[str]) -> None:
        # 45 ms that most reads never need
        from dulwich.ignore import IgnoreFilter, read_ignore_patterns  # noqa: PLC0415

        text = "\n".join(patterns).encode("utf-8", "surrogateescape")
        self._filter = IgnoreFilter(read_ignore_patterns(BytesIO(text)))

    def match(self, path: str) -> bool:
        """Whether a file's path, or a folder it lies in, is named by the patterns."""
        return bool(self._filter.is_ignored(path))
