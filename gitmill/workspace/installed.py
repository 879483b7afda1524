"""What is installed in a dependency folder of a checkout, as far as files tell.

Formats: the recording of installed projects and of direct URLs (PyPA specifications), site(3) for
`.pth` files, npm's hidden lock file `node_modules/.package-lock.json`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from urllib.parse import unquote, urlparse

_PATH = re.compile(r"""["'](/[^"'\n]+)["']""")
_MARKS = (".package-lock.json", ".modules.yaml", ".yarn-state.yml", ".yarn-integrity")
_ENTRIES = 5000  # of a folder that has no mark of its own


@dataclass(frozen=True, slots=True)
class Distribution:
    """One installed Python project: its normalized name, and the folder it came from, if any."""

    name: str
    source: Path | None = None
    editable: bool = False


def is_environment(folder: Path) -> bool:
    """Whether a folder is a virtual environment of Python."""
    return (folder / "pyvenv.cfg").is_file() or (folder / "conda-meta").is_dir()


def site_packages(environment: Path) -> list[Path]:
    """Return the folders in which an environment has its projects."""
    return sorted(environment.glob("lib/python3*/site-packages"))


def distributions(environment: Path) -> Iterator[Distribution]:
    """Yield the projects that an environment has."""
    for site in site_packages(environment):
        for info in sorted(site.glob("*.dist-info")):
            name = normalized(info.name.removesuffix(".dist-info").rpartition("-")[0])
            try:
                value = json.loads((info / "direct_url.json").read_bytes())
                source = Path(unquote(urlparse(value["url"]).path)) if _is_file(value) else None
                editable = bool(value.get("dir_info", {}).get("editable"))
            except (OSError, ValueError, KeyError, AttributeError):
                yield Distribution(name)
                continue
            yield Distribution(name, source, editable)


def _is_file(value: dict[str, str]) -> bool:
    return value["url"].startswith("file://")


def normalized(name: str) -> str:
    """Return the normalized name of a Python project."""
    return re.sub(r"[-_.]+", "-", name).lower()


def places(environment: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the folders from which an environment imports in place, and the file that says so."""
    for site in site_packages(environment):
        for file in sorted([*site.glob("*.pth"), *site.glob("*.egg-link")]):
            with suppress(OSError, ValueError):
                for line in file.read_text("utf-8", "surrogateescape").splitlines():
                    if line.startswith("/"):
                        yield Path(line.strip()), file
        for file in sorted(site.glob("__editable__*finder.py")):
            with suppress(OSError, ValueError):
                for found in _PATH.findall(file.read_text("utf-8", "surrogateescape")):
                    yield Path(found), file


def node_packages(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the packages at the top of a `node_modules` by name."""
    for entry in _scan(folder):
        if entry.name.startswith("@"):
            yield from ((f"{entry.name}/{e.name}", Path(e.path)) for e in _scan(Path(entry.path)))
        elif not entry.name.startswith("."):
            yield entry.name, Path(entry.path)


def npm_matches(folder: Path, lock: bytes) -> bool | None:
    """Whether a `node_modules` is what a lock file of npm says; None if npm did not record it."""
    try:
        hidden = json.loads((folder / ".package-lock.json").read_bytes())["packages"]
        locked = json.loads(lock)["packages"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    keys = ("version", "integrity", "link")
    for path, entry in locked.items():
        known = hidden.get(path)
        if known is None:
            if path and "node_modules" in path and not _may_lack(entry):
                return False
        elif any(entry.get(key) != known.get(key) for key in keys):
            return False
    return not any(path not in locked for path in hidden)


def _may_lack(entry: dict[str, object]) -> bool:
    return bool(entry.get("optional") or entry.get("devOptional") or entry.get("peer"))


def facts(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, size and time (ns) of what changes when something is installed in a folder."""
    files = [folder / name for name in (*_MARKS, "pyvenv.cfg")]
    for site in site_packages(folder):
        files += [
            Path(entry.path)
            for entry in _scan(site)
            if entry.name.endswith((".dist-info", ".pth", ".egg-link", ".egg-info"))
        ]
    if not has_mark(folder) and not site_packages(folder):
        files += [Path(entry.path) for entry in _scan(folder)]
    for file in files:
        with suppress(OSError):
            info = file.lstat()  # a link to a member: what changes there is no installation
            size = info.st_size if S_ISREG(info.st_mode) else 0
            yield os.fspath(file.relative_to(folder)), size, info.st_mtime_ns


def has_mark(folder: Path) -> bool:
    """Whether a package manager of Node has recorded an installation in a folder."""
    return any((folder / name).exists() for name in _MARKS)


def installed_at(folder: Path) -> int:
    """Return when something was last installed in a folder, in nanoseconds since the epoch."""
    return max((time for _, _, time in facts(folder)), default=0)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []
    return entries[:_ENTRIES]


def below(path: Path, folders: Iterable[Path]) -> Path | None:
    """Return the one of some folders that a path is in."""
    real = Path(os.path.realpath(path))
    return next((folder for folder in folders if real.is_relative_to(folder)), None)
