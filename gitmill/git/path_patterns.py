"""Path patterns in gitignore's syntax, for declared, protected and ignored paths."""

from __future__ import annotations

from collections.abc import Sequence
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
