"""One process that runs gitmill in forked children serves all tests of a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.crash_cases import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()
