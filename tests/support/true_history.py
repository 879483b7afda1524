"""Whatever a test has done with gitmill, the history that it leaves is a true one."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitmill.history.fsck import fsck
from gitmill.mill import Mill
from gitmill.store import layout
from tests.support.repos import Sandbox


@pytest.fixture(autouse=True)
def true_history(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[None]:
    yield
    if request.node.get_closest_marker("forges"):
        return
    kept = request.config.getoption("--keep-histories")
    for git_dir in sandbox.root.glob("*/.git"):
        mill = Mill.open(git_dir.parent)
        if mill.store.backend.ref(layout.STATE) is not None:
            account = fsck(mill, again=True).report
            assert [*account.faults, *account.unknown, *account.notices] == []
            if kept:
                keep(
                    git_dir, Path(kept) / f"{_slug(request.node.name)}.{git_dir.parent.name}.bundle"
                )


def keep(git_dir: Path, bundle: Path) -> None:
    """Keep a repository as a bundle, for `tests/histories`."""
    bundle.parent.mkdir(parents=True, exist_ok=True)
    argv = ["git", "-C", str(git_dir), "bundle", "create", "-q", str(bundle), "--all"]
    subprocess.run(argv, check=False)  # a test may have pruned what a ref names


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.removeprefix("test_").lower()).strip("-")
