"""Each test gets a token of its own, and must leave no process behind that carries it."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from gitmill.supervision.local import LocalEngine
from tests.supervision.processes import running


@pytest.fixture
def token() -> Iterator[str]:
    token = f"token-{secrets.token_hex(8)}"
    yield token
    for pid in running(token):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def engine(token: str) -> LocalEngine:
    return LocalEngine(claim=token)
