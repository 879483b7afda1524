"""Put files of a worktree aside while a CLI runs that would load them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from gitmill.git.worktree_entries import remove


@contextmanager
def put_aside(names: tuple[str, ...], work: Path, home: Path) -> Iterator[Callable[[], None]]:
    """Yield a function that moves these files of a worktree aside; they are restored at the end.

    Files of these names that a run creates are moved as well and restored over the older ones. They
    are stored beside the home, where code in the sandbox cannot reach them.
    """
    moved: list[tuple[Path, Path]] = []
    aside = Path(mkdtemp(prefix=f"{home.name}.aside-", dir=home.parent))

    def move() -> None:
        for name in names:
            if (work / name).exists() or (work / name).is_symlink():
                stored = Path(mkdtemp(dir=aside)) / name
                shutil.move(work / name, stored)
                moved.append((stored, work / name))

    try:
        yield move
    finally:
        move()
        for stored, path in moved:
            _restore(stored, path)
        remove(aside)


def _restore(stored: Path, path: Path) -> None:
    """Move a stored file to its path; folders are merged, links are never followed."""
    if all(entry.is_dir() and not entry.is_symlink() for entry in (stored, path)):
        for inner in stored.iterdir():
            _restore(inner, path / inner.name)
    else:
        remove(path)
        shutil.move(stored, path)
