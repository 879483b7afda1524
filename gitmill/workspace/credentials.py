"""The credentials of an agent's CLI, copied into the home of a run so that the user is signed in.

The copies last as long as the run. A token that the CLI refreshed replaces the user's, whole or
not at all, unless the user's own has changed in the meantime. A record beside the home lists the
copies; it is written first and removed last, so that the next process can finish after a kill.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gitmill import files
from gitmill.agents.base import Login
from gitmill.failpoints import chokepoint
from gitmill.git.worktree_entries import remove

RECORD = ".login.json"
_LIMIT = 1 << 20  # bytes; such files have a few thousand


@contextmanager
def copied(home: Path, logins: tuple[Login, ...]) -> Iterator[None]:
    """Copy the user's credentials into a home, and remove them at the end."""
    record = home.with_name(home.name + RECORD)
    return_tokens(record)
    if record.exists():  # a token newer than the user's is still here: the user's cannot be written
        logins = ()
    owned = {login: data for login in logins if (data := _read(login.own())) is not None}
    if owned:
        entries = {login.name: [str(login.own()), _digest(data)] for login, data in owned.items()}
        files.replace(record, json.dumps(entries).encode(), mode=0o600, durable=True)
    try:
        for login, data in owned.items():
            with _folder(home, login.name) as folder:
                remove(home / login.name)
                _write(folder, Path(login.name).name, data)
        yield
    finally:
        return_tokens(record)


def return_tokens(record: Path) -> list[str]:
    """Remove the copies of a record; return a sentence for each refreshed token it restored."""
    try:
        entries = {str(name): (str(own), str(digest))
                   for name, (own, digest) in json.loads(record.read_bytes()).items()}  # fmt: skip
    except (OSError, ValueError, TypeError, AttributeError):
        record.unlink(missing_ok=True)
        return []
    home = record.with_name(record.name.removesuffix(RECORD))
    messages: list[str] = []
    failed = False
    for name, (own, digest) in entries.items():
        try:
            with _folder(home, name) as folder:
                messages += _return_token(Path(own), digest, home / name, folder)
        except FileNotFoundError:
            continue  # the process was killed before it copied this file
        except OSError:
            failed = True  # the copy stays in the home: the next process tries again
    if not failed:
        record.unlink(missing_ok=True)
    return messages


def _return_token(own: Path, digest: str, copy: Path, folder: int) -> Iterator[str]:
    new, old = _read(copy.name, folder), _read(own)
    untouched = old is not None and _digest(old) == digest
    if new is not None and old is not None and untouched and new != old and _is_alike(new, old):
        real = own.resolve()
        files.replace(real, new, durable=True)
        yield f"restored the refreshed {own}"
    if not os.path.lexists(copy):
        raise FileNotFoundError(copy)
    with chokepoint(f"remove {copy.name}"):
        remove(copy)  # the run may have replaced it with a folder


def _is_alike(new: bytes, old: bytes) -> bool:
    """Whether a file that a run left can be a refreshed token, to become the user's.

    It must be a JSON object with all keys of the old one; anything else is refused.
    """
    try:
        was, now = json.loads(old), json.loads(new)
    except ValueError:
        return False
    return isinstance(was, dict) and isinstance(now, dict) and was.keys() <= now.keys()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(path: Path | str, folder: int | None = None) -> bytes | None:
    """Return a small regular file; below `folder`, which a run can write, links are refused."""
    flags = (
        os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if folder is not None else 0)
    )
    try:
        fd = os.open(path, flags, dir_fd=folder)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    with os.fdopen(fd, "rb") as file:
        data = file.read(_LIMIT + 1)
    return data if len(data) <= _LIMIT else None


def _write(folder: int, name: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
        file.write(data)


@contextmanager
def _folder(home: Path, name: str) -> Iterator[int]:
    """Open the folder of a file below a home; links that a run put there are removed."""
    fd = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        at = home
        for part in Path(name).parts[:-1]:
            at /= part
            if not stat.S_ISDIR(_mode(part, fd)):
                remove(at)
                os.mkdir(part, 0o700, dir_fd=fd)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(part, flags, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def _mode(name: str, folder: int) -> int:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0
