"""Replace a file, and open one, whatever other people's code put there.

A file is replaced whole or not at all, and only a regular file is opened: a link would lead away,
and a FIFO has no end.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from gitmill.errors import PlantedFileError
from gitmill.failpoints import chokepoint
from gitmill.hints import Hint, Shell

_NOT_REGULAR = frozenset({errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO, errno.EOPNOTSUPP})


def replace(path: Path, data: bytes, *, mode: int | None = None, durable: bool = False) -> None:
    """Replace whatever is at a path with a file of these bytes.

    Readers see the old file or the new one, also after a kill. With `mode` the file has exactly
    these permissions; otherwise it keeps those of the old one, and a new file has the process's
    default. With `durable` it is on the disk afterwards. A link is replaced, not followed.
    """
    kept = _permissions(path) if mode is None else mode
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    created = 0o666 if kept is None else 0o600
    with (
        replacing(path, durable=durable) as new,
        os.fdopen(os.open(new, flags, created), "wb") as file,
    ):
        file.write(data)
        if kept is not None:
            os.fchmod(file.fileno(), kept)


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a name that no other process or thread uses; what is created there replaces `path`.

    For files that another program writes, and for links; an exception leaves `path` as it is.
    `leftovers` finds what a killed process leaves.
    """
    new = path.with_name(f".{path.name}.{os.urandom(8).hex()}.new")
    with chokepoint(f"write {path.name}"):
        try:
            yield new
            if durable and not new.is_symlink():
                _flush(new)
            _move(new, path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
    if durable:
        _flush(path.parent)


def is_plain_below(folder: Path, name: str) -> bool:
    """Whether a path below a folder leads through folders only, as far as it exists.

    No link is in it: what is written there stays below the folder.
    """
    at = folder
    for part in PurePath(name).parts:
        if at.is_symlink() or (at.exists() and not at.is_dir()):
            return False
        at /= part
    return not at.is_symlink()


def read_below(folder: Path, name: str, limit: int) -> bytes | None:
    """Return a regular file of at most `limit` bytes below a folder that other code can write.

    None for anything else: a link on the way, a FIFO, a file that is too large or not there.
    """
    parts = PurePath(name).parts
    if not parts or PurePath(name).is_absolute() or ".." in parts:
        return None
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptors: list[int] = []
    try:
        descriptors.append(os.open(folder, flags | os.O_DIRECTORY))
        for part in parts[:-1]:
            descriptors.append(os.open(part, flags | os.O_DIRECTORY, dir_fd=descriptors[-1]))
        descriptors.append(os.open(parts[-1], flags | os.O_NONBLOCK, dir_fd=descriptors[-1]))
        if not stat.S_ISREG(os.fstat(descriptors[-1]).st_mode):
            return None
        with os.fdopen(descriptors.pop(), "rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return data if len(data) <= limit else None


def open_regular(path: Path, flags: int, mode: int = 0o666) -> int:
    """Open a file of gitmill's own as `os.open` does, and return its descriptor.

    Raises `PlantedFileError` for a link, a FIFO or anything else that is no regular file.
    """
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno in _NOT_REGULAR:
            raise _planted(path) from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _planted(path)
    return fd


def read_regular(path: Path) -> bytes:
    """Return the content of a file of gitmill's own.

    Raises `FileNotFoundError`, and `PlantedFileError` for anything else than a regular file.
    """
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
        return file.read()


def _planted(path: Path) -> PlantedFileError:
    return PlantedFileError(
        f"{path} is not a regular file, so gitmill does not use it",
        hints=[
            Hint(
                "see what it is with", Shell(f"ls -ld {shlex.quote(str(path))}"), ", then remove it"
            )
        ],
    )


def leftovers(folder: Path, *, of: str = "") -> list[Path]:
    """Return what processes killed in `replacing` left in a folder, or others write there now.

    `of` is the name of the file that was to be replaced, by default any.
    """
    names = re.compile(rf"\.{re.escape(of) or '.+'}\.[0-9a-f]{{16}}\.new(\.lock)?")
    return [entry for entry in folder.glob(".*") if names.fullmatch(entry.name)]


def _permissions(path: Path) -> int | None:
    """Return the permissions of a regular file, None if there is none."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return None
    return stat.S_IMODE(mode) & 0o777 if stat.S_ISREG(mode) else None


def _move(new: Path, path: Path) -> None:
    try:
        new.replace(path)
    except IsADirectoryError:
        import shutil  # noqa: PLC0415  (rarely needed, and every command imports this module)

        shutil.rmtree(path)
        new.replace(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
