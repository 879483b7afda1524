"""An attempt without a repository around it, an engine, the model server, and the real CLIs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from gitmill.agents import base
from gitmill.agents.base import Attempt, Execute, Report
from gitmill.supervision.local import LocalEngine
from tests.support.clis import CLIS
from tests.support.model import Model, Seen, Tokens
from tests.support.model.server import Turn

PROMPT = "Carry this out, please: häßlich → schön, 日本語.\n\n- `nonce` is `n0nce`.\n"


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
    return LocalEngine(claim="c0ffee").execute


class Ask:
    """Runs one attempt of a real CLI against a scenario; `seen` are the requests that reached the model."""

    def __init__(self, attempt: Callable[..., Attempt], execute: Execute, model: Model) -> None:
        self._attempt, self._execute, self._model = attempt, execute, model
        self.seen: list[Seen] = []

    def __call__(
        self,
        name: str,
        *turns: Turn,
        tokens: Tokens | None = None,
        env: Mapping[str, str] | None = None,
        execute: Execute | None = None,
        url: str = "",
        **more: object,
    ) -> Report:
        cli, url = CLIS[name], url or self._model.play(*turns, tokens=tokens)
        values = {
            "prompt": PROMPT, "model": cli.model, "settings": {"options": list(cli.options)},
            "wall": 120, "idle": 90,
        } | more  # fmt: skip
        work, scratch = self._attempt().workdir, self._attempt().scratch
        if not (work / ".git").exists():
            subprocess.run(["git", "init", "-q", str(work)], check=True)
        full = cli.environment(url) | {"TMPDIR": str(scratch)} | dict(env or {})
        asked = self._attempt(**values, env=full)
        report = base.load(name).run(asked, execute or self._execute)
        self.seen = self._model.asked(url)
        return report


@pytest.fixture
def ask(attempt, execute, model) -> Ask:
    return Ask(attempt, execute, model)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"
