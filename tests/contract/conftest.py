"""An attempt without a repository around it, an engine, and the model server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitmill.agents.base import Attempt
from gitmill.engines.local import LocalEngine
from tests.support.model import Model


@pytest.fixture(scope="session")
def model() -> Iterator[Model]:
    with Model() as server:
        yield server


@pytest.fixture
def attempt(tmp_path: Path):
    def make(**more: object) -> Attempt:
        work, scratch = tmp_path / "work", tmp_path / "scratch"
        work.mkdir(exist_ok=True)
        scratch.mkdir(exist_ok=True)
        (scratch / "findings.md").touch()
        (tmp_path / "home").mkdir(exist_ok=True)
        values: dict = {
            "item": "t-k3f9x", "title": "A title", "role": "builder", "permission": "workspace",
            "number": 1, "prompt": "Do it.", "nonce": "n0nce", "workdir": work,
            "scratch": scratch, "findings": scratch / "findings.md",
            "home": tmp_path / "home",
            "env": {"PATH": os.environ["PATH"], "GITMILL_ATTEMPT": "1"}, "wall": 20, "idle": 20,
        }  # fmt: skip
        return Attempt(**(values | more))

    return make


@pytest.fixture
def execute():
    return LocalEngine(marker="c0ffee").execute
