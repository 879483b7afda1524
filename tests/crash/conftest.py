"""One process that runs gitmill in forked children serves all tests of a worker."""

from __future__ import annotations

import pytest

from tests.support.crash_cases import Server


@pytest.fixture(scope="session")
def server() -> Server:
    return Server.shared()
