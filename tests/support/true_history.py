"""Whatever a test has done with gitmill, the history that it leaves is a true one."""

from __future__ import annotations

from collections.abc import Iterator

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
    for git_dir in sandbox.root.glob("*/.git"):
        mill = Mill.open(git_dir.parent)
        if mill.store.backend.ref(layout.STATE) is not None:
            account = fsck(mill).report
            assert account.faults == account.unknown == account.notices == []
