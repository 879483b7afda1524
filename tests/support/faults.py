"""All classes of errors, and places of the code in which one of them is raised once."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gitmill.errors import Blame, GitmillError


def classes(kind: type[GitmillError] = GitmillError) -> Iterator[type[GitmillError]]:
    """Yield every class of errors below one, each before its own subclasses."""
    for below in kind.__subclasses__():
        if below.__module__ == "gitmill.errors":
            yield below
            yield from classes(below)


def at_place(number: int) -> list[type[GitmillError]]:
    """Return classes to raise at a place: one of each blame, another one at the next place."""
    by_blame = [[kind for kind in classes() if kind.blame is blame] for blame in Blame]
    return [kinds[number % len(kinds)] for kinds in by_blame]


@contextmanager
def raising(
    where: str,
    error: BaseException,
    when: Callable[..., bool] = lambda *_: True,
    *,
    times: int = 1,
) -> Iterator[list[str]]:
    """Raise an error where a function is called; `where` names its module and its name there.

    Yields a list that gets an entry each time; `when` receives the arguments.
    """
    module, _, names = where.partition(":")
    owner: Any = importlib.import_module(module)
    *path, name = names.split(".")
    for part in path:
        owner = getattr(owner, part)
    original, raised = getattr(owner, name), list[str]()

    def fault(*args: Any, **kwargs: Any) -> Any:
        if len(raised) < times and when(*args):
            raised.append(where)
            raise error
        return original(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, fault)
        yield raised


def killing(folder: Path, argument: str, first: str = "") -> dict[str, str]:
    """Return an environment whose git is killed, each time, where it gets a certain argument.

    It runs the shell command `first` before.
    """
    tools, real = folder / "killing", shutil.which("git")
    tools.mkdir()
    (tools / "git").write_text(
        f'#!/bin/sh\ncase " $* " in *" {argument} "*) {first or ":"}; kill -9 $$ ;; esac\n'
        f'exec {real} "$@"\n'
    )
    (tools / "git").chmod(0o755)
    return {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
