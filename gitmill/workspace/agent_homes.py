"""The home of a run in place of the user's: with the user's toolchains and without the keys.

A builder keeps one home per item, so that its session can be resumed. Scripts, checks and
reviewers get a fresh one: a builder that is the same agent could leave settings there for its
reviewer. docs/sandbox.md lists the contents.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gitmill import process
from gitmill.agents.base import Login
from gitmill.core.lifecycle import FINAL
from gitmill.errors import GitmillError, NoSlotError
from gitmill.git.locks import try_lock
from gitmill.git.private_git import quoted
from gitmill.git.worktree_entries import remove
from gitmill.hints import Gitmill, Hint
from gitmill.mill import Mill
from gitmill.store.snapshot import Snapshot
from gitmill.workspace import credentials, private_paths

FOLDER = "homes"  # in the pool's folder


def environment(home: Path) -> dict[str, str]:
    """Return the environment variables of a home."""
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        "XDG_STATE_HOME": str(home / ".local" / "state"),
    }


def prepare(mill: Mill, home: Path) -> None:
    """Create a home unless it exists: the user's git identity, and links to the user's tools.

    A used home is left alone: its run may have put links there.
    """
    if home.is_dir() and not home.is_symlink():
        return
    new = home.with_name(f"{home.name}.new")
    remove(new)
    new.mkdir(mode=0o700, parents=True)
    (new / ".gitconfig").write_text(_gitconfig(mill), "utf-8", "surrogateescape")
    for name, real in _linked(mill):
        link = new / name
        link.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            link.symlink_to(real)
    new.rename(home)


def _linked(mill: Mill) -> Iterator[tuple[str, Path]]:
    """Yield the links of a home: name, and path in the user's home."""
    user = process.home()
    for name in private_paths.tools():
        if (user / name).exists():
            yield name, user / name
    for value in mill.repository.configured("gitmill.readable"):
        path = Path(value).expanduser()
        if path.is_relative_to(user) and path != user:
            yield str(path.relative_to(user)), path


def _gitconfig(mill: Mill) -> str:
    """Return the minimal configuration with which `git commit` works in a test."""
    lines = []
    with suppress(GitmillError):  # without an identity git itself says what is missing
        name, _, mail = mill.repository.person.rpartition(" <")
        lines += ["[user]", f"\tname = {quoted(name)}", f"\temail = {quoted(mail[:-1])}"]
    for section, key in (("safe", "directory"), ("init", "defaultBranch")):
        for value in mill.repository.configured(f"{section}.{key}".lower()):
            lines += [f"[{section}]", f"\t{key} = {quoted(value)}"]
    return "\n".join([*lines, ""])


@contextmanager
def agent_home(
    mill: Mill, item: str, agent: str, login: tuple[Login, ...], *, keeps: bool
) -> Iterator[Path]:
    """Hold a home for an item's agent, with the user's credentials for it.

    With `keeps` it is the home of the earlier attempts, else a fresh one. A home that another
    process uses is not shared: the run gets another one.
    """
    folder = mill.pool.folder / FOLDER / item
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kind = agent if keeps else f"{agent}.fresh"
    for number in range(1, 1000):
        name = kind if number == 1 else f"{kind}.{number}"
        lock = try_lock(folder / f"{name}.lock")
        if lock is not None and (keeps or _removed(folder / name)):
            break
        if lock is not None:
            os.close(lock)
    else:
        raise NoSlotError(
            f"no free home in {folder}", hints=[Hint("see what is left there:", Gitmill("doctor"))]
        )
    try:
        prepare(mill, folder / name)
        with credentials.copied(folder / name, login):
            yield folder / name
    finally:
        if not keeps:
            _removed(folder / name)
        os.utime(lock)  # the home's last use
        os.close(lock)


def _removed(home: Path) -> bool:
    """Remove a home; False while it holds credentials that cannot be returned."""
    record = home.with_name(f"{home.name}{credentials.RECORD}")
    credentials.return_tokens(record)
    if record.exists():
        return False
    remove(home)
    return True


def leftovers(mill: Mill, snapshot: Snapshot) -> tuple[list[str], list[str]]:
    """Return the ended items that still have homes, and the homes that hold credentials."""
    folders = sorted((mill.pool.folder / FOLDER).glob("*"))
    ended = [folder.name for folder in folders if has_ended(snapshot, folder.name)]
    records = [record for folder in folders for record in folder.glob(f"*{credentials.RECORD}")]
    return ended, [
        record.name.removesuffix(credentials.RECORD) for record in records if _is_free(record)
    ]


def _is_free(record: Path) -> bool:
    lock = try_lock(record.with_name(f"{record.name.removesuffix(credentials.RECORD)}.lock"))
    if lock is not None:
        os.close(lock)
    return lock is not None


def has_ended(snapshot: Snapshot, name: str) -> bool:
    """Whether no work on an item can continue; False while the state has unreadable documents."""
    item = snapshot.items.get(name)
    return not snapshot.broken and (item is None or item.status in FINAL)


def clean_up(mill: Mill) -> list[str]:
    """Return the credentials of killed runs, and remove the homes of ended items.

    Returns one sentence for each token that was restored. Homes in use are left alone.
    """
    snapshot = mill.snapshot()
    return [
        message
        for folder in sorted((mill.pool.folder / FOLDER).glob("*"))
        for message in _clean_up(folder, ended=has_ended(snapshot, folder.name))
    ]


def remove_home(folder: Path) -> bool:
    """Remove the home of an ended item; False if it is in use or keeps credentials."""
    _clean_up(folder, ended=True)
    return not folder.exists()


def _clean_up(folder: Path, *, ended: bool) -> list[str]:
    messages: list[str] = []
    locks = [try_lock(path) for path in sorted(folder.glob("*.lock"))]
    try:
        if None in locks:
            return []
        for record in sorted(folder.glob(f"*{credentials.RECORD}")):
            messages += credentials.return_tokens(record)
        if ended and not any(folder.glob(f"*{credentials.RECORD}")):
            remove(folder)
    finally:
        for lock in locks:
            if lock is not None:
                os.close(lock)
    return messages


def drop_caches(mill: Mill) -> None:
    """Remove the caches in idle homes, and idle homes that no session needs: room on a full disk.

    Credentials that cannot be returned now keep their home.
    """
    for path in sorted((mill.pool.folder / FOLDER).glob("*/*.lock")):
        lock = try_lock(path)
        if lock is None:
            continue
        home = path.with_suffix("")
        with suppress(OSError):
            remove(home / ".cache")
            if ".fresh" in home.suffixes:
                _removed(home)
        os.close(lock)


def return_credentials(mill: Mill) -> None:
    """Return all credentials, while no worker is running."""
    for record in (mill.pool.folder / FOLDER).glob(f"*/*{credentials.RECORD}"):
        credentials.return_tokens(record)
