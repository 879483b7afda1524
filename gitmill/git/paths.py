"""Path patterns in gitignore's syntax, for declared, protected and ignored paths."""

from __future__ import annotations

from collections.abc import Sequence


class Patterns:
    """A list of gitignore patterns; the last one that matches decides, `!` takes back."""

    def __init__(self, patterns: Sequence[str]) -> None:
        from dulwich.ignore import IgnoreFilter  # noqa: PLC0415  (45 ms that most reads never need)

        self._filter = IgnoreFilter([p.encode("utf-8", "surrogateescape") for p in patterns])

    def match(self, path: str) -> bool:
        """Whether a file's path, or a folder it lies in, is named by the patterns."""
        parts = path.split("/")
        folders = ["/".join(parts[:n]) + "/" for n in range(1, len(parts))]
        return any(self._filter.is_ignored(candidate) for candidate in [*folders, path])
