"""The record of what each dependency folder of a checkout was installed from."""

from __future__ import annotations

import json

from gitmill import files
from gitmill.mill import Mill

FILE = "installed.json"  # in gitmill's private folder


class InstallRecord:
    """What each dependency folder was installed from, when it was first seen as it is now.

    A disposable file: without it, only what is not newer than its folder is believed.
    """

    def __init__(self, mill: Mill) -> None:
        self._path = mill.repository.private / FILE
        try:
            value = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            value = {}
        self._known: dict[str, list[str]] = value if isinstance(value, dict) else {}

    def get(self, folder: str, seen: str) -> str | None:
        """Return the digest recorded for a folder with this identity."""
        known = self._known.get(folder)
        return known[1] if known and known[0] == seen else None

    def put(self, folder: str, seen: str, digest: str) -> None:
        """Record a digest."""
        self._known[folder] = [seen, digest]
        self._path.parent.mkdir(exist_ok=True)
        files.replace(self._path, json.dumps(self._known, indent=1).encode())
