"""A task through the whole loop by Gemini CLI and OpenCode: built, returned, mended, landed."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from gitmill.core.document import Document
from tests.support.cli import gitmill as cli
from tests.support.model import Answer, Asked, Model, Read, Tokens, Write
from tests.support.model.steps import Step
from tests.support.programs import folder_of
from tests.support.repos import Sandbox

KEY = "planted-7f3c2b9a41d8e6"
POLICY = """\
mode = "real"
[checks]
says = "grep -q Hel greet.txt"
[modes.real]
roles = {{builder = "{name}", reviewer = "{name}", troubleshooter = "{name}", consultant = "{name}"}}
[agents.{name}]
model = "gemini-2.5-pro"
"""
FINDING = {"severity": "high", "file": "greet.txt", "line": 1, "message": "it is spelled Hello"}


def script(asked: Asked) -> Sequence[Step]:
    """Build it wrong, have it returned, mend it, pass it."""
    if "You are reviewing" in asked.prompt:
        if "+Hello" not in asked.prompt:
            return [Read("greet.txt"), Answer("return", "A slip.", [FINDING])]
        return [Answer("pass", "As it should be.", earlier=[{"number": 1, "resolved": True}])]
    if "spelled Hello" not in asked.prompt:
        return [Write("greet.txt", "Helo, 世界\n"), Answer("pass", f"Greets. {KEY}")]
    mended = [Read("greet.txt"), Write("greet.txt", "Hello, 世界\n")]
    return [*mended, Answer("pass", "Spelled right.", earlier=[{"number": 1, "resolved": True}])]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemini", "opencode"])
def test_a_task_is_carried_from_build_to_landing(
    name: str, sandbox: Sandbox, model: Model, monkeypatch: pytest.MonkeyPatch
):
    url = model.play(script, tokens=Tokens(1000, 50, 100))
    for variable, value in {
        "PATH": f"{folder_of(name)}{os.pathsep}{os.environ['PATH']}",
        "GOOGLE_GEMINI_BASE_URL": url, "GEMINI_API_KEY": KEY,
        "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": KEY,
    }.items():  # fmt: skip
        monkeypatch.setenv(variable, value)
    files = {".gitmill/config.toml": POLICY.format(name=name), "README.md": "Greets.\n"}
    repo = sandbox.repo(files=files | {"opencode.json": "{}\n", ".gemini/settings.json": "{}\n"})
    assert cli(repo.path, "init").code == 0
    task = cli(repo.path, "task", "new", "Say hello", "--criterion", "greets politely", "--ready")
    assert task.code == 0, task.err
    said = cli(repo.path, "run")
    assert said.code == 0, said.err
    assert f"landed {task.out.strip()} (4 attempts)" in said.err
    assert repo.git("show", "main:greet.txt") == "Hello, 世界"
    assert repo.git("show", "--name-only", "--format=", "main").split() == ["greet.txt"]
    paths = repo.git("ls-tree", "-r", "--name-only", "gitmill/state", "runs/").splitlines()
    logs = [fields(repo.git("show", f"gitmill/state:{path}")) for path in sorted(paths)]
    assert [(log["stage"], log["verdict"], log["exit"], log["agent"]) for log in logs] == [
        ("build", "pass", "completed", name),
        ("review", "return", "completed", name),
        ("build", "pass", "completed", name),
        ("review", "pass", "completed", name),
    ]
    used = [{"input": n * 1000, "output": n * 50, "cached": n * 100} for n in (2, 2, 3, 1)]
    assert [log["usage"] for log in logs] == used
    assert min(log["cost"] for log in logs) > 0
    # The builder went on with its session, though it may be given another id for that.
    people = [one.asked.people for one in model.asked(url) if "is spelled" in one.asked.prompt]
    assert any(len(said) > 1 for said in people)
    assert KEY not in repo.git("cat-file", "--batch-all-objects", "--batch", "--unordered")


def fields(text: str) -> dict:
    """Return the front matter of a document."""
    document = Document.from_bytes(f"{text}\n".encode())
    return {name: document.value(name) for name in document.fields}
